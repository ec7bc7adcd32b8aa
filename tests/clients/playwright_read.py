"""Opens the sample site in a session, and prints the name that the site shows."""

import json
import sys

from playwright.sync_api import sync_playwright

address, key, site = sys.argv[1:]
with sync_playwright() as playwright:
    browser = playwright.chromium.connect_over_cdp(address, headers={"x-api-key": key})
    page = browser.contexts[0].new_page()
    page.goto(f"{site}/index.html")
    page.wait_for_load_state("load")
    print(json.dumps({
        "who": page.inner_text("#who"),
        "cookie": page.evaluate("document.cookie"),
        "storage": page.evaluate("({...localStorage})"),
    }))
    page.close()
    browser.close()
