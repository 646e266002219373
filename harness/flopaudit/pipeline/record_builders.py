"""The outcome of a cell comes in, its record goes out, with the environment it came from."""

from __future__ import annotations

from typing import Any

from flopaudit.core.specs import parse_input
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


def measurement(column: ToolVariant, where: ModelRequest, outcome: dict[str, Any]) -> Measurement:
    """The record of one cell."""
    reported = outcome.get("reported")
    unit = Unit(column.tool.unit)
    env = environment(column.tool.distribution, column.site)
    return Measurement(
        tool=column.tool.name,
        tool_version=env.tool,
        variant=column.variant,
        model=str(where.spec),
        inputs=where.inputs,
        conditions=Conditions(dtype=parse_input(where.inputs[0]).dtype),
        status=Status(outcome["status"]),
        raw=outcome.get("raw"),
        unit=unit,
        reported=reported,
        macs=_macs(reported, unit),
        params=outcome.get("params"),
        modules=tuple(outcome.get("modules", ())),
        seconds=outcome.get("seconds"),
        peak_rss_bytes=outcome.get("peak_rss_bytes"),
        output_excerpt=outcome.get("output_excerpt", ""),
        error=outcome.get("error"),
        environment=env,
    )


def _macs(reported: int | None, unit: Unit) -> int | None:
    if reported is None or unit is Unit.MAC:
        return reported
    return None if reported % 2 else reported // 2


def reference(where: ModelRequest, outcome: dict[str, Any]) -> Reference:
    """The record of the reference on one model."""
    shape = parse_input(where.inputs[0]).shape
    fields = {
        key: value
        for key, value in outcome.items()
        if key in Reference.model_fields and value is not None
    }
    return Reference(
        model=str(where.spec),
        inputs=where.inputs,
        batch=shape[0] if len(shape) > 1 else 1,
        environment=environment(),
        **{"device": "none", **fields},
    )


def trace_record(where: ModelRequest, outcome: dict[str, Any]) -> TraceRecord:
    """The record of what a tool could see of one model."""
    return TraceRecord(
        model=str(where.spec),
        inputs=where.inputs,
        trace_version=TRACE_VERSION,
        trace=outcome.get("trace"),
        seconds=outcome.get("seconds"),
        error=outcome.get("error"),
        environment=environment(),
    )


def is_current(record: Record, here: Environment) -> bool:
    """Whether one of the harness's own records is from this environment and this program."""
    if isinstance(record, TraceRecord):
        return record.environment == here and record.trace_version == TRACE_VERSION
    return isinstance(record, Reference) and record.environment == here
