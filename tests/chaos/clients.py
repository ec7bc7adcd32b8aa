"""The users of the server: holders of occupancies, runs of workflows, a viewer, and the page's site."""

import http.server
import os
import random
import threading
import time

from devtools import Ended, Viewer
from ledger import Grant, seconds
from server import Unreachable

TTL = 6
REFUSED = (403, 404, 409, 410, 422, 429, 503)

PAGE = b"""<!doctype html><title>Chaos</title>
<form><input id=name><textarea id=text></textarea></form>"""


class Site(http.server.ThreadingHTTPServer):
    """A page with a form, and a sign-in that sets a cookie without another page."""

    daemon_threads = True

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            if self.path.startswith("/login?"):
                name, _, value = self.path.partition("?")[2].partition("=")
                self.send_header("set-cookie", f"session-{name}={value}; path=/; httponly")
                self.send_header("set-cookie", f"lasting-{name}={value}; path=/; max-age=86400")
            self.send_header("content-type", "text/html")
            self.send_header("content-length", str(len(PAGE)))
            self.end_headers()
            self.wfile.write(PAGE)

        def log_message(self, *_):
            pass

    def __init__(self):
        super().__init__(("127.0.0.1", 0), self.Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/"


class Client(threading.Thread):
    """Repeats its actions until it is stopped. An exception counts as a breach."""

    def __init__(self, name, server, ledger, slots, seed):
        super().__init__(name=name, daemon=True)
        self.server, self.ledger, self.slots = server, ledger, slots
        self.random = random.Random(f"{seed} {name}")
        self.over = threading.Event()

    def run(self):
        while not self.over.is_set():
            try:
                self.step()
            except (Unreachable, Ended):
                self.over.wait(0.2)
            except Exception as cause:  # Reported, because it would be lost with its thread.
                self.ledger.breach(f"{self.name} broke: {cause!r}")
                self.over.wait(1)

    def again(self, method, path, body, headers=None, patience=30):
        """Repeats a request until its outcome is known. Safe for repeatable requests only."""
        until = time.monotonic() + 90
        while True:
            try:
                return self.server.ask(method, path, body, patience, headers)
            except Unreachable:
                self.ledger.count("answers cut off")
                if self.over.is_set() or time.monotonic() > until:
                    raise
                time.sleep(0.1)


class Holder(Client):
    """Begins an occupancy, renews it for a while and releases it; or disappears, if `vanish` is set."""

    vanish = False

    def step(self):
        session = self.random.choice(self.slots)
        key = os.urandom(8).hex()
        body = {"runnable_id": self.name, "ttl_seconds": TTL, "wait_seconds": 5}
        path = f"/v1/browser_sessions/{session}"
        status, answer = self.again("POST", path + "/begin", body, {"idempotency-key": key})
        if status != 200:
            if status not in REFUSED:
                self.ledger.breach(f"begin was answered with {status}: {answer}")
            self.ledger.count("begins refused")
            self.over.wait(0.2)
            return
        grant = Grant(session, self.name, answer)
        # A lost response is repeated; the lease may have expired since.
        if grant.expires_at < time.time():
            return
        self.ledger.granted(grant)
        self.ledger.count("begins granted")
        self.hold(grant, path)

    def hold(self, grant, path):
        until = time.monotonic() + self.random.uniform(1, 6)
        while time.monotonic() < until and not self.over.wait(1):
            if self.vanish:
                self.vanish = False
                self.ledger.count("holders vanished")
                return
            try:
                status, answer = self.server.ask("POST", path + "/heartbeat", grant.lease, 5)
            except Unreachable:
                continue
            if status == 200:
                grant.expires_at = seconds(answer["expires_at"])
                self.ledger.count("heartbeats")
            elif status != 503:
                if time.time() < grant.expires_at - 0.5 and not self.has_ended(path):
                    self.ledger.breach(f"{grant.session}: {grant.who} was told {status} {answer.get('code')}"
                                       f" {grant.expires_at - time.time():.1f} s before its lease lapses")
                return
        grant.let_go_at = time.time()
        status, _ = self.again("POST", path + "/release", grant.lease)
        if status == 200:
            self.ledger.count("releases")
            status, _ = self.again("POST", path + "/heartbeat", grant.lease)
            if status == 200:
                self.ledger.breach(f"{grant.session}: a lease that was released was heard again")

    def has_ended(self, path):
        status, found = self.again("GET", path, None)
        return status != 200 or found["closing"] or found["status"] not in ("running", "retry")


class Runner(Client):
    """Starts a workflow run in a session, and waits for its end."""

    workflow = None

    def step(self):
        if self.workflow is None:
            status, made = self.again("POST", "/v1/workflows", {"json_definition": definition(self.site)})
            if status >= 300:
                if status != 503:
                    raise RuntimeError(f"a workflow was refused: {status} {made}")
                self.over.wait(0.5)
                return
            self.workflow = made["workflow_permanent_id"]
        session = self.random.choice(self.slots)
        body = {"workflow_id": self.workflow, "browser_session_id": session, "wait_seconds": 10,
                "max_elapsed_time_minutes": 1}
        status, run = self.server.ask("POST", "/v1/run/workflows", body)
        if status >= 300:
            self.ledger.count("runs refused")
            self.over.wait(0.5)
            return
        self.ledger.runs[run["run_id"]] = run
        self.ledger.count("runs acknowledged")
        until = time.monotonic() + 90
        while time.monotonic() < until and not self.over.wait(0.3):
            status, found = self.server.ask("GET", f"/v1/runs/{run['run_id']}")
            if status == 200 and found["status"] not in ("created", "queued", "running", "paused"):
                break
        self.over.wait(self.random.uniform(0.5, 3))


class Watcher(Client):
    """A viewer that reconnects after each disconnection."""

    def step(self):
        viewer = Viewer(self.server.stream(self.slots[0]), self.server.key)
        self.ledger.count("viewer connections")
        try:
            while not self.over.wait(0.5):
                viewer.look()
        finally:
            viewer.close()


def definition(site):
    return {
        "title": "Chaos",
        "workflow_definition": {
            "parameters": [],
            "blocks": [
                {"block_type": "goto_url", "label": "open", "url": site},
                {"block_type": "fill", "label": "write", "selector": "#name", "value": "Ann"},
                {"block_type": "goto_url", "label": "leave", "url": site + "?left"},
            ],
        },
    }
