"""The rows of a settlement's first screen: each tool's number, how far it is off, and by what."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from math import ceil, floor
from typing import TYPE_CHECKING

from flopaudit.explain.settlement import is_explained
from flopaudit.reports import marks
from flopaudit.reports.amounts import giga, signed
from flopaudit.reports.cause_text import label
from flopaudit.reports.settlement_text import Tool, name_of, status_of, unit_of
from flopaudit.reports.terminal import Screen, columns_of, padded, shortened, wrap

if TYPE_CHECKING:
    from rich.text import Text

_HALF_BAR, _LEAST_HALF_BAR = 8, 3
"""Columns on each side of a bar's axis: as many as are needed to read it, and at the least."""

_INDENT = 4


def parts(tool: Tool) -> list[tuple[str, int]]:
    """Return what a counted tool's number differs by: labels with signed amounts in its unit.

    What is unexplained comes first, then the largest. The amounts add up to reported - reference.
    """
    amounts: dict[str, int] = {}
    for cause in tool["causes"]:
        name = label(cause["cause"])
        amounts[name] = amounts.get(name, 0) + cause["delta"]
    found = sorted(amounts.items(), key=lambda item: (-abs(item[1]), item[0]))
    first = [("UNEXPLAINED", tool["unexplained"])] if tool["unexplained"] else []
    return first + [(name, amount) for name, amount in found if amount]


def mark_of(tool: Tool) -> str:
    """Return a tool's mark; a blank where there is nothing to compare."""
    reported, reference = tool["reported"], tool["reference"]
    if reported is None or reference is None:
        return " "
    explained, bound = is_explained(tool), tool["lower_bound"]
    return marks.mark(reported, reference, explained=explained, lower_bound=bound)


def percent(tool: Tool) -> str:
    """Return how far a tool's number is from the reference, such as `+1.09 %`.

    Only an exact match is `0 %`; a difference that would be rounded to zero is `<0.01 %`.
    """
    share = _share(tool)
    if share is None:
        return ""
    if not share:
        return "0 %"
    hundredths = floor(abs(share) * 10_000 + Fraction(1, 2))
    if not hundredths:
        return "<0.01 %"
    return f"{'+' if share > 0 else '-'}{hundredths // 100:,}.{hundredths % 100:02d} %"


def _share(tool: Tool) -> Fraction | None:
    """The difference as a share of the reference; None if they cannot be compared."""
    reported, reference = tool["reported"], tool["reference"]
    if reported is None or not reference or tool["lower_bound"]:
        return None
    return Fraction(reported - reference, reference)


def rows_of(tools: Sequence[Tool], to: Screen) -> Iterator[Text]:
    """Yield a header, a row for each tool, and the legend.

    The parts of each difference, or the reason for which a tool did not count, are at the end of
    its row where all of them fit, and below it elsewhere; rounded where exact amounts do not fit.
    """
    if not tools:
        return
    heads = _heads(tools, to)
    right = max(head.cell_len for head in heads) + 2
    places = [(right, True), (right, False), (_INDENT, True), (_INDENT, False)]
    for indent, exact in places:
        texts = ["", *(_text(tool, to, exact=exact) for tool in tools)]
        if to.width is None or indent + max(map(columns_of, texts)) <= to.width:
            break
    for head, text in zip(heads, texts, strict=True):
        yield from _row(head, text, indent, to)
    if any(tool["reference"] is not None for tool in tools):
        yield from wrap(legend(tools), to)


def legend(tools: Sequence[Tool]) -> str:
    """Return what the marks of tools mean."""
    bound = any(tool["lower_bound"] for tool in tools)
    return marks.BOUND_LEGEND if bound else marks.LEGEND


def _row(head: Text, text: str, indent: int, to: Screen) -> Iterator[Text]:
    """A row with a text from a column on: on the same line if that is to its right."""
    from rich.text import Text

    gap = " " * (indent - head.cell_len)
    line = Text.assemble(head, gap, text) if gap else head.copy()
    line.rstrip()
    yield from wrap(line, to)
    if text and not gap:
        yield from wrap(" " * indent + text, to, indent)


def _text(tool: Tool, to: Screen, *, exact: bool) -> str:
    """The parts of a tool's difference, or why it gave no number, cut to a line of its own."""
    if tool["status"] == "counted":
        return ", ".join(f"{signed(amount, exact=exact)} {name}" for name, amount in parts(tool))
    text = " ".join((tool["error"] or "").split())
    return text if to.width is None else shortened(text, to, to.width - _INDENT)


# -- the columns -----------------------------------------------------------------------------------


def _heads(tools: Sequence[Tool], to: Screen) -> list[Text]:
    """The header and a row for each tool, in columns: mark, name, number, percent and bar."""
    from rich.text import Text

    names = _column("tool", [to.fit(name_of(tool)) for tool in tools])
    numbers = _column("reported", [_number(tool) for tool in tools], right=True)
    if to.width is not None and columns_of(f"  {names[0]}  {numbers[0]}") > to.width:
        numbers = _column("reported", [_number(tool, exact=False) for tool in tools], right=True)
    percents = _column("difference", [percent(tool) for tool in tools], right=True)
    used = columns_of(f"  {names[0]}  {numbers[0]}  {percents[0]}")
    heads = []
    for tool, name, number, share, bar in zip(
        [None, *tools], names, numbers, percents, _bars(tools, used, to), strict=True
    ):
        mark = mark_of(tool) if tool else " "
        style = marks.STYLES.get(mark, "") if tool else "bold"
        plain = "" if tool else "bold"
        heads.append(
            Text.assemble(
                (f"{mark} ", style), (f"{name}  {number}  ", plain), (f"{share}{bar}", style)
            )
        )
    return heads


def _column(header: str, cells: Sequence[str], *, right: bool = False) -> list[str]:
    width = max(map(columns_of, [header, *cells]))
    return [padded(cell, width, right=right) for cell in (header, *cells)]


def _number(tool: Tool, *, exact: bool = True) -> str:
    """A tool's number with its unit, or how the tool ended."""
    reported = tool["reported"]
    if reported is None:
        return status_of(tool)
    unit = unit_of(tool).ljust(len("FLOPs"))
    return f"{reported:,} {unit}" if exact else giga(reported, unit)


def _bars(tools: Sequence[Tool], used: int, to: Screen) -> list[str]:
    """The scale and a bar for each tool; all empty if there is no space for them or no difference.

    A bar grows from the axis to the left where a tool counts less than the reference.
    """
    shares = [_share(tool) for tool in tools]
    largest = max((abs(share) for share in shares if share), default=Fraction(0))
    half = 0 if to.width is None else min(_HALF_BAR, (to.width - used - 3) // 2)
    if half < _LEAST_HALF_BAR or not largest:
        return [""] * (len(tools) + 1)
    limit, words = _limit(largest)
    low, high = f"-{words} %", f"+{words} %"
    scale = f"{low.ljust(half)} {high.rjust(half)}" if len(low) <= half else " " * (2 * half + 1)
    bars = [_bar(share / limit, half) if share is not None else "" for share in shares]
    return [f"  {text}" for text in (scale, *bars)]


def _limit(largest: Fraction) -> tuple[Fraction, str]:
    """The share at which a bar ends, and the same in percent: with a decimal below 10 %."""
    tenths = ceil(largest * 1000)
    if tenths < 100:  # noqa: PLR2004 - 10 %
        return Fraction(tenths, 1000), f"{tenths // 10}.{tenths % 10}"
    percents = ceil(largest * 100)
    return Fraction(percents, 100), f"{percents:,}"


def _bar(share: Fraction, half: int) -> str:
    """A bar for a share of -1 to 1."""
    blocks, rest = divmod(floor(abs(share) * half * 2 + Fraction(1, 2)), 2)
    if share < 0:
        return ("▐" * rest + "█" * blocks).rjust(half) + "│"
    return " " * half + "│" + "█" * blocks + "▌" * rest
