"""Markdown and CSV whose text is read as text, whatever characters a model or a tool put in it."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence

from flopaudit.core.text import visible

Row = Sequence[str]

# -- Markdown --------------------------------------------------------------------------------------


class Markdown(str):
    """Text that is Markdown already, such as a link that the program writes itself."""

    __slots__ = ()


_MARKUP = re.compile(
    r"[\\|<`\[~$]"  # escapes, cells, tags and addresses, code, links and images, strikes, formulas
    r"|&(?=#?\w+;)"  # entities
    r"|\*(?=\S)"  # emphasis can only begin before text,
    r"|(?<![^\W_])_+(?=\S)"  # and with an underscore only where a word begins
)


def markdown_text(text: str, *, lines: bool = False) -> str:
    """Return text for a sentence, a heading or a cell of Markdown, which shows it as it is.

    Args:
        text: of any origin.
        lines: whether line feeds are kept; otherwise all is in one line.
    """
    if isinstance(text, Markdown):
        return text
    shown = text if lines else " ".join(text.split())
    return _MARKUP.sub(_escaped, visible(shown, lines=lines))


def _escaped(found: re.Match[str]) -> str:
    return "".join(f"\\{character}" for character in found[0])


def markdown_table(headers: Row, rows: Iterable[Row], align: Sequence[str] | None = None) -> str:
    """Return a table whose columns are padded to the same width.

    Args:
        headers: of the columns.
        rows: cells, which are shown as they are.
        align: left or right for each column; all left if left out.
    """
    from tabulate import tabulate

    heads, *cells = [list(map(markdown_text, row)) for row in (headers, *rows)]
    return tabulate(cells, heads, tablefmt="github", colalign=align, disable_numparse=True)


def compact_table(headers: Row, rows: Iterable[Row]) -> str:
    """Return a table without padding, for cells of very different lengths."""
    head, *cells = [f"| {' | '.join(map(markdown_text, row))} |" for row in (headers, *rows)]
    return "\n".join([head, f"| {' | '.join(['---'] * len(headers))} |", *cells])


# -- CSV -------------------------------------------------------------------------------------------

_NUMBER = re.compile(r"[+-]?\d[\d,]*(\.\d+)?([eE][+-]?\d+)?")
_FORMULA = re.compile(r"'*[=+\-@＝＋－＠]..*", re.DOTALL)


def csv_lines(rows: Iterable[Row]) -> str:
    """Return rows as lines of CSV in which a spreadsheet finds no formula.

    A cell that would be read as one gets an apostrophe before it, which `csv_rows` removes. Numbers
    with a sign, and a sign alone, are no formulas.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([_defused(visible(cell, lines=True)) for cell in row] for row in rows)
    return text.getvalue()


def csv_rows(text: str) -> list[list[str]]:
    """Return the rows of CSV that `csv_lines` has written."""
    return [[_restored(cell) for cell in row] for row in csv.reader(io.StringIO(text))]


def _defused(cell: str) -> str:
    return f"'{cell}" if _FORMULA.fullmatch(cell) and not _NUMBER.fullmatch(cell) else cell


def _restored(cell: str) -> str:
    inner = cell[1:]
    is_defused = cell.startswith("'") and _defused(inner) == cell
    return inner if is_defused else cell
