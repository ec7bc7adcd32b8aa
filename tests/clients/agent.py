"""A small agent: receives blocks over HTTP, drives their page over CDP, and reports its progress.

    python agent.py TOKEN

It understands goals such as `sign in as Ann`, `read #who`, `fail` and `wait`, and conditions such as
`Signed in is shown`. `GET /` returns the received messages, and the outcome of the blocks that it was
to stop.
"""

import asyncio
import json
import sys
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from playwright.async_api import async_playwright

TOLD = []
ENDS = {}


def say(start, **said):
    """Posts to the callback, and returns the status of the response."""
    body = json.dumps(said).encode()
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(start["callback_url"], body, headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status
    except urllib.error.HTTPError as refused:
        return refused.code


async def execute(start):
    block = start["block"]
    goal = block.get("navigation_goal") or block.get("data_extraction_goal") or block["condition"]
    async with async_playwright() as driver:
        browser = await driver.chromium.connect_over_cdp(start["cdp_url"])
        page = browser.contexts[0].pages[-1]
        say(start, status="running", progress={"goal": goal, "url": page.url})
        if goal.startswith("sign in as "):
            await page.fill("#username", goal.removeprefix("sign in as "))
            await page.fill("#password", "curtain")
            await page.click("#sign-in")
            await page.wait_for_selector("#who")
            say(start, status="completed", output={"status": "completed"})
        elif goal.startswith("read "):
            text = await page.inner_text(goal.removeprefix("read "))
            say(start, status="completed", output={"extracted_information": {"text": text}})
        elif block["block_type"] == "condition":
            shown = goal.removesuffix(" is shown") in await page.inner_text("body")
            say(start, status="completed", output={"result": shown})
        elif goal == "fail":
            say(start, status="terminated", failure_reason="it makes no sense")
        else:
            gone = asyncio.Event()
            browser.on("disconnected", lambda _: gone.set())
            await asyncio.wait_for(gone.wait(), 60)
            status = await asyncio.to_thread(say, start, status="completed")
            ENDS[start["workflow_run_block_id"]] = {"disconnected": True, "callback": status}


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        event = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.headers["authorization"] != f"Bearer {sys.argv[1]}":
            return self.answer(401, {"detail": "who are you?"})
        TOLD.append({key: event.get(key) for key in ("event", "workflow_run_block_id")})
        if event["event"] == "start":
            threading.Thread(target=lambda: asyncio.run(execute(event)), daemon=True).start()
        self.answer(202, {})

    def do_GET(self):
        self.answer(200, {"told": TOLD, "ends": ENDS})

    def answer(self, status, body):
        body = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(f"listening on http://127.0.0.1:{server.server_address[1]}", flush=True)
server.serve_forever()
