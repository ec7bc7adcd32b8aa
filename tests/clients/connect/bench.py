"""Measures a task of ten steps with the server's own tools and with those of @playwright/mcp.

    bench.py BINARY [--rounds N] [--json]

Prints a table, or JSON. The tokens are characters of all answers, divided by four. A round of each way follows a
round of the others, so that a change of the machine's load meets all alike.
"""

import argparse
import json
import os
import pathlib
import statistics
import sys

sys.dont_write_bytecode = True

from agent import Agent, run
from installing import Clients
from task import Own, Playwright, perform, playwright_by
from world import World

CHROMIUM = os.environ.get("GREENROOM_CHROMIUM", "/usr/bin/chromium")
OWN, ALONE, TOGETHER = "greenroom", "playwright, its own headless browser", "playwright on greenroom"


async def own(world, clients):
    async with Agent.by_http(f"{world.url}/mcp", world.key) as agent:
        await agent.create()
        try:
            return await perform(Own(agent), world.site_url)
        finally:
            await agent.call("close")


async def alone(world, clients):
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    agent = playwright_by(clients, "--headless", "--isolated", "--executable-path", CHROMIUM, *sandbox)
    async with agent:
        # Its first call starts the browser, as session_create does here.
        await agent.tool("browser_navigate", {"url": "about:blank"})
        return await perform(Playwright(agent), world.site_url)


async def together(world, clients):
    session = world.call("POST", "/v1/browser_sessions", {})
    of = f"/v1/browser_sessions/{session['browser_session_id']}"
    begun = world.call("POST", f"{of}/begin", {"runnable_id": "bench", "ttl_seconds": 600})
    try:
        async with playwright_by(clients, "--cdp-endpoint", begun["browser_address"]) as agent:
            await agent.tool("browser_snapshot")
            return await perform(Playwright(agent), world.site_url)
    finally:
        world.call("POST", f"{of}/close", {})


def table(results):
    yield "| way | seconds | calls | tokens of answers | actions a second |"
    yield "|---|---|---|---|---|"
    for way, rounds in results.items():
        value = lambda name: statistics.median(one[name] for one in rounds)
        spread = f"{min(one['seconds'] for one in rounds):.2f} to {max(one['seconds'] for one in rounds):.2f}"
        yield (f"| {way} | {value('seconds'):.2f} ({spread}) | {value('calls'):.0f} | {value('tokens'):.0f} "
               f"| {value('actions_per_second'):.2f} |")


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench-agents", description=__doc__.split("\n")[0])
    parser.add_argument("binary", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print JSON with each answer in place of the table")
    given = parser.parse_args()
    clients = Clients(os.environ.get("GREENROOM_CLIENTS") or pathlib.Path.home() / ".cache/greenroom-clients")
    world = World(given.binary)
    results = {}
    try:
        ways = {OWN: own, ALONE: alone, TOGETHER: together}
        for number in range(given.rounds):
            for way, perform_once in ways.items():
                one = run(perform_once(world, clients))
                results.setdefault(way, []).append(one)
                print(f"round {number + 1}, {way}: {one['seconds']} s", file=sys.stderr, flush=True)
    finally:
        world.stop()
    if given.json:
        print(json.dumps(results, indent=2))
    else:
        print(*table(results), sep="\n")


main()
