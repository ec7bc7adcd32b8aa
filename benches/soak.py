"""Creates and closes sessions in cycles, and counts their resources. See scripts/soak."""

import glob
import json
import os
import socket
import statistics
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

url, key, server, data = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
first, sessions, batch = (int(number) for number in sys.argv[5:8])
displays = range(first, first + 2 * batch + 1)
ports = range(first + 22000, first + 22000 + 2 * batch + 1)
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def api(method, path, body=None, with_key=key):
    request = urllib.request.Request(url + path, method=method, headers={"x-api-key": with_key})
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("content-type", "application/json")
    with opener.open(request, timeout=180) as answer:
        return json.load(answer)


def make():
    session = api("POST", "/v1/browser_sessions", {"width": 1280, "height": 800})
    while session["status"] == "created":
        path = f"/v1/browser_sessions/{session['browser_session_id']}?after={session['version']}"
        session = api("GET", path)
    assert session["status"] == "running", session
    return session["browser_session_id"]


def close(session):
    api("POST", f"/v1/browser_sessions/{session}/close", {})


def processes():
    """The processes with the marker of a session of this server, or with its data directory, without the server."""
    found = 0
    for path in glob.glob("/proc/[0-9]*"):
        if int(path.rsplit("/", 1)[1]) in (server, os.getpid()):
            continue
        try:
            text = open(f"{path}/environ", "rb").read() + open(f"{path}/cmdline", "rb").read()
        except OSError:
            continue
        found += f"{data}/sessions".encode() in text
    return found


def listens(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def segments():
    rows = open("/proc/sysvipc/shm").read().splitlines()[1:]
    alive = lambda pid: os.path.exists(f"/proc/{pid}")
    return sum(1 for row in rows if not int(row.split()[2], 8) & 0o1000 and not alive(row.split()[4]))


def groups():
    try:
        base = open(f"{data}/control_group").read().strip()
    except OSError:
        return 0
    known = os.listdir(f"{data}/sessions") if os.path.isdir(f"{data}/sessions") else []
    return sum(os.path.exists(f"{base}/session-{session}") for session in set(known) | made)


def memory():
    status = open(f"/proc/{server}/status").read()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def open_files():
    """The number of descriptors of each kind: the target of a descriptor, without its number."""
    kinds = {}
    for descriptor in glob.glob(f"/proc/{server}/fd/*"):
        try:
            kind = os.readlink(descriptor).split("[")[0].removeprefix(data)
        except OSError:
            continue
        kinds[kind] = kinds.get(kind, 0) + 1
    return kinds


def count():
    listed = os.listdir(f"{data}/sessions") if os.path.isdir(f"{data}/sessions") else []
    return {
        "processes": processes(),
        "display locks": sum(os.path.exists(f"/tmp/.X{number}-lock") for number in displays),
        "display sockets": sum(os.path.exists(f"/tmp/.X11-unix/X{number}") for number in displays),
        "ports": sum(map(listens, ports)),
        "orphaned segments": segments(),
        "control groups": groups(),
        "directories": len(listed),
        "server's open files": sum(open_files().values()),
        "server's threads": len(os.listdir(f"/proc/{server}/task")),
    }


made = set()


def cycle(pool, size):
    began = time.monotonic()
    ids = list(pool.map(lambda _: make(), range(size)))
    up = time.monotonic() - began
    made.update(ids)
    during = processes()
    list(pool.map(close, ids))
    return up, time.monotonic() - began - up, during


with ThreadPoolExecutor(batch) as pool:
    # The first two are warm-ups: they fill the connection pool of the database and touch memory pages.
    cycle(pool, batch), cycle(pool, batch)
    list(pool.map(lambda _: api("GET", "/v1/browser_sessions/history"), range(20 * batch)))
    time.sleep(6)  # The time for which the server keeps unused connections of its API.
    before, files, curve, done = count(), open_files(), [memory()], 0
    print(f"after two cycles that do not count: memory of the server {curve[0]:.1f} MiB", flush=True)
    while done < sessions:
        size = min(batch, sessions - done)
        up, down, during = cycle(pool, size)
        done += size
        curve.append(memory())
        print(
            f"{done:4} sessions: up in {up:5.1f} s, {during:3} processes, gone in {down:4.1f} s, "
            f"memory of the server {curve[-1]:5.1f} MiB",
            flush=True,
        )
# Unused connections of the API are closed by then.
deadline = time.monotonic() + 20
while (after := count()) != before and time.monotonic() < deadline:
    time.sleep(0.5)

print(f"\n{'':22}{'before':>8}{'after':>8}")
for name, number in before.items():
    print(f"{name:22}{number:8}{after[name]:8}")
for kind, number in open_files().items():
    if number > files.get(kind, 0):
        print(f"open files of kind {kind}: {files.get(kind, 0)} before, {number} after")
half = len(curve) // 2
print(
    f"\nmemory of the server: first half {statistics.mean(curve[:half] or curve):.1f} MiB, "
    f"second half {statistics.mean(curve[half:]):.1f} MiB, most {max(curve):.1f} MiB"
)
leaks = api("GET", "/admin/leaks", with_key=f"{key}-operator")["leaks"]
print(f"leaks: {json.dumps(leaks) if leaks else 'none'}")
worse = [name for name, number in after.items() if number > before[name]]
print(f"FAILED: more than before: {', '.join(worse)}" if worse else "nothing is more than before")
sys.exit(1 if worse or leaks else 0)
