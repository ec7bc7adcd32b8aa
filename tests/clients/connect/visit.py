"""Signs in on the sample site and reads a product, through the server's own tools and the Python SDK.

    visit.py SITE KEY http URL
    visit.py SITE KEY stdio COMMAND…

The key is in the environment `GREENROOM_API_KEY` too, where a command reads it. Prints what it read as JSON.
"""

import json
import os
import sys

from agent import Agent, run


async def main():
    site, key, way, *target = sys.argv[1:]
    if way == "http":
        agent = Agent.by_http(*target, key)
    else:
        agent = Agent.by_stdio(*target, environment=dict(os.environ))
    async with agent:
        await agent.create()
        try:
            print(json.dumps(await visit(agent, site)), flush=True)
        finally:
            await agent.call("close")


async def visit(agent, site):
    await agent.call("navigate", url=f"{site}/login.html")
    await agent.call("type", element=await agent.element('textbox "Name"'), text="Ann")
    await agent.call("type", element=await agent.element('textbox "Password"'), text="curtain")
    await agent.call("click", element=await agent.element('button "Sign in"'))
    seen = await agent.snapshot()
    assert "Signed in as Ann" in seen, seen
    await agent.call("navigate", url=f"{site}/products.html")
    await agent.call("type", element=await agent.element("searchbox"), text="ghost")
    await agent.call("click", element=await agent.element('button "Search"'))
    seen = await agent.snapshot()
    wanted = {"who": "Signed in as Ann", "product": "Ghost lamp", "price": "€ 64.00"}
    missing = [text for text in wanted.values() if text not in seen]
    assert not missing and "Gauze curtain" not in seen, seen
    return wanted | {"tools": len(agent.schemas), "read": "snapshot", "picture": True}


run(main())
