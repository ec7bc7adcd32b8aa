"""The acknowledged changes, and the checks that follow from them."""

import datetime
import threading
import time

# Two programs read the clocks of this machine; a wait may end a moment late.
SKEW = 0.25


def seconds(text):
    """A time of the API, in the form of `time.time`."""
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


class Grant:
    """An occupancy that was granted."""

    def __init__(self, session, who, answer):
        self.session, self.who = session, who
        self.generation, self.token = answer["generation"], answer["lease_token"]
        self.told_at = time.time()
        # The time until which no other client can hold it; each acknowledged heartbeat extends it.
        self.expires_at = seconds(answer["expires_at"])
        # The time from which another client may hold it, for any outcome of the request.
        self.let_go_at = None

    @property
    def lease(self):
        return {"generation": self.generation, "lease_token": self.token}


class Ledger:
    """The record that clients write, and that is checked at the end."""

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
        """Checks that there were never two holders, and that generations only rise."""
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
        """Checks that no session is lost, ended without a cause, or older than an acknowledged change."""
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
        """Checks that each acknowledged run exists and has ended, with a reason if it did not complete."""
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
