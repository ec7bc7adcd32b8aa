"""Runs the scripts of tests/clients that drive a session or use the compatible API; `clients` calls it.

GREENROOM_CLIENTS names a directory with the scripts' Python packages; without it they are installed into a temporary one.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "tests/clients"
BINARY = os.environ.get("GREENROOM_BINARY", str(ROOT / "target/release/greenroom"))
FAULTS = (AssertionError, OSError, ValueError, KeyError, subprocess.SubprocessError)
sys.path.insert(0, str(SCRIPTS / "connect"))

from world import World  # noqa: E402  The path is set above.

LIMIT = 120  # The timeout of a script, in seconds.


def install(home):
    """Returns a Python that has the packages of these scripts."""
    python = home / "scripts/bin/python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", home / "scripts"], check=True, timeout=120)
        packages = ["-r", SCRIPTS / "requirements.txt"]
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True, timeout=900)
    return python


class Scripts:
    """Each method runs one script and asserts what it reports."""

    def __init__(self, home, server, site, key):
        self.python, self.server, self.site, self.key = install(home), server, site, key

    def command(self, script, *words):
        program = "node" if script.endswith(".mjs") else self.python
        return [program, SCRIPTS / script, *words]

    def run(self, script, *words):
        done = subprocess.run(
            self.command(script, *words), capture_output=True, text=True, timeout=LIMIT,
            env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")},
        )
        assert done.returncode == 0, (done.stderr or done.stdout)[-600:]
        return json.loads(done.stdout.strip().splitlines()[-1])

    def started(self, script, *words):
        return subprocess.Popen(
            self.command(script, *words), text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def driving(self, session):
        """Yields the checks of the scripts that drive a session."""
        id, address = session["browser_session_id"], session["browser_address"]
        of = f"/v1/browser_sessions/{id}"
        begin = lambda: self.server.call("POST", f"{of}/begin", {"runnable_id": "scripts", "ttl_seconds": 600})

        def release(begun):
            proof = {name: begun[name] for name in ("generation", "lease_token")}
            self.server.call("POST", f"{of}/release", proof)

        def signs_in():
            assert "Ann" in self.run("playwright_sign_in.py", address, self.key, self.site)["who"]

        def reads():
            assert "Ann" in self.run("playwright_read.py", address, self.key, self.site)["who"]

        def searches():
            seen = self.run("playwright.mjs", address, self.key, self.site)
            assert "Ann" in seen["who"] and seen["products"] > 0, seen

        def holds():
            begun = begin()
            with self.started("playwright_hold.py", begun["browser_address"], self.site) as driver:
                said = json.loads(driver.stdout.readline())
                assert said == {"typed": "lamp"}, said
                release(begun)
                assert json.loads(driver.stdout.readline())["connected"] is False
            assert driver.returncode == 0, driver.returncode

        def typed():
            assert self.run("playwright_typed.py", address, self.key)["typed"] == "lamp"

        def clicks():
            begun = begin()
            with self.started("playwright_click.py", begun["browser_address"], self.site) as driver:
                assert json.loads(driver.stdout.readline()) == {"ready": True}
                driver.stdin.write("click\n")
                driver.stdin.flush()
                said = [json.loads(driver.stdout.readline()) for _ in range(2)]
                assert said == [{"waits": False, "clicks": 1}, {"clicks": 1}], said
            release(begun)

        yield "playwright_sign_in.py by header, ws", signs_in
        yield "playwright_read.py by header, ws", reads
        yield "playwright.mjs by header, ws", searches
        yield "playwright_hold.py by lease, ws, until its release", holds
        yield "playwright_typed.py by header, ws", typed
        yield "playwright_click.py by lease, ws", clicks

    def compatible(self):
        """Yields the checks of the scripts that use the compatible API, without an open session."""
        # The SDK's script expects unique titles of workflows, so it runs first.
        yield "skyvern_sdk.py", lambda: self.run("skyvern_sdk.py", self.server.url, self.key, self.site) and None
        yield "compatible.mjs", lambda: self.run("compatible.mjs", self.server.url, self.key, self.site) and None


def main():
    # Programs that it started end with it also when it is ended from outside.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    failed = 0
    with tempfile.TemporaryDirectory(prefix="gr-scripts-") as temporary:
        home = pathlib.Path(os.environ.get("GREENROOM_CLIENTS", temporary))
        world = World(BINARY)
        try:
            scripts = Scripts(home, world, world.site_url, world.key)
            session = world.call("POST", "/v1/browser_sessions", {})
            checks = [*scripts.driving(session), *scripts.compatible()]
            for what, check in checks:
                if what == "skyvern_sdk.py":
                    world.call("POST", f"/v1/browser_sessions/{session['browser_session_id']}/close", {})
                began = time.monotonic()
                try:
                    check()
                    print(f"ok      {what} ({time.monotonic() - began:.0f} s)", flush=True)
                except FAULTS as cause:
                    failed += 1
                    print(f"FAILED  {what}: {cause}", flush=True)
        finally:
            world.stop()
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
