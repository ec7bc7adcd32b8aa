"""Measures the start of a session and of a plain Xvfb and Chromium, alternating. See scripts/bench-create."""

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

url, key, rounds, scratch = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

CHROMIUM = next(
    path
    for path in ("/usr/lib/chromium/chromium", shutil.which("chromium"), shutil.which("google-chrome"))
    if path and os.path.exists(path)
)
# The server's flags, without those that only name paths.
FLAGS = """--remote-debugging-port=0 --ozone-platform=x11 --force-device-scale-factor=1 --disable-gpu
--no-first-run --no-default-browser-check --disable-search-engine-choice-screen --password-store=basic
--disable-background-networking --disable-component-update --disable-default-apps --disable-sync
--disable-breakpad --metrics-recording-only --window-size=1920,1080 --window-position=0,0""".split()
if os.geteuid() == 0:
    FLAGS += ["--no-sandbox", "--test-type"]


def api(method, path, body=None):
    request = urllib.request.Request(url + path, method=method, headers={"x-api-key": key})
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("content-type", "application/json")
    with opener.open(request, timeout=90) as answer:
        return json.load(answer)


def ours():
    """Creates and closes a session; returns the seconds from the request to the response."""
    began = time.monotonic()
    session = api("POST", "/v1/browser_sessions", {})
    took = time.monotonic() - began
    assert session["status"] == "running", session
    api("POST", f"/v1/browser_sessions/{session['browser_session_id']}/close", {})
    return took


def has_page(port):
    try:
        with opener.open(f"http://127.0.0.1:{port}/json/list", timeout=5) as answer:
            return any(target["type"] == "page" for target in json.load(answer))
    except OSError:
        return False


def until(what):
    deadline = time.monotonic() + 60
    while not (value := what()):
        assert time.monotonic() < deadline, "the bare start took more than a minute"
        time.sleep(0.002)
    return value


def bare():
    """Starts and ends Xvfb and Chromium; returns the seconds until Chromium lists a page."""
    os.makedirs(scratch, exist_ok=True)
    # A directory of its own: a child of the last one may still write there.
    profile = tempfile.mkdtemp(dir=scratch)
    environment = {"PATH": os.environ["PATH"], "HOME": profile, "TMPDIR": scratch, "GOOGLE_API_KEY": "no",
                   "DBUS_SESSION_BUS_ADDRESS": "disabled:"}
    processes = []
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    began = time.monotonic()
    try:
        reader, writer = os.pipe()
        command = ["Xvfb", "-displayfd", str(writer), "-screen", "0", "1920x1080x24", "-nolisten", "tcp",
                   "-noreset", "-extension", "GLX"]
        processes.append(subprocess.Popen(command, env=environment, pass_fds=[writer], **quiet))
        os.close(writer)
        display = b""
        while not display.endswith(b"\n"):
            part = os.read(reader, 16)
            assert part, "Xvfb did not start"
            display += part
        os.close(reader)
        environment["DISPLAY"] = f":{display.decode().strip()}"
        command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        processes.append(subprocess.Popen(command, env=environment, start_new_session=True, **quiet))
        sign = os.path.join(profile, "DevToolsActivePort")
        port = until(lambda: os.path.exists(sign) and open(sign).read().split("\n")[0])
        until(lambda: has_page(port))
        return time.monotonic() - began
    finally:
        for process in reversed(processes):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(scratch, ignore_errors=True)


# A warm-up of each: the first reads come from the disk.
ours(), bare()
times = {"session": [], "bare": []}
for number in range(rounds):
    for name, start in (("session", ours), ("bare", bare)) if number % 2 else (("bare", bare), ("session", ours)):
        times[name].append(start())
for name, took in times.items():
    listed = " ".join(f"{seconds * 1000:.0f}" for seconds in sorted(took))
    print(f"{name:8} median {statistics.median(took) * 1000:5.0f} ms   ({listed})")
ratio = statistics.median(times["session"]) / statistics.median(times["bare"])
print(f"ratio    {ratio:.2f}")
