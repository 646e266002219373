"""A settlement as a first screen that answers the question, with details, and as Markdown.

Anything unexplained comes first. Every number is exact, unless the screen is too narrow for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flopaudit.explain.settlement import Settlement
from flopaudit.reports import certainty, marks, settlement_text
from flopaudit.reports.cause_text import evidence, markdown_thread
from flopaudit.reports.escaping import compact_table, markdown_text
from flopaudit.reports.settlement_rows import legend, mark_of, parts, percent, rows_of
from flopaudit.reports.settlement_text import KINDS, Rest, Tool, name_of, status_of, unit_of
from flopaudit.reports.terminal import Screen, columns_of, print_lines, screen, styled, wrap

if TYPE_CHECKING:
    from rich.text import Text

_NAME, _NUMBER, _BELOW = 26, 22, 6
"""Columns for a cause and its amount, and the indent of what is below them."""


def show(settlement: Settlement, *, details: bool = False) -> None:
    """Print a settlement to standard output.

    Args:
        settlement: of one model.
        details: also print every cause with its evidence, probe and thread.
    """
    print_lines(lines(settlement, screen(), details=details))


def lines(
    settlement: Settlement,
    to: Screen | None = None,
    *,
    details: bool = False,
    hint: str = "--details shows the causes.",
) -> Iterator[Text]:
    """Yield the lines that are printed of a settlement, fitted to a screen if one is given.

    Args:
        settlement: of one model.
        to: the screen.
        details: also yield every cause with its evidence, probe and thread.
        hint: how to get the details, where they are not shown.
    """
    to = to or Screen()
    yield from _head(settlement, to, "" if details else f" {hint}")
    yield from wrap("", to)
    yield from rows_of(settlement["tools"], to)
    if details:
        yield from _details(settlement, to)
    yield from wrap("", to)
    for what, who in settlement_text.quote(settlement):
        yield from wrap(f"Quote {what} from: {who}.", to)
    yield from wrap(f"Cite: {settlement_text.citation(settlement)}", to)


def _head(settlement: Settlement, to: Screen, hint: str) -> Iterator[Text]:
    """The model that was counted, anything unexplained, and the reference."""
    from rich.text import Text

    yield from wrap(styled(settlement_text.title(settlement), "bold"), to)
    for sentence in settlement_text.unexplained(settlement):
        yield from wrap(styled(sentence, marks.STYLES[marks.UNEXPLAINED]), to)
    yield from wrap(settlement_text.verdict(settlement) + hint, to)
    reference = settlement["reference"]
    if reference["macs"] is not None:
        yield from wrap(
            Text.assemble(
                "Reference: ",
                (settlement_text.reference_in_numbers(settlement), "bold"),
                f" · {reference['params']:,} parameters",
            ),
            to,
        )
    for sentence in settlement_text.holds_for(settlement):
        yield from wrap(sentence, to)


# -- details ---------------------------------------------------------------------------------------


def _details(settlement: Settlement, to: Screen) -> Iterator[Text]:
    """A waterfall from the reference to each tool's number, and what the tools are good for."""
    yield from wrap("", to)
    yield from _reference(settlement["reference"], to)
    for tool in settlement["tools"]:
        if tool["status"] == "counted":
            yield from _waterfall(tool, to)
        else:
            yield from wrap(f"{name_of(tool)}: {status_of(tool)}: {tool['error']}", to)
    sentences = list(settlement_text.advice(settlement))
    for sentence in ["", *sentences] if sentences else []:
        yield from wrap(sentence, to)


def _reference(reference: Mapping[str, Any], to: Screen) -> Iterator[Text]:
    if reference["macs"] is not None:
        text = "   ".join(filter(None, ("MACs", _components(reference))))
        number = certainty.at_least(f"{reference['macs']:,}", lower_bound=reference["lower_bound"])
        yield from _step("reference", number, text, to, "bold")


def _components(reference: Mapping[str, Any]) -> str:
    found = {kind: reference["components"].get(f"{kind}_macs") for kind in KINDS}
    return " · ".join(f"{kind} {macs:,}" for kind, macs in found.items() if macs)


def _waterfall(tool: Tool, to: Screen) -> Iterator[Text]:
    yield from _step(name_of(tool), f"{tool['reported']:,}", unit_of(tool), to, "bold")
    if tool["unit"] == "FLOP" and tool["reference"] is not None:
        words = "the reference in FLOPs, two for each multiply-accumulate"
        yield from _step("  × 2", f"{tool['reference']:,}", words, to)
    for cause in tool["causes"]:
        yield from _cause(cause, to)
    count, params = settlement_text.rests(tool)
    if count.amount is not None:
        yield from _rest("  unexplained", count, to)
    if tool["params"] is not None:
        yield from _step("  parameters", f"{tool['params']:,}", "", to)
        for cause in tool["params_causes"]:
            yield from _cause(cause, to)
        if params.amount or params.evidence:
            yield from _rest("    unexplained", params, to)


def _rest(name: str, rest: Rest, to: Screen) -> Iterator[Text]:
    """The unexplained amount, in red if there is one."""
    style = marks.STYLES[marks.UNEXPLAINED] if rest.amount or rest.modules else ""
    yield from _step(name, _signed(rest.amount), rest.evidence, to, style)


def _signed(amount: int | None) -> str:
    return f"{amount:+,}" if amount else "0"


def _cause(cause: Mapping[str, Any], to: Screen) -> Iterator[Text]:
    sign = "+" if cause["delta"] > 0 else "-"
    yield from _step(
        f"  {sign} {cause['cause']}", f"{abs(cause['delta']):,}", evidence(cause, to), to
    )


def _step(name: str, number: str, text: Text | str, to: Screen, style: str = "") -> Iterator[Text]:
    """A name, a number and a text next to them, or below where it is wider than the screen."""
    from rich.text import Text

    # A long name takes room from the number, so that the numbers' ends are still aligned.
    room = max(_NAME + _NUMBER - columns_of(name), len(number) + 1)
    head = f"{name}{number.rjust(room)}"
    beside = styled(text) if isinstance(text, str) else text
    line = Text.assemble(styled(head, style), "   " if text else "", beside)
    if to.width is None or line.cell_len <= to.width:
        yield from wrap(line, to)
        return
    yield from wrap(styled(head, style), to)
    yield from wrap(Text.assemble(" " * _BELOW, beside), to, _BELOW)


# -- Markdown --------------------------------------------------------------------------------------


def markdown(settlement: Settlement) -> str:
    """Return a settlement with every detail as Markdown: a summary, and a table for each tool."""
    reference = settlement["reference"]
    sentences = [*settlement_text.unexplained(settlement), settlement_text.verdict(settlement)]
    if reference["macs"] is not None:
        components = _components(reference)
        sentences.append(
            f"Reference: {settlement_text.reference_in_numbers(settlement)} · "
            f"{reference['params']:,} parameters{f' · MACs of {components}' if components else ''}"
        )
    sentences += settlement_text.holds_for(settlement)
    sections = [
        f"# {markdown_text(settlement_text.title(settlement))}",
        *(markdown_text(sentence) for sentence in sentences if sentence),
        compact_table(
            ("", "tool", "reported", "unit", "difference", "parts"), _summary(settlement)
        ),
        markdown_text(legend(settlement["tools"])),
    ]
    for tool in settlement["tools"]:
        sections += _section(tool)
    ending = [
        *(f"- Quote {what} from: {who}." for what, who in settlement_text.quote(settlement)),
        *(f"- {sentence}" for sentence in settlement_text.advice(settlement)),
        f"- Cite: {settlement_text.citation(settlement)}",
    ]
    sections += ["## What to quote", markdown_text("\n".join(ending), lines=True)]
    return "\n\n".join(sections) + "\n"


def _summary(settlement: Settlement) -> Iterator[Sequence[str]]:
    for tool in settlement["tools"]:
        if tool["status"] != "counted":
            yield ("", name_of(tool), status_of(tool), "", "", tool["error"] or "")
            continue
        amounts = ", ".join(f"{amount:+,} {name}" for name, amount in parts(tool))
        mark = mark_of(tool)
        yield (mark, name_of(tool), f"{tool['reported']:,}", unit_of(tool), percent(tool), amounts)


def _section(tool: Tool) -> Iterator[str]:
    """A heading and a table with every cause of a tool; nothing for one that did not count."""
    if tool["status"] != "counted":
        return
    yield f"## {markdown_text(name_of(tool))}"
    rows = [(unit_of(tool), *_cause_row(cause)) for cause in tool["causes"]]
    rows += [("parameters", *_cause_row(cause)) for cause in tool["params_causes"]]
    rows += [
        (rest.of, "unexplained", _signed(rest.amount), rest.evidence, "", "", "")
        for rest in settlement_text.rests(tool)
        if rest.amount is not None
    ]
    reported = f"{tool['reported']:,} {unit_of(tool)}"
    params = f", {tool['params']:,} parameters" if tool["params"] is not None else ""
    yield f"Reported: {reported}{params}."
    yield compact_table(("of", "cause", "amount", "evidence", "modules", "probe", "thread"), rows)


def _cause_row(cause: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        cause["cause"],
        f"{cause['delta']:+,}",
        cause["evidence"],
        str(cause["modules"] or ""),
        cause["probe"] or "",
        markdown_thread(cause["issue"] or ""),
    )
