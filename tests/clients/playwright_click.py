"""Clicks on a signal, and prints the outcome and what could be read meanwhile."""

import asyncio
import json
import sys

from playwright.async_api import Error, async_playwright

address, site = sys.argv[1:]


def say(**what):
    print(json.dumps(what), flush=True)


async def main():
    async with async_playwright() as playwright:
        browser = await playwright.chromium.connect_over_cdp(address)
        page = browser.contexts[0].pages[0]
        await page.goto(f"{site}/products.html")
        await page.evaluate("window.clicks = 0; addEventListener('click', () => { window.clicks += 1 })")
        say(ready=True)
        await asyncio.to_thread(sys.stdin.readline)
        # Not `page.click`, which retries for 30 s after a refusal.
        click = asyncio.ensure_future(page.mouse.click(5, 5))
        await asyncio.wait({click}, timeout=1)
        say(waits=not click.done(), clicks=await page.evaluate("window.clicks"))
        try:
            await click
            say(clicks=await page.evaluate("window.clicks"))
        except Error as cause:
            say(error=str(cause))


asyncio.run(main())
