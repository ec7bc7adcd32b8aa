"""The pages, the sockets and the links of a server behind nginx and Caddy. Run by `proxies`."""

import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from playwright.async_api import async_playwright

KEY = "key-of-the-proxies"
BINARY = os.environ["GREENROOM_BINARY"]
TLS = None  # An SSL context that trusts the certificate made here.

NGINX = """
daemon off; pid {dir}/nginx.pid; error_log {dir}/nginx-error.log; worker_processes 1;
events {{ worker_connections 200; }}
http {{
    access_log off; client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f;
    uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
    map $http_upgrade $connection_upgrade {{ default upgrade; "" close; }}
    server {{
        listen 127.0.0.1:{port} ssl; ssl_certificate {dir}/cert.pem; ssl_certificate_key {dir}/key.pem;
        location {path}/ {{
            proxy_pass http://127.0.0.1:{server}/; proxy_http_version 1.1; proxy_buffering off;
            proxy_set_header Host $http_host; proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade; proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $http_host; proxy_set_header X-Forwarded-Prefix "{path}";
            proxy_set_header X-Forwarded-For $remote_addr;
        }}
    }}
}}
"""

CADDY_ROOT = """
{{
    admin off
    auto_https off
}}
https://localhost:{port} {{
    tls {dir}/cert.pem {dir}/key.pem
    reverse_proxy 127.0.0.1:{server}
}}
"""

CADDY_PATH = """
{{
    admin off
    auto_https off
}}
https://localhost:{port} {{
    tls {dir}/cert.pem {dir}/key.pem
    handle_path {path}/* {{
        reverse_proxy 127.0.0.1:{server} {{
            header_up X-Forwarded-Prefix {path}
        }}
    }}
}}
"""

failed = 0


def check(ok: bool, *said) -> None:
    global failed
    failed += not ok
    print("ok" if ok else "FAILED", *said, flush=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_port(port: int, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the program ended with status {process.returncode}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise RuntimeError(f"nothing listens on port {port}")


def end(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def call(url: str, method: str = "GET", body=None, accept: str = "application/json"):
    headers = {"x-api-key": KEY, "content-type": "application/json", "accept": accept}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers, method=method)
    return urllib.request.urlopen(request, timeout=60, context=TLS)


def links(name: str, base: str, session: str) -> dict:
    """Asserts that the addresses in responses are those of the proxy. Returns those for a driver."""
    shown = json.load(call(f"{base}/v1/browser_sessions/{session}"))
    sockets = "ws" + base.removeprefix("http")
    of_session = f"/v1/browser_sessions/{session}"
    check(shown["app_url"] == f"{base}/view/{session}", name, "link of the view:", shown["app_url"])
    check(shown["events_url"] == f"{base}{of_session}/events", name, "link of the events:", shown["events_url"])
    address = shown["browser_address"]
    check(address == f"{sockets}{of_session}/cdp", name, "DevTools address:", address)
    found = json.load(call(f"{base}{of_session}/cdp/json/version"))["webSocketDebuggerUrl"]
    check(found.startswith(f"{sockets}{of_session}/cdp"), name, "DevTools address by discovery:", found.split("?")[0])
    ticket = json.load(call(f"{base}{of_session}/viewers", "POST", {"role": "watch"}))
    link = ticket["link"]
    check(link.startswith(f"{base}/view/{session}#ticket="), name, "link of a ticket:", link.split("#")[0])
    began = json.load(call(f"{base}{of_session}/begin", "POST", {"runnable_id": "proxies", "ttl_seconds": 300}))
    lease = began["browser_address"]
    check(lease.startswith(f"{sockets}{of_session}/"), name, "DevTools address of a lease:", lease.split("?")[0])
    with call(f"{base}/wall/") as answer:
        check(answer.url == f"{base}/wall", name, "a slash too many leads to", answer.url)
    return {"header": address, "discovery": address.replace("wss", "https", 1), "lease": lease,
            "link": link, "proof": {name: began[name] for name in ("lease_token", "generation")}}


async def pages(name: str, base: str, session: str, link: str, browser) -> None:
    """The view by key, the wall, the view again, and the view by a ticket."""
    context = await browser.new_context(ignore_https_errors=True, viewport={"width": 1280, "height": 800})
    page = await context.new_page()
    complaints: list[str] = []
    opened: list[str] = []
    page.on("pageerror", lambda cause: complaints.append(str(cause)))
    page.on("requestfailed", lambda request: complaints.append(f"{request.url} {request.failure}"))
    page.on("websocket", lambda socket: opened.append(socket.url))
    try:
        await page.goto(f"{base}/view/{session}#apikey={KEY}")
        await page.wait_for_selector('body[data-link="live"]', timeout=30_000)
        stream = "ws" + base.removeprefix("http") + "/v1/stream/vnc/"
        check(any(url.startswith(stream) for url in opened), name, "the view's VNC socket is live")
        await page.click("a.brand")
        await page.wait_for_selector(f'.tile[data-picture] a[href$="view/{session}"]', timeout=30_000)
        await page.click(f'a[href$="view/{session}"]')
        await page.wait_for_selector('body[data-link="live"]', timeout=30_000)
        picture = os.environ.get("GREENROOM_SHOTS")
        if picture:
            await page.screenshot(path=f"{picture}/{name.replace(' ', '-')}.png")
        check(not complaints, name, "view, wall with a picture, and back to the view", *complaints[:3])
        await page.goto("about:blank")
        await page.goto(link)
        await page.wait_for_selector('body[data-link="live"]', timeout=30_000)
        check(True, name, "view by a ticket's link")
    except Exception as cause:
        check(False, name, "view and wall:", str(cause).splitlines()[0], *complaints[:3], *opened[:3])
    await context.close()


async def through(name: str, base: str, session: str, browser, playwright) -> None:
    """Tests the actions of people and programs at the proxy's address `base`."""
    known = links(name, base, session)
    await pages(name, base, session, known["link"], browser)

    # Playwright has no setting for the certificate of DevTools: its Node takes the authority from the
    # environment.
    for way in ("header", "discovery", "lease"):
        headers = None if way == "lease" else {"x-api-key": KEY}
        try:
            driver = await playwright.chromium.connect_over_cdp(known[way], headers=headers, timeout=20_000)
            two = await driver.contexts[0].pages[0].evaluate("1 + 1")
            await driver.close()
            check(two == 2, name, "Playwright, by", way)
        except Exception as cause:
            check(False, name, f"Playwright, by {way}:", str(cause).splitlines()[0])
    stream = call(f"{base}/v1/browser_sessions/{session}/events", accept="text/event-stream")
    line = await asyncio.to_thread(stream.readline)
    stream.close()
    check(bool(line.strip()), name, "events as they come:", line.decode().strip()[:40])
    call(f"{base}/v1/browser_sessions/{session}/release", "POST", known["proof"]).read()


async def main() -> None:
    global TLS
    scratch = Path(tempfile.mkdtemp())
    programs: list[subprocess.Popen] = []
    try:
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
             "-addext", "subjectAltName=DNS:localhost", "-keyout", scratch / "key.pem", "-out", scratch / "cert.pem"],
            check=True, capture_output=True,
        )
        import ssl

        TLS = ssl.create_default_context(cafile=str(scratch / "cert.pem"))
        os.environ["NODE_EXTRA_CA_CERTS"] = str(scratch / "cert.pem")
        server = free_port()
        environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            "GREENROOM_BOOTSTRAP_KEY": KEY,
            "GREENROOM_HTTP__TRUSTED_PROXIES": "127.0.0.1,::1",
        }
        log = open(scratch / "server.log", "wb")
        command = [BINARY, "serve", "--listen", f"127.0.0.1:{server}", "--data", str(scratch / "data")]
        programs.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
        wait_for_port(server, programs[-1])
        made = json.load(call(f"http://127.0.0.1:{server}/v1/browser_sessions", "POST", {"width": 800, "height": 600}))
        session = made["browser_session_id"]
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(
                executable_path=os.environ.get("GREENROOM_CHROMIUM", "/usr/bin/chromium"),
                args=["--no-sandbox"] if os.geteuid() == 0 else [])
            for name, program, text, path in (
                ("nginx at the root", "nginx", NGINX, ""),
                ("nginx below a path", "nginx", NGINX, "/green/room"),
                ("Caddy at the root", "caddy", CADDY_ROOT, ""),
                ("Caddy below a path", "caddy", CADDY_PATH, "/green/room"),
            ):
                port = free_port()
                configured = scratch / f"{program}-{port}"
                configured.write_text(text.format(dir=scratch, port=port, server=server, path=path))
                found = shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin")
                command = [found, "-c", str(configured)] if program == "nginx" else \
                    [found, "run", "--adapter", "caddyfile", "--config", str(configured)]
                home = {"HOME": str(scratch), "PATH": os.environ["PATH"]}
                with open(scratch / f"{program}.log", "wb") as output:
                    programs.append(subprocess.Popen(command, env=home, stdout=output, stderr=output))
                try:
                    wait_for_port(port, programs[-1])
                    await through(name, f"https://localhost:{port}{path}", session, browser, playwright)
                except Exception as cause:
                    check(False, name, cause)
                end(programs.pop())
            await browser.close()
        call(f"http://127.0.0.1:{server}/v1/browser_sessions/{session}/close", "POST", {}).read()
    finally:
        for process in reversed(programs):
            end(process)
        if failed:
            sys.stderr.write((scratch / "server.log").read_text(errors="replace")[-2000:])
        shutil.rmtree(scratch, ignore_errors=True)
    print(f"proxies: {failed} failed")
    sys.exit(1 if failed else 0)


asyncio.run(main())
