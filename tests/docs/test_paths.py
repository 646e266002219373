"""Every path that a page names exists, and every link leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.documents import DOCUMENTS, anchors, inline_code, links, name_of, read
from tests.support.paths import ROOT

NOT_IN_THE_REPOSITORY = {
    "latest/": "written by `make run`; git ignores it",
    "results/models": "written by `flopaudit run --models`",
    "results/settled": "written by `flopaudit settle`; git ignores it",
    "~/.cache/flopaudit/tools": "a folder of the user",
    "/proc": "a folder of the system",
    "weights_tool.py": "the file that the reader of the example writes",
}
"""Paths that pages name and that are not files of the project, each with the reason."""

BELOW = ("", "harness/flopaudit", "results/quick", "results/profiles")
"""Folders that a page may name a path from, apart from its own."""

SUFFIXES = (".csv", ".json", ".jsonl", ".md", ".py", ".toml", ".txt")
_PATH = re.compile(r"[\w.*~/-]+")
_PLACEHOLDER = re.compile(r"(?<![A-Z])(NAME|SOURCE)(?![A-Z])")

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)


def paths(document: Path) -> list[str]:
    """Return the pieces of inline code that are paths: with a slash, or with a file's suffix."""
    return [
        code
        for code in inline_code(document)
        if _PATH.fullmatch(code) and ("/" in code or code.endswith(SUFFIXES))
    ]


def exists(path: str, document: Path) -> bool:
    """Whether some file of the project has this path; a placeholder stands for any name."""
    pattern = _PLACEHOLDER.sub("*", path).rstrip("/")
    folders = (document.parent, *(ROOT / folder for folder in BELOW))
    return any(next(folder.glob(pattern), None) for folder in folders)


def test_a_path_is_told_from_other_code(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("`core/`, `a.module:factory`, `table.md` and `docs/NAME.md`, `ledger.macs`\n")
    assert paths(page) == ["core/", "table.md", "docs/NAME.md"]
    assert exists("docs/NAME.md", page)
    assert exists("core/", page)
    assert not exists("no/such.py", page)
    assert not exists("no_such/NAME.md", page)


@each_document
def test_every_path_exists(document: Path) -> None:
    named = [path for path in paths(document) if path not in NOT_IN_THE_REPOSITORY]
    assert not [path for path in named if not exists(path, document)]


def test_what_is_excused_is_named_somewhere() -> None:
    named = {path for document in DOCUMENTS for path in paths(document)}
    assert set(NOT_IN_THE_REPOSITORY) <= named


@each_document
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    broken = []
    for link in links(read(document)):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


def test_every_page_is_linked_from_the_readme() -> None:
    linked = {
        (ROOT / link).resolve() for link in links(read(ROOT / "README.md")) if ":" not in link
    }
    assert {page for page in DOCUMENTS if page != ROOT / "README.md"} <= linked
