"""Measures losses and recovery times after a server or a part of a desktop is killed or stopped.

Run it by `scripts/bench-recovery`. Every round sets a login a second before the fault: by a request of
the page's own script, whose answer sets one cookie that ends with the browser and one that does not.
"""

import argparse
import json
import os
import shutil
import signal
import sqlite3
import statistics
import sys
import tempfile
import time

from playwright.sync_api import sync_playwright

import machine
from clients import Site
from devtools import Browser, Ended, Viewer
from server import Server, Unreachable

PARTS = ("chromium", "renderer", "xvfb", "x11vnc")
PATIENCE = 60


def say(text):
    print(text, file=sys.stderr, flush=True)


class Trial:
    def __init__(self, given):
        self.directory = tempfile.mkdtemp(prefix="greenroom-recovery-")
        first = 10_000 + os.getpid() % 90 * 100
        numbers = {"desktop.display_first": first, "desktop.display_last": first + 99}
        self.server = Server(given.binary, self.directory, numbers)
        self.site = Site()
        self.sessions = set()
        self.server.start()

    def session(self):
        body = {"start_url": self.site.url, "width": 1280, "height": 800}
        made = self.server.must("POST", "/v1/browser_sessions", body)
        self.sessions.add(made["browser_session_id"])
        return made["browser_session_id"]

    def look(self, session):
        return self.server.must("GET", f"/v1/browser_sessions/{session}")

    def begin(self, session):
        return self.server.must("POST", f"/v1/browser_sessions/{session}/begin",
                                {"runnable_id": "trial", "ttl_seconds": 3600})

    def browser(self, session, patience=20):
        return Browser(self.server.devtools(session), self.server.key, patience)

    def recorded(self, session):
        """The server's records of this session's recoveries."""
        uri = f"file:{self.server.data}/greenroom.db?mode=ro"
        database = sqlite3.connect(uri, uri=True, timeout=10)
        try:
            query = "select summary from audit_events where kind = 'recovered' and session_id = ?"
            return [json.loads(row[0]) for row in database.execute(query, [session])]
        finally:
            database.close()

    def close(self, session):
        self.server.must("POST", f"/v1/browser_sessions/{session}/close", {})
        self.sessions.discard(session)

    def end(self):
        for session in list(self.sessions):
            self.close(session)
        code = self.server.leave()
        shutil.rmtree(self.directory)
        return code

    def abandon(self):
        self.server.kill()
        for session in self.sessions:
            for pid in machine.programs(session):
                machine.send(session, pid, signal.SIGKILL)


def until(what, patience=PATIENCE):
    end = time.monotonic() + patience
    while True:
        try:
            found = what()
            if found:
                return found
        except (Ended, Unreachable) as cause:
            found = cause
        if time.monotonic() > end:
            raise RuntimeError(f"not within {patience} s: {found}")
        time.sleep(0.01)


def takeover(trial, playwright, rounds):
    """Kills the server with five sessions: one during a Playwright script, one with a viewer."""
    sessions = [trial.session() for _ in range(5)]
    held, watched = sessions[0], sessions[1]
    grant = trial.begin(held)
    headers = {"x-api-key": trial.server.key}
    viewer = Viewer(trial.server.stream(watched), trial.server.key)
    viewer.look()
    listened, all_there, reconnected, seen = [], [], [], []
    for number in range(rounds):
        driver = playwright.chromium.connect_over_cdp(trial.server.devtools(held), headers=headers)
        page = driver.contexts[0].pages[0]
        page.goto(trial.site.url)
        page.fill("#name", f"half filled {number}")
        before = trial.look(held)
        trial.server.kill()
        listened.append(trial.server.start())
        began = time.monotonic()

        def everybody():
            listed = trial.server.must("GET", "/v1/browser_sessions")
            listed = {one["browser_session_id"]: one for one in listed}
            return all(listed.get(one, {}).get("status") == "running" for one in sessions)

        until(everybody)
        all_there.append(time.monotonic() - began)
        again = playwright.chromium.connect_over_cdp(trial.server.devtools(held), headers=headers)
        page = again.contexts[0].pages[0]
        assert page.input_value("#name") == f"half filled {number}", "what was typed is gone"
        page.fill("#text", "and the rest")
        assert page.input_value("#text") == "and the rest"
        reconnected.append(time.monotonic() - began)
        viewer = until(lambda: Viewer(trial.server.stream(watched), trial.server.key))
        viewer.look()
        seen.append(time.monotonic() - began)
        lease = {"generation": grant["generation"], "lease_token": grant["lease_token"]}
        trial.server.must("POST", f"/v1/browser_sessions/{held}/heartbeat", lease)
        after = trial.look(held)
        for field in ("runnable_id", "display_number", "vnc_port", "started_at", "expires_at"):
            assert after[field] == before[field], f"{field}: {before[field]} became {after[field]}"
        assert after["occupancy"]["generation"] == before["occupancy"]["generation"]
        driver.close()
        again.close()
    viewer.close()
    causes = [len(trial.recorded(session)) for session in sessions]
    for session in sessions:
        trial.close(session)
    return {
        "rounds": rounds, "sessions": len(sessions), "until_it_listened_s": listened,
        "until_all_were_there_s": all_there, "until_playwright_went_on_s": reconnected,
        "until_the_viewer_saw_s": seen, "on_record": causes,
    }


def renderer_of(trial, session):
    """The process of the first page: the one that uses processor time when the page does."""
    with trial.browser(session) as browser:
        found = {pid for pid, kind in machine.programs(session).items() if kind == "renderer"}
        while True:
            before = {pid: machine.cpu_seconds(pid) for pid in found}
            browser.evaluate("(() => { const end = Date.now() + 400; while (Date.now() < end); return 1 })()")
            busy = [pid for pid in found if machine.cpu_seconds(pid) - before[pid] > 0.1]
            if len(busy) == 1:
                return busy[0]


def only(session, part):
    return [pid for pid, kind in machine.programs(session).items() if kind == part]


def hit(trial, session, part, what, login):
    """Causes a fault. Returns the seconds until the session had recovered, and its remaining logins."""
    with trial.browser(session) as browser:
        browser.evaluate(f"fetch('/login?trial={login}').then(answer => answer.status)")
    time.sleep(1)
    pid = renderer_of(trial, session) if part == "renderer" else only(session, part)[0]
    gone_too = only(session, "chromium") if part == "xvfb" else []
    began = time.monotonic()
    assert machine.send(session, pid, what), f"there is no {part}"

    def whole():
        programs = machine.programs(session)
        if pid in programs or any(one in programs for one in gone_too):
            return False
        if part in ("xvfb", "chromium") and part not in programs.values():
            return False
        if part == "x11vnc":
            # A viewer reconnects, which restarts the VNC server if nothing else did.
            viewer = Viewer(trial.server.stream(session), trial.server.key)
            viewer.look()
            viewer.close()
            return True
        if trial.look(session)["status"] != "running":
            return False
        return loaded(trial, session)

    until(whole)
    took = time.monotonic() - began
    with trial.browser(session) as browser:
        kept = browser.cookies()
    return took, [kind for kind in ("session", "lasting") if kept.get(f"{kind}-trial") == str(login)]


def loaded(trial, session):
    with trial.browser(session) as browser:
        return browser.evaluate("document.querySelector('#name') ? 1 : 0") == 1


def parts(trial, rounds, chosen):
    rows = []
    for part in chosen:
        for what in (signal.SIGKILL, signal.SIGSTOP):
            took, kept, recorded = [], [], []
            # Repeated crashes are restarted with a longer delay each time, so each session is hit once.
            for number in range(rounds):
                session = trial.session()
                trial.begin(session)
                until(lambda: loaded(trial, session))
                viewer = Viewer(trial.server.stream(session), trial.server.key) if part == "x11vnc" else None
                seconds, logins = hit(trial, session, part, what, number)
                took.append(seconds)
                kept.append(len(logins))
                if viewer:
                    viewer.close()
                if part != "x11vnc":
                    until(lambda: trial.recorded(session), 10)
                recorded += trial.recorded(session)
                trial.close(session)
            row = {"part": part, "signal": what.name, "times": rounds, "recovered": len(took),
                   "median_s": statistics.median(took), "worst_s": max(took),
                   "session_and_lasting_login_kept": sum(1 for both in kept if both == 2),
                   "on_record": len(recorded), "cause": recorded[-1]["cause"] if recorded else "",
                   "lost": recorded[-1]["lost"] if recorded else ""}
            say(f"{part} {what.name}: median {row['median_s']:.2f} s")
            rows.append(row)
    return rows


def table(figures):
    found = figures["takeover"]
    lines = []
    if found:
        lines.append(f"kill -9 of the server under {found['sessions']} sessions, {found['rounds']} times:")
        for name, what in found.items():
            if name.endswith("_s"):
                lines.append(f"  {name[:-2].replace('_', ' '):30} median {statistics.median(what):.2f} s,"
                             f" worst {max(what):.2f} s")
        lines.append(f"  recoveries on record, by session: {found['on_record']}")
        lines.append("  forms, occupancies, generations, display and port numbers: as they were")
    lines += ["", f"{'part':10}{'signal':9}{'times':>6}{'back':>6}{'median s':>10}{'worst s':>9}{'logins':>8}"
                  f"{'record':>8}  cause"]
    for row in figures["parts"]:
        lines.append(f"{row['part']:10}{row['signal']:9}{row['times']:6}{row['recovered']:6}{row['median_s']:10.2f}"
                     f"{row['worst_s']:9.2f}{row['session_and_lasting_login_kept']:8}{row['on_record']:8}"
                     f"  {row['cause']}")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench-recovery", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20, help="how often each part is hit (20)")
    parser.add_argument("--takeovers", type=int, default=5, help="how often the server is killed (5)")
    parser.add_argument("--parts", default=",".join(PARTS), help="which (all)")
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    parser.add_argument("--binary", required=True, help=argparse.SUPPRESS)
    given = parser.parse_args()
    trial = Trial(given)
    try:
        took_over = {}
        if given.takeovers:
            with sync_playwright() as playwright:
                took_over = takeover(trial, playwright, given.takeovers)
        chosen = [part for part in given.parts.split(",") if part]
        figures = {"takeover": took_over, "parts": parts(trial, given.rounds, chosen)}
        code = trial.end()
    except BaseException:
        trial.abandon()
        say(f"the server's log is {os.path.join(trial.directory, 'server.log')}")
        raise
    print(json.dumps(figures) if given.json else table(figures))
    kept = all(row["session_and_lasting_login_kept"] == row["times"] for row in figures["parts"])
    return 0 if code == 0 and kept else 1


if __name__ == "__main__":
    sys.exit(main())
