"""Reads the project's Markdown: its code blocks with their instructions, its headings and its links."""

import dataclasses
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]

FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[A-Za-z]*)\s*$")
HEADING = re.compile(r"^(#{1,6}) +(.*?)\s*#*$")
LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)(?:\s+\"[^\"]*\")?\)")
COMMENT = re.compile(r"<!--(.*?)-->", re.DOTALL)
CODE = re.compile(r"`[^`\n]*`")


@dataclasses.dataclass
class Block:
    """A fenced block, and the comments directly above and below it."""

    path: pathlib.Path
    line: int
    language: str
    text: str
    above: list
    below: list

    @property
    def place(self):
        return f"{self.path.relative_to(ROOT)}:{self.line}"

    def instruction(self, name):
        """Returns the text of the comment `<!-- name: … -->` above the block, or none."""
        for comment in self.above:
            if comment.startswith(f"{name}:"):
                return comment.removeprefix(f"{name}:").strip()
        return None

    def following(self, name):
        """Returns the text of the comment `<!-- name: … -->` below the block, or none."""
        for comment in self.below:
            if comment.startswith(f"{name}:"):
                return comment.removeprefix(f"{name}:").strip()
        return None


def documents():
    """Returns the pages for users, whose blocks are executed."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def markdown_files():
    """Returns all Markdown of the repository, whose links are checked."""
    found = [*ROOT.glob("*.md")]
    for folder in ("docs", "dist", "demo", "tests", "scripts", "fuzz", "benches", "examples"):
        found += (ROOT / folder).rglob("*.md")
    return sorted(path for path in found if "node_modules" not in path.parts)


def comments_in(lines):
    return [found.strip() for found in COMMENT.findall("\n".join(lines))]


def blocks(path):
    """Yields each fenced block of a document."""
    lines = path.read_text().split("\n")
    number, above_from = 0, 0
    found = []
    while number < len(lines):
        fence = FENCE.match(lines[number])
        if not fence:
            number += 1
            continue
        end = number + 1
        while lines[end].strip() != "```":
            end += 1
        indent = len(fence["indent"])
        text = "\n".join(line[indent:] for line in lines[number + 1 : end]) + "\n"
        between = lines[above_from:number]
        found.append(Block(path, number + 1, fence["language"], text, nearest(between), []))
        if len(found) > 1:
            found[-2].below = comments_in(between)
        number = above_from = end + 1
    if found:
        found[-1].below = comments_in(lines[above_from:])
    return found


def nearest(lines):
    """Returns the comments that stand directly above a block, without other text between."""
    text = "\n".join(lines).rstrip()
    found = []
    while text.endswith("-->"):
        start = text.rindex("<!--")
        found.insert(0, text[start + 4 : -3].strip())
        text = text[:start].rstrip()
    return found


def without_blocks(path):
    """Returns the lines of a document with those of blocks and of comments emptied."""
    inside, kept = False, []
    text = COMMENT.sub(lambda found: "\n" * found[0].count("\n"), path.read_text())
    for line in text.split("\n"):
        if line.strip().startswith("```"):
            inside = not inside
            kept.append("")
        else:
            kept.append("" if inside else line)
    return kept


def anchors(path):
    """Returns the anchors of a document's headings, as GitHub makes them."""
    seen, found = {}, set()
    for line in without_blocks(path):
        heading = HEADING.match(line)
        if not heading:
            continue
        text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading[2])
        anchor = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        count = seen.get(anchor, 0)
        seen[anchor] = count + 1
        found.add(f"{anchor}-{count}" if count else anchor)
    return found


def broken_links():
    """Yields each relative link that leads nowhere, and each anchor without a heading."""
    for path in markdown_files():
        for number, line in enumerate(without_blocks(path), 1):
            for target in LINK.findall(CODE.sub(lambda found: "`" * len(found[0]), line)):
                if re.match(r"[a-z][a-z+.-]*:", target):
                    continue
                file, _, anchor = target.partition("#")
                there = (path.parent / file).resolve() if file else path
                place = f"{path.relative_to(ROOT)}:{number}"
                if not there.exists():
                    yield f"{place}: there is no {target}"
                elif anchor and there.suffix == ".md" and anchor not in anchors(there):
                    yield f"{place}: there is no heading for {target}"
