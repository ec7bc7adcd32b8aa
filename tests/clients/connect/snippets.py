"""Executes the snippets that the console shows, with the real clients.

    snippets.py BINARY

Each runs as a person would paste it: with the key in `GREENROOM_API_KEY`, and again with a ticket in the address.
Claude Code and Codex are not started here, see `hosts.py`: their configuration is parsed, and the Python SDK connects
as it says.
"""

import asyncio
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import time
import tomllib

sys.dont_write_bytecode = True

from agent import Agent
from installing import HERE, Clients
from world import World

LIMIT = 90  # The timeout of a snippet, in seconds.
TITLE = "Footlights"  # What each client reads of the page.
# The program that follows the text of a snippet that ends where the reader's own program begins.
MORE = {
    "browser-use": "import asyncio\nasync def read():\n    await session.start()\n"
                   "    print(await (await session.get_current_page()).get_title())\n    await session.stop()\n"
                   "asyncio.run(read())\n",
    "stagehand": "console.log(await page.title());\nawait stagehand.close();\nprocess.exit(0);\n",
}
LANGUAGE = {"playwright-python": "py", "browser-use": "py", "playwright-js": "mjs", "puppeteer": "mjs", "stagehand": "mjs",
            "agent-browser": "sh", "curl": "sh"}
# The programs that `npx` would run, and the tool that reads the page.
PROGRAMS = {
    "playwright-mcp": ("@playwright/mcp/cli.js", "browser_snapshot"),
    "chrome-devtools-mcp": ("chrome-devtools-mcp/build/src/bin/chrome-devtools-mcp.js", "list_pages"),
}


class Snippets:
    def __init__(self, world, clients):
        self.world, self.clients = world, clients
        self.environment = clients.environment() | {"GREENROOM_API_KEY": world.key, "ANONYMIZED_TELEMETRY": "false"}
        self.environment["PATH"] = f"{clients.home}/node_modules/.bin:{self.environment['PATH']}"

    def expanded(self, text):
        """Returns a text of a configuration with the variables that its client puts in."""
        return text.replace("${GREENROOM_API_KEY}", self.world.key).replace("$GREENROOM_API_KEY", self.world.key)

    def run(self, id, text):
        if id in LANGUAGE:
            return self.execute(id, text + "\n" + MORE.get(id, ""), LANGUAGE[id])
        if id in PROGRAMS:
            (server,) = json.loads(self.expanded(text))["mcpServers"].values()
            assert server["command"] == "npx", server
            return asyncio.run(self.by_program(*PROGRAMS[id], server["args"][1:]))
        return asyncio.run(self.own_tools(*self.endpoint(id, text)))

    def execute(self, id, text, suffix):
        # Version 4 has the same name, and needs an extension.
        text = text.replace("@browserbasehq/stagehand", "stagehand-3")
        # Beside the packages, so that modules are found.
        path = self.clients.home / f"snippet-{os.getpid()}.{suffix}"
        path.write_text(text)
        program = {"py": self.clients.python, "mjs": self.clients.node, "sh": "bash"}[suffix]
        try:
            done = subprocess.run([str(program), str(path)], cwd=self.clients.home, env=self.environment, text=True,
                                  capture_output=True, stdin=subprocess.DEVNULL, timeout=LIMIT)
        finally:
            path.unlink()
        assert done.returncode == 0, (done.stderr or done.stdout)[-500:]
        wanted = "webSocketDebuggerUrl" if id == "curl" else TITLE
        assert wanted in done.stdout, done.stdout[-500:]

    async def by_program(self, program, tool, options):
        path = self.clients.home / "node_modules" / program
        directory = str(self.clients.home)
        starting = Agent.by_stdio(self.clients.node, path, *options, environment=self.environment, directory=directory)
        async with starting as agent:
            given = {"pageId": 1} if "pageId" in agent.schemas[tool].get("required", []) else {}
            text = await agent.tool(tool, given)
            assert TITLE in text, text

    def endpoint(self, id, text):
        """Returns the URL and the headers of a configuration for the server's own tools."""
        if id == "codex":
            server = tomllib.loads(text)["mcp_servers"]["greenroom"]
            return server["url"], {name: self.environment[variable] for name, variable in server["env_http_headers"].items()}
        if id == "mcp-json":
            server = json.loads(self.expanded(text))["mcpServers"]["greenroom"]
            return server["url"], server["headers"]
        words = shlex.split(self.expanded(text), comments=True)
        url = next(word for word in words if word.startswith("http") and word != "http")
        name, _, value = words[words.index("--header") + 1].partition(": ")
        return url, {name: value}

    async def own_tools(self, url, headers):
        assert list(headers) == ["x-api-key"], headers
        async with Agent.by_http(url, headers["x-api-key"]) as agent:
            await agent.call("list")


def main():
    clients = Clients(os.environ.get("GREENROOM_CLIENTS") or pathlib.Path.home() / ".cache/greenroom-clients")
    world = World(sys.argv[1])
    failed = passed = 0
    try:
        session = world.call("POST", "/v1/browser_sessions", {"url": f"{world.site_url}/index.html"})
        of = f"/v1/browser_sessions/{session['browser_session_id']}"
        ticket = world.call("POST", f"{of}/viewers", {"role": "drive", "ttl_seconds": 3600})
        values = {"id": session["browser_session_id"], "address": session["browser_address"],
                  "tools": f"{world.url}/mcp", "ticket": ticket["cdp_url"]}
        printed = subprocess.run([str(clients.node), str(HERE / "snippets.mjs"), json.dumps(values)], check=True,
                                 capture_output=True, text=True, timeout=LIMIT).stdout
        snippets = Snippets(world, clients)
        for one in json.loads(printed):
            for way in ("plain", "withTicket"):
                if one[way] is None:
                    continue
                began = time.monotonic()
                try:
                    snippets.run(one["id"], one[way])
                    passed += 1
                    print(f"ok  {time.monotonic() - began:5.1f} s  {one['id']}, {way}", flush=True)
                except Exception as cause:  # noqa: BLE001  Whatever fails, the others are tried.
                    failed += 1
                    text = re.sub(r"\s+", " ", str(cause))[:500]
                    print(f"no  {time.monotonic() - began:5.1f} s  {one['id']}, {way}: {type(cause).__name__}: {text}", flush=True)
    finally:
        world.stop()
    print(f"{passed} passed, {failed} failed")
    return int(failed > 0)


sys.exit(main())
