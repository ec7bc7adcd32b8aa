"""The server, the front end's files and its pages in a browser, for `frontend`."""

import contextlib
import http.server
import json
import mimetypes
import pathlib
import signal
import subprocess
import threading
import time
import urllib.request

KEY = "key-of-the-front-end-test"
WAIT = 60  # The timeout of a check, in seconds.

failures = []
# Waits some seconds. Playwright serves its pages' requests only while it is called, so it waits itself.
pause = time.sleep


def wait_by(function):
    """Sets the function that waits."""
    global pause
    pause = function


def check(holds, what, told=""):
    print(f"{'ok' if holds else 'FAILED'}  {what}" + ("" if holds else f": {told}"), flush=True)
    if not holds:
        failures.append(what)


def eventually(what, value, wait=WAIT):
    """Returns the value as soon as it is true, or the last value at the timeout."""
    until = time.monotonic() + wait
    while True:
        with contextlib.suppress(AssertionError):
            if found := value():
                return found
        if time.monotonic() > until:
            print(f"      waited in vain until {what}", flush=True)
            return None
        pause(0.2)


class Api:
    """A client of the server that sends requests like `curl`."""

    def __init__(self, base):
        self.base = base

    def ask(self, method, path, body=None):
        request = urllib.request.Request(
            self.base + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"x-api-key": KEY, "content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or b"null")

    def blocks(self, workflow):
        shown = self.ask("GET", f"/v1/workflows/{workflow}")
        return {block["label"]: block for block in shown["workflow_definition"]["blocks"]}

    def sessions(self):
        return self.ask("GET", "/v1/browser_sessions")

    def runs(self):
        return self.ask("GET", "/v1/runs")


@contextlib.contextmanager
def driven(api, playwright, session):
    """The first page of a session, over DevTools."""
    address = api.ask("GET", f"/v1/browser_sessions/{session}")["browser_address"]
    driver = playwright.chromium.connect_over_cdp(f"{address}?apikey={KEY}")
    try:
        yield driver.contexts[0].pages[0]
    finally:
        driver.close()


def programs_of(data):
    """The command lines of the programs that name the server's data directory; not the server's."""
    found = []
    for directory in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (directory / "cmdline").read_text(errors="replace").replace("\0", " ")
            if str(data) in words and " serve " not in words:
                found.append(words[:200])
    return found


@contextlib.contextmanager
def started(command, environment=None):
    """A program, and the address that it prints."""
    program = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        for line in program.stdout:
            if line.startswith("listening on "):
                break
        else:
            raise SystemExit(f"{command[0]} has ended before it listened")
        threading.Thread(target=program.stdout.read, daemon=True).start()
        yield line.removeprefix("listening on ").strip()
    finally:
        program.send_signal(signal.SIGTERM)
        try:
            program.wait(60)
        except subprocess.TimeoutExpired:
            program.kill()
            program.wait()


@contextlib.contextmanager
def front_end(dist, api):
    """The front end's files with the API's address in them, and the token that its pages ask for."""
    base = f"{api.base}/api/v1"
    settings = {
        b"__VITE_API_BASE_URL_PLACEHOLDER__": base.encode(),
        b"__VITE_WSS_BASE_URL_PLACEHOLDER__": base.replace("http", "ws", 1).encode(),
        b"__VITE_ARTIFACT_API_BASE_URL_PLACEHOLDER__": b"http://127.0.0.1:9",
        b"__VITE_BROWSER_STREAMING_MODE_PLACEHOLDER__": b"vnc",
    }
    files = {}

    def content(name):
        file = dist / name.lstrip("/")
        if name == "/" or not file.is_file():
            file = dist / "index.html"
        if file not in files:
            data = file.read_bytes()
            if file.suffix in (".js", ".html"):
                for placeholder, value in settings.items():
                    data = data.replace(placeholder, value)
            files[file] = data
        return files[file], mimetypes.guess_type(file)[0] or "application/octet-stream"

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_GET(self):
            path = self.path.split("?")[0]
            if path == "/ui-session":
                data, kind = json.dumps(api.ask("POST", "/api/v1/ui-session")).encode(), "application/json"
            else:
                data, kind = content(path)
            self.send_response(200)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


class Pages:
    """The front end in a browser."""

    def __init__(self, browser, base, api, shots):
        # Only loopback is reachable: the front end would report to other services.
        self.context = browser.new_context(viewport={"width": 1600, "height": 1000})
        self.context.route(
            lambda url: not url.startswith(("http://127.0.0.1:", "data:", "blob:")),
            lambda route: route.abort(),
        )
        self.base, self.api, self.shots = base, api, shots
        self.page = self.context.new_page()
        wait_by(lambda seconds: self.page.wait_for_timeout(seconds * 1000))
        self.page.set_default_timeout(WAIT * 1000)
        self.crashes, self.refused, self.count = [], [], 0
        self.page.on("pageerror", lambda error: self.crashes.append(str(error)))
        self.page.on("response", self.answered)

    def answered(self, response):
        if response.url.startswith(self.api.base) and response.status >= 400:
            path = response.url.removeprefix(self.api.base).split("?")[0]
            self.refused.append((response.request.method, path, response.status))

    def open(self, path):
        self.page.goto(self.base + path, wait_until="domcontentloaded")

    def shot(self, name):
        if self.shots:
            self.count += 1
            self.page.screenshot(path=self.shots / f"{self.count:02}_{name}.png")

    def shows(self, text, what):
        """Checks that a text is on the page; a page that has crashed shows none."""
        found = eventually(what, lambda: text in self.text())
        check(found, what, self.text()[-400:])
        return found

    def shows_browser(self, what):
        """Checks that the live picture of a browser is on the page."""
        canvas = self.page.locator("canvas").first
        painted = """canvas => canvas.width > 100 && new Set(new Uint32Array(
            canvas.getContext("2d").getImageData(0, 0, canvas.width, 60).data.buffer)).size > 3"""
        # Until the picture has arrived, a notice such as "Reaching out to your browser" covers it.
        waits = lambda: "your browser" in self.text()
        shown = eventually(what, lambda: canvas.count() and canvas.evaluate(painted) and not waits())
        check(shown, what, self.text()[-400:])

    def text(self):
        return self.page.evaluate("document.body.innerText")

    def code(self, label):
        """The code field of a block."""
        block = self.page.locator(".react-flow__node").filter(has_text=label)
        return block.locator(".cm-content").first


def place_of(field, canvas):
    """The centre of a session's field, on the page with the session's screen."""
    x, y = field.evaluate("""field => {
        const at = field.getBoundingClientRect();
        const top = screenY + outerHeight - innerHeight;
        return [screenX + at.x + at.width / 2, top + at.y + at.height / 2];
    }""")
    box = canvas.bounding_box()
    scale = box["width"] / canvas.evaluate("canvas => canvas.width")
    return box["x"] + x * scale, box["y"] + y * scale
