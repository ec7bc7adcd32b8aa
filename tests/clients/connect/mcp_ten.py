"""Ten agents at once on ten sessions, a collision, and a crash of the server in the middle.

    mcp_ten.py BINARY

- Each agent signs in under a name of its own, and reads that name, and no other, on its page.
- An eleventh agent asks for a session that is held, and learns who holds it.
- All ten work in rounds. The server is ended by SIGKILL in the middle of their calls. The next one, on the same data and
  address, adopts the browsers; each agent connects again, repeats the call that was interrupted, and goes on with
  its handle.
"""

import asyncio
import sys
import time

sys.dont_write_bytecode = True

from agent import Agent, Failed, run
from world import World

COUNT = 10
ROUNDS = 6
PATIENCE = 120  # The longest interruption, in seconds: ten browsers are adopted one after the other.


def name_of(number):
    return f"Agent{number}x"


async def sign_in(world, number):
    """Creates a session, signs in, and returns the handle; the connection ends, the session stays."""
    async with Agent.by_http(f"{world.url}/mcp", world.key) as agent:
        await agent.create(name=name_of(number), agent=f"agent-{number}")
        await agent.call("navigate", url=f"{world.site_url}/login.html")
        await agent.call("type", element=await agent.element('textbox "Name"'), text=name_of(number))
        await agent.call("type", element=await agent.element('textbox "Password"'), text="curtain")
        await agent.call("click", element=await agent.element('button "Sign in"'))
        check(await agent.snapshot(), number)
        return agent.handle


def check(seen, number):
    assert f"Signed in as {name_of(number)}" in seen, seen
    others = [other for other in range(COUNT) if other != number and name_of(other) in seen]
    assert not others, f"the page of {number} shows {others}: {seen}"


async def collide(world, handle):
    """Asks for a session that another agent holds, and returns what the agent is answered."""
    async with Agent.by_http(f"{world.url}/mcp", world.key) as agent:
        try:
            await agent.call("open", session=handle.partition(".")[0], agent="the-eleventh")
        except Failed as refused:
            return str(refused)
        raise AssertionError("two agents hold one session")


class Worker:
    """An agent that works in rounds, over interruptions."""

    def __init__(self, world, handle, number, finished):
        self.world, self.handle, self.number, self.finished = world, handle, number, finished
        self.rounds = self.interruptions = 0
        self.longest = 0.0

    async def work(self):
        last = time.monotonic()
        while self.rounds < ROUNDS:
            try:
                async with Agent.by_http(f"{self.world.url}/mcp", self.world.key) as agent:
                    agent.handle = self.handle
                    while self.rounds < ROUNDS:
                        await self.round(agent)
                        self.rounds += 1
                        self.longest, last = max(self.longest, time.monotonic() - last), time.monotonic()
                        self.finished.release()
            except Exception as cause:  # Of the SDK, of its HTTP client, or of a tool; several come in a group.
                # A wrong page is no interruption.
                if ExceptionGroup("all", [cause]).split(AssertionError)[0] or time.monotonic() - last > PATIENCE:
                    raise
                self.interruptions += 1
                await asyncio.sleep(0.2)

    async def round(self, agent):
        await agent.call("navigate", url=f"{self.world.site_url}/products.html")
        seen = await agent.snapshot()
        check(seen, self.number)
        assert "Ghost lamp" in seen, seen
        await agent.call("navigate", url=f"{self.world.site_url}/login.html")
        check(await agent.snapshot(), self.number)


async def main():
    world = World(sys.argv[1])
    try:
        began = time.monotonic()
        handles = await asyncio.gather(*(sign_in(world, number) for number in range(COUNT)))
        sessions = [handle.partition(".")[0] for handle in handles]
        print(f"{COUNT} agents signed in in {time.monotonic() - began:.1f} s", flush=True)
        assert len(set(sessions)) == COUNT, sessions

        answer = await collide(world, handles[3])
        assert "session_occupied" in answer and "agent-3" in answer, answer
        print(f"the eleventh learns: {answer}", flush=True)

        browsers = [world.browser_of(session) for session in sessions]
        finished = asyncio.Semaphore(0)
        workers = [Worker(world, handle, number, finished) for number, handle in enumerate(handles)]
        working = asyncio.gather(*(worker.work() for worker in workers))
        for _ in range(COUNT * 2):
            await finished.acquire()
        world.crash()
        await asyncio.to_thread(world.start)
        await working
        interrupted = sum(worker.interruptions > 0 for worker in workers)
        print(f"{COUNT} agents finished {ROUNDS} rounds; the crash interrupted {interrupted} of them, "
              f"for {max(worker.longest for worker in workers):.1f} s at most", flush=True)
        assert interrupted > 0, "the crash was not in the middle"
        assert browsers == [world.browser_of(session) for session in sessions], "a browser was started anew"

        for session in sessions:
            world.call("POST", f"/v1/browser_sessions/{session}/close", {})
        print("3 passed, 0 failed")
    finally:
        world.stop()


run(main())
