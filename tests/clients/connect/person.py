"""A person who is asked for help: opens the link in a browser, takes control, types, and gives control back.

    person.py LINK X Y TEXT

X and Y are a place on the display, from 0 to 1, which the person clicks before the typing. The text ends with
Enter. Prints one line of JSON for each step.
"""

import json
import os
import sys

from playwright.sync_api import sync_playwright

CHROMIUM = os.environ.get("GREENROOM_CHROMIUM", "/usr/bin/chromium")
PATIENCE_MS = 30_000


def main():
    link, x, y, text = sys.argv[1:]
    report = lambda **step: print(json.dumps(step), flush=True)
    with sync_playwright() as library:
        # Chromium's sandbox refuses to run as root.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = library.chromium.launch(executable_path=CHROMIUM, args=arguments)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(PATIENCE_MS)
        page.goto(link)
        page.wait_for_selector('body[data-link="live"]')
        report(step="watches")
        page.click("#take")
        page.wait_for_selector('body[data-holder="you"]')
        report(step="has control")
        box = page.locator("#screen canvas").bounding_box()
        page.mouse.click(box["x"] + box["width"] * float(x), box["y"] + box["height"] * float(y))
        page.keyboard.type(text, delay=20)
        page.keyboard.press("Enter")
        report(step="typed")
        # The keys are sent in order, and the release of control after them.
        page.click("#take")
        page.wait_for_selector('body:not([data-holder="you"])')
        report(step="gave control back")
        browser.close()


main()
