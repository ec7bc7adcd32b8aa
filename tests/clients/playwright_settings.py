"""Prints the browser as a page, a worker and a popup of a session see it, and a page of a context of its own."""

import json
import sys

from playwright.sync_api import sync_playwright

address, key, url = sys.argv[1:]
with sync_playwright() as playwright:
    browser = playwright.chromium.connect_over_cdp(address, headers={"x-api-key": key})
    page = browser.contexts[0].new_page()
    page.goto(url)
    with page.expect_popup() as opened:
        page.evaluate("url => { open(url); }", url)
    popup = opened.value
    popup.wait_for_load_state("load")
    seen = {
        "popup": popup.evaluate("seen()"),
        "popup_position": popup.evaluate("position()"),
    }
    popup.close()
    page.bring_to_front()
    seen["page"] = page.evaluate("seen()")
    seen["position"] = page.evaluate("position()")
    seen["worker"] = page.evaluate(
        "new Promise(done => { new Worker('/worker.js').onmessage = event => done(event.data); })"
    )
    seen["headers"] = page.evaluate("fetch('/headers').then(answer => answer.json())")
    context = browser.new_context()
    own = context.new_page()
    own.goto(url)
    seen["own"] = own.evaluate("seen()")
    seen["own_position"] = own.evaluate("position()")
    context.close()
    page.close()
    browser.close()
    print(json.dumps(seen))
