"""The outcome of a cell comes in, its record goes out, with the environment it came from."""

from __future__ import annotations

import platform
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from harness.catalogue import Column, Subject
from harness.schema import Conditions, Environment, Measurement, Reference, Status, Unit
from harness.specs import parse_input


def environment(distribution: str | None = None) -> Environment:
    """Where this runs, and the version of a tool; imports none of what it names."""
    return Environment(
        flopaudit=_version("flopaudit") or "unknown",
        python=platform.python_version(),
        torch=_version("torch") or "none",
        torchvision=_version("torchvision"),
        tool=_version(distribution) if distribution else None,
        processor=_processor(),
    )


@lru_cache(maxsize=None)
def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


@lru_cache(maxsize=1)
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def measurement(column: Column, where: Subject, outcome: dict[str, Any]) -> Measurement:
    """The record of one cell."""
    reported = outcome.get("reported")
    unit = Unit(column.tool.unit)
    env = environment(column.tool.distribution)
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


def reference(where: Subject, outcome: dict[str, Any]) -> Reference:
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
