"""Drives a session with only the address of its lease, until the lease ends; prints what it observed."""

import json
import sys
import time

from playwright.sync_api import Error, sync_playwright

address, site = sys.argv[1:]
with sync_playwright() as playwright:
    browser = playwright.chromium.connect_over_cdp(address)
    page = browser.contexts[0].pages[0]
    page.goto(f"{site}/products.html")
    page.fill("#query", "lamp")
    print(json.dumps({"typed": page.input_value("#query")}), flush=True)
    deadline = time.monotonic() + 60
    try:
        while time.monotonic() < deadline:
            page.wait_for_timeout(50)
    except Error as cause:
        print(json.dumps({"connected": browser.is_connected(), "cause": str(cause).splitlines()[0]}), flush=True)
