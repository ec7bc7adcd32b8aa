"""Drives sessions through the server's own tools of the Model Context Protocol, with three official clients."""

import json
import os
import re
import signal
import subprocess

from installing import HERE

LIMIT = 90  # The timeout of one program, in seconds.
NAMES = json.loads((HERE / "tools.json").read_text())
INSPECTOR = "node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js"


def drive(world, clients, client, form):
    """Returns what the client read, or raises an AssertionError."""
    environment = clients.environment() | {"GREENROOM_URL": world.url, "GREENROOM_API_KEY": world.key}
    target = ["http", f"{world.url}/mcp"] if form == "mcp, http" else ["stdio", world.binary, "mcp"]
    if client == "mcp-inspector":
        return Inspector(world, clients, environment, target).visit()
    program = [clients.python, HERE / "visit.py"] if client == "mcp-python" else [clients.node, HERE / "visit.mjs"]
    return json.loads(run([*program, world.site_url, world.key, *target], clients, environment).strip().splitlines()[-1])


def run(command, clients, environment, directory=None):
    """Returns the output of a program; raises an AssertionError with the end of its errors."""
    process = subprocess.Popen(
        [str(word) for word in command], cwd=directory or clients.home, env=environment, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        _, err = process.communicate()
        raise AssertionError(f"{command[1]} does not end within {LIMIT} s: {err[-300:]}") from None
    assert process.returncode == 0 and out.strip(), f"exit status {process.returncode}: {(err or out).strip()[-400:]}"
    return out


class Inspector:
    """The inspector's command line, which connects anew for each request, so that sessions are named."""

    def __init__(self, world, clients, environment, target):
        self.world, self.clients, self.environment = world, clients, environment
        way, *self.target = target
        self.options = ["--transport", way]
        if way == "http":
            self.options += ["--header", f"x-api-key: {world.key}"]
        else:
            self.options += [word for name in ("GREENROOM_URL", "GREENROOM_API_KEY")
                             for word in ("-e", f"{name}={environment[name]}")]

    def ask(self, *words):
        command = [self.clients.node, self.clients.home / INSPECTOR, "--cli", *self.target, *self.options, *words]
        return json.loads(run(command, self.clients, self.environment))

    def call(self, meaning, **given):
        name = NAMES["tools"][meaning]
        named = {NAMES["parameters"][meant]: value for meant, value in given.items()}
        answer = self.ask("--method", "tools/call", "--tool-name", name, "--tool-args-json", json.dumps(named))
        text = "\n".join(part.get("text", f"[{part['type']}]") for part in answer["content"])
        assert not answer.get("isError"), f"{name}: {text}"
        return text

    def visit(self):
        tools = self.ask("--method", "tools/list")["tools"]
        (session,) = re.findall(r"\bpbs_\w+\.\w+", self.call("create"))[:1]
        try:
            self.call("navigate", session=session, url=f"{self.world.site_url}/products.html")
            seen = self.call("snapshot", session=session)
            assert "Ghost lamp" in seen and "€ 64.00" in seen, seen
            return {"product": "Ghost lamp", "tools": len(tools)}
        finally:
            self.call("close", session=session)
