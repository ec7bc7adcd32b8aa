"""The forms of a session's address, and which client takes which."""

from dataclasses import dataclass

LEASE_SECONDS = 600


@dataclass(frozen=True)
class Form:
    """One form: `address` and `key` are what a client gets; the key `-` means that it sends none."""

    name: str
    address: str
    key: str = "-"


def forms(world, session):
    """Returns the addresses of a session by their form. The lease is begun here."""
    of = f"/v1/browser_sessions/{session['browser_session_id']}"
    begun = world.call("POST", f"{of}/begin", {"runnable_id": "clients", "ttl_seconds": LEASE_SECONDS})
    plain, lease = session["browser_address"], begun["browser_address"]
    sockets = [
        Form("ws, header", plain, world.key),
        Form("ws, ?apikey=", f"{plain}?apikey={world.key}"),
        Form("ws, lease", lease),
    ]
    plain, lease = (address.replace("ws", "http", 1) for address in (plain, lease))
    return {form.name: form for form in [
        *sockets,
        Form("http, header", plain, world.key),
        Form("http, ?apikey=", f"{plain}?apikey={world.key}"),
        Form("http, lease", lease),
    ]}


def at_root(world, session):
    """Returns the addresses without a path, for clients that drop it: a port of the machine."""
    id = session["browser_session_id"]
    port = world.call("POST", f"/v1/browser_sessions/{id}/cdp/port")
    return {form.name: form for form in [
        Form("port", port["url"]),
    ]}


def connecting(world):
    """Returns the addresses at which connecting makes a session."""
    address = world.url.replace("http", "ws", 1) + "/v1/connect"
    return {form.name: form for form in [
        Form("connect, header", address, world.key),
        Form("connect, ?apikey=", f"{address}?apikey={world.key}"),
    ]}


SOCKETS = ("ws, header", "ws, ?apikey=", "ws, lease")
ADDRESSES = ("http, header", "http, ?apikey=", "http, lease")
CONNECTS = ("connect, header", "connect, ?apikey=")
PORT = "port"
DEVTOOLS = (*SOCKETS, *ADDRESSES, PORT, *CONNECTS)
PROTOCOL = ("mcp, http", "mcp, stdio")
# The file of a project, in which Claude Code expands variables.
PROJECT = "mcp, .mcp.json"
TOOLS = (*PROTOCOL, PROJECT)
ALL = (*DEVTOOLS, *TOOLS)

# An address that a client has no place for is not tried. One that it takes, and cannot use, is tried, and expected to fail.
CLIENTS = {
    "playwright-python": dict.fromkeys(DEVTOOLS, True),
    "playwright": dict.fromkeys(DEVTOOLS, True),
    "puppeteer": dict.fromkeys(DEVTOOLS, True),
    "playwright-mcp": dict.fromkeys(DEVTOOLS, True),
    "chrome-devtools-mcp": dict.fromkeys((*SOCKETS, "http, ?apikey=", "http, lease", PORT, *CONNECTS), True),
    # It drops the path of an http address, and finds no browser at the root.
    "agent-browser": dict.fromkeys(SOCKETS, True) | {"http, lease": False} | dict.fromkeys((PORT, *CONNECTS), True),
    "browser-use": dict.fromkeys(DEVTOOLS, True),
    "stagehand-3": dict.fromkeys(DEVTOOLS, True),
    # It loads an extension with the permission `debugger` from the client's disk, which no session permits.
    "stagehand": {"ws, lease": False},
    # chromedriver takes a host and a port, and no path.
    "selenium": {"http, lease": False, PORT: True},
    "mcp-python": dict.fromkeys(PROTOCOL, True),
    "mcp-typescript": dict.fromkeys(PROTOCOL, True),
    "mcp-inspector": dict.fromkeys(PROTOCOL, True),
    "claude-code": dict.fromkeys(TOOLS, True),
    "codex": dict.fromkeys(PROTOCOL, True),
}
PYTHON = {"playwright-python", "browser-use", "selenium"}
