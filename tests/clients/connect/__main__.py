"""Drives sessions with the clients that people use, at each form of address that a client takes.

    python tests/clients/connect BINARY [--install] [--json] [--form FORM] [--no-person] [CLIENT…]
    python tests/clients/connect BINARY --snippets | --stories

Each client signs in on the sample site and reads a product there. Afterwards the session must run on the same
browser. Then it attaches and reads while a person has control. Prints a table of clients and addresses with
results and seconds, and ends with 1 if a result is not the expected one.
"""

import argparse
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

sys.dont_write_bytecode = True

import forms
import hosts
import protocol_clients
from installing import HERE, Clients
from world import World

STORY_LIMIT = 600  # The timeout of a story, in seconds.
LIMIT = 90  # The timeout of one client at one address, in seconds.
READ = {"who": "Signed in as Ann", "product": "Ghost lamp", "price": "€ 64.00"}
FAULTS = (AssertionError, OSError, ValueError, KeyError, subprocess.SubprocessError)


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/test-clients", description=__doc__.split("\n")[0])
    parser.add_argument("binary", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("clients", nargs="*", metavar="CLIENT", help=f"one of {', '.join(forms.CLIENTS)}")
    parser.add_argument("--install", action="store_true", help="install the clients first, unless they are installed")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    parser.add_argument("--form", action="append", help="try only this form of address; may be repeated")
    parser.add_argument("--snippets", action="store_true", help="execute the snippets of the console instead")
    parser.add_argument("--stories", action="store_true", help="run the stories of agents and persons instead")
    parser.add_argument("--no-person", action="store_true", help="do not try while a person has control")
    given = parser.parse_intermixed_args()
    for name in given.clients:
        if name not in forms.CLIENTS:
            parser.error(f"no client {name}; expected one of {', '.join(forms.CLIENTS)}")
    for name in given.form or []:
        if name not in forms.ALL:
            parser.error(f"no form {name}; expected one of {'; '.join(forms.ALL)}")
    return given


def drive(clients, client, form, site, *more):
    """Runs one program, and returns what it read; raises an AssertionError with its last lines."""
    program = [clients.python, HERE / "drive.py"] if client in forms.PYTHON else [clients.node, HERE / "drive.mjs"]
    process = subprocess.Popen(
        [*map(str, program), client, form.address, form.key, site, *more], cwd=clients.home, env=clients.environment(),
        text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        _, err = process.communicate()
        raise AssertionError(f"it does not end within {LIMIT} s: {last(err)}") from None
    assert process.returncode == 0 and out.strip(), last(err or out)
    return json.loads(out.strip().splitlines()[-1])


def last(text):
    """Returns the line of an output that says most about a failure."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    telling = [line for line in lines if re.match(r"([\w.]*(Error|Exception)( \[\w+\])?: |\S* ?✗)", line)]
    return (telling or lines or ["no output"])[-1][:400]


class Tried:
    """One client at one form of address."""

    def __init__(self, client, form, expected, work):
        self.client, self.form, self.expected = client, form, expected
        began = time.monotonic()
        self.note = ""
        try:
            self.note = work() or ""
            self.worked = True
        except FAULTS as cause:
            self.note, self.worked = str(cause), False
        self.seconds = round(time.monotonic() - began, 1)
        self.right = self.worked == expected
        word = "ok" if self.worked else "no"
        mark = "" if self.right else ("  (it was expected to work)" if expected else "  (it was expected to fail)")
        print(f"{word:3} {self.seconds:5.1f} s  {client}, {form}{mark} {self.note}".rstrip(), file=sys.stderr, flush=True)

    def row(self):
        return {name: getattr(self, name) for name in ("client", "form", "worked", "expected", "seconds", "note")}


def on_session(world, clients, client, form, expected):
    """A session of its own for each address, so that each starts signed out."""
    session = world.call("POST", "/v1/browser_sessions", {"url": f"{world.site_url}/index.html"})
    id = session["browser_session_id"]

    def work():
        before = world.browser_of(id)
        known = forms.at_root if form == forms.PORT else forms.forms
        check(drive(clients, client, known(world, session)[form], world.site_url))
        assert world.call("GET", f"/v1/browser_sessions/{id}")["status"] == "running", "the session does not run any more"
        assert world.browser_of(id) == before, "another browser runs"

    try:
        return Tried(client, form, expected, work)
    finally:
        world.call("POST", f"/v1/browser_sessions/{id}/close", {})


def by_connecting(world, clients, client, form, expected):
    before = world.live()

    def work():
        check(drive(clients, client, forms.connecting(world)[form], world.site_url))
        assert world.settled(lambda: world.live() <= before), "the session outlives its connection"

    try:
        return Tried(client, form, expected, work)
    finally:
        for id in world.live() - before:
            world.call("POST", f"/v1/browser_sessions/{id}/close", {})


def by_tools(world, clients, client, form, expected):
    before = world.live()

    def work():
        driver = hosts if client in hosts.HOSTS else protocol_clients
        seen = driver.drive(world, clients, client, form)
        assert world.live() <= before, "a session was left open"
        return f"{seen['tools']} tools"

    return Tried(client, form, expected, work)


def check(seen):
    assert seen["picture"] and seen["read"], seen
    assert {name: seen[name] for name in READ} == READ, seen


def with_person(world, clients, client, form):
    """A person takes control; the client attaches and reads."""
    session = world.call("POST", "/v1/browser_sessions", {"url": f"{world.site_url}/index.html"})
    id = session["browser_session_id"]
    command = [str(clients.python), "-c", PERSON, world.url.replace("http", "ws", 1), id, world.key]
    person = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def work():
        assert person.stdout.readline().strip() == "control", "the person did not get control"
        seen = drive(clients, client, forms.forms(world, session)[form], world.site_url, "look")
        assert seen["picture"] and seen["read"], seen

    try:
        return Tried(client, "while a person has control", True, work)
    finally:
        person.communicate(timeout=30)
        world.call("POST", f"/v1/browser_sessions/{id}/close", {})


# Takes control, and keeps it until its input ends.
PERSON = """
import json, sys
from websockets.sync.client import connect
url, id, key = sys.argv[1:]
with connect(f"{url}/v1/stream/messages/browser_session/{id}?apikey={key}&client_id=person") as socket:
    socket.send('{"kind": "take-control"}')
    while not (said := json.loads(socket.recv(timeout=30))).get("you"):
        pass
    print("control", flush=True)
    sys.stdin.read()
"""


def all_of(world, clients, client, only, person):
    """Tries a client at its addresses, one after the other."""
    tried = []
    for form, expected in forms.CLIENTS[client].items():
        if only and form not in only:
            continue
        way = by_tools if form in forms.TOOLS else by_connecting if form in forms.CONNECTS else on_session
        tried.append(way(world, clients, client, form, expected))
    first = next((form for form, works in forms.CLIENTS[client].items() if works and form in forms.SOCKETS), None)
    if person and first and not only:
        tried.append(with_person(world, clients, client, first))
    return tried


def table(tried):
    columns = [form for form in (*forms.ALL, "while a person has control") if any(one.form == form for one in tried)]
    cells = {(one.client, one.form): f"{'ok' if one.worked else 'no'} {one.seconds:.1f} s" for one in tried}
    yield "| client | " + " | ".join(columns) + " |"
    yield "|---" * (len(columns) + 1) + "|"
    for client in dict.fromkeys(one.client for one in tried):
        yield f"| {client} | " + " | ".join(cells.get((client, form), "–") for form in columns) + " |"


def stories(binary, clients):
    """Runs the stories that need the server's own tools; each prints what it observed."""
    world = World(binary)
    try:
        told = [
            ("an agent and a person, Python", [clients.python, HERE / "mcp_story.py", binary]),
            ("an agent and a person, TypeScript",
             [clients.node, HERE / "mcp_story.mjs", world.url, world.key, world.site_url, clients.python]),
            ("ten agents and a crash", [clients.python, HERE / "mcp_ten.py", binary]),
        ]
        failed = 0
        for name, command in told:
            print(f"\n{name}", flush=True)
            environment = clients.environment() | {"HOME": os.environ.get("HOME", str(clients.home))}
            failed += subprocess.run([str(word) for word in command], env=environment, timeout=STORY_LIMIT).returncode != 0
    finally:
        world.stop()
    print(f"{len(told) - failed} passed, {failed} failed")
    return int(failed > 0)


def main():
    # Programs that the clients start end with this program also when it is ended from outside.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    given = arguments()
    clients = Clients(os.environ.get("GREENROOM_CLIENTS") or pathlib.Path.home() / ".cache/greenroom-clients")
    if not clients.installed():
        if not given.install:
            print(f"error: the clients are not installed in {clients.home}: scripts/test-clients --install", file=sys.stderr)
            return 1
        clients.install()
    if given.snippets:
        command = [str(clients.python), str(HERE / "snippets.py"), str(given.binary)]
        return subprocess.run(command, env={**os.environ, "GREENROOM_CLIENTS": str(clients.home)}, timeout=STORY_LIMIT).returncode
    if given.stories:
        return stories(given.binary, clients)
    world = World(given.binary)
    try:
        tried = []
        for client in given.clients or forms.CLIENTS:
            tried += all_of(world, clients, client, given.form, not given.no_person)
    finally:
        world.stop()
    if given.json:
        print(json.dumps({"tried": [one.row() for one in tried]}, indent=2))
    else:
        print(*table(tried), sep="\n")
    wrong = sum(not one.right for one in tried)
    print(f"{len(tried) - wrong} as expected, {wrong} not", file=sys.stderr)
    return int(bool(wrong) or not tried)


sys.exit(main())
