"""What a person sees: rows of text come in, tables that fit the terminal go out."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

Rows = Sequence[Sequence[str]]
GAP = 2  # blanks between columns


def console(stream: IO[str] | None = None) -> Console:
    """A console on a stream, standard output unless another is given."""
    from rich.console import Console

    return Console(file=stream or sys.stdout, highlight=False, soft_wrap=True)


def print_line(text: str = "") -> None:
    """Print a line; when the reader has left, as `head` does, end quietly."""
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def print_wrapped(text: str = "") -> None:
    """Print a line, wrapped to the terminal; as it is when piped."""
    columns = width()
    for line in text.splitlines() or [""]:
        indent = " " * (len(line) - len(line.lstrip()) + 4)
        wrapped = textwrap.wrap(line, columns, subsequent_indent=indent) if columns else [line]
        print_line("\n".join(wrapped or [""]))


def print_table(headers: Sequence[str], rows: Rows, *, left: int = 1, keep: int = 1) -> None:
    """Print a table, in several parts one below the other where it is wider than the terminal.

    Args:
        headers: one for each column.
        rows: text, one for each header.
        left: how many columns are flush left; the rest are numbers, flush right.
        keep: how many columns stand again at the head of each part.
    """
    for columns in fit(_widths(headers, rows), width(), keep):
        chosen = [[row[i] for i in columns] for row in rows]
        _one_table([headers[i] for i in columns], chosen, [i < left for i in columns])
        print_line()


def fit(widths: Sequence[int], width: int | None, keep: int) -> list[list[int]]:
    """Which columns stand in which part, each part at most so wide (one column at the least)."""
    if width is None:
        return [list(range(len(widths)))]
    head = list(range(min(keep, len(widths))))
    used = sum(widths[i] + GAP for i in head)
    parts: list[list[int]] = []
    room = 0
    for index in range(len(head), len(widths)):
        need = widths[index] + GAP
        if not parts or need > room:
            parts.append([*head])
            room = width + GAP - used
        parts[-1].append(index)
        room -= need
    return parts or [head]


def _widths(headers: Sequence[str], rows: Rows) -> list[int]:
    return [
        max(len(header), *(len(row[i]) for row in rows)) if rows else len(header)
        for i, header in enumerate(headers)
    ]


def _one_table(headers: Sequence[str], rows: Rows, left: Sequence[bool]) -> None:
    widths = _widths(headers, rows)
    lines = [(" " * GAP).join(_cells(row, widths, left)).rstrip() for row in [headers, *rows]]
    if not sys.stdout.isatty():
        print_line("\n".join(lines))
        return
    out = console()
    for number, line in enumerate(lines):
        out.print(line, style="bold" if number == 0 else _style(line), markup=False)


def _cells(row: Sequence[str], widths: Sequence[int], left: Sequence[bool]) -> Iterator[str]:
    for text, width, flush_left in zip(row, widths, left, strict=True):
        yield text.ljust(width) if flush_left else text.rjust(width)


def _style(line: str) -> str | None:
    """Rows with something unexplained stand out."""
    return "red" if line.endswith(" ?") or " ? " in line else None


def width() -> int | None:
    """Columns of the terminal; None when standard output is not one."""
    if not sys.stdout.isatty() and "COLUMNS" not in os.environ:
        return None
    return console().width
