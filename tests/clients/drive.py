"""Drives a session with one of the Python clients, and prints what it observed.

    drive.py CLIENT ADDRESS KEY SITE [look]

KEY goes into the header `x-api-key`; `-` sends none. `look` attaches and reads, and does not act.
"""

import asyncio
import json
import os
import sys

client, address, key, site, *only = sys.argv[1:]
headers = None if key == "-" else {"x-api-key": key}
acts = only != ["look"]
READ = 'document.title + " " + document.querySelectorAll("h1").length'


def playwright():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as library:
        browser = library.chromium.connect_over_cdp(address, headers=headers)
        page = browser.contexts[0].pages[0]
        seen = {"read": page.evaluate(READ), "picture": len(page.screenshot()) > 500}
        page.inner_text("body")
        if acts:
            page.goto(f"{site}/products.html")
            page.fill("#query", "lamp")
            page.click("#go")
            page.wait_for_selector("body[data-found]")
            seen |= {"typed": page.input_value("#query"), "title": page.title()}
        browser.close()
        return seen


async def until(page, condition):
    """Waits until a condition holds in the page."""
    for _ in range(200):
        if await page.evaluate(f"() => String({condition})") == "true":
            return
        await asyncio.sleep(0.05)
    raise TimeoutError(condition)


async def browser_use():
    os.environ |= {"ANONYMIZED_TELEMETRY": "false", "BROWSER_USE_LOGGING_LEVEL": "error"}
    from browser_use import BrowserProfile, BrowserSession

    session = BrowserSession(browser_profile=BrowserProfile(cdp_url=address, headers=headers))
    await session.start()
    try:
        page = await session.get_current_page()
        seen = {"read": await page.evaluate(f"() => {READ}"), "picture": len(await session.take_screenshot()) > 500}
        await session.get_browser_state_summary()
        if acts:
            await page.goto(f"{site}/products.html")
            await until(page, "location.pathname.endsWith('products.html') && document.readyState == 'complete'")
            (field,) = await page.get_elements_by_css_selector("#query")
            await field.fill("lamp")
            (button,) = await page.get_elements_by_css_selector("#go")
            await button.click()
            await until(page, "'found' in document.body.dataset")
            typed = await page.evaluate("() => document.querySelector('#query').value")
            seen |= {"typed": typed, "title": await page.get_title()}
        return seen
    finally:
        await session.stop()


seen = playwright() if client == "playwright" else asyncio.run(browser_use())
print(json.dumps(seen), flush=True)
