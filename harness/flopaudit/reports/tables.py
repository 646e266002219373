"""Records and findings come in, table.csv and table.md go out; knows nothing of torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flopaudit.core.causes import Cause
from flopaudit.core.specs import ToolKey
from flopaudit.records.schema import (
    Finding,
    Measurement,
    Reference,
    Status,
)
from flopaudit.records.store import write_whole
from flopaudit.tools.versions import canonical

MARKS = {
    Status.UNSUPPORTED: "unsupported",
    Status.ERRORED: "errored",
    Status.CRASHED: "crashed",
    Status.TIMED_OUT: "timed out",
    Status.UNAVAILABLE: "unavailable",
}

LEGEND = (
    "= is the reference to the last operation; * differs from it, explained; "
    "! differs by more than 1 %; ? is not explained to the end."
)

ODD_PERCENT = 1


@dataclass(frozen=True)
class Scale:
    """The unit of a table: its name, how many MACs it is, and what it is said to be."""

    name: str
    macs: int
    meaning: str

    def text(self, macs: int) -> str:
        """An exact count in this unit, with three decimals rounded half up; MACs as they are."""
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
    """The largest unit in which the smallest model still shows a few digits."""
    smallest = min((r.macs for r in references if r.macs), default=0)
    return next(unit for unit in SCALES if unit.macs == 1 or 100 * smallest >= unit.macs)


def legend(references: Sequence[Reference]) -> str:
    """How to read the grid."""
    unit = scale(references)
    return f"In {unit.name} ({unit.meaning}; a tool's FLOPs halved). {LEGEND}"


def column_names(measurements: Iterable[Measurement]) -> dict[ToolKey, str]:
    """What each tool is called, with its variant; and with its version where there are several."""
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
    """Headers and rows: models down, the reference and the tools across, flagged GMACs in cells."""
    known = {reference.key: reference for reference in references}
    left = {
        _cell(finding)
        for finding in findings
        if finding.cause == Cause.UNEXPLAINED and finding.amount
    }
    unit = scale(references)
    names = column_names(measurements)
    table: dict[tuple[str, tuple[str, ...]], dict[ToolKey, str]] = {}
    for measurement in measurements:
        key = (measurement.model, measurement.inputs)
        text = cell_text(measurement, known.get(key), unit, unexplained=_cell(measurement) in left)
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
    """The count with a flag, or how the cell ended."""
    if measurement.status is not Status.COUNTED:
        return MARKS[measurement.status]
    if measurement.macs is None:
        return f"{measurement.reported} FLOPs"
    return unit.text(measurement.macs) + flag(measurement.macs, reference, unexplained=unexplained)


def flag(macs: int, reference: Reference | None, *, unexplained: bool) -> str:
    """= * ! or ?, as the legend says; nothing where there is no reference."""
    if reference is None or reference.macs is None:
        return ""
    if unexplained:
        return " ?"
    if macs == reference.macs:
        return " ="
    odd = abs(macs - reference.macs) * 100 > ODD_PERCENT * reference.macs
    return " !" if odd else " *"


def short_model(model: str) -> str:
    """The spec without the prefix that may be left out."""
    return model.removeprefix("torchvision:")


def _reference_text(reference: Reference | None, unit: Scale) -> str:
    return unit.text(reference.macs) if reference and reference.macs is not None else "none"


def _cell(record: Measurement | Finding) -> tuple[Any, ...]:
    return (*record.tool_key, record.model, record.inputs)


def summaries(findings: Sequence[Finding], names: Mapping[ToolKey, str]) -> list[list[str]]:
    """Per tool and cause: in how many cells, and the largest amount with where it is."""
    groups: dict[tuple[str, str, str], list[Finding]] = {}
    for finding in findings:
        if finding.amount:
            groups.setdefault(
                (names[finding.tool_key], finding.quantity, finding.cause), []
            ).append(finding)
    # What is unexplained stands first.
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
    import pandas as pd
    from tabulate import tabulate

    frame = pd.DataFrame(list(_csv_rows(measurements, references, findings)))
    write_whole(out / "table.csv", frame.to_csv(index=False, lineterminator="\n"))
    headers, rows = grid(measurements, references, findings)
    align = ("left", "left", *("right",) * (len(headers) - 2))
    causes = summaries(findings, column_names(measurements))
    text = [
        "# What the counters say",
        "",
        legend(references),
        "",
        tabulate(rows, headers, tablefmt="github", colalign=align, disable_numparse=True),
        "",
        "## Why they differ",
        "",
        tabulate(causes, SUMMARY_HEADERS, tablefmt="github", disable_numparse=True),
        "",
    ]
    write_whole(out / "table.md", "\n".join(text))


def _csv_rows(
    measurements: Sequence[Measurement],
    references: Sequence[Reference],
    findings: Sequence[Finding],
) -> Iterator[dict[str, Any]]:
    known = {reference.key: reference for reference in references}
    left = {
        _cell(f): f.amount
        for f in findings
        if f.cause == Cause.UNEXPLAINED and f.quantity != "params"
    }
    for measurement in measurements:
        reference = known.get((measurement.model, measurement.inputs))
        yield {
            "model": measurement.model,
            "inputs": "+".join(measurement.inputs),
            "tool": measurement.tool,
            "variant": measurement.variant or "",
            "tool_version": measurement.tool_version or "",
            "status": measurement.status.value,
            "unit": measurement.unit.value,
            # As text: a missing count would turn a column of exact integers into floats.
            "reported": _text(measurement.reported),
            "macs": _text(measurement.macs),
            "params": _text(measurement.params),
            "reference_macs": _text(reference.macs if reference else None),
            "reference_params": _text(reference.params if reference else None),
            "unexplained": _text(left.get(_cell(measurement))),
            "error": measurement.error or "",
        }


def _text(count: int | None) -> str:
    return "" if count is None else str(count)
