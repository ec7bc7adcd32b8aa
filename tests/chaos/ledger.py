"""What the server has acknowledged, and what must therefore hold."""

import datetime
import threading
import time

# Clocks of this machine are read by two programs; a wait may end a moment late.
SKEW = 0.25


def seconds(text):
    """A time of the API, as `time.time` has it."""
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


class Grant:
    """An occupancy that was granted."""

    def __init__(self, session, who, answer):
        self.session, self.who = session, who
        self.generation, self.token = answer["generation"], answer["lease_token"]
        self.told_at = time.time()
        # Until when nobody else can have it: moved by each heartbeat that was acknowledged.
        self.expires_at = seconds(answer["expires_at"])
        # From when on somebody else may have it, whatever became of the request.
        self.let_go_at = None

    @property
    def lease(self):
        return {"generation": self.generation, "lease_token": self.token}


class Ledger:
    """Written by the clients, read at the end."""

    def __init__(self, log):
        self.lock = threading.Lock()
        self.log = log
        self.sessions = {}
        self.closed = set()
        self.grants = []
        self.runs = {}
        self.breaches = []
        self.counts = {}

    def count(self, what):
        with self.lock:
            self.counts[what] = self.counts.get(what, 0) + 1

    def breach(self, text):
        with self.lock:
            self.breaches.append(text)
        self.log(f"BREACH  {text}")

    def made(self, session, answer):
        with self.lock:
            self.sessions[session] = answer

    def granted(self, grant):
        with self.lock:
            self.grants.append(grant)

    def check_holders(self):
        """Never two at once, and generations only rise."""
        by_session = {}
        for grant in self.grants:
            by_session.setdefault(grant.session, []).append(grant)
        for session, grants in by_session.items():
            grants.sort(key=lambda grant: grant.told_at)
            for before, after in zip(grants, grants[1:]):
                if after.generation <= before.generation:
                    self.breach(f"{session}: generation {after.generation} was granted to {after.who} after"
                                f" {before.generation} to {before.who}")
                free_at = min(before.expires_at, before.let_go_at or before.expires_at)
                if after.told_at < free_at - SKEW:
                    self.breach(f"{session}: {after.who} was let in {free_at - after.told_at:.2f} s before"
                                f" {before.who} had lost it")

    def check_sessions(self, server):
        """None lost, none ended without a cause on record, none behind what was acknowledged."""
        causes = {}
        last = {}
        for grant in self.grants:
            last[grant.session] = max(last.get(grant.session, 0), grant.generation)
        for session in self.sessions:
            status, found = server.ask("GET", f"/v1/browser_sessions/{session}")
            if status != 200:
                self.breach(f"{session} was acknowledged, and is unknown now: {status}")
                continue
            state = found["status"]
            if state in ("failed", "timeout") and not found["failure"]:
                self.breach(f"{session} is {state} without a cause on record")
            if session in self.closed and state not in ("completed", "failed"):
                self.breach(f"{session}: its close was acknowledged, and it is {state}")
            if found["occupancy"]["generation"] < last.get(session, 0):
                self.breach(f"{session}: generation {last[session]} was acknowledged, and"
                            f" {found['occupancy']['generation']} is stored")
            cause = (found["failure"] or {}).get("code", "")
            name = f"{state} {cause}".strip()
            causes[name] = causes.get(name, 0) + 1
        return causes

    def check_runs(self, server):
        """Each that was acknowledged is there and has ended, with a reason if not well."""
        outcomes = {}
        for run in self.runs:
            status, found = server.ask("GET", f"/v1/runs/{run}")
            if status != 200:
                self.breach(f"{run} was acknowledged, and is unknown now: {status}")
                continue
            state = found["status"]
            if state not in ("completed", "failed", "terminated", "canceled", "timed_out"):
                self.breach(f"{run} has not ended: {state}")
            if state == "failed" and not found.get("failure_reason"):
                self.breach(f"{run} failed without a reason on record")
            outcomes[state] = outcomes.get(state, 0) + 1
        return outcomes
