"""Drives sessions with Claude Code and Codex, with a stand-in for their model.

The configuration is taken from docs/connect/mcp.md, so that what the document says is what was tried. Each client runs
in a directory and a home of its own.
"""

import pathlib
import re
import tempfile

from forms import PROJECT
from installing import HERE
from protocol_clients import NAMES, run
from stand_in import FAREWELL, SCRIPT, Model

DOCUMENT = HERE.parents[2] / "docs/connect/mcp.md"
ASKED = "Find the price of the ghost lamp with the tools of greenroom."


def drive(world, clients, client, form):
    """Returns what the model got to see, or raises an AssertionError."""
    kind = HOSTS[client]
    temporary = tempfile.TemporaryDirectory(prefix="gr-host-")
    with temporary as directory, Model(NAMES, world.site_url, kind.prefix) as model:
        said = kind(world, clients, pathlib.Path(directory), model).visit(form)
    missing = set(NAMES["tools"].values()) - model.offered
    assert not missing, f"the model is not offered {', '.join(sorted(missing))}"
    assert len(model.results) == len(SCRIPT), f"the calls answered {model.results}, and the client {said[-400:]}"
    seen = model.results[SCRIPT.index("snapshot")]
    assert "Ghost lamp" in seen and "€ 64.00" in seen, seen
    assert FAREWELL in said, said
    return {"product": "Ghost lamp", "tools": len(model.offered)}


class Host:
    """A client in a directory of its own."""

    # The start of a tool's name, as the model sees it.
    prefix = None

    def __init__(self, world, clients, directory, model):
        self.world, self.clients, self.model = world, clients, model
        self.home, self.project, programs = (directory / name for name in ("home", "project", "bin"))
        for path in (self.home, self.project, programs):
            path.mkdir()
        for name, program in (*clients.hosts.items(), ("greenroom", world.binary)):
            (programs / name).symlink_to(program)
        environment = clients.environment()
        self.environment = environment | {
            "PATH": f"{programs}:{environment['PATH']}",
            "HOME": str(self.home),
            "GREENROOM_API_KEY": world.key,
            "HTTPS_PROXY": model.url,
            "NO_PROXY": "127.0.0.1",
        }

    def documented(self, heading, language, text):
        """Returns the block below a heading of the document that has a text in it, with this server's address."""
        document = DOCUMENT.read_text()
        section = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", document, re.MULTILINE | re.DOTALL)[1]
        blocks = re.findall(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
        (block,) = (block for block in blocks if text in block)
        return block.replace("http://127.0.0.1:8787", self.world.url)

    def run(self, *command):
        return run(command, self.clients, self.environment, self.project)


class ClaudeCode(Host):
    """Claude Code, whose settings are in its home, and in the project for the form PROJECT."""

    prefix = "mcp__greenroom__"

    def visit(self, form):
        self.environment |= {
            "CLAUDE_CONFIG_DIR": str(self.home / ".claude"),
            "ANTHROPIC_BASE_URL": self.model.url,
            "ANTHROPIC_API_KEY": "stand-in",
            "DISABLE_AUTOUPDATER": "1",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        }
        if form == PROJECT:
            (self.project / ".mcp.json").write_text(self.documented("Claude Code", "json", "mcpServers"))
            state = "Pending approval"
        else:
            text = "--transport http" if form == "mcp, http" else "-- greenroom mcp"
            self.run("bash", "-euc", self.documented("Claude Code", "sh", text))
            state = "Connected"
        listed = self.run("claude", "mcp", "list")
        assert re.search(rf"^greenroom: .*{state}", listed, re.MULTILINE), listed
        return self.run("claude", "-p", ASKED, "--allowedTools", "mcp__greenroom")


class Codex(Host):
    """Codex, whose settings are in one file."""

    prefix = "mcp__greenroom"

    def visit(self, form):
        # Codex takes no model's address from the environment.
        settings = f"""\
model = "stand-in"
model_provider = "stand-in"
model_providers.stand-in = {{ name = "stand-in", base_url = "{self.model.url}/v1", wire_api = "responses" }}
analytics.enabled = false
check_for_update_on_startup = false

"""
        settings += self.documented("Codex", "toml", "url =" if form == "mcp, http" else "command =")
        # Without it, `codex exec` refuses each tool that changes something.
        settings += 'default_tools_approval_mode = "approve"\n'
        (self.home / ".codex").mkdir()
        (self.home / ".codex/config.toml").write_text(settings)
        return self.run("codex", "exec", "--skip-git-repo-check", ASKED)


HOSTS = {"claude-code": ClaudeCode, "codex": Codex}
