"""Measures browser profiles: the start of a session from one beside a start from none, and their storing.

Run it by `scripts/bench-profiles`. A page stores random bytes in CacheStorage, so that the profile has the
wanted size; its cookie and its `localStorage` are the login that each session must find.
"""

import argparse
import concurrent.futures
import http.server
import json
import os
import shutil
import sys
import tempfile
import threading
import time

from playwright.sync_api import sync_playwright

import machine
from server import Server

FILL = """async megabytes => {
    document.cookie = 'login=ann; max-age=99999';
    localStorage.login = 'ann';
    const cache = await caches.open('fill');
    for (let number = 0; number < megabytes; number++) {
        const bytes = new Uint8Array(1 << 20);
        for (let at = 0; at < bytes.length; at += 65536) crypto.getRandomValues(bytes.subarray(at, at + 65536));
        await cache.put('/fill/' + number, new Response(bytes));
    }
}"""
LOGIN = "() => document.cookie.includes('login=ann') && localStorage.login === 'ann'"


class Page(http.server.BaseHTTPRequestHandler):
    """An empty page at every path."""

    def do_GET(self):
        body = b"<!doctype html><title>page</title><link rel=icon href='data:,'>"
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments):
        pass


def say(text):
    print(text, file=sys.stderr, flush=True)


def timed(work):
    began = time.monotonic()
    return work(), time.monotonic() - began


class Bench:
    """A server, a site, and the sessions that are open."""

    def __init__(self, server, site, playwright):
        self.server, self.site, self.playwright, self.sessions = server, site, playwright, []

    def create(self, **asked):
        made = self.server.must("POST", "/v1/browser_sessions", asked, patience=120)
        self.sessions.append(made["browser_session_id"])
        return made

    def close(self, session):
        self.server.must("POST", f"/v1/browser_sessions/{session}/close", {}, patience=300)
        self.sessions.remove(session)

    def visit(self, session, script, argument=None):
        """The result of a script in a page of the site."""
        headers = {"x-api-key": self.server.key}
        browser = self.playwright.chromium.connect_over_cdp(self.server.devtools(session), headers=headers)
        try:
            page = browser.contexts[0].pages[0]
            page.goto(self.site)
            return page.evaluate(script, argument)
        finally:
            browser.close()


def measured(bench, rounds, megabytes):
    """The seconds of each step, and the bytes of the archive."""
    first = bench.create(generate_browser_profile=True)
    session, profile = first["browser_session_id"], first["browser_profile_id"]
    bench.visit(session, FILL, megabytes)
    seconds = {name: [] for name in ("start from none", "start from the profile", "store live", "close and store",
                                     "close without a profile")}
    time.sleep(6)  # Chromium writes what a page stores within some seconds.
    path = f"/v1/browser_sessions/{session}/profile"
    for _ in range(rounds):
        stored, took = timed(lambda: bench.server.must("POST", path, {}, patience=300))
        seconds["store live"].append(took)
    bench.close(session)
    for number in range(rounds):
        made, took = timed(bench.create)
        seconds["start from none"].append(took)
        _, took = timed(lambda: bench.close(made["browser_session_id"]))
        seconds["close without a profile"].append(took)
        made, took = timed(lambda: bench.create(browser_profile_id=profile))
        seconds["start from the profile"].append(took)
        _, took = timed(lambda: bench.close(made["browser_session_id"]))
        seconds["close and store"].append(took)
        say(f"round {number + 1} of {rounds}")
    return profile, stored["size"], seconds


def at_once(bench, profile, count):
    """The accesses of sessions that start from one profile at once, and the logins that they find."""
    before = bench.server.must("GET", f"/v1/browser_profiles/{profile}")["version"]
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        made = list(pool.map(lambda _number: bench.create(browser_profile_id=profile), range(count)))
    accesses = [session["browser_profile_access"] for session in made]
    logins = sum(bench.visit(session["browser_session_id"], LOGIN) for session in made)
    for session in made:
        bench.close(session["browser_session_id"])
    after = bench.server.must("GET", f"/v1/browser_profiles/{profile}")["version"]
    last = bench.create(browser_profile_id=profile)["browser_session_id"]
    whole = bench.visit(last, LOGIN)
    bench.close(last)
    return {"write": accesses.count("write"), "copy": accesses.count("copy"), "logins": logins,
            "new versions": after - before, "login afterwards": whole}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    directory = tempfile.mkdtemp(prefix="greenroom-profiles-")
    site = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=site.serve_forever, daemon=True).start()
    first = 10_000 + os.getpid() % 90 * 100
    server = Server(given.binary, directory, {"desktop.display_first": first, "desktop.display_last": first + 99})
    bench = None
    try:
        server.start()
        with sync_playwright() as playwright:
            bench = Bench(server, f"http://127.0.0.1:{site.server_port}/", playwright)
            profile, size, seconds = measured(bench, given.rounds, given.megabytes)
            shared = at_once(bench, profile, given.sessions)
    finally:
        site.shutdown()
        server.leave()
        for session in bench.sessions if bench else []:
            for pid in machine.programs(session):
                machine.send(session, pid, 9)
        shutil.rmtree(directory, ignore_errors=True)
    if given.json:
        print(json.dumps({"archive_bytes": size, "seconds": seconds, "at_once": shared}))
    else:
        print(f"a profile of {given.megabytes} MB, archive {size} bytes, {given.rounds} rounds: ms, least to most")
        for name, all_ in seconds.items():
            print(f"  {name:24} {min(all_) * 1000:.0f} to {max(all_) * 1000:.0f}")
        print(f"{given.sessions} sessions from it at once: {shared}")
    whole = shared["logins"] == given.sessions and shared["login afterwards"]
    return int(not (whole and shared["write"] == 1 and shared["new versions"] == 1))


if __name__ == "__main__":
    sys.exit(main())
