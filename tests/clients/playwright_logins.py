"""Prints the statuses of two sites that ask for a login: the session has that of one, Playwright that of the other."""

import json
import sys

from playwright.sync_api import sync_playwright

address, key, ours, theirs = sys.argv[1:]
with sync_playwright() as playwright:
    browser = playwright.chromium.connect_over_cdp(address, headers={"x-api-key": key})
    login = {"username": "bob", "password": "bob's", "origin": theirs.rstrip("/")}
    context = browser.new_context(http_credentials=login)
    routed = []

    def go_on(route):
        routed.append(route.request.url)
        route.continue_()

    context.route("**/*", go_on)
    page = context.new_page()
    seen = {"theirs": page.goto(theirs).status, "ours": page.goto(ours).status}
    seen["routed"] = ours in routed and theirs in routed
    context.close()
    browser.close()
    print(json.dumps(seen))
