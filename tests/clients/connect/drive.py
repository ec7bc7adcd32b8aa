"""Drives a session with one of the Python clients, and prints what it read from the page.

    drive.py CLIENT ADDRESS KEY SITE [look]

KEY goes into the header `x-api-key`; `-` sends none. `look` attaches and reads, and does not act.
"""

import asyncio
import json
import os
import sys
import time

client, address, key, site, *only = sys.argv[1:]
headers = None if key == "-" else {"x-api-key": key}
acts = only != ["look"]
PATIENCE = 15  # The longest wait for a page, in seconds.


def text(selector):
    return f"String(document.querySelector('{selector}')?.textContent)"


async def until(browser, expression, wanted):
    """Waits until an expression of the page has this value."""
    deadline = time.monotonic() + PATIENCE
    while wanted not in (seen := str(await browser.read(expression))):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{expression} is {seen}, not {wanted}")
        await asyncio.sleep(0.05)


async def visit(browser):
    """Signs in on the sample site, and reads one of its products."""
    await browser.goto(f"{site}/login.html")
    await until(browser, "document.readyState + location.pathname", "complete/login.html")
    await browser.fill("#username", "Ann")
    await browser.fill("#password", "curtain")
    await browser.click("#sign-in")
    await until(browser, text("#who"), "Signed in as Ann")
    await browser.goto(f"{site}/products.html")
    await until(browser, "document.readyState + location.pathname", "complete/products.html")
    await browser.fill("#query", "ghost")
    await browser.click("#go")
    await until(browser, "'found ' + document.body.dataset.found", "found 1")
    return {
        "who": await browser.read(text("#who")),
        "product": await browser.read(text("#products .name")),
        "price": await browser.read(text("#products .price")),
    }


class Playwright:
    async def open(self):
        from playwright.async_api import async_playwright

        self.library = await async_playwright().start()
        self.browser = await self.library.chromium.connect_over_cdp(address, headers=headers)
        self.page = self.browser.contexts[0].pages[0]

    async def read(self, expression):
        return await self.page.evaluate(expression)

    async def picture(self):
        return len(await self.page.screenshot()) > 500

    async def goto(self, url):
        await self.page.goto(url)

    async def fill(self, selector, value):
        await self.page.fill(selector, value)

    async def click(self, selector):
        await self.page.click(selector)

    async def close(self):
        await self.browser.close()
        await self.library.stop()


class BrowserUse:
    """The part of browser-use below its agent, which needs a model."""

    async def open(self):
        os.environ |= {"ANONYMIZED_TELEMETRY": "false", "BROWSER_USE_LOGGING_LEVEL": "error"}
        from browser_use import BrowserProfile, BrowserSession

        self.session = BrowserSession(browser_profile=BrowserProfile(cdp_url=address, headers=headers))
        await self.session.start()
        self.page = await self.session.get_current_page()

    async def read(self, expression):
        return await self.page.evaluate(f"() => {expression}")

    async def picture(self):
        await self.session.get_browser_state_summary()
        return len(await self.session.take_screenshot()) > 500

    async def goto(self, url):
        await self.page.goto(url)

    async def element(self, selector):
        (found,) = await self.page.get_elements_by_css_selector(selector)
        return found

    async def fill(self, selector, value):
        await (await self.element(selector)).fill(value)

    async def click(self, selector):
        await (await self.element(selector)).click()

    async def close(self):
        await self.session.stop()


class Selenium:
    """Attaches through chromedriver, which takes a host and a port and nothing else."""

    async def open(self):
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        options = webdriver.ChromeOptions()
        options.debugger_address = address.partition("://")[2] or address
        service = Service(executable_path=os.environ["GREENROOM_CHROMEDRIVER"])
        self.driver = webdriver.Chrome(options=options, service=service)

    def element(self, selector):
        return self.driver.find_element("css selector", selector)

    async def read(self, expression):
        return self.driver.execute_script(f"return {expression}")

    async def picture(self):
        return len(self.driver.get_screenshot_as_png()) > 500

    async def goto(self, url):
        self.driver.get(url)

    async def fill(self, selector, value):
        self.element(selector).send_keys(value)

    async def click(self, selector):
        self.element(selector).click()

    async def close(self):
        self.driver.quit()


CLIENTS = {"playwright-python": Playwright, "browser-use": BrowserUse, "selenium": Selenium}


async def main():
    browser = CLIENTS[client]()
    await browser.open()
    try:
        seen = {"read": await browser.read("'title: ' + document.title"), "picture": await browser.picture()}
        if acts:
            seen |= await visit(browser)
    finally:
        await browser.close()
    print(json.dumps(seen), flush=True)


asyncio.run(main())
