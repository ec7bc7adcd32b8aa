"""Measures two VNC servers behind the same server program, alternating. See scripts/bench-vnc.

The viewer is a bare RFB client (RFC 6143) on the VNC server's own port: raw pixels of a small area
for keys, of the whole picture for the first frame.
"""

import http.server
import json
import os
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time
import urllib.request

key, rounds, servers = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
servers = [servers[at : at + 3] for at in range(0, len(servers), 3)]
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

KEYS = 60
IDLE = 5.0
# The place of the measured pixel, and of the click. They differ, because a server paints the cursor
# into the picture of a viewer without a cursor of its own.
LOOKED_AT = (240, 500, 8, 8)
CLICKED = (42, 502)
STALLED = 2
TICKS = os.sysconf("SC_CLK_TCK")

# Each key changes the colour of the whole page; `#moves` is also animated.
PAGE = b"""<!doctype html><title>bench</title><body style="margin:0;background:#204060">
<canvas id=c width=900 height=500 style="position:absolute;right:0;bottom:0"></canvas><script>
let on = false;
addEventListener('keydown', () => {
  on = !on; document.body.style.background = on ? '#c0d0e0' : '#204060' });
if (location.search == '?moves') {
  const g = c.getContext('2d'); let n = 0;
  (function step() { for (let y = 0; y < 500; y += 4) {
    g.fillStyle = `hsl(${n * 3 + y * 7} 80% 50%)`; g.fillRect(0, y, 900, 4) } n++;
    requestAnimationFrame(step) })() }
</script>"""


class Site(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, *_):
        pass


def api(url, method, path, body=None):
    request = urllib.request.Request(url + path, method=method, headers={"x-api-key": key})
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("content-type", "application/json")
    with opener.open(request, timeout=90) as answer:
        return json.load(answer)


def des(challenge, password):
    """VNC Authentication: DES with the bits of each byte of the password reversed."""
    reverse = lambda byte: int(f"{byte:08b}"[::-1], 2)
    secret = bytes(reverse(byte) for byte in password.encode()[:8].ljust(8, b"\0"))
    command = ["openssl", "enc", "-des-ecb", "-K", secret.hex(), "-nopad"]
    command += ["-provider", "legacy", "-provider", "default"]
    return subprocess.run(command, input=challenge, stdout=subprocess.PIPE, check=True).stdout


class Viewer:
    """A client after its handshake. `spared` is the time of openssl, which real viewers do not need."""

    def __init__(self, port, password):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(b"RFB 003.008\n")
        assert self.read(12) == b"RFB 003.008\n"
        types = self.read(self.read(1)[0])
        assert 2 in types, types
        self.socket.sendall(b"\2")
        challenge = self.read(16)
        began = time.monotonic()
        response = des(challenge, password)
        self.spared = time.monotonic() - began
        self.socket.sendall(response)
        assert self.read(4) == b"\0\0\0\0", "the password is refused"
        self.socket.sendall(b"\1")
        self.width, self.height = struct.unpack(">HH", self.read(4))
        self.read(16)
        self.read(struct.unpack(">I", self.read(4))[0])
        # 32 bits per pixel, blue first; raw.
        self.socket.sendall(b"\0\0\0\0" + struct.pack(">BBBBHHHBBBxxx", 32, 24, 0, 1, 255, 255, 255, 16, 8, 0))
        self.socket.sendall(struct.pack(">BxHi", 2, 1, 0))

    def read(self, count):
        data = bytearray()
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            assert piece, "the VNC server closed the connection"
            data += piece
        return bytes(data)

    def ask(self, incremental, x, y, width, height):
        self.socket.sendall(struct.pack(">BBHHHH", 3, incremental, x, y, width, height))

    def update(self):
        """The last pixel of the next update."""
        while True:
            kind = self.read(1)[0]
            if kind == 0:
                break
            if kind == 3:
                self.read(3)
                self.read(struct.unpack(">I", self.read(4))[0])
            else:
                assert kind == 2, kind
        self.read(1)
        pixel = b""
        for _ in range(struct.unpack(">H", self.read(2))[0]):
            _, _, width, height, encoding = struct.unpack(">HHHHi", self.read(12))
            assert encoding == 0, encoding
            pixel = self.read(width * height * 4)[-4:]
        return pixel[:3]

    def key(self, down):
        self.socket.sendall(struct.pack(">BBxxI", 4, down, ord("a")))

    def pixel_after_key(self, before):
        """Returns the seconds from a key to the changed pixel, and the pixel."""
        self.ask(1, *LOOKED_AT)
        began = time.monotonic()
        self.key(1)
        while (pixel := self.update()) == before:
            self.ask(1, *LOOKED_AT)
        took = time.monotonic() - began
        self.key(0)
        return took, pixel

    def keys(self, count):
        for buttons in (0, 1, 0):  # A click, so that the page has the focus.
            self.socket.sendall(struct.pack(">BBHH", 5, buttons, *CLICKED))
        time.sleep(0.3)
        self.ask(0, *LOOKED_AT)
        pixel, all_took = self.update(), []
        for _ in range(count):
            time.sleep(0.05)
            took, pixel = self.pixel_after_key(pixel)
            all_took.append(took)
        return all_took

    def close(self):
        self.socket.close()


def processes(saved):
    return [saved[name]["pid"] for name in ("xvfb", "vnc") if saved.get(name)]


def cpu(pids):
    total = 0
    for pid in set(pids):
        fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def memory(pids):
    total = 0
    for pid in set(pids):
        for line in open(f"/proc/{pid}/smaps_rollup"):
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1024


def idle(pids, seconds):
    before = cpu(pids)
    time.sleep(seconds)
    return (cpu(pids) - before) / seconds * 100


def one(url, data, site, figures):
    began = time.monotonic()
    session = api(url, "POST", "/v1/browser_sessions", {"start_url": site})
    figures["start"].append((time.monotonic() - began) * 1000)
    name = session["browser_session_id"]
    try:
        saved = json.load(open(f"{data}/sessions/{name}/desktop.json"))
        port, password, pids = saved["vnc_port"], saved["vnc_password"], processes(saved)
        time.sleep(1.5)
        figures["idle_alone"].append(idle(pids, IDLE))
        began = time.monotonic()
        viewer = Viewer(port, password)
        viewer.ask(0, 0, 0, viewer.width, viewer.height)
        viewer.update()
        figures["first"].append((time.monotonic() - began - viewer.spared) * 1000)
        figures["key"] += [took * 1000 for took in viewer.keys(KEYS)]
        viewer.ask(1, 0, 0, viewer.width, viewer.height)
        figures["idle_watched"].append(idle(pids, IDLE))
        figures["memory"].append(memory(pids))
        viewer.close()
    finally:
        api(url, "POST", f"/v1/browser_sessions/{name}/close", {})


def stalled(url, data, site, figures):
    session = api(url, "POST", "/v1/browser_sessions", {"start_url": site + "?moves"})
    name = session["browser_session_id"]
    try:
        saved = json.load(open(f"{data}/sessions/{name}/desktop.json"))
        port, password, pids = saved["vnc_port"], saved["vnc_password"], processes(saved)
        time.sleep(1.5)
        viewer = Viewer(port, password)
        figures["key_moving"] += [took * 1000 for took in viewer.keys(KEYS // 2)]
        figures["cpu_moving"].append(busy(pids, viewer))
        stuck = Viewer(port, password)
        stuck.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for _ in range(20):
            stuck.ask(0, 0, 0, stuck.width, stuck.height)
        time.sleep(0.5)
        figures["key_stalled"] += [took * 1000 for took in viewer.keys(KEYS // 2)]
        viewer.close()
        stuck.close()
    finally:
        api(url, "POST", f"/v1/browser_sessions/{name}/close", {})


def busy(pids, viewer):
    """Returns the CPU time while a viewer receives an animation."""
    before, began = cpu(pids), time.monotonic()
    while time.monotonic() - began < IDLE:
        viewer.ask(1, 0, 0, viewer.width, viewer.height)
        viewer.update()
    return (cpu(pids) - before) / (time.monotonic() - began) * 100


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))]


site = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
threading.Thread(target=site.serve_forever, daemon=True).start()
address = f"http://127.0.0.1:{site.server_port}/"
kinds = "start first key idle_alone idle_watched memory key_moving cpu_moving key_stalled".split()
figures = {kind: {what: [] for what in kinds} for kind, _, _ in servers}
for round in range(rounds):
    for kind, url, data in servers:
        one(url, data, address, figures[kind])
        if round < STALLED:
            stalled(url, data, address, figures[kind])

median = statistics.median
ROWS = [
    ("session, until it can be driven", "ms", lambda t: f"{median(t['start']):.0f}"),
    ("connecting, until the first whole frame", "ms",
     lambda t: f"{median(t['first']):.0f} ({min(t['first']):.0f}-{max(t['first']):.0f})"),
    ("key to pixel, p50 / p99", "ms",
     lambda t: f"{median(t['key']):.1f} / {percentile(t['key'], .99):.1f}"),
    ("... while the page moves", "ms",
     lambda t: f"{median(t['key_moving']):.1f} / {percentile(t['key_moving'], .99):.1f}"),
    ("... and another viewer does not read", "ms",
     lambda t: f"{median(t['key_stalled']):.1f} / {percentile(t['key_stalled'], .99):.1f}"),
    ("memory of display and VNC, one viewer", "MB", lambda t: f"{median(t['memory']):.0f}"),
    ("CPU of both, no viewer", "%", lambda t: f"{median(t['idle_alone']):.2f}"),
    ("CPU of both, one viewer, nothing moves", "%", lambda t: f"{median(t['idle_watched']):.2f}"),
    ("CPU of both, one viewer, much moves", "%", lambda t: f"{median(t['cpu_moving']):.0f}"),
]
names = [kind for kind, _, _ in servers]
print(f"{'':42} {'':3} " + " ".join(f"{name:>18}" for name in names))
for name, unit, show in ROWS:
    print(f"{name:42} {unit:3} " + " ".join(f"{show(figures[kind]):>18}" for kind in names))
