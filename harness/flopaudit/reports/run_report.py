"""A run's results come in, what is said of them goes to standard output, the unexplained first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from flopaudit.core.specs import ToolKey
from flopaudit.explain.findings import UNEXPLAINED
from flopaudit.records.schema import (
    Finding,
    Measurement,
    Reference,
    Status,
)
from flopaudit.reports import tables
from flopaudit.reports.terminal import print_table, print_wrapped

FEW_MODELS = 2
MATTERS = (Status.CRASHED, Status.TIMED_OUT, Status.UNAVAILABLE)
"""Outcomes that make a run fail: not the tool's say on a model, but no say at all."""


def show(
    measurements: Sequence[Measurement],
    references: Sequence[Reference],
    findings: Sequence[Finding],
    *,
    details: bool = False,  # noqa: ARG001 - of the command
) -> None:
    """The table, how to read it, what failed, and the findings."""
    headers, rows = tables.grid(measurements, references, findings)
    names = tables.column_names(measurements)
    print_table(headers, rows, left=2, keep=1)
    print_wrapped(tables.legend(references))
    _failures(measurements, references)
    print_wrapped()
    _unexplained(findings, names)
    if len({finding.model for finding in findings}) <= FEW_MODELS:
        _each_cell(measurements, findings, names)
    else:
        _by_tool(findings, names)


def failures(measurements: Sequence[Measurement], references: Iterable[Reference]) -> list[str]:
    """What makes a run fail: cells that gave no outcome of the tool's own, models not counted."""
    names = tables.column_names(measurements)
    return [
        f"{tables.short_model(m.model)}: {names[m.tool_key]} {m.status.value}: {m.error}"
        for m in measurements
        if m.status in MATTERS
    ] + [
        f"{tables.short_model(r.model)}: no reference: {r.error}"
        for r in references
        if r.macs is None
    ]


def _failures(measurements: Sequence[Measurement], references: Sequence[Reference]) -> None:
    failed = failures(measurements, references)
    if failed:
        print_wrapped()
        print_wrapped("Failed:")
        for line in failed:
            print_wrapped(f"  {line}")
    names = tables.column_names(measurements)
    refused = Counter(
        (names[m.tool_key], m.status.value, m.error or "")
        for m in measurements
        if m.status in (Status.ERRORED, Status.UNSUPPORTED)
    )
    if refused:
        print_wrapped()
        print_wrapped("Not counted:")
        for (tool, status, error), times in sorted(refused.items()):
            models = "1 model" if times == 1 else f"{times} models"
            print_wrapped(f"  {tool} {status} on {models}: {error}")


def _unexplained(findings: Sequence[Finding], names: Mapping[ToolKey, str]) -> None:
    open_ = [finding for finding in findings if finding.cause == UNEXPLAINED and finding.amount]
    cells = len({(f.tool_key, f.model, f.inputs) for f in findings})
    if not open_:
        print_wrapped(f"Unexplained: nothing, in {cells} counted cells.")
        return
    print_wrapped(f"Unexplained, in {len(open_)} places of {cells} counted cells:")
    for finding in open_:
        model = tables.short_model(finding.model)
        tool = names[finding.tool_key]
        print_wrapped(
            f"  {model}: {tool} {finding.amount:+,} {finding.quantity}: {finding.evidence}"
        )


def _each_cell(
    measurements: Sequence[Measurement],
    findings: Sequence[Finding],
    names: Mapping[ToolKey, str],
) -> None:
    for measurement in measurements:
        if measurement.status is not Status.COUNTED:
            continue
        mine = [f for f in findings if (*f.tool_key, f.model, f.inputs) == measurement.key]
        model = tables.short_model(measurement.model)
        print_wrapped()
        tool = names[measurement.tool_key]
        print_wrapped(f"{tool} on {model}: {measurement.reported:,} {measurement.unit.value}s")
        for f in mine:
            if f.amount or f.cause == UNEXPLAINED:
                of = " (params)" if f.quantity == "params" else ""
                print_wrapped(f"  {f.amount:>+20,}  {f.cause}{of}: {f.evidence}")


def _by_tool(findings: Sequence[Finding], names: Mapping[ToolKey, str]) -> None:
    print_wrapped()
    print_wrapped("Why they differ (cells, and the largest of them):")
    last = ""
    for tool, cause, quantity, cells, amount, model, evidence in tables.summaries(findings, names):
        if cause == UNEXPLAINED:
            continue
        if tool != last:
            print_wrapped(f"  {tool}")
            last = tool
        of = " (params)" if quantity == "params" else ""
        print_wrapped(f"    {cause}{of} in {cells}: {amount} on {model}: {evidence}")
