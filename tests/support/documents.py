"""The project's pages in Markdown, taken apart: code blocks, inline code, links, anchors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.support.paths import ROOT

ENGLISH, CHINESE = ROOT / "README.md", ROOT / "README.zh-CN.md"
DOCUMENTS = [
    ENGLISH,
    CHINESE,
    *(ROOT / name for name in ("ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "results" / "README.md",
]

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\[(?:\\.|[^\]\\])*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


class Block(NamedTuple):
    """A fenced block of code: its language, and its text."""

    language: str
    text: str


def name_of(document: Path) -> str:
    """Return the path of a page from the root, as the name of a test."""
    return str(document.relative_to(ROOT))


def read(document: Path) -> str:
    """Return the text of a page."""
    return document.read_text(encoding="utf-8")


def blocks(document: Path, language: str | None = None) -> list[Block]:
    """Return the fenced blocks of a page; with a language, only those in it."""
    found = [Block(*match) for match in _BLOCK.findall(read(document))]
    return [block for block in found if language in {None, block.language}]


def prose(document: Path) -> str:
    """Return the text of a page without its fenced blocks."""
    return _BLOCK.sub("", read(document))


def inline_code(document: Path) -> list[str]:
    """Return what stands in backticks in the prose, in order."""
    return _CODE.findall(prose(document))


def links(text: str) -> list[str]:
    """Return the targets of all links in a text, in order."""
    return _LINK.findall(text)


def anchors(document: Path) -> set[str]:
    """Return the anchors of the headings, as GitHub forms them."""
    return {_slug(heading) for heading in _HEADING.findall(prose(document))}


def _slug(heading: str) -> str:
    kept = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return kept.replace(" ", "-")


def section(document: Path, heading: str) -> str:
    """Return the text below a heading of the second level, up to the next one."""
    _, _, after = read(document).partition(f"\n## {heading}\n")
    return after.partition("\n## ")[0]


def commands(document: Path) -> Iterator[str]:
    """Yield each `flopaudit …` command: in blocks for a shell, after a `$`, and in inline code."""
    for language, text in blocks(document):
        for line in text.splitlines():
            command = line.removeprefix("$ ")
            if (language == "sh" or command != line) and command.startswith("flopaudit "):
                yield command
    for code in inline_code(document):
        if code.startswith("flopaudit "):
            yield code
