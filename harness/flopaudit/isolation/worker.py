"""What runs inside a cell's process: one tool, or the reference, on one model; a dict comes out.

The model and its inputs are already in memory, inherited by the fork. Whatever the tool does to
this process is gone with it.
"""

from __future__ import annotations

import importlib
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from flopaudit_adapters import find
from flopaudit_adapters.contract import (
    LoadedModel,
    Tool,
    ToolResult,
    Unsupported,
)

from flopaudit.core.text import one_line, plain
from flopaudit.isolation import tasks
from flopaudit.isolation.scheduler import REFERENCE, TRACE

LARGEST = 10**30
"""More than any model can take; Python will not even write out an integer of 4,300 digits."""

DEEPEST = 20
"""Levels of nested totals that are kept; deeper ones, and what holds itself, are cut off."""


def run(
    tool: str,
    variant: str | None,
    subject: LoadedModel,
    condition: str = "",
    site: str | None = None,
) -> dict[str, Any]:
    """Run a tool, or the reference, and return its outcome as plain data that JSON can hold.

    Args:
        tool: the name `adapters.find` knows it by.
        variant: one of the tool's variants.
        subject: the model and its inputs.
        condition: not used, since a measurement is made in one way.
        site: the folder to import the tool from, if not from where everything is installed.
    """
    del condition
    if tool in _OWN:
        return _OWN[tool](subject)
    if site:
        sys.path.insert(0, site)  # before the adapter, which may import its tool at once
    return _measure(find(tool), variant, subject, site)


def load(package: str, site: str | None) -> None:
    """Import a tool, from its folder and no other.

    Raises:
        ImportError: another version has been imported, or the folder does not hold the package.
        Exception: whatever the package raises when it is imported.
    """
    imported = sys.modules.get(package.partition(".")[0])
    if site and imported and not _lies_in(imported, site):
        raise ImportError("another version of it has already been imported")
    loaded = importlib.import_module(package)
    if site and not _lies_in(loaded, site):
        raise ImportError("the folder given for it does not hold it")


def _lies_in(module: ModuleType, site: str) -> bool:
    file = getattr(module, "__file__", None)  # a package without an __init__ has folders alone
    places = [file] if file else list(getattr(module, "__path__", ()))
    return bool(places) and all(Path(place).resolve().is_relative_to(site) for place in places)


def _measure(
    tool: Tool, variant: str | None, subject: LoadedModel, site: str | None
) -> dict[str, Any]:
    try:
        load(tool.package, site)
    except Exception as error:  # noqa: BLE001 - a package may raise anything when it is imported
        traceback.print_exc()
        return {
            "status": "unavailable",
            "error": f"cannot import {tool.package}: {one_line(error)}",
        }
    started = time.perf_counter()
    try:
        outcome = _outcome(tool.measure(subject, variant))
    except Unsupported as reason:
        outcome = {"status": "unsupported", "error": plain(str(reason))}
    except Exception as error:  # noqa: BLE001 - whatever a tool raises is its outcome
        traceback.print_exc()
        outcome = {"status": "errored", "error": one_line(error)}
    outcome["seconds"] = time.perf_counter() - started
    return outcome


def _outcome(reading: ToolResult) -> dict[str, Any]:
    unchecked: Any = reading  # an adapter may be anyone's
    if not isinstance(unchecked, ToolResult) or not isinstance(unchecked.raw, dict):
        said = f"the tool's adapter returned {reading!r:.200}, which is not a reading"
        return {"status": "errored", "error": plain(said)}
    raw = jsonable(reading.raw)
    try:
        return {
            "status": "counted",
            "raw": raw,
            "reported": exact(reading.count, "count"),
            "params": None if reading.params is None else exact(reading.params, "params"),
            "modules": [
                {
                    "path": plain(str(row.path)),
                    "type": plain(str(row.type)),
                    "count": _whole(row.macs),
                    "params": None if row.params is None else _whole(row.params),
                    "operator": plain(str(row.operator)),
                }
                for row in reading.rows
            ],
        }
    except ValueError as error:
        return {"status": "errored", "raw": raw, "error": plain(str(error))}


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
    if getattr(value, "shape", None) in ((), (1,)):
        value = value.item()  # type: ignore[attr-defined] # a scalar of numpy or torch
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(  # noqa: TRY004 - a wrong value of the tool's, not a wrong call of ours
            f"the tool returned {name} {value!r:.200}, which is not a number"
        )
    if isinstance(value, float) and not value.is_integer():
        raise ValueError(f"the tool returned {name} {value!r}, which is not a whole number")
    if abs(value) > LARGEST:
        raise ValueError(f"the tool returned a {name} of more than {len(str(LARGEST))} digits")
    return int(value)


def _reference(subject: LoadedModel) -> dict[str, Any]:
    from flopaudit.reference.counter import count
    from flopaudit.reference.summary import summary

    return summary(count(subject.model, *subject.inputs, device="auto", **subject.kwargs))


def _trace(subject: LoadedModel) -> dict[str, Any]:
    from flopaudit.tracing.watcher import trace

    return {"trace": trace(subject.model, subject.inputs, subject.kwargs).to_json()}


def _timed(
    measured: Callable[[LoadedModel], dict[str, Any]],
) -> Callable[[LoadedModel], dict[str, Any]]:
    """A cell of the harness's own: a model that raises has no count, which is its outcome."""

    def run_own(subject: LoadedModel) -> dict[str, Any]:
        started = time.perf_counter()
        try:
            found = measured(subject)
        except Exception as error:  # noqa: BLE001 - whatever the model raises
            traceback.print_exc()
            return {"status": "errored", "error": one_line(error)}
        return {**found, "seconds": time.perf_counter() - started, "status": "counted"}

    return run_own


_OWN = {REFERENCE: _timed(_reference), TRACE: _timed(_trace)}


def jsonable(value: object, depth: int = 0) -> Any:
    """The value as JSON can hold it; what JSON has no form for, as text."""
    if value is None or isinstance(value, (bool, int, float)):
        writable = value is None or -LARGEST <= value <= LARGEST  # which nan is not
        return value if writable else f"{value!r}" if isinstance(value, float) else "too long"
    if isinstance(value, str):
        return plain(value)
    if depth < DEEPEST and isinstance(value, dict):
        return {plain(str(key)): jsonable(item, depth + 1) for key, item in value.items()}
    if depth < DEEPEST and isinstance(value, (list, tuple)):
        return [jsonable(item, depth + 1) for item in value]
    if getattr(value, "shape", None) in ((), (1,)):
        return jsonable(value.item(), depth + 1)  # type: ignore[attr-defined] # numpy or torch
    return plain(f"{value!r:.200}")


tasks.register(tasks.MEASURE, run)
