"""Tables of the documents that have a source: each is compared with it, and written anew with `--write`.

A table stands between `<!-- table: NAME -->` and `<!-- end -->`. The codes of errors have a column that a person writes;
of them only the names are compared.
"""

import json
import os
import re
import subprocess
import urllib.request

from servers import ROOT

TABLE = re.compile(r"(<!-- table: (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
# The ways in which the sources make an answer with a code.
CODE = re.compile(
    r"(?:Problem::new\(\s*(?:StatusCode::\w+|status|StatusCode::from_u16\([^)]*\)[^,]*),\s*|\bconflict\(\s*|\bgone\(\s*|"
    r"\bunavailable\(\s*|\blimited\(\s*|\bfailed\(\s*)\"([a-z][a-z_]+)\""
)
# Their codes are not those of answers: the check of a target, the doors of an egress program, the suffixes of programs.
OTHER_CODES = ("check.rs", "gateway.rs", "failure.rs")
# The programs of a desktop, whose failures have their names before them.
PROGRAMS = ("xvfb", "vnc", "chromium")
# Methods that only compatible clients use, under names of their own: each has the same route with another name.
ALIASES = ("/v1/agents", "/v1/run/agents", "/v1/workflows/runs")


def cell(text):
    return " ".join(text.split()).replace("|", "\\|")


def settings(world):
    """Returns the rows of all settings: the key, the default, the meaning."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GREENROOM_")}
    answer = subprocess.run(
        [world.binary, "config"], capture_output=True, text=True, check=True, env={**clean, "HOME": "/root"}
    ).stdout
    defaults, section = {}, ""
    for line in answer.split("\n"):
        if head := re.match(r"\[([\w.]+)\]$", line):
            section = f"{head[1]}."
        elif unset := re.match(r"# (\w+) is not set", line):
            defaults[f"{section}{unset[1]}"] = ""
        elif found := re.match(r"(\w+) = (.*?)\s+# \w+", line):
            defaults[f"{section}{found[1]}"] = found[2]
    defaults["data"] = ""
    meanings = {}
    for line in (ROOT / "tests/it/fields/settings.txt").read_text().split("\n"):
        if line and not line.startswith("#"):
            key, _, meaning = (part.strip() for part in line.split(" | ", 2))
            meanings[key] = meaning
    yield ("| setting | default | meaning |", "|---|---|---|")
    for key in defaults:
        default = defaults[key]
        shown = "" if default == "" else "harmless ones" if len(default) > 120 else f"`{default}`"
        yield (f"| `{key}` | {cell(shown)} | {cell(meanings.get(key, ''))} |",)


def events(_):
    """Returns the rows of all kinds of events, from their documentation."""
    source = (ROOT / "src/domain/event.rs").read_text()
    yield ("| kind | meaning, and `data` |", "|---|---|")
    for docs, kind in re.findall(r"((?:    /// .*\n)+)    \w+ = \"([a-z_.]+)\",", source):
        text = " ".join(line.strip().removeprefix("///").strip() for line in docs.strip().split("\n"))
        yield (f"| `{kind}` | {cell(text)} |",)


def routes(world):
    """Returns the rows of all routes of the API's description."""
    with urllib.request.urlopen(f"{world.server}/openapi.json", timeout=20) as answer:
        paths = json.load(answer)["paths"]
    yield ("| request | effect |", "|---|---|")
    for path, methods in paths.items():
        if path.startswith(ALIASES):
            continue
        for method, operation in methods.items():
            if method in ("get", "post", "put", "patch", "delete"):
                summary = cell(operation.get("summary", ""))
                sentence = re.match(r"(.*?\.)(?: |$)", summary)
                yield (f"| `{method.upper()} {path}` | {sentence[1] if sentence else summary} |",)


GENERATED = {"settings": settings, "events": events, "routes": routes}


def codes(world):
    """Yields the codes of errors that `docs/errors.md` lacks, or has and the sources do not."""
    files = [path for path in sorted((ROOT / "src").rglob("*.rs")) if "test" not in str(path.relative_to(ROOT))]
    sources = {path: path.read_text() for path in files}
    made = {code for path, text in sources.items() if path.name not in OTHER_CODES for code in CODE.findall(text)}
    for path in sorted((ROOT / "tests/it").rglob("*.rs")):
        made |= set(re.findall(r"\bproblem\(\d+, \"([a-z_]+)\"", path.read_text()))
    written = set()
    for table in TABLE.finditer((ROOT / "docs/errors.md").read_text()):
        for line in table[3].split("\n"):
            if line.startswith("| `"):
                written |= set(re.findall(r"`([a-z_]+)`", line.split("|")[1]))
    for code in sorted(made - written):
        yield f"docs/errors.md: the code `{code}` is missing"
    whole = "\n".join(sources.values())
    for code in sorted(written):
        thing, _, what = code.partition("_")
        composed = code.endswith("_unknown") or (thing in PROGRAMS and f'"{what}"' in whole)
        if f'"{code}"' not in whole and not composed:
            yield f"docs/errors.md: no source has the code `{code}`"


def block_types(world):
    """Yields the types of blocks that have no example in `docs/blocks.md`."""
    source = (ROOT / "src/workflow/definition/block/mod.rs").read_text()
    text = (ROOT / "docs/blocks.md").read_text()
    for name in re.findall(r"\w+\(\w+\) = \"(\w+)\",", source):
        if f"block_type: {name}\n" not in text:
            yield f"docs/blocks.md: no example has `block_type: {name}`"


def gaps(world):
    """Yields each operation of the API's description that lacks a subject, a summary or the form of its errors."""
    with urllib.request.urlopen(f"{world.server}/openapi.json", timeout=20) as answer:
        api = json.load(answer)
    described = {tag["name"] for tag in api.get("tags", []) if tag.get("description")}
    ids = set()
    for path, methods in api["paths"].items():
        for method, operation in methods.items():
            place = f"openapi.json: {method.upper()} {path}"
            if not set(operation.get("tags", [])) & described:
                yield f"{place} has no subject with a description"
            if not operation.get("summary"):
                yield f"{place} has no summary"
            if operation.get("operationId") in ids or not operation.get("operationId"):
                yield f"{place} has no operationId of its own"
            ids.add(operation.get("operationId"))
            errors = {status: answer for status, answer in operation["responses"].items() if status[0] in "45"}
            if not errors:
                yield f"{place} describes no error"
            for status, answer in errors.items():
                if not any("schema" in content for content in answer.get("content", {}).values()):
                    yield f"{place} has no form of its answer {status}"


def differences(world, write=False):
    """Yields each table that differs from its source; with `write`, the tables are made anew."""
    for path in sorted((ROOT / "docs").glob("*.md")):
        text = path.read_text()
        for begin, name, body, _ in TABLE.findall(text):
            if name not in GENERATED:
                continue
            wanted = "".join(f"{line}\n" for lines in GENERATED[name](world) for line in lines)
            if body != wanted:
                if write:
                    text = text.replace(f"{begin}{body}<!-- end -->", f"{begin}{wanted}<!-- end -->")
                else:
                    yield f"{path.relative_to(ROOT)}: the table of {name} differs from its source: scripts/test-docs --write"
        if write:
            path.write_text(text)
    yield from codes(world)
    yield from gaps(world)
    yield from block_types(world)
