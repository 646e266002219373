"""The table of a run, models down and tools across: for the terminal, table.csv and table.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flopaudit.core.causes import Cause
from flopaudit.core.specs import ToolKey, has_own_values
from flopaudit.records.schema import (
    Finding,
    Measurement,
    Reference,
    Status,
)
from flopaudit.records.store import write_whole
from flopaudit.reports import certainty, marks
from flopaudit.reports.escaping import csv_lines, markdown_table
from flopaudit.tools.versions import canonical

ENDINGS = {
    Status.UNSUPPORTED: "unsupported",
    Status.ERRORED: "errored",
    Status.CRASHED: "crashed",
    Status.TIMED_OUT: "timed out",
    Status.UNAVAILABLE: "unavailable",
}
"""How a cell ended that has no number."""

LEGEND = (
    "= is the reference to the last operation; * differs from it, explained; "
    "! differs by more than 1 %; ? is not explained to the end."
)
"""The marks, as the committed tables put it."""


@dataclass(frozen=True)
class Scale:
    """The unit of a table: its name, how many MACs it is, and its meaning in words."""

    name: str
    macs: int
    meaning: str

    def text(self, macs: int) -> str:
        """Return a count in this unit, with three decimals rounded half up; MACs exactly."""
        if self.macs == 1:
            return f"{macs:,}"
        thousandths = (macs * 1000 + self.macs // 2) // self.macs
        return f"{thousandths // 1000:,}.{thousandths % 1000:03d}"


SCALES = (
    Scale("GMACs", 10**9, "10⁹ multiply-accumulates"),
    Scale("MMACs", 10**6, "10⁶ multiply-accumulates"),
    Scale("MACs", 1, "multiply-accumulates"),
)


def scale(references: Sequence[Reference]) -> Scale:
    """Return the largest unit in which the smallest model still shows a few digits."""
    smallest = min((r.macs for r in references if r.macs), default=0)
    return next(unit for unit in SCALES if unit.macs == 1 or 100 * smallest >= unit.macs)


def unit_note(references: Sequence[Reference]) -> str:
    """Return a sentence on the unit of the grid."""
    unit = scale(references)
    return f"In {unit.name} ({unit.meaning}; a tool's FLOPs halved)."


def variant_names(measurements: Iterable[Measurement]) -> dict[ToolKey, str]:
    """Return the name of each tool with its variant, and its version where there are several."""
    keys = sorted({measurement.tool_key for measurement in measurements})
    versions = Counter(tool for tool, _ in {key[:2] for key in keys})

    def name(tool: str, version: str, variant: str) -> str:
        shown = (canonical(version) or "unknown") if versions[tool] > 1 else ""
        return " ".join(filter(None, (tool, shown, variant)))

    return {key: name(*key) for key in keys}


def grid(
    measurements: Sequence[Measurement],
    references: Sequence[Reference],
    findings: Sequence[Finding],
) -> tuple[list[str], list[list[str]]]:
    """Return headers and rows: models down, the reference and the tools across, marked counts."""
    known = {reference.key: reference for reference in references}
    unexplained = {
        _cell(finding)
        for finding in findings
        if finding.cause == Cause.UNEXPLAINED and finding.amount
    }
    unit = scale(references)
    names = variant_names(measurements)
    table: dict[tuple[str, tuple[str, ...]], dict[ToolKey, str]] = {}
    for measurement in measurements:
        key = (measurement.model, measurement.inputs)
        text = cell_text(
            measurement, known.get(key), unit, unexplained=_cell(measurement) in unexplained
        )
        table.setdefault(key, {})[measurement.tool_key] = text
    rows = [
        [short_model(model), "+".join(inputs), _reference_text(known.get((model, inputs)), unit)]
        + [cells.get(tool, "") for tool in names]
        for (model, inputs), cells in sorted(table.items())
    ]
    return ["model", "input", "reference", *names.values()], rows


def cell_text(
    measurement: Measurement, reference: Reference | None, unit: Scale, *, unexplained: bool
) -> str:
    """Return the count with its mark, or how the cell ended."""
    if measurement.status is not Status.COUNTED:
        return ENDINGS[measurement.status]
    if measurement.macs is None:
        return f"{measurement.reported} FLOPs"
    return unit.text(measurement.macs) + _flag(measurement.macs, reference, unexplained=unexplained)


def _flag(macs: int, reference: Reference | None, *, unexplained: bool) -> str:
    if reference is None or reference.macs is None:
        return ""
    bound = reference.lower_bound
    return f" {marks.mark(macs, reference.macs, explained=not unexplained, lower_bound=bound)}"


def bound_legend(references: Iterable[Reference]) -> str:
    """Return what the mark of lower bounds means, if there are any."""
    return f" {marks.BOUND_LEGEND}" if any(each.lower_bound for each in references) else ""


def short_model(model: str) -> str:
    """Return the model spec without the prefix that may be left out."""
    return model.removeprefix("torchvision:")


def _reference_text(reference: Reference | None, unit: Scale) -> str:
    if reference is None or reference.macs is None:
        return "none"
    return certainty.at_least(unit.text(reference.macs), lower_bound=reference.lower_bound)


def holds_for(references: Iterable[Reference]) -> Iterator[str]:
    """Yield sentences on what the counts of references hold for, each after its model's name."""
    for reference in references:
        if reference.macs is None:
            continue
        name = short_model(reference.model)
        if reference.lower_bound:
            why = certainty.no_formula(reference.uncounted_ops)
            yield f"{name}: at least {reference.macs:,} MACs; {why}."
            yield f"{name}: {certainty.remedy(reference.uncounted_ops)}"
        for sentence in (
            *certainty.formulas(reference.user_formulas),
            *certainty.dependence(
                reference.data_dependent,
                own_values=has_own_values(reference.inputs),
            ),
        ):
            yield f"{name}: {sentence}"


def _cell(record: Measurement | Finding) -> tuple[Any, ...]:
    return (*record.tool_key, record.model, record.inputs)


def summaries(findings: Sequence[Finding], names: Mapping[ToolKey, str]) -> list[list[str]]:
    """Return a row for each tool and cause: in how many cells, and its largest amount."""
    groups: dict[tuple[str, str, str], list[Finding]] = {}
    for finding in findings:
        if finding.amount:
            groups.setdefault(
                (names[finding.tool_key], finding.quantity, finding.cause), []
            ).append(finding)
    # Anything unexplained comes first.
    ordered = sorted(groups.items(), key=lambda item: (item[0][2] != Cause.UNEXPLAINED, item[0]))
    return [
        [
            tool,
            cause,
            quantity,
            str(len(group)),
            f"{most.amount:+,}",
            short_model(most.model),
            most.evidence,
        ]
        for (tool, quantity, cause), group in ordered
        if cause != Cause.UNIT
        for most in [max(group, key=lambda finding: abs(finding.amount))]
    ]


SUMMARY_HEADERS = ["tool", "cause", "of", "cells", "largest", "on", "evidence there"]


def write(
    out: Path,
    measurements: Sequence[Measurement],
    references: Sequence[Reference],
    findings: Sequence[Finding],
) -> None:
    """Write table.csv and table.md into a directory."""
    write_whole(out / "table.csv", csv_lines(_csv_rows(measurements, references, findings)))
    headers, rows = grid(measurements, references, findings)
    align = ("left", "left", *("right",) * (len(headers) - 2))
    causes = summaries(findings, variant_names(measurements))
    text = [
        "# What the counters say",
        "",
        f"{unit_note(references)} {LEGEND}{bound_legend(references)}",
        "",
        markdown_table(headers, rows, align),
        "",
        *(line for sentence in holds_for(references) for line in (f"- {sentence}", "")),
        "## Why they differ",
        "",
        markdown_table(SUMMARY_HEADERS, causes),
        "",
    ]
    write_whole(out / "table.md", "\n".join(text))


_COLUMNS = (
    "model", "inputs", "tool", "variant", "tool_version", "status", "unit", "reported", "macs",
    "params", "reference_macs", "reference_params", "unexplained",
    "reference_lower_bound", "uncounted_ops", "user_formulas", "data_dependent", "error",
)  # fmt: skip
"""Columns of table.csv."""


def _csv_rows(
    measurements: Sequence[Measurement],
    references: Sequence[Reference],
    findings: Sequence[Finding],
) -> Iterator[Sequence[str]]:
    """Yield the columns, and a row for each measurement."""
    known = {reference.key: reference for reference in references}
    unexplained = {
        _cell(f): f.amount
        for f in findings
        if f.cause == Cause.UNEXPLAINED and f.quantity != "params"
    }
    yield _COLUMNS
    for measurement in measurements:
        reference = known.get((measurement.model, measurement.inputs))
        yield (
            measurement.model,
            "+".join(measurement.inputs),
            measurement.tool,
            measurement.variant or "",
            measurement.tool_version or "",
            measurement.status.value,
            measurement.unit.value,
            _text(measurement.reported),
            _text(measurement.macs),
            _text(measurement.params),
            _text(reference.macs if reference else None),
            _text(reference.params if reference else None),
            _text(unexplained.get(_cell(measurement))),
            *_certainty(reference),
            measurement.error or "",
        )


def _certainty(reference: Reference | None) -> tuple[str, str, str, str]:
    """Return what a reference's count holds for, in four columns."""
    if reference is None:
        return ("", "", "", "")
    return (
        "yes" if reference.lower_bound else "",
        " ".join(sorted(reference.uncounted_ops)),
        " ".join(sorted(reference.user_formulas)),
        "; ".join(reference.data_dependent),
    )


def _text(count: int | None) -> str:
    return "" if count is None else str(count)
