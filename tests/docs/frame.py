"""Opens a page that frames the live view, and waits for the picture in it.

    python frame.py FILE ORIGIN SESSION KEY
"""

import http.server
import sys
import threading
import urllib.parse

from playwright.sync_api import sync_playwright

file, origin, session, key = sys.argv[1:]
page_text = open(file).read().replace("pbs_…", session).replace("apikey=…", f"apikey={key}")
page_text = f"<!doctype html><meta charset=utf-8><title>Embedding</title>{page_text}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = page_text.encode()
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", urllib.parse.urlsplit(origin).port), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
    page = browser.new_page()
    page.goto(origin)
    picture = page.frame_locator("iframe").locator("canvas").first
    picture.wait_for(state="visible", timeout=30_000)
    print("the frame shows the session")
    browser.close()
