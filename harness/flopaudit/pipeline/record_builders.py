"""Records of cells: each made from the outcome of a cell and the environment it ran in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

from flopaudit.core.input_values import TensorSpec, first_tensor
from flopaudit.core.specs import parse_inputs
from flopaudit.isolation.jobs import Limits
from flopaudit.isolation.outcomes import Counted, Failed, Outcome, ReferenceCounted, Traced
from flopaudit.pipeline.model_requests import ModelRequest
from flopaudit.records.environment import environment
from flopaudit.records.schema import (
    CellLimits,
    Conditions,
    Measurement,
    Reference,
    Status,
    TraceRecord,
    Unit,
)
from flopaudit.tools.registry import ToolVariant
from flopaudit.tracing.sites import TRACE_VERSION

_Kind = TypeVar("_Kind", Counted, ReferenceCounted, Traced)


@dataclass(frozen=True)
class Finished:
    """A cell that has finished.

    Attributes:
        request: the model that it ran on.
        outcome: how it ended.
        fingerprint: that of the model; None if it could not be built.
        limits: what the cell was allowed to take.
    """

    request: ModelRequest
    outcome: Outcome
    fingerprint: str | None
    limits: Limits

    @property
    def kept_limits(self) -> CellLimits | None:
        """The limits of a cell that failed, because higher ones may let it succeed."""
        if self.outcome.error is None:
            return None
        return CellLimits(
            timeout_seconds=self.limits.timeout_seconds, memory_bytes=self.limits.memory_bytes
        )


def measurement(variant: ToolVariant, finished: Finished) -> Measurement:
    """Return the record of one cell of a tool.

    Raises:
        TypeError: the outcome is not that of a tool.
    """
    request, outcome = finished.request, finished.outcome
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
        conditions=Conditions(dtype=_dtype(request)),
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
        fingerprint=finished.fingerprint,
        adapter=variant.adapter,
        limits=finished.kept_limits,
    )


def _first_tensor(request: ModelRequest) -> TensorSpec | None:
    """Return the first input tensor; None if it is known only where the model is built."""
    return first_tensor(parse_inputs(request.inputs))


def _dtype(request: ModelRequest) -> str:
    """Return the dtype of the first input tensor, or else of the model."""
    first = _first_tensor(request)
    return first.dtype if first else request.spec.dtype or Conditions().dtype


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


def reference(finished: Finished) -> Reference:
    """Return the record of the reference count of one model.

    Raises:
        TypeError: the outcome is not that of the reference.
    """
    request, outcome = finished.request, finished.outcome
    result = _checked(outcome, ReferenceCounted)
    counted: dict[str, Any] = {"device": "none"}
    if isinstance(result, ReferenceCounted):
        counted = {name: value for name, value in vars(result).items() if name != "kind"}
    first = _first_tensor(request)
    shape = first.shape if first else ()
    return Reference(
        model=str(request.spec),
        inputs=request.inputs,
        batch=shape[0] if len(shape) > 1 else 1,
        seconds=outcome.seconds,
        peak_rss_bytes=outcome.peak_rss_bytes,
        error=outcome.error,
        environment=environment(),
        status=Status(outcome.status),
        fingerprint=finished.fingerprint,
        limits=finished.kept_limits,
        **counted,
    )


def trace_record(finished: Finished) -> TraceRecord:
    """Return the record of the trace of one model.

    Raises:
        TypeError: the outcome is not that of a trace.
    """
    request, outcome = finished.request, finished.outcome
    result = _checked(outcome, Traced)
    return TraceRecord(
        model=str(request.spec),
        inputs=request.inputs,
        trace_version=TRACE_VERSION,
        trace=result.trace if isinstance(result, Traced) else None,
        seconds=outcome.seconds,
        error=outcome.error,
        environment=environment(),
        status=Status(outcome.status),
        fingerprint=finished.fingerprint,
        limits=finished.kept_limits,
    )
