"""Measures the blocks of a workflow and the same steps in Playwright, alternating, on the same browser. See
scripts/bench-workflow."""

import json
import statistics
import sys
import time
import urllib.request

from playwright.sync_api import sync_playwright

url, key, site, rounds = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def api(method, path, body=None):
    request = urllib.request.Request(url + path, method=method, headers={"x-api-key": key})
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("content-type", "application/json")
    with opener.open(request, timeout=90) as answer:
        return json.load(answer)


def block(kind, label, **fields):
    return {"block_type": kind, "label": label, **fields}


def products(page):
    read = """list => list.map(it => ({
        sku: it.querySelector(".sku").textContent,
        name: it.querySelector(".name").textContent,
        price: it.querySelector(".price").textContent,
    }))"""
    page.wait_for_selector(".product")
    return page.eval_on_selector_all(".product", read)


# Each block, and the equivalent in Playwright.
STEPS = [
    (
        block("goto_url", "open_sign_in", url=f"{site}/login.html"),
        lambda page: page.goto(f"{site}/login.html"),
    ),
    (
        block("script", "sign_out", script="localStorage.clear(); location.reload(); return 1"),
        lambda page: page.evaluate("localStorage.clear(); location.reload(); 1"),
    ),
    (
        block("fill", "name", selector="#username", value="Ann"),
        lambda page: page.fill("#username", "Ann"),
    ),
    (
        block("fill", "password", selector="label=Password", value="curtain"),
        lambda page: page.get_by_label("Password").fill("curtain"),
    ),
    (
        block("click", "sign_in", selector='role=button[name="Sign in"]'),
        lambda page: page.get_by_role("button", name="Sign in").click(),
    ),
    (
        block("wait_for", "signed_in", text="Signed in as Ann"),
        lambda page: page.get_by_text("Signed in as Ann").first.wait_for(),
    ),
    (
        block("goto_url", "open_shop", url=f"{site}/products.html"),
        lambda page: page.goto(f"{site}/products.html"),
    ),
    (
        block("fill", "query", selector="#query", value="lamp", press_enter=True),
        lambda page: (page.fill("#query", "lamp"), page.press("#query", "Enter")),
    ),
    (
        block(
            "extract", "products",
            fields={"products": {"list": ".product", "fields": {
                "sku": ".sku", "name": ".name", "price": ".price"}}},
        ),
        products,
    ),
    (
        block("goto_url", "open_form", url=f"{site}/form.html"),
        lambda page: page.goto(f"{site}/form.html"),
    ),
    (
        block("select", "delivery", selector="#delivery", values="Overnight"),
        lambda page: page.select_option("#delivery", label="Overnight"),
    ),
    (
        block("click", "terms", selector="#terms"),
        lambda page: page.click("#terms"),
    ),
]


def seconds(begin, end):
    from datetime import datetime

    at = [datetime.fromisoformat(text.replace("Z", "+00:00")) for text in (begin, end)]
    return (at[1] - at[0]).total_seconds()


def ours(workflow, session):
    """Milliseconds of each block, and of the whole run."""
    request = {"workflow_id": workflow, "browser_session_id": session}
    run = api("POST", "/v1/run/workflows", request)
    while run["finished_at"] is None:
        run = api("GET", f"/v1/runs/{run['run_id']}?after={run['version']}")
    assert run["status"] == "completed", json.dumps(run["failure"], indent=1)
    assert len(run["output"]["products_output"]["products"]) == 3, run["output"]
    blocks = {it["label"]: it for it in run["blocks"]}
    took = [
        1e3 * seconds(blocks[step["label"]]["started_at"], blocks[step["label"]]["finished_at"])
        for step, _ in STEPS
    ]
    return took, 1e3 * seconds(run["started_at"], run["finished_at"])


def theirs(page):
    took = []
    began = time.perf_counter()
    for _, step in STEPS:
        start = time.perf_counter()
        step(page)
        took.append(1e3 * (time.perf_counter() - start))
    return took, 1e3 * (time.perf_counter() - began)


session = api("POST", "/v1/browser_sessions", {})
definition = {"title": "Twelve blocks", "workflow_definition": {"blocks": [step for step, _ in STEPS]}}
stored = api("POST", "/v1/workflows", {"json_definition": definition})
workflow, id = stored["workflow_permanent_id"], session["browser_session_id"]

with sync_playwright() as playwright:
    results = {"greenroom": [], "playwright": []}
    for round in range(rounds):
        results["greenroom"].append(ours(workflow, id))
        # A connected client would affect the next run.
        browser = playwright.chromium.connect_over_cdp(
            session["browser_address"], headers={"x-api-key": key}
        )
        results["playwright"].append(theirs(browser.contexts[0].pages[-1]))
        browser.close()

api("POST", f"/v1/browser_sessions/{id}/close", {})

print(f"{len(results['greenroom'])} runs of {len(STEPS)} blocks on one session: all completed")
print(f"{'block':14} {'type':10} {'Greenroom':>12} {'Playwright':>12}   median, milliseconds")
sums = [0.0, 0.0]
every = [[], []]
for index, (step, _) in enumerate(STEPS):
    medians = []
    for which, name in enumerate(("greenroom", "playwright")):
        times = [took[index] for took, _ in results[name]]
        medians.append(statistics.median(times))
        sums[which] += medians[-1]
        every[which] += times
    print(f"{step['label']:14} {step['block_type']:10} {medians[0]:12.1f} {medians[1]:12.1f}")
middle = [statistics.median(times) for times in every]
print(f"{'of all blocks':25} {middle[0]:12.1f} {middle[1]:12.1f}")
print(f"{'sum of the medians':25} {sums[0]:12.1f} {sums[1]:12.1f}")
whole = [statistics.median(all for _, all in results[name]) for name in results]
print(f"{'whole run':25} {whole[0]:12.1f} {whole[1]:12.1f}   with records and pictures; bare")
