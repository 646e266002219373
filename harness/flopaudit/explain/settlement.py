"""A settlement: all that is known of one model's numbers, as plain data that is stored and printed.

Comes from the records and findings of a run. One line of JSON for each model, so that a stored one
is found and read without anything that takes long to import. For each tool that counted, reported
= the reference in the tool's unit + the deltas of all causes + what is unexplained.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flopaudit.core.errors import UsageError

if TYPE_CHECKING:
    from importlib.abc import Traversable

    from flopaudit.records.schema import Finding, Measurement, Reference

FILE = "settlements.jsonl"
SETTLEMENT_VERSION = 1
"""History of the format: 1 — the first."""

_UNEXPLAINED, _UNIT = "unexplained", "unit"

Settlement = dict[str, Any]


def settlements(
    measurements: Sequence[Measurement],
    references: Sequence[Reference],
    findings: Sequence[Finding],
) -> Iterator[Settlement]:
    """One for each model and inputs that has a reference, in their order."""
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


def _reference(reference: Reference) -> dict[str, Any]:
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
) -> dict[str, Any]:
    counts = [f for f in findings if f.quantity != "params"]
    params = [f for f in findings if f.quantity == "params"]
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
        "causes": [_cause(f) for f in counts if f.cause not in {_UNEXPLAINED, _UNIT}],
        **_left(counts),
        "params": measurement.params,
        "params_causes": [_cause(f) for f in params if f.cause != _UNEXPLAINED],
        **{f"params_{name}": left for name, left in _left(params).items()},
    }


def _cause(finding: Finding) -> dict[str, Any]:
    return {
        "cause": finding.cause,
        "delta": finding.amount,
        "evidence": finding.evidence,
        "modules": finding.modules,
        "probe": finding.probe,
        "issue": finding.issue,
    }


def _left(findings: Iterable[Finding]) -> dict[str, Any]:
    """What is unexplained; None where nothing was counted."""
    for finding in findings:
        if finding.cause == _UNEXPLAINED:
            evidence = finding.evidence if finding.amount or finding.rows_that_differ else None
            return {
                "unexplained": finding.amount,
                "unexplained_evidence": evidence,
                "rows_that_differ": finding.rows_that_differ,
            }
    return {"unexplained": None, "unexplained_evidence": None, "rows_that_differ": 0}


def is_explained(tool: Mapping[str, Any]) -> bool:
    """Whether nothing of a tool's number is left over, in sum and for each of its modules."""
    return not (
        tool["unexplained"]
        or tool["rows_that_differ"]
        or tool["params_unexplained"]
        or tool["params_rows_that_differ"]
    )


def find(
    directories: Iterable[Traversable], model: str, inputs: Sequence[str]
) -> Settlement | None:
    """The first stored settlement of a model on such inputs.

    Raises:
        UsageError: it is of a version that this program does not know.
    """
    mark = f'"model": {json.dumps(model, ensure_ascii=False)}, '
    for directory in directories:
        path = directory / FILE
        if path.is_file():
            for line in path.read_text(encoding="utf-8").split("\n"):
                if mark in line[:500] and (found := json.loads(line))["inputs"] == list(inputs):
                    return _known(found, path)
    return None


def _known(found: Settlement, path: Traversable) -> Settlement:
    if found["settlement_version"] != SETTLEMENT_VERSION:
        raise UsageError(
            f"{path} is of version {found['settlement_version']}, and this program reads "
            f"{SETTLEMENT_VERSION}.",
            "Give --again.",
        )
    return found


def to_line(settlement: Settlement) -> str:
    """One line of JSON."""
    return json.dumps(settlement, ensure_ascii=False)
