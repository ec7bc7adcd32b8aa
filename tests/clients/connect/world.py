"""A server with a key, the sample site, and the API as the tests of clients call it."""

import json
import os
import pathlib
import secrets
import sys
import tempfile
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests/docs"))

from servers import Program, free_port  # noqa: E402  The path is set above.


class World:
    """The programs, in a temporary directory that ends with them."""

    def __init__(self, binary):
        self.binary = str(pathlib.Path(binary).resolve())
        self.temporary = tempfile.TemporaryDirectory(prefix="gr-clients-")
        self.home = pathlib.Path(self.temporary.name)
        self.key = f"clients-{secrets.token_hex(8)}"
        self.listen = f"127.0.0.1:{free_port()}"
        self.server = None
        self.starts = 0
        self.site = Program(
            self.home / "site.log",
            [self.binary, "demo-site", "--dir", str(ROOT / "demo/site"), "--listen", "127.0.0.1:0"],
        )
        self.site_url = self.site.address
        try:
            self.start()
        except BaseException:
            self.stop()
            raise

    def start(self):
        """Starts the server, the first or the next on the same data and address."""
        self.starts += 1
        settings = {name: value for name, value in os.environ.items() if not name.startswith("GREENROOM_")}
        settings |= {
            "GREENROOM_BOOTSTRAP_KEY": self.key,
            "GREENROOM_EGRESS__ALLOW": "127.0.0.0/8,::1,localhost",
            "GREENROOM_STOP__GRACE_SECONDS": "1",
            "GREENROOM_LIMITS__SPARE_MEMORY_MIB": "64",
            # For clients that take a host and a port, and no path.
            "GREENROOM_ISOLATION__DEVTOOLS_PORTS": "true",
        }
        # `env` replaces itself by the server, which thus has no variable of the caller's that looks like a setting.
        command = ["env", "-i", *(f"{name}={value}" for name, value in settings.items()), self.binary, "serve",
                   "--listen", self.listen, "--data", str(self.home / "data")]
        self.server = Program(self.home / f"server-{self.starts}.log", command)
        self.url = self.server.address

    def crash(self):
        """Ends the server by SIGKILL; its browsers run on."""
        self.server.process.kill()
        self.server.process.wait()

    def call(self, method, path, body=None, limit=90):
        data = None if body is None else json.dumps(body).encode()
        headers = {"x-api-key": self.key, "content-type": "application/json"}
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=limit) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as refused:
            raise OSError(f"{method} {path}: {refused.code} {refused.read().decode(errors='replace')[:400]}") from None

    def browser_of(self, session):
        """Returns the process of a session's browser, as the server has recorded it."""
        return json.loads((self.home / "data/sessions" / session / "desktop.json").read_text())["chromium"]

    def live(self):
        """Returns the ids of the sessions that run."""
        return {session["browser_session_id"] for session in self.call("GET", "/v1/browser_sessions")}

    def settled(self, condition, seconds=20):
        """Waits until a condition holds; returns false if it does not in time."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True

    def stop(self):
        try:
            if self.server is not None and self.server.process.poll() is not None:
                # A server that crashed leaves its browsers to the next one, which ends them.
                self.start()
        finally:
            for program in (self.server, self.site):
                if program is not None and program.process.poll() is None:
                    program.stop()
            self.temporary.cleanup()
