"""Reads and writes storage states with Playwright, and prints what a page finds in its browser.

    playwright_state.py CHROMIUM make SITE FILE     fills a new context, and writes its storage state to FILE
    playwright_state.py CHROMIUM use SITE FILE      opens the site in a context with the storage state in FILE
    playwright_state.py ADDRESS KEY SITE            opens the site in the first page of a session
"""

import json
import sys

from playwright.sync_api import sync_playwright

browser_at, action, site, *file = sys.argv[1:]
FILL = """async () => {
    document.cookie = 'passing=here';
    localStorage.theme = 'dark';
    localStorage['ünï\\u2028'] = '\\u0000 😀';
    await new Promise((done, failed) => {
        const open = indexedDB.open('app', 3);
        open.onupgradeneeded = () => {
            const users = open.result.createObjectStore('users', { keyPath: 'id' });
            users.createIndex('by_name', 'name', { unique: true });
            users.put({ id: 1, name: 'Ann', tags: [null, { deep: true }] });
            const values = open.result.createObjectStore('values');
            values.put(new Date(5), 'date');
            values.put({ pattern: /a.b/gi, bytes: new Uint8Array([1, 2, 3]), big: 12n }, 'rich');
            open.result.createObjectStore('log', { autoIncrement: true }).put('first');
        };
        open.onsuccess = () => { open.result.close(); done(); };
        open.onerror = () => failed(open.error);
    });
}"""
READ = """async () => {
    const name = document.querySelector('#who')?.textContent;
    const found = { who: name, cookies: document.cookie.split('; ').sort(), local: { ...localStorage } };
    if (!(await indexedDB.databases()).some(({ name }) => name === 'app')) return found;
    const db = await new Promise((done) => {
        const open = indexedDB.open('app');
        open.onsuccess = () => done(open.result);
    });
    const all = (store, what) => new Promise((done) => {
        const read = db.transaction(store).objectStore(store)[what]();
        read.onsuccess = () => done(read.result);
    });
    const [date, rich] = await all('values', 'getAll');
    found.version = db.version;
    found.users = await all('users', 'getAll');
    found.indexes = [...db.transaction('users').objectStore('users').indexNames];
    found.log = [await all('log', 'getAllKeys'), await all('log', 'getAll')];
    found.date = date instanceof Date && date.getTime();
    found.rich = [String(rich.pattern), [...rich.bytes], String(rich.big)];
    db.close();
    return found;
}"""

with sync_playwright() as playwright:
    if file:
        browser = playwright.chromium.launch(executable_path=browser_at, args=["--no-sandbox"])
        context = browser.new_context(storage_state=file[0] if action == "use" else None)
        page = context.new_page()
    else:
        browser = playwright.chromium.connect_over_cdp(browser_at, headers={"x-api-key": action})
        page = browser.contexts[0].pages[0]
    if action == "make":
        page.goto(f"{site}/login.html")
        page.fill("#username", "Ann")
        page.fill("#password", "curtain")
        page.click("#sign-in")
        page.wait_for_function("document.querySelector('#who')?.textContent.includes('Ann')")
        page.evaluate(FILL)
        context.storage_state(path=file[0], indexed_db=True)
    page.goto(f"{site}/index.html")
    page.wait_for_load_state("load")
    print(json.dumps(page.evaluate(READ)))
    browser.close()
