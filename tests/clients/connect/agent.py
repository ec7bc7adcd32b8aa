"""A client of the Model Context Protocol by its official Python SDK, as an agent would use it.

The names of the server's tools and parameters are in `tools.json` alone: a call names the meaning, such as `click` of
an `element`. The schemas that the server publishes are checked against it.
"""

import asyncio
import json
import pathlib
import re
import sys
import traceback

from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client

NAMES = json.loads((pathlib.Path(__file__).parent / "tools.json").read_text())
# The handle of a session: its id, and what makes the handle the agent's own.
HANDLE = re.compile(r"\bpbs_\w+\.\w+")


class Failed(Exception):
    """A tool that answered with an error, or a tool or parameter that the server does not have."""


class Agent:
    """One connection. `heard` has the name and the text of each answer, in their order."""

    def __init__(self, transport, http=None):
        self.transport, self.http = transport, http
        self.heard = []
        self.handle = None

    @property
    def session(self):
        """The id of the session that the agent holds."""
        return self.handle.partition(".")[0]

    @classmethod
    def by_http(cls, url, key):
        http = create_mcp_http_client(headers={"x-api-key": key})
        return cls(streamable_http_client(url, http_client=http), http)

    @classmethod
    def by_stdio(cls, command, *arguments, environment=None, directory=None):
        parameters = StdioServerParameters(
            command=str(command), args=[str(word) for word in arguments], env=environment, cwd=directory
        )
        return cls(stdio_client(parameters))

    async def __aenter__(self):
        self.client = Client(self.transport, read_timeout_seconds=120)
        await self.client.__aenter__()
        self.schemas = {tool.name: tool.input_schema for tool in (await self.client.list_tools()).tools}
        return self

    async def __aexit__(self, *ending):
        try:
            await self.client.__aexit__(*ending)
        finally:
            if self.http is not None:
                await self.http.aclose()

    async def tool(self, name, given=None):
        """Calls a tool by its own name; pictures become `[image]`."""
        answer = await self.client.call_tool(name, given or {})
        text = "\n".join(getattr(part, "text", None) or f"[{part.type}]" for part in answer.content)
        self.heard.append((name, text))
        if answer.is_error:
            raise Failed(f"{name}: {text}")
        return text

    async def call(self, meaning, **given):
        """Calls the tool with this meaning, in the agent's session if it has one."""
        name = NAMES["tools"][meaning]
        if name not in self.schemas:
            raise Failed(f"the server has no tool {name}, but {', '.join(sorted(self.schemas))}")
        known = self.schemas[name].get("properties", {})
        if self.handle and NAMES["parameters"]["session"] in known:
            given = {"session": self.handle} | given
        named = {NAMES["parameters"][meant]: value for meant, value in given.items()}
        if odd := named.keys() - known.keys():
            raise Failed(f"{name} has no parameter {', '.join(odd)}, but {', '.join(known)}")
        return await self.tool(name, named)

    async def create(self, **given):
        """Creates a session, and holds it for the later calls."""
        text = await self.call("create", **given)
        found = HANDLE.search(text)
        if found is None:
            raise Failed(f"no handle of a session in the answer: {text}")
        self.handle = found[0]
        return text

    async def snapshot(self):
        return await self.call("snapshot")

    async def element(self, shown):
        """Returns the reference of the first line of a snapshot that matches."""
        return reference(await self.snapshot(), shown)


def reference(snapshot, shown):
    """Returns the reference in the first line that matches; None if there is no such line."""
    for line in snapshot.splitlines():
        if re.search(shown, line) and (found := re.search(r"\b(?:ref|uid)=(\w+)", line)):
            return found[1]
    return None


def run(main):
    """Runs a program, and ends it with the first cause alone: the SDK nests it in groups of its tasks."""
    try:
        return asyncio.run(main)
    except BaseExceptionGroup as group:
        cause = group
        while isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[0]
        traceback.print_exception(cause, limit=-3)
        sys.exit(1)


def tokens(text):
    """Returns the usual estimate of a text's length for a model."""
    return round(len(text) / 4)
