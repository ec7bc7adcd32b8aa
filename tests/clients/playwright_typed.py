"""Prints the open page of a session, and the text in its search field."""

import json
import sys

from playwright.sync_api import sync_playwright

address, key = sys.argv[1:]
with sync_playwright() as playwright:
    browser = playwright.chromium.connect_over_cdp(address, headers={"x-api-key": key})
    page = browser.contexts[0].pages[0]
    print(json.dumps({"url": page.url, "typed": page.input_value("#query")}))
    browser.close()
