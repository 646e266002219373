"""What runs inside a cell's process: one tool, or the reference, on one model; a dict comes out.

The model and its inputs are already in memory, inherited by the fork. Whatever the tool does to
this process is gone with it.
"""

from __future__ import annotations

import importlib
import math
import time
import traceback
from typing import Any

import torch

from adapters import find
from adapters.contract import Reading, Subject, Tool, Unsupported

REFERENCE = "reference"


def run(tool: str, variant: str | None, model: torch.nn.Module, inputs: tuple[Any, ...]) -> Any:
    """Run a tool, or the reference, and return its outcome as plain data that JSON can hold."""
    if tool == REFERENCE:
        return _reference(model, inputs)
    return _measure(find(tool), variant, Subject(model, inputs))


def _measure(tool: Tool, variant: str | None, subject: Subject) -> dict[str, Any]:
    try:
        importlib.import_module(tool.package)
    except ImportError as error:
        return {"status": "unavailable", "error": f"cannot import {tool.package}: {error}"}
    started = time.perf_counter()
    try:
        reading = tool.measure(subject, variant)
    except Unsupported as reason:
        outcome: dict[str, Any] = {"status": "unsupported", "error": str(reason)}
    except Exception as error:  # noqa: BLE001 - whatever a tool raises is its outcome
        traceback.print_exc()
        outcome = {"status": "errored", "error": one_line(error)}
    else:
        outcome = _outcome(reading)
    outcome["seconds"] = time.perf_counter() - started
    return outcome


def _outcome(reading: Reading) -> dict[str, Any]:
    raw = jsonable(reading.raw)
    try:
        return {
            "status": "counted",
            "raw": raw,
            "reported": exact(reading.count, "count"),
            "params": None if reading.params is None else exact(reading.params, "params"),
            "modules": [
                {
                    "path": row.path,
                    "type": row.type,
                    "count": _whole(row.macs),
                    "params": None if row.params is None else _whole(row.params),
                    "operator": row.operator,
                }
                for row in reading.rows
            ],
        }
    except ValueError as error:
        return {"status": "errored", "raw": raw, "error": str(error)}


def exact(value: object, name: str) -> int:
    """A tool's number as an exact integer.

    Raises:
        ValueError: it is none, or below zero.
    """
    whole = _whole(value, name)
    if whole < 0:
        raise ValueError(f"the tool returned {name} {value!r}, and a count is not negative")
    return whole


def _whole(value: object, name: str = "count") -> int:
    item = getattr(value, "item", None)  # numpy and torch scalars
    if callable(item) and not isinstance(value, (int, float)):
        value = item()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(  # noqa: TRY004 - a wrong value of the tool's, not a wrong call of ours
            f"the tool returned {name} {value!r}, which is not a number"
        )
    if isinstance(value, float) and not value.is_integer():
        raise ValueError(f"the tool returned {name} {value!r}, which is not a whole number")
    return int(value)


def _reference(model: torch.nn.Module, inputs: tuple[Any, ...]) -> dict[str, Any]:
    from harness.counter import count
    from harness.reference import summary

    started = time.perf_counter()
    try:
        ledger = count(model, *inputs)
    except Exception as error:  # noqa: BLE001 - a model that raises has no reference
        traceback.print_exc()
        return {"status": "errored", "error": one_line(error)}
    return {**summary(ledger), "seconds": time.perf_counter() - started, "status": "counted"}


def one_line(error: BaseException) -> str:
    """Type and first line of an exception's message; without one, the line that raised it."""
    name, lines = type(error).__name__, str(error).strip().splitlines()
    if lines:
        return f"{name}: {lines[0][:300]}"
    raised = traceback.extract_tb(error.__traceback__)[-1:]
    return f"{name} at `{raised[0].line}`" if raised and raised[0].line else name


def jsonable(value: object) -> Any:
    """The value as JSON can hold it; numbers it has no form for, and strange objects, as text."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    if isinstance(value, dict):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(item) for item in value]
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "shape", None) in ((), (1,)):
        return jsonable(item())
    return repr(value)[:200]
