"""Latencies of an organization, alone and beside another that exhausts its quotas and misbehaves.

Run it by `scripts/bench-tenants`. The misbehaving clients are a separate process with the lowest priority, so
that their own processor time has little effect on the server.
"""

import argparse
import asyncio
import base64
import http.client
import json
import multiprocessing
import os
import statistics
import sys
import time
import urllib.parse

MOST = 1.2
WORKERS = 6
QUOTAS = {
    "sessions": 2, "creates_per_minute": 3, "runs": 1, "waiters": 1, "viewers": 1,
    "devtools_connections": 1, "event_streams": 1, "requests": 200,
}


class Client:
    """A client with one connection."""

    def __init__(self, url, key):
        self.address = urllib.parse.urlsplit(url).netloc
        self.key = key
        self.connection = http.client.HTTPConnection(self.address, timeout=60)

    def ask(self, method, path, body=None):
        text = None if body is None else json.dumps(body)
        headers = {"x-api-key": self.key, "content-type": "application/json"}
        self.connection.request(method, path, text, headers)
        answer = self.connection.getresponse()
        return answer.status, answer.read()

    def must(self, method, path, body=None):
        status, text = self.ask(method, path, body)
        if status != 200:
            raise RuntimeError(f"{method} {path}: {status} {text.decode(errors='replace')[:300]}")
        return json.loads(text)


class Driver:
    """A DevTools connection that answers one command at a time."""

    def __init__(self, client, session):
        import socket
        host, port = client.address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(upgrade(client.address, client.key, f"/v1/browser_sessions/{session}/cdp"))
        self.file = self.socket.makefile("rb")
        status = self.file.readline()
        if b" 101 " not in status:
            raise RuntimeError(f"DevTools: {status!r}")
        while self.file.readline() not in (b"\r\n", b""):
            pass
        self.last = 0

    def message(self):
        while True:
            first, length = self.file.read(2)
            if length == 126:
                length = int.from_bytes(self.file.read(2))
            elif length == 127:
                length = int.from_bytes(self.file.read(8))
            text = self.file.read(length)
            if first & 15 == 1:
                return json.loads(text)

    def call(self, method, **params):
        self.last += 1
        text = json.dumps({"id": self.last, "method": method, "params": params}).encode()
        self.socket.sendall(bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text)
        while True:
            answer = self.message()
            if answer.get("id") == self.last:
                return answer


def upgrade(address, key, path):
    nonce = base64.b64encode(os.urandom(16)).decode()
    return (f"GET {path} HTTP/1.1\r\nHost: {address}\r\nx-api-key: {key}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {nonce}\r\n\r\n").encode()


def request(address, key, method, path, body=b""):
    return (f"{method} {path} HTTP/1.1\r\nHost: {address}\r\nx-api-key: {key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body


async def answer(reader):
    """Returns the status of a response, and true if the connection stays open."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode().lower().split("\r\n")
    status = int(lines[0].split(" ")[1])
    length = next((int(it.split(":")[1]) for it in lines if it.startswith("content-length:")), 0)
    if status == 101 or "content-type: text/event-stream" in lines:
        return status, False
    await reader.readexactly(length)
    return status, "connection: close" not in lines


async def loop(address, what, until, counts):
    """Sends the same request again and again."""
    name, text = what
    writer = None
    while time.time() < until:
        try:
            if writer is None:
                reader, writer = await asyncio.open_connection(*address.rsplit(":", 1))
            writer.write(text)
            status, goes_on = await asyncio.wait_for(answer(reader), max(0.1, until - time.time()))
        except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError):
            status, goes_on = 0, False
        counts.setdefault(name, {}).setdefault(status, 0)
        counts[name][status] += 1
        if not goes_on and writer is not None:
            writer.close()
            writer = None
    if writer is not None:
        writer.close()


async def hold(address, text, until):
    """Opens a connection and keeps it."""
    reader, writer = await asyncio.open_connection(*address.rsplit(":", 1))
    writer.write(text)
    while time.time() < until:
        try:
            if not await asyncio.wait_for(reader.read(1 << 16), max(0.1, until - time.time())):
                break
        except asyncio.TimeoutError:
            break
    writer.close()


async def flood(address, text, until):
    """Opens a DevTools connection and sends commands without a pause."""
    reader, writer = await asyncio.open_connection(*address.rsplit(":", 1))
    writer.write(text)
    command = b'{"id": 1, "method": "Browser.getVersion"}'
    frames = (bytes([0x81, 0x80 | len(command), 0, 0, 0, 0]) + command) * 20

    async def send():
        while time.time() < until:
            writer.write(frames)
            await writer.drain()
            await asyncio.sleep(0)

    async def take():
        while await reader.read(1 << 16):
            pass

    try:
        await asyncio.wait_for(asyncio.gather(send(), take()), max(0.1, until - time.time()))
    except (OSError, asyncio.TimeoutError):
        pass
    writer.close()


def misbehave(address, key, session, seconds, results):
    """Exhausts all quotas, and continues to send requests for `seconds`."""
    os.nice(19)
    until = time.time() + seconds
    path = f"/v1/browser_sessions/{session}"
    begin = json.dumps({"runnable_id": "loop", "wait_seconds": 600}).encode()
    large = b'{"json_definition": "' + b"x" * (4 << 20) + b'"}'
    sockets = {
        "viewers": f"/v1/stream/vnc/browser_session/{session}",
        "DevTools": f"{path}/cdp",
        "messages": f"/v1/stream/messages/browser_session/{session}?client_id=loop",
    }
    loops = {name: upgrade(address, key, it) for name, it in sockets.items()}
    loops |= {
        "creates": request(address, key, "POST", "/v1/browser_sessions", b"{}"),
        "waiters": request(address, key, "POST", f"{path}/begin", begin),
        "events": request(address, key, "GET", "/v1/events"),
        "screenshots": request(address, key, "GET", f"{path}/screenshot"),
        "wrong ids": request(address, key, "GET", "/v1/browser_sessions/pbs_1"),
        "lists": request(address, key, "GET", "/v1/runs?page_size=100"),
        "large bodies": request(address, key, "POST", "/v1/workflows", large),
    }

    async def all_of_it():
        counts = {}
        held = [loops["viewers"], loops["events"], loops["waiters"]]
        work = [hold(address, text, until) for text in held]
        work.append(flood(address, loops["DevTools"], until))
        for what in loops.items():
            work += [loop(address, what, until, counts) for _ in range(WORKERS)]
        await asyncio.gather(*work)
        return counts

    results.put(asyncio.run(all_of_it()))


class Measure:
    def __init__(self, client, session):
        self.client, self.session = client, session
        self.path = f"/v1/browser_sessions/{session}"
        self.driver = Driver(client, session)
        real = os.environ.get("DESKTOPS") == "real"
        self.command = ("Browser.getVersion", {}) if not real else ("Target.getTargets", {})
        self.figures = {}

    def time(self, name, work):
        began = time.perf_counter()
        work()
        self.figures.setdefault(name, []).append((time.perf_counter() - began) * 1000)

    def begin_and_release(self):
        begun = self.client.must("POST", f"{self.path}/begin", {"runnable_id": "measure"})
        proof = {name: begun[name] for name in ("generation", "lease_token")}
        self.client.must("POST", f"{self.path}/release", proof)

    def create_and_close(self):
        made = self.client.must("POST", "/v1/browser_sessions", {"width": 640, "height": 480})
        self.client.must("POST", f"/v1/browser_sessions/{made['browser_session_id']}/close", {})

    def run(self, seconds):
        """Measures alternately until the time is over; returns the figures of this time only."""
        self.figures = {}
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for _ in range(10):
                self.time("get a session", lambda: self.client.must("GET", self.path))
                self.time("a DevTools command", lambda: self.driver.call(self.command[0]))
            for _ in range(3):
                self.time("begin and release", self.begin_and_release)
            self.time("create and close", self.create_and_close)
            time.sleep(0.02)
        return {name: statistics.median(times) for name, times in self.figures.items()}


def processor(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
        fields = stat.read().rsplit(") ", 1)[1].split(" ")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("operator")
    parser.add_argument("pid", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    operator = Client(given.url, given.operator)

    def organization(name, quotas):
        made = operator.must("POST", "/admin/organizations", {"name": name})
        path = f"/admin/organizations/{made['organization_id']}"
        operator.must("PATCH", path, {"quotas": quotas})
        key = operator.must("POST", f"{path}/api_keys", {"label": name})["key"]
        return Client(given.url, key)

    loud, calm = organization("loud", QUOTAS), organization("calm", {})
    sessions = [loud.must("POST", "/v1/browser_sessions", {}) for _ in range(QUOTAS["sessions"])]
    loud.must("POST", f"/v1/browser_sessions/{sessions[0]['browser_session_id']}/begin",
              {"runnable_id": "holder", "ttl_seconds": 3600})
    own = calm.must("POST", "/v1/browser_sessions", {"width": 640, "height": 480})
    measure = Measure(calm, own["browser_session_id"])
    measure.run(2)  # Warm-up.

    alone, beside, used, counts = [], [], {"alone": 0.0, "beside": 0.0}, {}
    for _ in range(given.rounds):
        before = processor(given.pid)
        alone.append(measure.run(given.seconds))
        between = processor(given.pid)
        used["alone"] += between - before
        results = multiprocessing.Queue()
        others = multiprocessing.Process(target=misbehave, args=(
            loud.address, loud.key, sessions[0]["browser_session_id"], given.seconds + 3, results))
        others.start()
        time.sleep(1.5)  # Until all quotas are exhausted.
        between = processor(given.pid)
        beside.append(measure.run(given.seconds))
        used["beside"] += processor(given.pid) - between
        for name, statuses in results.get().items():
            for status, count in statuses.items():
                counts.setdefault(name, {}).setdefault(str(status), 0)
                counts[name][str(status)] += count
        others.join()

    rows = []
    for name in alone[0]:
        one = statistics.median(figures[name] for figures in alone)
        two = statistics.median(figures[name] for figures in beside)
        rows.append({"what": name, "alone_ms": round(one, 2), "beside_ms": round(two, 2),
                     "ratio": round(two / one, 2),
                     "rounds": [round(b[name] / a[name], 2) for a, b in zip(alone, beside)]})
    failures = {name: it for name, it in counts.items() if any(s.startswith("5") for s in it)}
    report = {"latencies": rows, "misbehaving": counts, "server_cpu_seconds": used,
              "server_errors": failures}
    if given.json:
        print(json.dumps(report, indent=2))
    else:
        print(f"{'median':22}{'alone ms':>10}{'beside ms':>11}{'ratio':>7}  rounds")
        for row in rows:
            rounds = " ".join(f"{it:.2f}" for it in row["rounds"])
            print(f"{row['what']:22}{row['alone_ms']:10.2f}{row['beside_ms']:11.2f}"
                  f"{row['ratio']:7.2f}  {rounds}")
        print("\nanswers to the misbehaving organization (0: none in time)")
        for name, statuses in counts.items():
            print(f"  {name:14}" + "  ".join(f"{s}: {n}" for s, n in sorted(statuses.items())))
        print(f"\nserver's processor time: {used['alone']:.1f} s alone, {used['beside']:.1f} s beside")
    if failures or any(row["ratio"] > MOST for row in rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
