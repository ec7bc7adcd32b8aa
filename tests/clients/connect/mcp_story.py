"""The story of an agent that needs a person, by the official Python SDK of the Model Context Protocol.

    mcp_story.py BINARY

Creates a session, signs in on the sample site with the help of a person, who types the password that the agent does
not know, reads the products, records all of it, and closes the session. A second program plays the person, in a
real browser. Prints the estimated tokens of each answer, beside those of @playwright/mcp for the same page.
"""

import asyncio
import json
import os
import pathlib
import re
import sys

sys.dont_write_bytecode = True

from agent import Agent, run, tokens
from installing import HERE, Clients
from task import playwright_by
from world import World

CHROMIUM = os.environ.get("GREENROOM_CHROMIUM", "/usr/bin/chromium")
LINK = re.compile(r"https?://[^\s\"')>\]]+/view/[^\s\"')>\]]+")
REQUEST = re.compile(r"request `(\w+)`")
# A field's middle on the display, from 0 to 1.
PLACE = """(() => {
    const field = document.querySelector("#password").getBoundingClientRect();
    const x = screenX + (outerWidth - innerWidth) / 2 + field.x + field.width / 2;
    const y = screenY + outerHeight - innerHeight + field.y + field.height / 2;
    return `place ${(x / screen.width).toFixed(4)} ${(y / screen.height).toFixed(4)}`;
})()"""


async def person(clients, link, place, text):
    """Runs the person's program, and returns its steps."""
    process = await asyncio.create_subprocess_exec(
        str(clients.python), str(HERE / "person.py"), link, *place, text,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 90)
    assert process.returncode == 0, err.decode()[-600:]
    return [json.loads(line)["step"] for line in out.decode().splitlines()]


class Story:
    """The agent's steps, each with the tokens of its answer."""

    def __init__(self, world, clients, agent):
        self.world, self.clients, self.agent = world, clients, agent
        self.rows = []

    async def step(self, words, waiting, page=None):
        text = await waiting
        self.rows.append([words, tokens(text), page])
        return text

    async def help(self):
        """Asks a person, who follows the link of the answer, and waits until the person is done."""
        agent = self.agent
        place = re.search(r"place ([\d.]+) ([\d.]+)", await agent.call("evaluate", script=PLACE))
        asked = await self.step("ask a person", agent.call("ask", message="Type the password of Ann, and press Enter."))
        link, request = LINK.search(asked), REQUEST.search(asked)
        working = asyncio.create_task(person(self.clients, link[0], place.groups(), "curtain"))
        while True:
            # The agent asks again for as long as the answer is `pending`.
            answer = await self.step("wait for the person", agent.call("ask", request=request[1]))
            if not answer.startswith("pending"):
                break
        assert answer.startswith("returned"), answer
        steps = await working
        assert steps[-1] == "gave control back", steps

    async def tell(self):
        agent, site = self.agent, self.world.site_url
        await self.step("create", agent.create(name="An agent's story", agent="the-teller"))
        await self.step("record", agent.call("record", action="start"))
        await self.step("navigate to the sign-in", agent.call("navigate", url=f"{site}/login.html"), "login.html")
        seen = await self.step("snapshot of the sign-in", agent.snapshot(), "login.html")
        assert "curtain" in seen, seen
        await self.step("type the name", agent.call("type", element=await agent.element('textbox "Name"'), text="Ann"))
        await self.help()
        seen = await self.step("snapshot, signed in", agent.snapshot())
        assert "Signed in as Ann" in seen, seen
        await self.step("navigate to the shop", agent.call("navigate", url=f"{site}/products.html"), "products.html")
        seen = await self.step("snapshot of the shop", agent.snapshot(), "products.html")
        assert "Ghost lamp" in seen and "€ 64.00" in seen, seen
        await self.step("stop the record", agent.call("record", action="stop"))
        await self.step("close", agent.call("close"))

    async def compare(self):
        """Reads the same pages with @playwright/mcp."""
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        options = ["--headless", "--isolated", "--executable-path", CHROMIUM, *sandbox]
        async with playwright_by(self.clients, *options) as other:
            theirs = {}
            for page in ("login.html", "products.html"):
                for kind, name, given in (
                    ("navigate", "browser_navigate", {"url": f"{self.world.site_url}/{page}"}),
                    ("snapshot", "browser_snapshot", {}),
                ):
                    theirs[kind, page] = tokens(await other.tool(name, given))
        for row in self.rows:
            row[2] = theirs.get((row[0].split()[0], row[2]), "")


async def main():
    clients = Clients(os.environ.get("GREENROOM_CLIENTS") or pathlib.Path.home() / ".cache/greenroom-clients")
    world = World(sys.argv[1])
    try:
        async with Agent.by_http(f"{world.url}/mcp", world.key) as agent:
            story = Story(world, clients, agent)
            await story.tell()
            id = agent.session
        await story.compare()
        recorded = world.call("GET", f"/v1/browser_sessions/{id}/recordings")
        assert recorded and not world.live(), (recorded, world.live())
    finally:
        world.stop()
    print("| step | tokens | @playwright/mcp |", "|---|---|---|", sep="\n")
    for row in story.rows:
        print("| " + " | ".join(map(str, row)) + " |")
    print(f"1 passed: the story, with {len(recorded)} recording")


run(main())
