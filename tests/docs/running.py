"""Executes the blocks of one document, in their order, in one shell."""

import json
import os
import pathlib
import re
import shlex
import signal
import subprocess

from servers import ROOT, free_port

LIMIT = 170  # The timeout of a document, in seconds.
MARK = "@@greenroom-block"
LANGUAGES = ("sh", "json", "yaml", "python", "js", "toml", "html")

PRELUDE = r"""
set -euo pipefail
# What a block sets is there for programs in the background too.
set -a
# An answer that refuses fails the block.
curl() { command curl --noproxy '*' --max-time 60 --fail-with-body --show-error "$@"; }
# new_session: prints the id of a session on the sample site, which ends with the server.
new_session() { greenroom sessions create --json --width 1000 --height 700 --start-url "$SITE/" "$@" | jq -r .browser_session_id; }
# close_answer: closes the session that the last request created.
close_answer() { curl -s -X POST -H "x-api-key: $KEY" "$URL/v1/browser_sessions/$(jq -r .browser_session_id answer.json)/close" -o closed.json; }
export -f curl
# approve_next: continues the next run that waits for a person.
approve_next() {
    local run
    for ((tries = 0; tries < 300; tries++)); do
        run=$(curl -s -H "x-api-key: $KEY" "$URL/v1/runs?status=paused" | jq -r '.[0].run_id // empty')
        [ -z "$run" ] || break
        sleep 0.1
    done
    curl -s -H "x-api-key: $KEY" -d '{}' "$URL/v1/workflows/runs/$run/continue" -o /dev/null
}
# background <text> <file>: runs the file until its output has the text, and ends it with the document.
background() {
    set -m
    bash -euo pipefail "$2" >"$2.log" 2>&1 </dev/null &
    set +m
    backgrounds+=("$!")
    for ((tries = 0; tries < 600; tries++)); do
        grep -qF -- "$1" "$2.log" && return
        kill -0 "${backgrounds[-1]}" 2>/dev/null || break
        sleep 0.1
    done
    cat "$2.log" >&2
    return 1
}
backgrounds=()
# finish_background: ends what runs in the background, with SIGTERM.
finish_background() {
    local one
    for one in ${backgrounds[@]+"${backgrounds[@]}"}; do kill -TERM -- "-$one" 2>/dev/null || true; done
    for one in ${backgrounds[@]+"${backgrounds[@]}"}; do wait "$one" 2>/dev/null || true; done
    backgrounds=()
}
end() {
    local status=$?
    trap - EXIT
    finish_background
    exit "$status"
}
trap 'exit 143' TERM
trap end EXIT
"""


class Failed(Exception):
    """A block whose commands failed, with their output."""


class Document:
    """One document, its blocks, and the directory in which they run."""

    def __init__(self, path, blocks, world):
        self.path, self.blocks, self.world = path, blocks, world
        self.home = world.home / "-".join(path.relative_to(ROOT).with_suffix("").parts)
        self.home.mkdir()
        for name in ("demo", "tests", "scripts"):
            (self.home / name).symlink_to(ROOT / name)
        (self.home / "node_modules").symlink_to(ROOT / "tests/docs/node_modules")
        serves = any(block.instruction("until") and "greenroom serve" in block.text for block in blocks)
        self.url = f"http://127.0.0.1:{free_port()}" if serves else world.server
        site = f"http://127.0.0.1:{free_port()}" if serves else world.site
        # What stands in the text, and what it is here.
        self.values = [
            ("http://127.0.0.1:8787", self.url),
            ("127.0.0.1:8787", self.url.removeprefix("http://")),
            ("http://127.0.0.1:8000", site),
            ("127.0.0.1:8000", site.removeprefix("http://")),
            ("https://example.com", world.site),
            ("https://app.example.com", world.embedding),
        ]

    def localized(self, text):
        for written, here in self.values:
            text = text.replace(written, here)
        return text

    def file(self, index, block, suffix, text=None):
        path = self.home / f"block-{index}.{suffix}"
        path.write_text(self.localized(block.text) if text is None else text)
        return shlex.quote(path.name)

    def commands(self, index, block):
        """Returns the shell commands that execute a block."""
        if until := block.instruction("until"):
            return f"background {shlex.quote(until)} {self.file(index, block, 'sh')}"
        if block.language == "sh":
            return self.localized(block.text)
        if block.language == "python":
            return f'"$PYTHON" {self.file(index, block, "py")}'
        if block.language == "js":
            return f"node {self.file(index, block, 'mjs')}"
        if block.language == "toml":
            return f"env -u GREENROOM_EGRESS__ALLOW greenroom config --config {self.file(index, block, 'toml')} >/dev/null"
        if block.language == "html":
            return f'"$PYTHON" "$TESTS/frame.py" {self.file(index, block, "html")} "$EMBEDDING" "$ID" "$KEY"'
        if block.language == "json":
            json.loads(block.text)
            method, address = block.instruction("send").split()
            name = self.file(index, block, "json")
            return f'curl -s -X {method} -H "x-api-key: $KEY" --data-binary @{name} "$URL{address}" -o answer.json'
        params = block.instruction("params") or ""
        names = ["site_url", *re.findall(r"--param (\w+)=", params)]
        name = self.file(index, block, "yaml", workflow(self.localized(block.text), names))
        return f'greenroom run {name} --session "$ID" --param "site_url=$SITE" {params}'

    def script(self):
        parts = [PRELUDE]
        for index, block in enumerate(self.blocks):
            parts.append(f"echo '{MARK} {index}'\n")
            if before := block.instruction("before"):
                parts.append(self.localized(before) + "\n")
            commands = self.commands(index, block)
            if wanted := block.instruction("fails with"):
                name = self.home / f"block-{index}.failing.sh"
                name.write_text(commands)
                parts.append(
                    f"if (set -e; source {shlex.quote(str(name))}) >failing.log 2>&1; then "
                    "echo 'it succeeded, and should have failed'; exit 1; fi\n"
                    f"grep -F -- {shlex.quote(wanted)} failing.log\n"
                )
            else:
                parts.append(commands + "\n")
            if after := block.following("after"):
                parts.append(self.localized(after) + "\n")
        return "\n".join(parts)

    def run(self):
        """Executes all blocks; raises `Failed` with the first that fails."""
        (self.home / "all.sh").write_text(self.script())
        binaries = self.world.home / "bin"
        environment = {
            name: os.environ[name] for name in ("LANG", "TMPDIR") if name in os.environ
        } | self.world.settings() | {
            "PATH": f"{binaries}:{os.environ['PATH']}",
            "URL": self.url, "KEY": self.world.key,
            "GREENROOM_URL": self.url, "GREENROOM_API_KEY": self.world.key,
            "GREENROOM_OPERATOR_KEY": self.world.operator,
            "SITE": self.world.site, "EMBEDDING": self.world.embedding,
            "PYTHON": str(self.world.python), "TESTS": str(ROOT / "tests/docs"),
            "SERVER_DATA": str(self.world.home / "data"), "GREENROOM_DATA": str(self.home / "data"), "HOME": str(self.home),
        }
        if self.url != self.world.server:
            environment["GREENROOM_LISTEN"] = self.url.removeprefix("http://")
        process = subprocess.Popen(
            ["bash", "all.sh"], cwd=self.home, env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            # The shell ends what it has started in the background.
            os.kill(process.pid, signal.SIGTERM)
            output, _ = process.communicate()
            output += f"\nnot finished after {LIMIT} s\n"
        if process.returncode != 0:
            index, text = last_block(output)
            raise Failed(f"{self.blocks[index].place}: exit status {process.returncode}\n{text}")
        return output


def last_block(output):
    """Returns the index of the block that ran last, and its output."""
    _, _, rest = output.rpartition(f"{MARK} ")
    number, _, text = rest.partition("\n")
    return int(number or 0), text[-3000:]


def workflow(text, parameters):
    """Returns a definition; a list of blocks gets these parameters, the sample site's address among them."""
    if not re.match(r"(#.*\n)*- ", text):
        return text
    blocks = "".join(f"    {line}\n" if line else "\n" for line in text.split("\n"))
    keys = "".join(
        f"    - parameter_type: workflow\n      key: {key}\n      workflow_parameter_type: string\n" for key in parameters
    )
    return f"title: An example of the documents\nworkflow_definition:\n  parameters:\n{keys}  blocks:\n{blocks}"
