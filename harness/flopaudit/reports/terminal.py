"""Text and tables on standard output, fitted to the terminal; plain and unwrapped when piped.

A report composes lines of `rich.text.Text` for a `Screen`. Colours and links are styles of that
text: `rich` writes them on a terminal that has them, and a pipe gets the plain characters.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, TextIO

from flopaudit.core.streams import stdout
from flopaudit.core.text import encodable, visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

Rows = Sequence[Sequence[str]]
GAP = 2  # blanks between columns
_COLUMNS = 80  # of a terminal that does not know its width


@dataclass(frozen=True)
class Screen:
    """The output that a report is composed for.

    Attributes:
        width: columns; None if lines are not to be wrapped.
        encoding: of the output.
        links: whether a link is shown by a short name, because the terminal makes it clickable.
    """

    width: int | None = None
    encoding: str = "utf-8"
    links: bool = False

    def fit(self, text: str) -> str:
        """Return the text as the output can show it: in its encoding, nothing hidden."""
        return encodable(visible(text), self.encoding)


def screen() -> Screen:
    """Return the screen that standard output is."""
    return Screen(width(), stdout().encoding or "utf-8", links=_has_links(console()))


def width() -> int | None:
    """Return the columns of the terminal, or COLUMNS if set; None where output is piped."""
    if "COLUMNS" in os.environ:
        return shutil.get_terminal_size().columns
    out = stdout()
    return (os.get_terminal_size(out.fileno()).columns or _COLUMNS) if out.isatty() else None


def console(stream: IO[str] | None = None) -> Console:
    """Return a console on a stream or standard output; it writes colours only on a terminal."""
    from rich.console import Console

    file = stream or stdout()
    # Set, so that FORCE_COLOR does not put escape codes into a pipe; rich obeys NO_COLOR and TERM.
    return Console(file=file, force_terminal=file.isatty(), highlight=False, soft_wrap=True)


def _has_links(console: Console) -> bool:
    return console.is_terminal and console.color_system is not None and not console.legacy_windows


# -- lines -----------------------------------------------------------------------------------------


def wrap(text: Text | str, to: Screen, indent: int = 2) -> list[Text]:
    """Return a text as lines that fit a screen, those after the first indented."""
    from rich.console import Console
    from rich.text import Text

    fitted = _fitted(styled(text) if isinstance(text, str) else text, to)
    if to.width is None or fitted.cell_len <= to.width:
        return [fitted]
    rich_console = Console()
    first = fitted.wrap(rich_console, to.width)[0]
    rest = fitted[len(first) :]
    rest = rest[len(rest) - len(rest.plain.lstrip()) :]
    blanks = " " * indent
    below = list(rest.wrap(rich_console, max(to.width - indent, 1))) if rest else []
    lines = [first, *(Text.assemble(blanks, line) for line in below)]
    for line in lines:
        line.rstrip()
    return lines


def styled(text: str, style: str = "") -> Text:
    """Return a text in a style; what is hidden in it becomes visible, and markup stays text."""
    from rich.text import Text

    return Text(visible(text), style)


def _fitted(text: Text, to: Screen) -> Text:
    from rich.text import Text

    if to.fit(text.plain) == text.plain:
        return text
    ends = sorted({0, len(text), *(end for span in text.spans for end in (span.start, span.end))})
    parts = text.divide(ends)
    return Text.assemble(*(Text(to.fit(part.plain), _style_of(part)) for part in parts))


def _style_of(part: Text) -> str:
    return " ".join(filter(None, (str(part.style), *(str(span.style) for span in part.spans))))


def columns_of(text: str) -> int:
    """Return how many columns a text takes: two for a wide character, such as a Chinese one."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def padded(text: str, width: int, *, right: bool = False) -> str:
    """Return a text with blanks up to a width, after it or, flush right, before it."""
    blanks = " " * (width - columns_of(text))
    return blanks + text if right else text + blanks


def shortened(text: str, to: Screen, room: int) -> str:
    """Return the text in one line of at most `room` columns, with an ellipsis where it is cut."""
    fitted = to.fit(" ".join(text.split()))
    if columns_of(fitted) <= room:
        return fitted
    mark = to.fit("…")
    most = max(room - len(mark), 0)
    cut = fitted[:most]
    while columns_of(cut) > most:
        cut = cut[:-1]
    return cut + mark


def print_lines(lines: Iterable[Text]) -> None:
    """Print lines with their styles."""
    out = console()
    for line in lines:
        if out.is_terminal:
            out.print(line)
        else:
            print_line(line.plain)


def print_line(text: str = "") -> None:
    """Print text, in one line or several, and make visible what is hidden in it."""
    _print(text, stdout())


def print_message(text: str = "") -> None:
    """Print text to standard error in the same way."""
    _print(text, sys.stderr)


def _print(text: str, stream: TextIO) -> None:
    shown = encodable(visible(text, lines=True), stream.encoding or "utf-8")
    stream.write(f"{shown}\n")
    stream.flush()


def print_wrapped(text: Text | str = "") -> None:
    """Print a text, wrapped to the terminal; as it is when piped."""
    to = screen()
    lines = text.splitlines() or [""] if isinstance(text, str) else [text]
    for line in lines:
        plain = str(line)
        print_lines(wrap(line, to, len(plain) - len(plain.lstrip()) + 4))


# -- tables ----------------------------------------------------------------------------------------


def print_table(headers: Sequence[str], rows: Rows, *, left: int = 1, keep: int = 1) -> None:
    """Print a table, in several parts one below the other where it is wider than the terminal.

    Args:
        headers: one for each column.
        rows: text, one for each header.
        left: how many columns are flush left; the rest are numbers, flush right.
        keep: how many columns are repeated at the head of each part.
    """
    print_lines(table(headers, rows, screen(), left=left, keep=keep))


def table(
    headers: Sequence[str], rows: Rows, to: Screen, *, left: int = 1, keep: int = 1
) -> Iterator[Text]:
    """Yield the lines of a table as `print_table` prints it; each part ends with an empty one."""
    from rich.text import Text

    fitted = [[to.fit(text) for text in row] for row in (headers, *rows)]
    widths = [max(map(columns_of, column)) for column in zip(*fitted, strict=True)]
    for columns in fit(widths, to.width, keep):
        for number, row in enumerate(fitted):
            line = (" " * GAP).join(padded(row[i], widths[i], right=i >= left) for i in columns)
            yield Text(line.rstrip(), "bold" if number == 0 else _row_style(line))
        yield Text()


def fit(widths: Sequence[int], width: int | None, keep: int) -> list[list[int]]:
    """Return the columns of each part: as many as fit the terminal, at least one that is not kept.

    Args:
        widths: of the columns.
        width: of the terminal; None if there is no limit.
        keep: how many columns are repeated at the head of each part.
    """
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


def _row_style(line: str) -> str:
    """Rows with something unexplained are red; the `?` in them shows it without colour."""
    return "red" if line.rstrip().endswith(" ?") or " ? " in line else ""
