"""The server under test: start, kill, replacement and requests."""

import json
import os
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request

import machine

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Unreachable(Exception):
    """The outcome of a request is unknown."""


class Server:
    """One server at a time, always on the same data directory and the same port."""

    def __init__(self, binary, directory, settings=None, database=None):
        self.binary, self.directory = binary, directory
        self.data = os.path.join(directory, "data")
        self.key = "chaos-" + os.urandom(9).hex()
        self.operator_key = "operator-" + os.urandom(9).hex()
        self.url = f"http://127.0.0.1:{machine.free_port()}"
        self.process = None
        self.starts = 0
        # During a replacement of the server, no request is sent that needs a response.
        self.changing = threading.Lock()
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": directory,
            "GREENROOM_BOOTSTRAP_KEY": self.key,
            "GREENROOM_OPERATOR_KEY": self.operator_key,
            "GREENROOM_LOG": "info",
            # The pages are on this machine.
            "GREENROOM_EGRESS__ALLOW": "127.0.0.0/8,localhost",
        }
        if database:
            self.environment["GREENROOM_DATABASE__URL"] = database
        for name, value in (settings or {}).items():
            self.environment["GREENROOM_" + name.upper().replace(".", "__")] = str(value)

    @property
    def log(self):
        return os.path.join(self.directory, "server.log")

    def start(self, patience=60):
        """Starts a server, and returns the seconds until it listened."""
        began = time.monotonic()
        self.starts += 1
        said = os.path.join(self.directory, f"said-{self.starts}")
        with open(said, "wb") as out, open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [self.binary, "serve", "--listen", self.url.removeprefix("http://"), "--data", self.data,
                 "--keep-sessions"],
                stdin=subprocess.DEVNULL, stdout=out, stderr=log, env=self.environment, cwd="/",
            )
        while time.monotonic() - began < patience:
            with open(said, "rb") as out:
                if out.read().startswith(b"listening on"):
                    return time.monotonic() - began
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended with {self.process.returncode}; see {self.log}")
            time.sleep(0.005)
        raise RuntimeError(f"the server did not listen within {patience} s; see {self.log}")

    def kill(self):
        """`kill -9`, and its browsers live on."""
        self.process.kill()
        self.process.wait()

    def leave(self, patience=60):
        """Sends SIGTERM to a server that keeps its sessions for the next one. Returns its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(patience)

    def ask(self, method, path, body=None, patience=20, headers=None, operator=False):
        """`(status, body)`."""
        request = urllib.request.Request(self.url + path, method=method, headers=headers or {})
        request.add_header("x-api-key", self.operator_key if operator else self.key)
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("content-type", "application/json")
        try:
            with OPENER.open(request, timeout=patience) as answer:
                return answer.status, _json(answer.read())
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code, _json(refusal.read())
        except (OSError, EOFError, ValueError) as cause:
            raise Unreachable(str(cause)) from cause
        except Exception as cause:  # http.client has a separate exception for a truncated response.
            raise Unreachable(str(cause)) from cause

    def must(self, method, path, body=None, patience=60):
        """The body of a successful response."""
        status, answer = self.ask(method, path, body, patience)
        if status >= 300:
            raise RuntimeError(f"{method} {path}: {status} {answer}")
        return answer

    def devtools(self, session):
        return f"{self.url.replace('http', 'ws', 1)}/v1/browser_sessions/{session}/cdp"

    def stream(self, session):
        return f"{self.url.replace('http', 'ws', 1)}/v1/stream/vnc/browser_session/{session}"


def _json(bytes_):
    try:
        return json.loads(bytes_)
    except ValueError:
        return {"detail": bytes_.decode(errors="replace")}


class Postgres:
    """A private PostgreSQL server that can be crashed."""

    def __init__(self, root, directory):
        self.script, self.directory = os.path.join(root, "scripts/postgres"), directory
        self.url = self._run("start")

    def _run(self, command):
        done = subprocess.run([self.script, command, self.directory], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"scripts/postgres {command}: {done.stderr}")
        return done.stdout.strip()

    def crash(self):
        self._run("crash")

    def resume(self):
        self._run("resume")

    def stop(self):
        self._run("stop")

    def rows(self, query):
        """The result of a query, as rows of text."""
        done = subprocess.run(["psql", self.url, "-X", "-At", "-F", "\t", "-c", query], check=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        return [line.split("\t") for line in done.stdout.splitlines()]
