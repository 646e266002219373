"""Settlements: all that is known of one model's numbers, as plain data that is stored and printed.

A settlement is made from the records and findings of a run, and stored as one line of JSON for each
model, so that a stored one is found and read without imports that take long. For each tool that
counted, reported = the reference in the tool's unit + the deltas of all causes + unexplained.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict, cast

from flopaudit.core import checksum
from flopaudit.core.causes import Cause
from flopaudit.core.errors import UsageError
from flopaudit.core.files import parse_json, read_text, require_regular
from flopaudit.core.specs import has_own_values
from flopaudit.core.text import visible_json

if TYPE_CHECKING:
    from importlib.abc import Traversable

    from flopaudit.records.schema import Finding, Measurement, ModelIdentity, Reference

FILE = "settlements.jsonl"
_REMEDY = "Move that file away, or measure again with --again into another --out."
SETTLEMENT_VERSION = 1
"""History of the format: 1 — the first."""


class SettledReference(TypedDict):
    """The reference's count: multiply-accumulates, FLOPs and parameters.

    The counts are None if the model could not be counted; `error` then says why. `components` are
    the parts of the count by kind of work, `uncounted_ops` the calls of operators without a
    formula; with any, `lower_bound` is true: the model does at least this much. `user_formulas`
    says of operators that a user's formula counted where it comes from. `data_dependent` are lines
    of code at which the count depends on the values of the input.
    """

    macs: int | None
    flops: int | None
    params: int | None
    trainable_params: int | None
    components: dict[str, int]
    uncounted_ops: dict[str, int]
    lower_bound: bool
    user_formulas: dict[str, str]
    data_dependent: list[str]
    error: str | None


class SettledCause(TypedDict):
    """One cause: its name (see `flopaudit.core.causes`), amount, evidence and related thread."""

    cause: str
    delta: int
    evidence: str
    modules: int
    probe: str | None
    issue: str | None


class SettledLimits(TypedDict):
    """The limits of a cell that failed."""

    timeout_seconds: float
    memory_bytes: int


class SettledTool(TypedDict):
    """One tool's number, and its causes.

    `lower_bound` says that `reference` is one, so that not all of the number can be explained.
    `reported`, `reference` and all deltas are in the tool's `unit`. What is unexplained is None if
    the tool did not count; `limits` are those of a cell that failed.
    """

    tool: str
    version: str | None
    variant: str | None
    status: str
    error: str | None
    reported: int | None
    unit: str
    reference: int | None
    lower_bound: bool
    causes: list[SettledCause]
    unexplained: int | None
    unexplained_evidence: str | None
    rows_that_differ: int
    limits: SettledLimits | None
    params: int | None
    params_causes: list[SettledCause]
    params_unexplained: int | None
    params_unexplained_evidence: str | None
    params_rows_that_differ: int


class Settlement(TypedDict):
    """All that is known of one model with its inputs.

    `own_values` says that the values of the input are the user's, and not random. `identity` is
    that of the model (see `records.schema.ModelIdentity`), and `records` a digest of
    the records that the settlement was made from. The identity is None if the model was not built.
    """

    settlement_version: int
    model: str
    inputs: list[str]
    mode: str
    flopaudit: str
    torch: str
    reference: SettledReference
    tools: list[SettledTool]
    own_values: bool
    identity: dict[str, Any] | None
    records: str


class _Unexplained(NamedTuple):
    """The unexplained part of one quantity, and the number of module rows that differ."""

    amount: int | None
    evidence: str | None
    rows_that_differ: int


def settlements(
    measurements: Sequence[Measurement],
    references: Sequence[Reference],
    findings: Sequence[Finding],
    identities: Sequence[ModelIdentity] = (),
) -> Iterator[Settlement]:
    """Yield one settlement for each model and inputs with a reference, in the references' order."""
    known = {(each.key, each.fingerprint): each for each in identities}
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
            "own_values": has_own_values(reference.inputs),
            "identity": _identity(known.get((reference.key, reference.fingerprint or ""))),
            "records": records_digest([reference, *mine]),
        }


def _identity(known: ModelIdentity | None) -> dict[str, Any] | None:
    return known.model_dump(mode="json") if known else None


def records_digest(records: Iterable[Reference | Measurement]) -> str:
    """Return a digest of the records that a settlement is made from."""
    return checksum.digest("\n".join(record.line() for record in records).encode())


def _reference(reference: Reference) -> SettledReference:
    return {
        "macs": reference.macs,
        "flops": None if reference.macs is None else 2 * reference.macs,
        "params": reference.params,
        "trainable_params": reference.trainable_params,
        "components": dict(reference.components),
        "uncounted_ops": dict(reference.uncounted_ops),
        "lower_bound": reference.lower_bound,
        "user_formulas": dict(reference.user_formulas),
        "data_dependent": list(reference.data_dependent),
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
        "lower_bound": reference.lower_bound,
        "causes": [_cause(f) for f in counts if f.cause not in {Cause.UNEXPLAINED, Cause.UNIT}],
        "unexplained": left.amount,
        "unexplained_evidence": left.evidence,
        "rows_that_differ": left.rows_that_differ,
        "limits": _limits(measurement),
        "params": measurement.params,
        "params_causes": [_cause(f) for f in params if f.cause != Cause.UNEXPLAINED],
        "params_unexplained": params_left.amount,
        "params_unexplained_evidence": params_left.evidence,
        "params_rows_that_differ": params_left.rows_that_differ,
    }


def _limits(measurement: Measurement) -> SettledLimits | None:
    kept = measurement.limits
    if kept is None:
        return None
    return {"timeout_seconds": kept.timeout_seconds, "memory_bytes": kept.memory_bytes}


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
    """Whether all of a tool's number is explained, in total and for each of its modules.

    Compared with a lower bound, no number is: the reference has operations of its own to add.
    """
    return not (
        tool["lower_bound"]
        or tool["unexplained"]
        or tool["rows_that_differ"]
        or tool["params_unexplained"]
        or tool["params_rows_that_differ"]
    )


def find(
    directories: Iterable[Traversable], model: str, inputs: Sequence[str]
) -> Settlement | None:
    """Return the first stored settlement of a model on such inputs; None if there is none.

    Args:
        directories: in which to look for a file of settlements, in this order.
        model: the model spec.
        inputs: the input specs.

    Raises:
        ChangedError: the settlement was changed after it was written, or does not add up.
        UsageError: the file cannot be read, or the settlement is damaged or of a version that this
            program does not know.
    """
    mark = f'"model": {visible_json(json.dumps(model, ensure_ascii=False))}, '
    for directory in directories:
        path = directory / FILE
        for line in _lines(path):
            if mark in line[:500]:
                text, state = checksum.check(line)
                found = _parsed(text, path)
                if found.get("inputs") == list(inputs):
                    # Lines of earlier versions have no checksum, nor all keys; an edited one may
                    # lack the checksum alone.
                    if state is checksum.State.CHANGED or (
                        state is checksum.State.ABSENT and _is_whole(found)
                    ):
                        what = f"a settlement in {path} was changed after it was written"
                        raise checksum.ChangedError(what)
                    return _checked(found, path)
    return None


def _lines(path: Traversable) -> list[str]:
    """Return the lines of a file of settlements; none if there is no such file."""
    if isinstance(path, Path):
        require_regular(path, _REMEDY)
    return read_text(path, _REMEDY).split("\n") if path.is_file() else []


def _parsed(line: str, path: Traversable) -> dict[str, Any]:
    try:
        found = parse_json(line)
        if isinstance(found, dict):
            return found
        problem = "it is not an object"
    except ValueError as error:
        problem = str(error)
    raise UsageError(f"{path} has a line that is not a settlement: {problem}.", _REMEDY)


def _checked(found: dict[str, Any], path: Traversable) -> Settlement:
    version = found.get("settlement_version")
    if version != SETTLEMENT_VERSION:
        raise UsageError(
            f"{path} has format {version}, but this program reads {SETTLEMENT_VERSION}.",
            "Measure the model again with --again.",
        )
    if not _is_whole(found):
        raise checksum.ChangedError(f"a settlement in {path} is of an earlier version of flopaudit")
    settlement = cast(Settlement, found)
    if not adds_up(settlement):
        raise checksum.ChangedError(f"the numbers of a settlement in {path} do not add up")
    return settlement


def _is_whole(found: dict[str, Any]) -> bool:
    """Whether a stored settlement has all keys, which one of an earlier version has not."""
    tools = found.get("tools")
    parts: list[tuple[object, type]] = [
        (found, Settlement),
        (found.get("reference"), SettledReference),
        *((tool, SettledTool) for tool in (tools if isinstance(tools, list) else ())),
    ]
    return isinstance(tools, list) and all(
        isinstance(part, dict) and kind.__annotations__.keys() <= part.keys()
        for part, kind in parts
    )


def adds_up(settlement: Settlement) -> bool:
    """Whether each tool's number is the reference, its causes and what is unexplained, summed up.

    The reference of each tool is that of the settlement in the tool's unit.
    """
    reference = settlement["reference"]
    macs, params = reference["macs"], reference["params"]
    return reference["flops"] == _times(macs, 2) and all(
        tool["reference"] == (wanted := _times(macs, 2 if tool["unit"] == "FLOP" else 1))
        and _sums_up(tool["reported"], wanted, tool["causes"], tool["unexplained"])
        and _sums_up(tool["params"], params, tool["params_causes"], tool["params_unexplained"])
        for tool in settlement["tools"]
    )


def _times(count: int | None, factor: int) -> int | None:
    return None if count is None else factor * count


def _sums_up(
    reported: int | None, wanted: int | None, causes: Iterable[SettledCause], rest: int | None
) -> bool:
    """Whether a number is what is wanted and all differences; without a rest, there is no claim."""
    if rest is None:
        return True
    if reported is None or wanted is None:
        return False
    return reported == wanted + sum(cause["delta"] for cause in causes) + rest


def to_line(settlement: Settlement) -> str:
    """Return the settlement as one line of JSON, with a checksum."""
    return checksum.add(visible_json(json.dumps(settlement, ensure_ascii=False)))
