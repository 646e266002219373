"""Markdown and CSV of the reports: text of models and tools is read as nothing but text."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from flopaudit.core.text import UNSAFE, visible
from flopaudit.reports.cause_text import markdown_thread
from flopaudit.reports.escaping import (
    Markdown,
    compact_table,
    csv_lines,
    csv_rows,
    markdown_table,
    markdown_text,
)
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])

HOSTILE = [
    "a|b", "a\\|b", "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "&lt;b&gt;",
    "`code`", "``a`b``", "[text](http://x.y)", "![image](http://x.y/z.png)", "[a]: http://x.y",
    "<http://x.y>", "**bold**", "__init__", "_a_", "a_b_c", "~~gone~~", "a\nb", "a\r\n\r\n# b",
    "\\", "\\\\|", "$x^2$", "* a", "a *b* c", "\u202e|\x1b[31m", "&amp;", "&#35;", "x & y",
]  # fmt: skip
TEXT = st.text(alphabet=st.sampled_from("ab1 |\\<>&;`[]()!*_~#$-+=:.\n\x1b\u202e模"), max_size=20)
CELL = st.text(alphabet=st.sampled_from("ab1,.'\"=+-@＝\t\r\n \x1b;模"), max_size=8)


def one_line(text: str) -> str:
    return visible(" ".join(text.split()))


def shown(markdown: str) -> str:
    """Return what a reader of inline Markdown sees, if it is nothing but text."""
    (token,) = PARSER.parseInline(markdown)
    kinds = {child.type for child in token.children or ()}
    assert kinds <= {"text"}, (markdown, kinds)
    return "".join(child.content for child in token.children or ())


def cells_of(table: str) -> list[list[str]]:
    """Return the cells of a table as a reader sees them."""
    rows: list[list[str]] = []
    for token in PARSER.parse(table):
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline":
            rows[-1].append(shown(token.content))
    return rows


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_shows_text_as_it_is(text: str) -> None:
    assert shown(markdown_text(text)) == one_line(text)


@given(TEXT)
def test_markdown_shows_any_text_as_it_is(text: str) -> None:
    assert shown(markdown_text(text)).strip() == one_line(text)


@given(st.lists(st.tuples(TEXT, TEXT), max_size=4))
def test_a_table_has_the_cells_that_were_given(rows: Sequence[tuple[str, str]]) -> None:
    expected = [["a", "b|c"], *([one_line(cell) for cell in row] for row in rows)]
    for table in (compact_table(["a", "b|c"], rows), markdown_table(["a", "b|c"], rows)):
        assert len(table.splitlines()) == len(rows) + 2
        assert cells_of(table) == expected


def test_names_of_models_and_tools_are_not_littered_with_escapes() -> None:
    for name in ("vit_b_16", "timm:vit_tiny_patch16_224", "ptflops 0.7.5 aten", "aten.add_.Tensor"):
        assert markdown_text(name) == name
    assert markdown_text("9.771 *") == "9.771 *"


def test_only_links_to_threads_are_links() -> None:
    issue = "https://github.com/a/b/issues/1 (a note | here)"
    assert markdown_thread(issue) == ("[a/b#1](https://github.com/a/b/issues/1) (a note \\| here)")
    assert markdown_text(markdown_thread(issue)) == markdown_thread(issue)
    for other in ("javascript:alert(1)", "https://x.y/) [z](https://z", ""):
        assert not isinstance(markdown_thread(other), Markdown)


@given(st.lists(st.lists(CELL, min_size=2, max_size=2), max_size=5))
def test_csv_has_no_formula_and_is_read_back(rows: list[list[str]]) -> None:
    expected = [[visible(cell, lines=True) for cell in row] for row in rows]
    text = csv_lines(rows)
    assert csv_rows(text) == expected
    assert not UNSAFE.search(text.replace("\n", ""))


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=1+1", "'=1+1"), ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"), ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"), ("'=1", "''=1"), ("-x", "'-x"), ("\t=1", "\\t=1"),
        ("-5", "-5"), ("+3.5e-7", "+3.5e-7"), ("-1,234", "-1,234"), ("-", "-"), ("'a", "'a"),
        ("1=1", "1=1"),
    ],
)  # fmt: skip
def test_formulas_in_csv_are_defused_and_numbers_are_not(cell: str, written: str) -> None:
    (line,) = csv_lines([[cell]]).splitlines()
    assert re.sub(r'^"|"$', "", line) == written
    assert csv_rows(f"{line}\n") == [[visible(cell)]]
