"""Measures the time from the revocation of an API key to the end of everything that was opened with it.

Run it by `scripts/bench-revocation`. Every round opens, with one key: a Playwright connection, a viewer, a
stream of events, a wait for an occupancy, a viewer by a ticket, and a page token that is used again and
again. Then the key is revoked, by the API of the same server or in the database, as another server would.
"""

import argparse
import datetime
import http.client
import json
import os
import shutil
import sqlite3
import sys
import tempfile
import threading
import time

from playwright.sync_api import Error, sync_playwright

import machine
from devtools import Ended, Viewer
from server import Server

PATIENCE = 10
WAYS = ("api", "database")


def say(text):
    print(text, file=sys.stderr, flush=True)


class Stream:
    """A request with a response that continues."""

    def __init__(self, server, path, key, body=None):
        self.connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=PATIENCE * 2)
        headers = {"x-api-key": key, "accept": "text/event-stream", "content-type": "application/json"}
        method = "GET" if body is None else "POST"
        self.connection.request(method, path, json.dumps(body) if body else None, headers)
        self.answer = None

    def ends(self):
        """Returns when the response has ended."""
        answer = self.connection.getresponse()
        while answer.read1(65536):
            pass


class Watch:
    """Calls `wait` in a thread, and notes when it has returned or failed."""

    def __init__(self, name, wait):
        self.name, self.at = name, None
        self.thread = threading.Thread(target=self._run, args=(wait,), daemon=True)
        self.thread.start()

    def _run(self, wait):
        try:
            wait()
        except (Ended, OSError, http.client.HTTPException):
            pass
        self.at = time.monotonic()


def viewer_ends(viewer):
    while True:
        viewer.look()
        time.sleep(0.01)


def token_ends(server, token):
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=PATIENCE)
    status = 200
    while status == 200:
        time.sleep(0.01)
        connection.request("GET", "/v1/browser_sessions", headers={"authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        answer.read()
        status = answer.status


def revoke(server, way, key_id):
    """Revokes the key, and returns the time of the request."""
    if way == "api":
        asked = time.monotonic()
        server.must("DELETE", f"/v1/api_keys/{key_id}")
        return asked
    database = sqlite3.connect(f"{server.data}/greenroom.db", timeout=10, isolation_level=None)
    try:
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%S.%f")
        asked = time.monotonic()
        database.execute("update api_keys set revoked_at = ? where id = ?", [now, key_id])
        return asked
    finally:
        database.close()


def trial(server, playwright, session, way):
    made = server.must("POST", "/v1/api_keys", {"label": "revoked"})
    owner, key = server.key, made["key"]
    server.key = key
    try:
        lease = server.must("POST", f"/v1/browser_sessions/{session}/begin",
                            {"runnable_id": "trial", "ttl_seconds": 600})
        ticket = server.must("POST", f"/v1/browser_sessions/{session}/viewers", {"role": "watch"})["ticket"]
        token = server.must("POST", "/v1/ui-session", {})["token"]
        browser = playwright.chromium.connect_over_cdp(server.devtools(session), headers={"x-api-key": key})
        gone = []
        browser.on("disconnected", lambda _browser: gone.append(time.monotonic()))
        viewer = Viewer(server.stream(session), key)
        viewer.look()
        guest = Viewer(f"{server.stream(session)}?ticket={ticket}", "")
        guest.look()
        events = Stream(server, "/v1/events", key)
        waits = {"runnable_id": "next", "ttl_seconds": 60, "wait_seconds": 60}
        waiter = Stream(server, f"/v1/browser_sessions/{session}/begin", key, waits)
    finally:
        server.key = owner
    watches = [
        Watch("viewer", lambda: viewer_ends(viewer)),
        Watch("viewer by ticket", lambda: viewer_ends(guest)),
        Watch("event stream", events.ends),
        Watch("wait for an occupancy", waiter.ends),
        Watch("page token", lambda: token_ends(server, token)),
    ]
    page = browser.contexts[0].pages[0]
    page.evaluate("1")
    asked = revoke(server, way, made["api_key_id"])
    end = asked + PATIENCE
    while not gone and time.monotonic() < end:
        try:
            page.wait_for_timeout(5)
        except Error:
            gone.append(time.monotonic())
    for watch in watches:
        watch.thread.join(max(end - time.monotonic(), 0))
    seconds = {watch.name: watch.at and watch.at - asked for watch in watches}
    seconds["Playwright"] = gone[0] - asked if gone else None
    server.ask("POST", f"/v1/browser_sessions/{session}/release",
               {"generation": lease["generation"], "lease_token": lease["lease_token"]})
    return seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    directory = tempfile.mkdtemp(prefix="greenroom-revocation-")
    first = 10_000 + os.getpid() % 90 * 100
    server = Server(given.binary, directory, {"desktop.display_first": first, "desktop.display_last": first + 99})
    results = {way: {} for way in WAYS}
    session = None
    try:
        server.start()
        session = server.must("POST", "/v1/browser_sessions", {})["browser_session_id"]
        with sync_playwright() as playwright:
            for number in range(given.rounds):
                for way in WAYS:
                    for name, seconds in trial(server, playwright, session, way).items():
                        results[way].setdefault(name, []).append(seconds)
                    say(f"round {number + 1} of {given.rounds}: by {way}")
        server.must("POST", f"/v1/browser_sessions/{session}/close", {})
        session = None
    finally:
        server.leave()
        for pid in machine.programs(session) if session else []:
            machine.send(session, pid, 9)
        shutil.rmtree(directory, ignore_errors=True)
    if given.json:
        print(json.dumps(results))
        return 0
    for way, of_way in results.items():
        print(f"revoked by {way}, {given.rounds} rounds: milliseconds, least to most")
        for name, seconds in of_way.items():
            kept = [one for one in seconds if one is not None]
            told = f"{min(kept) * 1000:.0f} to {max(kept) * 1000:.0f}" if kept else "never"
            lost = f", {len(seconds) - len(kept)} not within {PATIENCE} s" if len(kept) < len(seconds) else ""
            print(f"  {name:22} {told}{lost}")
    return int(any(one is None for of_way in results.values() for all_ in of_way.values() for one in all_))


if __name__ == "__main__":
    sys.exit(main())
