"""Records of cells: each made from the outcome of a cell and the environment it ran in."""

from __future__ import annotations

from typing import Any, TypeVar

from flopaudit.core.specs import InputSpec, parse_input
from flopaudit.isolation.outcomes import Counted, Failed, Outcome, ReferenceCounted, Traced
from flopaudit.pipeline.model_requests import ModelRequest
from flopaudit.records.environment import environment
from flopaudit.records.schema import (
    Conditions,
    Environment,
    Measurement,
    Record,
    Reference,
    Status,
    TraceRecord,
    Unit,
)
from flopaudit.tools.registry import ToolVariant
from flopaudit.tracing.sites import TRACE_VERSION

_Kind = TypeVar("_Kind", Counted, ReferenceCounted, Traced)


def measurement(variant: ToolVariant, request: ModelRequest, outcome: Outcome) -> Measurement:
    """Return the record of one cell.

    Raises:
        TypeError: the outcome is not that of a tool.
    """
    result = _checked(outcome, Counted)
    counted = result if isinstance(result, Counted) else None
    unit = Unit(variant.tool.unit)
    env = environment(variant.tool.distribution, variant.site)
    return Measurement(
        tool=variant.tool.name,
        tool_version=env.tool,
        variant=variant.variant,
        model=str(request.spec),
        inputs=request.inputs,
        conditions=Conditions(dtype=_first(request).dtype),
        status=Status(outcome.status),
        raw=result.raw,
        unit=unit,
        reported=counted.reported if counted else None,
        macs=_macs(counted.reported, unit) if counted else None,
        params=counted.params if counted else None,
        modules=counted.modules if counted else (),
        seconds=outcome.seconds,
        peak_rss_bytes=outcome.peak_rss_bytes,
        output_excerpt=outcome.output_excerpt,
        error=outcome.error,
        environment=env,
    )


def _first(request: ModelRequest) -> InputSpec:
    """Return the first input, which says the dtype and the batch; a scalar if there is none."""
    return parse_input(request.inputs[0]) if request.inputs else InputSpec(())


def _checked(outcome: Outcome, kind: type[_Kind]) -> _Kind | Failed:
    """Return the result of an outcome, which is of a kind or failed."""
    if not isinstance(outcome.result, (kind, Failed)):
        raise TypeError(f"a {kind.__name__} was expected, not a {type(outcome.result).__name__}")
    return outcome.result


def _macs(reported: int, unit: Unit) -> int | None:
    """Return a number in multiply-accumulates; None for an odd number of FLOPs."""
    if unit is Unit.MAC:
        return reported
    return None if reported % 2 else reported // 2


def reference(request: ModelRequest, outcome: Outcome) -> Reference:
    """Return the record of the reference count of one model.

    Raises:
        TypeError: the outcome is not that of the reference.
    """
    result = _checked(outcome, ReferenceCounted)
    counted: dict[str, Any] = {"device": "none"}
    if isinstance(result, ReferenceCounted):
        counted = {name: value for name, value in vars(result).items() if name != "kind"}
    shape = _first(request).shape
    return Reference(
        model=str(request.spec),
        inputs=request.inputs,
        batch=shape[0] if len(shape) > 1 else 1,
        seconds=outcome.seconds,
        peak_rss_bytes=outcome.peak_rss_bytes,
        error=outcome.error,
        environment=environment(),
        **counted,
    )


def trace_record(request: ModelRequest, outcome: Outcome) -> TraceRecord:
    """Return the record of the trace of one model.

    Raises:
        TypeError: the outcome is not that of a trace.
    """
    result = _checked(outcome, Traced)
    return TraceRecord(
        model=str(request.spec),
        inputs=request.inputs,
        trace_version=TRACE_VERSION,
        trace=result.trace if isinstance(result, Traced) else None,
        seconds=outcome.seconds,
        error=outcome.error,
        environment=environment(),
    )


def is_current(record: Record, here: Environment) -> bool:
    """Whether one of the harness's own records is from this environment and this program."""
    if isinstance(record, TraceRecord):
        return record.environment == here and record.trace_version == TRACE_VERSION
    return isinstance(record, Reference) and record.environment == here
