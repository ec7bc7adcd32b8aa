"""Executes every command and snippet of the README and of docs/, and checks the links of all Markdown.

    python tests/docs BINARY [--write] [DOCUMENT…]

`--write` makes the tables anew that have a source, and executes nothing.

The blocks of a document run in their order in one shell, against a real server with real programs, in a
temporary directory. Comments above a block instruct it:

    not run: REASON          it is counted, and not executed
    before: COMMANDS         shell commands that a reader does not see; `after:` below the block likewise
    until: TEXT              it runs in the background from its line with this text to the end
    fails with: TEXT         it fails, and its output has the text
    send: METHOD PATH        of JSON: the body of this request
    params: --param A=B      of YAML: further arguments of `greenroom run`

YAML is a workflow, or a list of blocks, that completes in `$ID`; TOML is a settings file; HTML frames the view.
"""

import collections
import concurrent.futures
import itertools
import pathlib
import sys
import tempfile
import time

sys.dont_write_bytecode = True

import markdown
import tables
from running import LANGUAGES, Document, Failed
from servers import ROOT, World

AT_ONCE = 4  # They wait much of their time, for browsers.


def main():
    binary = pathlib.Path(sys.argv[1]).resolve()
    write = "--write" in sys.argv
    names = [name for name in sys.argv[2:] if not name.startswith("-")]
    began = time.monotonic()
    problems = list(markdown.broken_links())
    chosen, skipped, plain = {}, collections.defaultdict(list), 0
    for path in markdown.documents():
        for block in markdown.blocks(path):
            if reason := block.instruction("not run"):
                skipped[reason].append(block.place)
            elif block.language == "text":
                plain += 1
            elif block.language not in LANGUAGES:
                problems.append(f"{block.place}: a block of `{block.language}` is neither executed nor `text`")
            elif block.language == "json" and not block.instruction("send"):
                problems.append(f"{block.place}: JSON without an instruction `send: METHOD PATH`")
            else:
                chosen.setdefault(path, []).append(block)
    if names:
        chosen = {path: blocks for path, blocks in chosen.items() if path.stem in names}
        if len(chosen) != len(names):
            problems.append(f"no document with blocks among {names}")
    executed = 0
    with tempfile.TemporaryDirectory(prefix="greenroom-docs-", dir="/var/tmp") as home:
        home = pathlib.Path(home)
        (home / "bin").mkdir()
        (home / "bin/greenroom").symlink_to(binary)
        world = World(binary, home, ROOT / ".venv/bin/python")
        try:
            problems += tables.differences(world, write)
            if write:
                chosen = {}
            documents = [Document(path, blocks, world) for path, blocks in chosen.items()]
            # The longest begin first.
            documents.sort(key=lambda document: -len(document.blocks))
            # A page that drains the server would have the others refused meanwhile, so it has its turn after them.
            alone = [document for document in documents if drains(document)]
            documents = [document for document in documents if not drains(document)]
            with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
                outcomes = itertools.chain(pool.map(timed, documents), map(timed, alone))
                for document, outcome in zip(documents + alone, outcomes):
                    seconds, error = outcome
                    print(f"{seconds:5.1f} s  {document.path.relative_to(ROOT)}: "
                          + ("FAILED" if error else f"{len(document.blocks)} blocks"))
                    if error:
                        problems.append(error)
                    else:
                        executed += len(document.blocks)
        finally:
            world.stop()
    for reason, places in sorted(skipped.items()):
        print(f"not run, {reason}: {', '.join(places)}")
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    count = sum(len(places) for places in skipped.values())
    print(f"{executed} blocks executed, {count} skipped with reasons, {plain} without commands, "
          f"in {time.monotonic() - began:.0f} s")
    return int(bool(problems))


def drains(document):
    """True if the page drains the server that all pages share."""
    return any("greenroom drain" in block.text for block in document.blocks)


def timed(document):
    began = time.monotonic()
    try:
        document.run()
        error = None
    except Failed as failed:
        error = str(failed)
    return time.monotonic() - began, error


sys.exit(main())
