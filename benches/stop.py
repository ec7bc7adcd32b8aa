"""Stops a server in use, and reports the outcome. See scripts/stop-under-load."""

import glob
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

from playwright.sync_api import sync_playwright

program, scratch, site = sys.argv[1:4]
count, grace = int(sys.argv[4]), int(sys.argv[5])
data, key = f"{scratch}/data", "key-of-the-measurement"
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

environment = {
    "PATH": os.environ["PATH"],
    "HOME": scratch,
    "GREENROOM_BOOTSTRAP_KEY": key,
    "GREENROOM_LOG": "info",
    # The site is on this machine.
    "GREENROOM_ISOLATION__PROGRAMS": f"{scratch}/programs",
    "GREENROOM_EGRESS__ALLOW": "127.0.0.0/8,localhost",
    "GREENROOM_STOP__GRACE_SECONDS": str(grace),
    # So that the profiles can be read afterwards.
    "GREENROOM_DESKTOP__KEEP_DIRECTORIES": "true",
    "GREENROOM_DESKTOP__START_DEADLINE_SECONDS": "120",
}
log = open(f"{scratch}/server.log", "wb")
server = subprocess.Popen(
    [program, "serve", "--listen", "127.0.0.1:0", "--data", data],
    env=environment, stdout=subprocess.PIPE, stderr=log, text=True,
)
for line in server.stdout:
    if line.startswith("listening on "):
        url = line.removeprefix("listening on ").strip()
        break
threading.Thread(target=server.stdout.read, daemon=True).start()


def api(method, path, body=None):
    request = urllib.request.Request(url + path, method=method, headers={"x-api-key": key})
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("content-type", "application/json")
    with opener.open(request, timeout=180) as answer:
        return json.load(answer)


def programs(session):
    """The X server and the browser, each the leader of its process group."""
    leaders = {}
    for path in glob.glob("/proc/[0-9]*"):
        pid = int(path.rsplit("/", 1)[1])
        try:
            arguments = open(f"{path}/cmdline", "rb").read()
            if f"{scratch}/programs/{session}/".encode() in arguments and os.getpgid(pid) == pid:
                leaders[pid] = os.path.basename(arguments.split(b"\0")[0].decode())
        except OSError:
            continue
    return leaders


def is_alive(pid):
    try:
        return open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


started = []
try:
    with ThreadPoolExecutor(3) as pool:
        ids = list(pool.map(lambda _: api("POST", "/v1/browser_sessions", {})["browser_session_id"], range(count)))
    leases = {}
    for session in ids:
        begun = api("POST", f"/v1/browser_sessions/{session}/begin", {"runnable_id": "load", "ttl_seconds": 60})
        leases[session] = {"generation": begun["generation"], "lease_token": begun["lease_token"]}
    with sync_playwright() as playwright:
        for session in ids:
            address = f"{url.replace('http', 'ws', 1)}/v1/browser_sessions/{session}/cdp"
            browser = playwright.chromium.connect_over_cdp(address, headers={"x-api-key": key})
            context = browser.contexts[0]
            context.pages[0].goto(f"{site}/index.html")
            context.add_cookies([{"name": "login", "value": session, "url": site, "expires": time.time() + 86400}])
            browser.close()
    watched = {session: programs(session) for session in ids}
    started = [pid for leaders in watched.values() for pid in leaders]
    assert all(len(leaders) >= 2 for leaders in watched.values()), watched

    # The load: ten heartbeats a second for every session; some sessions are released meanwhile.
    released, refused, stop = {}, [], threading.Event()

    def hold(session, until):
        while not stop.is_set():
            if time.monotonic() > until:
                api("POST", f"/v1/browser_sessions/{session}/release", leases[session])
                released[session] = time.monotonic()
                return
            try:
                api("POST", f"/v1/browser_sessions/{session}/heartbeat", leases[session])
            except (urllib.error.URLError, OSError):
                return
            time.sleep(0.1)

    def knock():
        while not stop.is_set():
            try:
                api("POST", "/v1/browser_sessions", {"wait_seconds": 0})
            except urllib.error.HTTPError as error:
                refused.append(json.load(error)["code"])
            except (urllib.error.URLError, OSError):
                return
            time.sleep(0.2)

    began = time.monotonic()
    holders = []
    for number, session in enumerate(ids):
        # The last holder never releases its session, so the grace period is used up.
        until = began + grace / 3 if number < count // 2 else began + 3600
        holders.append(threading.Thread(target=hold, args=(session, until), daemon=True))
    began = time.monotonic()
    server.send_signal(signal.SIGTERM)
    for thread in holders:
        thread.start()
    threading.Thread(target=knock, daemon=True).start()

    first_death = None
    while server.poll() is None:
        if first_death is None and any(not is_alive(pid) for pid in started):
            first_death = time.monotonic() - began
        assert time.monotonic() - began < grace + 120, "it does not end"
        time.sleep(0.02)
    took = time.monotonic() - began
    stop.set()

    stored = 0
    for session in ids:
        profile = f"{scratch}/programs/{session}/profile"
        found = [path for path in (f"{profile}/Default/Cookies", f"{profile}/Default/Network/Cookies") if os.path.exists(path)]
        names = [name for path in found for (name,) in sqlite3.connect(path).execute("SELECT name FROM cookies")]
        stored += "login" in names
    alive = [pid for pid in started if is_alive(pid)]
    print(f"sessions in use                  {count}, {len(released)} of them released on the way")
    print(f"new sessions refused meanwhile   {len(refused)} ({', '.join(sorted(set(refused))) or 'none asked'})")
    print(f"first program ended              {'never' if first_death is None else f'{first_death:.2f} s'} after SIGTERM; the grace period is {grace} s")
    print(f"the server ended                 {took:.2f} s after SIGTERM, exit code {server.returncode}")
    print(f"profiles stored with the cookie  {stored} of {count}")
    print(f"programs left                    {len(alive)}")
    good = server.returncode == 0 and stored == count and not alive and (first_death or 0) >= grace - 0.05
    print("as it should be" if good else "FAILED")
    sys.exit(0 if good else 1)
finally:
    if server.poll() is None:
        server.kill()
        server.wait()
