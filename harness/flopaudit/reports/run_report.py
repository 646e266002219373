"""A run on the terminal: the table, anything unexplained, failures, and why tools differ."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flopaudit.core.causes import Cause
from flopaudit.core.specs import ToolKey
from flopaudit.records.schema import (
    FAILURES,
    Finding,
    Measurement,
    Reference,
    Status,
)
from flopaudit.reports import cause_text, marks, tables
from flopaudit.reports.amounts import signed
from flopaudit.reports.terminal import (
    Screen,
    columns_of,
    padded,
    print_lines,
    screen,
    styled,
    table,
    wrap,
)

if TYPE_CHECKING:
    from rich.text import Text

FEW_MODELS = 2
"""Up to this many models, details are given for each cell; for more, for each tool."""

Names = Mapping[ToolKey, str]
Models = frozenset[tuple[str, tuple[str, ...]]]
"""The models and inputs whose reference is a lower bound."""


def show(
    measurements: Sequence[Measurement],
    references: Sequence[Reference],
    findings: Sequence[Finding],
    *,
    details: bool = False,
) -> None:
    """Print the results of a run to standard output.

    Args:
        measurements: of all cells.
        references: of all models.
        findings: of all cells that were compared with a reference.
        details: also print every cause with its evidence.
    """
    print_lines(lines(measurements, references, findings, screen(), details=details))


def lines(
    measurements: Sequence[Measurement],
    references: Sequence[Reference],
    findings: Sequence[Finding],
    to: Screen | None = None,
    *,
    details: bool = False,
) -> Iterator[Text]:
    """Yield the lines that are printed of a run, fitted to a screen if one is given."""
    to = to or Screen()
    names = tables.variant_names(measurements)
    headers, rows = tables.grid(measurements, references, findings)
    yield from table(headers, rows if to.width is None else _brief(rows), to, left=2)
    yield from wrap(tables.unit_note(references), to)
    yield from wrap(marks.LEGEND + tables.bound_legend(references), to)
    yield from _section(_holds_for(references, to))
    bounds = frozenset(r.key for r in references if r.lower_bound)
    yield from _section(_unexplained(measurements, findings, names, bounds, to))
    yield from _section(_failed(measurements, references, to))
    yield from _section(_not_counted(measurements, names, to))
    yield from _section(_reasons(measurements, findings, names, bounds, to))
    if not details:
        if any(finding.amount and finding.cause != Cause.UNIT for finding in findings):
            yield from _section(wrap("--details shows every cause with its evidence.", to))
    elif len({finding.model for finding in findings}) <= FEW_MODELS:
        yield from _each_cell(measurements, findings, names, to)
    else:
        yield from _section(_each_cause(findings, names, to))


_FOLDER = re.compile(r"^.*[/\\](?=[^/\\]*\.py:)")


def _brief(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return rows without the folders of models in files, unless two would have the same name."""
    names = [row[0] for row in rows]
    brief = [_FOLDER.sub("…/", name) for name in names]
    same = len(set(brief)) < len(set(names))
    return [[name, *row[1:]] for name, row in zip(names if same else brief, rows, strict=True)]


def failures(measurements: Sequence[Measurement], references: Iterable[Reference]) -> list[str]:
    """Return what makes a run fail: cells in which the tool did not answer, models not counted."""
    names = tables.variant_names(measurements)
    return [
        f"{tables.short_model(m.model)}: {names[m.tool_key]} {m.status.value}: {m.error}"
        for m in measurements
        if m.status in FAILURES
    ] + [
        f"{tables.short_model(r.model)}: no reference: {r.error}"
        for r in references
        if r.macs is None
    ]


def _section(lines: Iterable[Text]) -> Iterator[Text]:
    """The lines with an empty one before them, if there are any."""
    from rich.text import Text

    found = list(lines)
    if found:
        yield Text()
        yield from found


# -- sentences -------------------------------------------------------------------------------------


def _holds_for(references: Iterable[Reference], to: Screen) -> Iterator[Text]:
    for sentence in tables.holds_for(references):
        yield from wrap(sentence, to, 4)


def _unexplained(
    measurements: Sequence[Measurement],
    findings: Sequence[Finding],
    names: Names,
    bounds: Models,
    to: Screen,
) -> Iterator[Text]:

    counted = sum(m.status is Status.COUNTED for m in measurements)
    cells = {(f.tool_key, f.model, f.inputs) for f in findings}
    bound = sum(tuple(cell[1:]) in bounds for cell in cells)
    compared = len(cells)
    open_ = [
        finding for finding in findings if finding.cause == Cause.UNEXPLAINED and finding.amount
    ]
    red = marks.STYLES[marks.UNEXPLAINED]
    if open_:
        head = f"Unexplained, in {len(open_)} places of {compared} compared cells:"
        yield from wrap(styled(head, red), to)
    elif compared > bound:
        yield from wrap(f"Unexplained: nothing, in {_cells(compared - bound)} compared.", to)
    if bound:
        yield from wrap(f"Not explained to the end: {_cells(bound)} with a lower bound.", to)
    for finding in open_:
        place = f"  {tables.short_model(finding.model)}: {names[finding.tool_key]}"
        amount = f"{finding.amount:+,} {finding.quantity}: {finding.evidence}"
        yield from wrap(styled(f"{place} {amount}", red), to, 4)
    if counted > compared:
        text = f"Not compared: {_cells(counted - compared)}, because the reference count failed."
        yield from wrap(styled(text, red), to)


def _cells(number: int) -> str:
    return "1 cell" if number == 1 else f"{number} cells"


def _failed(
    measurements: Sequence[Measurement], references: Sequence[Reference], to: Screen
) -> Iterator[Text]:
    failed = failures(measurements, references)
    for line in ["Failed:", *(f"  {line}" for line in failed)] if failed else []:
        yield from wrap(line, to, 4)


def _not_counted(measurements: Sequence[Measurement], names: Names, to: Screen) -> Iterator[Text]:
    """The models that tools did not take, with each error once."""
    refused = Counter(
        (names[m.tool_key], m.status.value, m.error or "")
        for m in measurements
        if m.status in (Status.ERRORED, Status.UNSUPPORTED)
    )
    if refused:
        yield from wrap("Not counted:", to)
    for (tool, status, error), times in sorted(refused.items()):
        models = "1 model" if times == 1 else f"{times} models"
        yield from wrap(f"  {tool} {status} on {models}: {error}", to, 4)


def _reasons(
    measurements: Sequence[Measurement],
    findings: Sequence[Finding],
    names: Names,
    bounds: Models,
    to: Screen,
) -> Iterator[Text]:
    """One line for each tool: its causes, their largest amounts, and in how many cells they are."""
    compared = {finding.tool_key for finding in findings}
    tools = {m.tool_key: names[m.tool_key] for m in measurements if m.tool_key in compared}
    if not tools:
        return
    yield from wrap(
        "Why they differ (largest amount of each cause in a cell, and in how many cells):", to
    )
    width = max(map(columns_of, tools.values()))
    for key, name in tools.items():
        causes = _largest([finding for finding in findings if finding.tool_key == key])
        head = f"  {padded(name, width)}  "
        room = None if to.width is None else to.width - columns_of(head)
        by_bound = any((f.model, f.inputs) in bounds for f in findings if f.tool_key == key)
        same = "nothing known, but a reference is a lower bound" if by_bound else _MATCHES
        text = _joined(causes, room) if causes else same
        yield from wrap(head + text, to)


_MATCHES = "nothing: matches the reference exactly"


@dataclass(frozen=True)
class _Most:
    """The largest amount of a cause in one cell, and in how many cells it is."""

    cause: str
    amount: int
    cells: int

    def text(self, *, exact: bool) -> str:
        return f"{signed(self.amount, exact=exact)} {self.cause} in {self.cells}"


def _largest(findings: Iterable[Finding]) -> list[_Most]:
    """The causes of one tool, the largest first; anything unexplained before all others."""
    sums: dict[str, Counter[tuple[str, tuple[str, ...], str]]] = {}
    for finding in findings:
        if finding.amount and finding.cause != Cause.UNIT:
            cell = (finding.model, finding.inputs, finding.quantity)
            sums.setdefault(finding.cause, Counter())[cell] += finding.amount
    found = [_Most(cause, max(s.values(), key=abs), len(s)) for cause, s in sums.items()]
    return sorted(found, key=lambda most: (most.cause != Cause.UNEXPLAINED, -abs(most.amount)))


def _joined(causes: Sequence[_Most], room: int | None) -> str:
    """The causes in one line, in the most detailed form that fits."""
    forms = [", ".join(most.text(exact=exact) for most in causes) for exact in (True, False)]
    names = [most.cause for most in causes]
    for shown in range(len(causes) - 1, 0, -1):
        largest = ", ".join(most.text(exact=False) for most in causes[:shown])
        forms.append(f"{largest}; also {', '.join(names[shown:])}")
    first, others = causes[0].text(exact=False), len(causes) - 1
    forms += [
        f"{first}; also {', '.join(names[1 : named + 1])}, {others - named} more"
        for named in range(others - 1, 0, -1)
    ]
    forms.append(f"{first}; {others} more" if others else first)
    return next((form for form in forms if room is None or len(form) <= room), forms[-1])


# -- details ---------------------------------------------------------------------------------------


def _each_cell(
    measurements: Sequence[Measurement],
    findings: Sequence[Finding],
    names: Names,
    to: Screen,
) -> Iterator[Text]:
    from rich.text import Text

    for measurement in measurements:
        if measurement.status is not Status.COUNTED:
            continue
        mine = [f for f in findings if (*f.tool_key, f.model, f.inputs) == measurement.key]
        where = f"{names[measurement.tool_key]} on {tables.short_model(measurement.model)}"
        number = f"{measurement.reported:,} {measurement.unit.value}s"
        yield from _section(wrap(f"{where}: {number}", to))
        for finding in mine:
            if finding.amount or finding.rows_that_differ:
                head = f"  {finding.amount:>+20,}  {_cause(finding)}: "
                yield from wrap(Text.assemble(head, _evidence(finding, to)), to, 6)
            elif finding.cause == Cause.UNEXPLAINED:
                yield from wrap(f"  {0:>20}  {_cause(finding)}", to, 6)


def _each_cause(findings: Sequence[Finding], names: Names, to: Screen) -> Iterator[Text]:
    """Each cause of each tool, with the evidence where its amount is the largest."""
    last = ""
    for tool, cause, quantity, cells, amount, model, evidence in tables.summaries(findings, names):
        if cause == Cause.UNEXPLAINED:
            continue
        if tool != last:
            yield from wrap(tool, to)
            last = tool
        of = " (params)" if quantity == "params" else ""
        where = f"in {_cells(int(cells))}, at most {amount} on {model}"
        yield from wrap(f"  {cause}{of} {where}: {evidence}", to, 6)


def _cause(finding: Finding) -> str:
    return f"{finding.cause} (params)" if finding.quantity == "params" else finding.cause


def _evidence(finding: Finding, to: Screen) -> Text:
    return cause_text.evidence(finding.model_dump(include={"evidence", "probe", "issue"}), to)
