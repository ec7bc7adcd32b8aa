"""The faults of the server and its programs. The seed determines them, their sessions and their order."""

import random
import signal
import time

import machine

# Kind and weight.
WEIGHTS = [
    ("kill chromium", 4), ("stop chromium", 2),
    ("kill renderer", 3), ("stop renderer", 2),
    ("kill gpu-process", 1), ("kill utility", 1), ("kill zygote", 1),
    ("kill xvfb", 3), ("stop xvfb", 1),
    ("kill x11vnc", 2), ("stop x11vnc", 1),
    ("kill server", 4), ("hand server over", 2),
    ("crash database", 2), ("lose a client", 2),
]


class Plan:
    """Yields the faults of a seed. Their order does not depend on their effects."""

    def __init__(self, seed, slots, database):
        self.random = random.Random(seed)
        self.slots = slots
        self.kinds = [kind for kind in WEIGHTS if database or kind[0] != "crash database"]

    def round(self):
        """One or two faults, each with its session and the delay before it."""
        kinds, weights = zip(*self.kinds)
        number = 2 if self.random.random() < 0.3 else 1
        chosen = self.random.choices(kinds, weights, k=number)
        return [(kind, self.random.randrange(self.slots), self.random.uniform(0, 0.8)) for kind in chosen]


def inject(kind, session, world):
    """Executes a fault. Returns the process that was hit, or None if there was nothing to hit."""
    verb, _, part = kind.partition(" ")
    if kind == "kill server":
        with world.server.changing:
            world.server.kill()
            time.sleep(world.random.uniform(0, 1))
            world.started(world.server.start())
    elif kind == "hand server over":
        with world.server.changing:
            code = world.server.leave()
            if code != 0:
                world.ledger.breach(f"a server that kept its sessions ended with {code}")
            world.started(world.server.start())
    elif kind == "crash database":
        world.database.crash()
        time.sleep(world.random.uniform(0.5, 3))
        world.database.resume()
    elif kind == "lose a client":
        world.random.choice(world.holders).vanish = True
    else:
        what = signal.SIGKILL if verb == "kill" else signal.SIGSTOP
        pids = [pid for pid, found in machine.programs(session).items() if found == part]
        pid = world.random.choice(sorted(pids)) if pids else None
        return pid if pid and machine.send(session, pid, what) else None
    return True


def go_on(sessions):
    """Continues all stopped processes, so that they can be ended."""
    for session in sessions:
        for pid in machine.programs(session):
            try:
                with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
                    state = file.read().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if state == "T":
                machine.send(session, pid, signal.SIGCONT)
