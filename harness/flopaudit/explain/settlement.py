"""Settlements: all that is known of one model's numbers, as plain data that is stored and printed.

A settlement is made from the records and findings of a run, and stored as one line of JSON for each
model, so that a stored one is found and read without imports that take long. For each tool that
counted, reported = the reference in the tool's unit + the deltas of all causes + unexplained.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypedDict, cast

from flopaudit.core.causes import Cause
from flopaudit.core.errors import UsageError
from flopaudit.core.text import visible_json

if TYPE_CHECKING:
    from importlib.abc import Traversable

    from flopaudit.records.schema import Finding, Measurement, Reference

FILE = "settlements.jsonl"
SETTLEMENT_VERSION = 1
"""History of the format: 1 — the first."""


class SettledReference(TypedDict):
    """The reference's count: multiply-accumulates, FLOPs and parameters.

    The counts are None if the model could not be counted; `error` then says why. `components` are
    the parts of the count by kind of work, `uncounted_ops` the calls of operators without a
    formula.
    """

    macs: int | None
    flops: int | None
    params: int | None
    trainable_params: int | None
    components: dict[str, int]
    uncounted_ops: dict[str, int]
    error: str | None


class SettledCause(TypedDict):
    """One cause: its name (see `flopaudit.core.causes`), amount, evidence and related thread."""

    cause: str
    delta: int
    evidence: str
    modules: int
    probe: str | None
    issue: str | None


class SettledTool(TypedDict):
    """One tool's number, and its causes.

    `reported`, `reference` and all deltas are in the tool's `unit`. What is unexplained is None if
    the tool did not count.
    """

    tool: str
    version: str | None
    variant: str | None
    status: str
    error: str | None
    reported: int | None
    unit: str
    reference: int | None
    causes: list[SettledCause]
    unexplained: int | None
    unexplained_evidence: str | None
    rows_that_differ: int
    params: int | None
    params_causes: list[SettledCause]
    params_unexplained: int | None
    params_unexplained_evidence: str | None
    params_rows_that_differ: int


class Settlement(TypedDict):
    """All that is known of one model with its inputs."""

    settlement_version: int
    model: str
    inputs: list[str]
    mode: str
    flopaudit: str
    torch: str
    reference: SettledReference
    tools: list[SettledTool]


class _Unexplained(NamedTuple):
    """The unexplained part of one quantity, and the number of module rows that differ."""

    amount: int | None
    evidence: str | None
    rows_that_differ: int


def settlements(
    measurements: Sequence[Measurement],
    references: Sequence[Reference],
    findings: Sequence[Finding],
) -> Iterator[Settlement]:
    """Yield one settlement for each model and inputs with a reference, in the references' order."""
    for reference in references:
        mine = [m for m in measurements if (m.model, m.inputs) == reference.key]
        about: dict[tuple[str, str, str], list[Finding]] = {}
        for finding in findings:
            if (finding.model, finding.inputs) == reference.key:
                about.setdefault(finding.tool_key, []).append(finding)
        yield {
            "settlement_version": SETTLEMENT_VERSION,
            "model": reference.model,
            "inputs": list(reference.inputs),
            "mode": "eval",
            "flopaudit": reference.environment.flopaudit,
            "torch": reference.environment.torch,
            "reference": _reference(reference),
            "tools": [_tool(m, reference, about.get(m.tool_key, [])) for m in mine],
        }


def _reference(reference: Reference) -> SettledReference:
    return {
        "macs": reference.macs,
        "flops": None if reference.macs is None else 2 * reference.macs,
        "params": reference.params,
        "trainable_params": reference.trainable_params,
        "components": dict(reference.components),
        "uncounted_ops": dict(reference.uncounted_ops),
        "error": reference.error,
    }


def _tool(
    measurement: Measurement, reference: Reference, findings: Sequence[Finding]
) -> SettledTool:
    counts = [f for f in findings if f.quantity != "params"]
    params = [f for f in findings if f.quantity == "params"]
    left, params_left = _unexplained(counts), _unexplained(params)
    unit = measurement.unit.value
    wanted = None if reference.macs is None else reference.macs * (2 if unit == "FLOP" else 1)
    return {
        "tool": measurement.tool,
        "version": measurement.tool_version,
        "variant": measurement.variant,
        "status": measurement.status.value,
        "error": measurement.error,
        "reported": measurement.reported,
        "unit": unit,
        "reference": wanted,
        "causes": [_cause(f) for f in counts if f.cause not in {Cause.UNEXPLAINED, Cause.UNIT}],
        "unexplained": left.amount,
        "unexplained_evidence": left.evidence,
        "rows_that_differ": left.rows_that_differ,
        "params": measurement.params,
        "params_causes": [_cause(f) for f in params if f.cause != Cause.UNEXPLAINED],
        "params_unexplained": params_left.amount,
        "params_unexplained_evidence": params_left.evidence,
        "params_rows_that_differ": params_left.rows_that_differ,
    }


def _cause(finding: Finding) -> SettledCause:
    return {
        "cause": finding.cause,
        "delta": finding.amount,
        "evidence": finding.evidence,
        "modules": finding.modules,
        "probe": finding.probe,
        "issue": finding.issue,
    }


def _unexplained(findings: Iterable[Finding]) -> _Unexplained:
    """Return what is unexplained; the amount is None if nothing was counted."""
    for finding in findings:
        if finding.cause == Cause.UNEXPLAINED:
            evidence = finding.evidence if finding.amount or finding.rows_that_differ else None
            return _Unexplained(finding.amount, evidence, finding.rows_that_differ)
    return _Unexplained(None, None, 0)


def is_explained(tool: SettledTool) -> bool:
    """Whether all of a tool's number is explained, in total and for each of its modules."""
    return not (
        tool["unexplained"]
        or tool["rows_that_differ"]
        or tool["params_unexplained"]
        or tool["params_rows_that_differ"]
    )


def find(
    directories: Iterable[Traversable], model: str, inputs: Sequence[str]
) -> Settlement | None:
    """Return the first stored settlement of a model on such inputs, None if there is none.

    Args:
        directories: in which to look for a file of settlements, in this order.
        model: the model spec.
        inputs: the input specs.

    Raises:
        UsageError: the settlement is of a version that this program does not know.
    """
    mark = f'"model": {visible_json(json.dumps(model, ensure_ascii=False))}, '
    for directory in directories:
        path = directory / FILE
        if path.is_file():
            for line in path.read_text(encoding="utf-8").split("\n"):
                if mark in line[:500] and (found := json.loads(line))["inputs"] == list(inputs):
                    return _checked(found, path)
    return None


def _checked(found: dict[str, object], path: Traversable) -> Settlement:
    if found["settlement_version"] != SETTLEMENT_VERSION:
        raise UsageError(
            f"{path} has format {found['settlement_version']}, but this program reads "
            f"{SETTLEMENT_VERSION}.",
            "Measure the model again with --again.",
        )
    return cast(Settlement, found)


def to_line(settlement: Settlement) -> str:
    """Return the settlement as one line of JSON."""
    return visible_json(json.dumps(settlement, ensure_ascii=False))
