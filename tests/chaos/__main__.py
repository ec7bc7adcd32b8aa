"""Kills and stops random parts of a server in use, and checks its guarantees.

Run it by `scripts/chaos`, which builds the program. The guarantees:

1. No session is lost: each acknowledged session exists, and a failed one has a cause.
2. Never two holders: a lease expires or is released before the next is granted, and generations rise.
3. No acknowledged write is missing: sessions, closes, generations, runs, logins.
4. What was hit recovers, or its session ends with the cause, within `PATIENCE`.
5. At the end nothing is left: no process or port, no display, segment of shared memory or directory.
"""

import argparse
import json
import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time

import faults
import machine
from clients import Holder, Runner, Site, Watcher
from devtools import Browser, Ended
from ledger import Ledger
from server import Postgres, Server, Unreachable

# The longest recovery, or end, of what was hit, in seconds.
PATIENCE = 90

LIVING = ("created", "running", "retry")


class World:
    def __init__(self, given):
        self.given = given
        self.began = time.monotonic()
        self.random = random.Random(given.seed + 1)  # Random times within a fault; the plan has its own generator.
        self.directory = tempfile.mkdtemp(prefix="greenroom-chaos-")
        self.ledger = Ledger(self.say)
        self.site = Site()
        self.slots, self.displays, self.vnc_servers = [], set(), set()
        self.starts, self.recoveries, self.injected = [], {}, {}
        self.holders, self.clients = [], []
        self.logins = 0
        # Single faults, which must be recorded as recoveries.
        self.brought_back = 0
        self.database = None
        self.server = None

    def say(self, text):
        print(f"{time.monotonic() - self.began:7.2f}  {text}", file=sys.stderr, flush=True)

    def started(self, took):
        self.starts.append(took)

    def up(self):
        os.chmod(self.directory, 0o755)  # PostgreSQL's user needs access.
        if self.given.postgres:
            self.database = Postgres(self.given.root, os.path.join(self.directory, "postgres"))
        url = self.database.url if self.database else None
        # Separate display numbers: another server of the machine could take a number that is free for a
        # moment because its X server was killed.
        first = 200 + os.getpid() % 90 * 100
        settings = {"sessions.max_waiters": 20, "desktop.display_first": first,
                    "desktop.display_last": first + 99}
        self.server = Server(self.given.binary, self.directory, settings, url)
        self.started(self.server.start())
        self.slots.extend([None] * self.given.sessions)
        for slot in range(self.given.sessions):
            self.fill(slot)
        for index in range(self.given.sessions + 1):
            self.holders.append(Holder(f"holder-{index}", self.server, self.ledger, self.slots, self.given.seed))
        runner = Runner("runner", self.server, self.ledger, self.slots, self.given.seed)
        runner.site = self.site.url
        watcher = Watcher("watcher", self.server, self.ledger, self.slots, self.given.seed)
        self.clients = [*self.holders, runner, watcher]
        for client in self.clients:
            client.start()

    def fill(self, slot):
        """Replaces a session that has ended."""
        body = {"start_url": self.site.url, "width": 1024, "height": 768}
        until = time.monotonic() + PATIENCE
        # Repeated with the same key, so that lost responses create one session only.
        key = {"idempotency-key": os.urandom(8).hex()}
        while True:
            try:
                status, made = self.server.ask("POST", "/v1/browser_sessions", body, 60, key)
            except Unreachable:
                status, made = 503, {}
            if status == 200 and made["status"] in ("created", "running"):
                break
            if time.monotonic() > until:
                raise RuntimeError(f"no session can be made: {status} {made}")
            time.sleep(0.3)
        session = made["browser_session_id"]
        self.ledger.made(session, made)
        self.slots[slot] = session
        self.note(session)

    def note(self, session):
        """Records the resources that a session may leave behind."""
        try:
            _, found = self.server.ask("GET", f"/v1/browser_sessions/{session}", patience=5)
        except Unreachable:
            return
        self.displays.add(found.get("display_number"))
        self.vnc_servers.update(pid for pid, kind in machine.programs(session).items() if kind == "x11vnc")

    def sign_in(self, session):
        """Sets a session cookie and a persistent cookie; returns their value."""
        self.logins += 1
        name = f"chaos-{self.logins}"
        try:
            with Browser(self.server.devtools(session), self.server.key, 5) as browser:
                page = {"url": self.site.url, "path": "/"}
                lasting = {**page, "name": "lasting", "value": name, "expires": time.time() + 86400}
                both = [{**page, "name": "session", "value": name}, lasting]
                browser.call("Storage.setCookies", {"cookies": both})
            return name
        except (Ended, Unreachable):
            return None

    def settled(self, slot, login):
        """Waits until a session has recovered, or has ended with a cause. Returns the outcome."""
        session, until, last = self.slots[slot], time.monotonic() + PATIENCE, "nothing was answered"
        while time.monotonic() < until:
            try:
                status, found = self.server.ask("GET", f"/v1/browser_sessions/{session}", patience=5)
                if status == 404:
                    self.ledger.breach(f"{session} is gone")
                    return "lost"
                if status == 200 and found["status"] not in LIVING:
                    return found["failure"]["code"] if found["failure"] else found["status"]
                if status == 200 and found["status"] == "running":
                    with Browser(self.server.devtools(session), self.server.key, 3) as browser:
                        if browser.evaluate("1 + 1") == 2:
                            self.check_login(session, browser, login)
                            return "running"
                last = f"{status} {found.get('status') or found.get('code')}"
            except (Ended, Unreachable) as cause:
                last = str(cause)
            time.sleep(0.02)
        self.ledger.breach(f"{session} is neither back nor ended after {PATIENCE} s: {last}")
        return "not back"

    def noticed(self, kind, session, pid):
        """Waits until a stopped process is ended, because a client tries to drive it."""
        driver, until = None, time.monotonic() + PATIENCE
        while pid in machine.programs(session):
            if time.monotonic() > until:
                self.ledger.breach(f"{session}: {kind} was not noticed within {PATIENCE} s")
                break
            if driver is None:
                try:
                    driver = Browser(self.server.devtools(session), self.server.key, 2)
                except Ended:
                    pass
            time.sleep(0.05)
        if driver:
            driver.close()

    def check_login(self, session, browser, login):
        if login is None:
            return
        # They are lost with a killed network process, and restored a moment later.
        until = time.monotonic() + 3
        while (cookies := browser.cookies()).get("session") != login and time.monotonic() < until:
            time.sleep(0.05)
        for kind in ("session", "lasting"):
            if cookies.get(kind) != login:
                self.ledger.breach(f"{session}: its {kind} cookie of a second before is {cookies.get(kind)},"
                                   f" not {login}")
        self.ledger.count("logins that were kept")

    def round(self, plan):
        logins = [self.sign_in(session) for session in self.slots]
        time.sleep(1)
        for session in self.slots:
            self.note(session)
        chosen = plan.round()
        began = time.monotonic()
        hit = []
        for kind, slot, wait in chosen:
            time.sleep(wait)
            done = faults.inject(kind, self.slots[slot], self)
            self.say(f"{kind:18} {self.slots[slot]}" + ("" if done else "  (there is none)"))
            if done:
                hit.append(kind)
                self.injected[kind] = self.injected.get(kind, 0) + 1
                if kind.startswith("stop"):
                    self.noticed(kind, self.slots[slot], done)
        outcomes = [self.settled(slot, logins[slot]) for slot in range(len(self.slots))]
        took = time.monotonic() - began
        if len(hit) == 1:
            self.recoveries.setdefault(hit[0], []).append(took)
            if hit[0].split()[1] in ("chromium", "xvfb") and outcomes[chosen[0][1]] == "running":
                self.brought_back += 1
        for slot, outcome in enumerate(outcomes):
            if outcome != "running":
                self.say(f"  {self.slots[slot]} has ended: {outcome}")
                self.fill(slot)
        self.say(f"  settled after {took:.2f} s")

    def sweep(self):
        """Ends everything at once, after an error of this program."""
        for client in self.clients:
            client.over.set()
        if self.server and self.server.process.poll() is None:
            self.server.kill()
        for session in self.ledger.sessions:
            for pid in machine.programs(session):
                machine.send(session, pid, signal.SIGKILL)

    def down(self):
        """Ends everything in order, and checks all acknowledged changes."""
        for client in self.clients:
            client.over.set()
        for client in self.clients:
            client.join(100)
        faults.go_on(self.slots)
        for slot in range(len(self.slots)):
            self.settled(slot, None)
        self.wait_for_runs()
        for session in self.slots:
            self.note(session)
            status, answer = self.server.ask("POST", f"/v1/browser_sessions/{session}/close", {}, 60)
            if status == 200:
                self.ledger.closed.add(session)
            else:
                self.ledger.breach(f"{session} was not closed: {status} {answer}")
        self.ledger.check_holders()
        sessions = self.ledger.check_sessions(self.server)
        runs = self.ledger.check_runs(self.server)
        recorded = self.recorded()
        stored = recorded.get("brought_back", {}).get("times", 0)
        if self.database and stored < self.brought_back:
            self.ledger.breach(f"{self.brought_back} recoveries were seen, and {stored} are on record")
        self.check_ledger_of_leaks()
        code = self.server.leave()
        if code:
            self.ledger.breach(f"the last server ended with {code}")
        self.check_leaks()
        return sessions, runs, recorded

    def wait_for_runs(self):
        until = time.monotonic() + PATIENCE
        ending = ("completed", "failed", "terminated", "canceled", "timed_out")
        for run in self.ledger.runs:
            while time.monotonic() < until:
                status, found = self.server.ask("GET", f"/v1/runs/{run}")
                if status != 200 or found["status"] in ending:
                    break
                time.sleep(0.2)

    def recorded(self):
        """The server's records: the numbers of adoptions, recoveries and repairs."""
        if not self.database:
            return {}
        rows = self.database.rows(
            "select summary::json->>'what', count(*), percentile_cont(0.5) within group"
            " (order by (summary::json->>'took_ms')::float) from audit_events where kind = 'recovered'"
            " group by 1 order by 1")
        return {what: {"times": int(times), "median_ms": round(float(median))} for what, times, median in rows}

    def check_ledger_of_leaks(self):
        """Asserts that the server's list of leaks is empty."""
        status, found = self.server.ask("GET", "/admin/leaks", operator=True)
        if status == 200 and found.get("leaks"):
            self.ledger.breach(f"/admin/leaks: {json.dumps(found['leaks'])}")

    def check_leaks(self):
        for session in self.ledger.sessions:
            for pid, kind in machine.programs(session).items():
                self.ledger.breach(f"left behind by {session}: process {pid} ({kind})")
        for number in self.displays - {None}:
            for name in machine.dead_display_files(number):
                self.ledger.breach(f"left behind: {name}")
        left = machine.segments(self.vnc_servers)
        if left:
            self.ledger.breach(f"left behind: {left} segments of shared memory")
        sessions = os.path.join(self.server.data, "sessions")
        for session in self.slots:
            path = os.path.join(sessions, session)
            if os.path.exists(path) and set(os.listdir(path)) - {"downloads"}:
                self.ledger.breach(f"left behind: {path}: {os.listdir(path)}")


def table(figures):
    lines = ["", f"{'fault':20}{'times':>6}{'alone':>7}{'median s':>10}{'worst s':>9}"]
    for kind, times in sorted(figures["faults"].items()):
        took = figures["settled_seconds"].get(kind, [])
        middle = f"{statistics.median(took):10.2f}{max(took):9.2f}" if took else ""
        lines.append(f"{kind:20}{times:6}{len(took):7}{middle}")
    for title in ("sessions", "runs", "recovered", "clients"):
        lines += ["", title] + [f"  {name}: {what}" for name, what in sorted(figures[title].items())]
    starts = figures["server_start_seconds"]
    lines += ["", f"server starts: {len(starts)}, median {statistics.median(starts):.2f} s until it listened"]
    lines += ["", f"breaches: {len(figures['breaches'])}"] + [f"  {line}" for line in figures["breaches"]]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60, help="how long faults go on (60)")
    parser.add_argument("--seed", type=int, default=None, help="decides all faults; said at the start")
    parser.add_argument("--sessions", type=int, default=3, help="how many browsers at once (3)")
    parser.add_argument("--sqlite", dest="postgres", action="store_false", help="no PostgreSQL to crash")
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    parser.add_argument("--keep", action="store_true", help="keep the directory with the server's log")
    parser.add_argument("--binary", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--root", required=True, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.seed is None:
        given.seed = random.SystemRandom().randrange(1_000_000)

    world = World(given)
    world.say(f"seed {given.seed}, {given.seconds:.0f} s, {given.sessions} sessions; {world.directory}")
    failed = None
    figures = {}
    try:
        world.up()
        plan = faults.Plan(given.seed, given.sessions, world.database is not None)
        until = time.monotonic() + given.seconds
        while time.monotonic() < until:
            world.round(plan)
        sessions, runs, recorded = world.down()
        figures = {
            "seed": given.seed, "seconds": given.seconds, "faults": world.injected,
            "settled_seconds": world.recoveries, "sessions": sessions, "runs": runs, "recovered": recorded,
            "clients": world.ledger.counts, "server_start_seconds": world.starts,
            "breaches": world.ledger.breaches,
        }
        print(json.dumps(figures) if given.json else table(figures))
    except Exception as cause:
        failed = cause
        raise
    finally:
        if failed:
            world.sweep()
        if world.database:
            world.database.stop()
        if given.keep or failed or world.ledger.breaches:
            world.say(f"the server's log is {world.directory}/server.log")
        else:
            shutil.rmtree(world.directory, ignore_errors=True)
    return 1 if world.ledger.breaches else 0


if __name__ == "__main__":
    sys.exit(main())
