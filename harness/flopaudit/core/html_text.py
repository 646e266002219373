"""Text and tables in HTML, as notebooks show them: escaped, no script, on light and dark pages."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from html import escape

_STYLE = """
.flopaudit p { margin: 0.2em 0; }
.flopaudit table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
.flopaudit th, .flopaudit td { padding: 0.1em 0.6em; border: none; text-align: left; }
.flopaudit th { border-bottom: 1px solid rgba(128, 128, 128, 0.6); }
.flopaudit .number { text-align: right; }
.flopaudit .bold, .flopaudit .alarm { font-weight: bold; }
.flopaudit .alarm { color: #e5484d; }
.flopaudit .faint { opacity: 0.7; }
"""
"""Colours are those of the page, except for a red that can be read on both."""


def block(parts: Iterable[str]) -> str:
    """Return paragraphs and tables as one block with their styles."""
    return f'<div class="flopaudit"><style>{_STYLE}</style>{"".join(parts)}</div>'


def paragraph(text: str, style: str = "") -> str:
    """Return a paragraph with a text, escaped.

    Args:
        text: in one line.
        style: bold, alarm, faint or none.
    """
    return _element("p", text, style)


def table(
    headers: Sequence[str], rows: Iterable[Sequence[str]], numbers: Collection[str] = ()
) -> str:
    """Return a table with a heading for each column; all text is escaped.

    Args:
        headers: one for each column.
        rows: text, one for each header.
        numbers: the headers of the columns that are flush right.
    """
    styles = ["number" if head in numbers else "" for head in headers]
    body = "".join(_row("td", row, styles) for row in rows)
    return f"<table><thead>{_row('th', headers, styles)}</thead><tbody>{body}</tbody></table>"


def _row(tag: str, texts: Sequence[str], styles: Sequence[str]) -> str:
    cells = zip(texts, styles, strict=True)
    return f"<tr>{''.join(_element(tag, text, style) for text, style in cells)}</tr>"


def _element(tag: str, text: str, style: str) -> str:
    kind = f' class="{style}"' if style else ""
    return f"<{tag}{kind}>{escape(text)}</{tag}>"
