"""The same task of ten steps for three servers of tools, each by the Python SDK.

- `greenroom`: the server's own tools.
- `playwright`: @playwright/mcp with a headless Chromium of its own.
- `playwright on greenroom`: @playwright/mcp on a session, by the address of its lease.
"""

import re
import time

from agent import Agent, reference, tokens

# The effect of a step on the page; the text after it is in the page then.
STEPS = (
    ("navigate", "login.html"),
    ("type", r'textbox "Name"', "Ann"),
    ("type", r'textbox "Password"', "curtain"),
    ("click", r'button "Sign in"'),
    ("snapshot", "Signed in as Ann"),
    ("navigate", "products.html"),
    ("type", r"searchbox", "ghost"),
    ("click", r'button "Search"'),
    ("snapshot", "Ghost lamp"),
    ("navigate", "index.html"),
)


class Own:
    """The server's own tools."""

    def __init__(self, agent):
        self.agent = agent

    async def navigate(self, url):
        return await self.agent.call("navigate", url=url)

    async def type(self, element, text):
        return await self.agent.call("type", element=element, text=text)

    async def click(self, element):
        return await self.agent.call("click", element=element)

    async def snapshot(self):
        return await self.agent.call("snapshot")


class Playwright:
    """The tools of @playwright/mcp."""

    def __init__(self, agent):
        self.agent = agent

    async def navigate(self, url):
        return await self.agent.tool("browser_navigate", {"url": url})

    async def type(self, element, text):
        return await self.agent.tool("browser_type", {"target": element, "element": "the field", "text": text})

    async def click(self, element):
        return await self.agent.tool("browser_click", {"target": element, "element": "the button"})

    async def snapshot(self):
        return await self.agent.tool("browser_snapshot")


def playwright_by(clients, *options):
    """Returns an agent of @playwright/mcp with these options."""
    program = clients.home / "node_modules/@playwright/mcp/cli.js"
    return Agent.by_stdio(clients.node, program, *options, environment=clients.environment(), directory=str(clients.home))


async def perform(tools, site):
    """Performs the steps; returns the seconds, the calls and the estimated tokens of the answers, and each answer."""
    answers, began = [], time.monotonic()
    known = ""

    async def note(step, waiting):
        nonlocal known
        began = time.monotonic()
        text = await waiting
        answers.append({"step": step, "tokens": tokens(text), "seconds": round(time.monotonic() - began, 3)})
        # The page's newest picture in words, from which the next reference is taken.
        if re.search(r"\b(?:ref|uid)=\w+", text):
            known = text
        return text

    async def find(shown):
        nonlocal known
        found = reference(known, shown)
        if found is None:
            # An agent that does not see what it looks for asks for the page.
            found = reference(await note("snapshot, in between", tools.snapshot()), shown)
        assert found, f"no {shown} in {known}"
        return found

    for kind, what, *text in STEPS:
        if kind == "navigate":
            # Whatever the page before had is gone.
            known = ""
            await note(f"navigate {what}", tools.navigate(f"{site}/{what}"))
        elif kind == "type":
            await note(f"type into {what}", tools.type(await find(what), *text))
        elif kind == "click":
            await note(f"click {what}", tools.click(await find(what)))
        else:
            seen = await note("snapshot", tools.snapshot())
            assert what in seen, f"no {what} in {seen}"
    seconds = time.monotonic() - began
    return {
        "seconds": round(seconds, 2),
        "calls": len(answers),
        "tokens": sum(answer["tokens"] for answer in answers),
        "actions_per_second": round(len(STEPS) / seconds, 2),
        "answers": answers,
    }
