"""The worker: runs one tool, or the reference, on one model in a process of its own.

The model and its inputs are already in memory, inherited by the fork. Whatever the tool does to
this process is gone with it.
"""

from __future__ import annotations

import importlib
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from flopaudit_adapters import find, user_modules
from flopaudit_adapters.contract import (
    LoadedModel,
    ModuleCount,
    Tool,
    ToolResult,
    Unsupported,
)

from flopaudit.core.first_line import first_line
from flopaudit.core.text import one_line, plain
from flopaudit.isolation import tasks
from flopaudit.isolation.jobs import MEASURE, REFERENCE, TRACE
from flopaudit.isolation.outcomes import (
    Counted,
    Failed,
    Outcome,
    ReferenceCounted,
    Result,
    Traced,
    failed,
)
from flopaudit.isolation.steps import Step, announce
from flopaudit.isolation.tasks import Assignment
from flopaudit.records.schema import ModuleParams, ModuleRow, OperatorTotal
from flopaudit.reference.user_formulas import FormulaError
from flopaudit.tools import provenance

_PATH = tuple(sys.path)
"""The search path before a model could add to it: this is imported by the zygote."""

LARGEST = 10**30
"""More than any model can take; Python will not even write out an integer of 4,300 digits."""

DEEPEST = 20
"""Levels of nested totals that are kept; deeper ones, and what holds itself, are cut off."""


def run(assignment: Assignment) -> Outcome:
    """Run a tool, or the reference, and return its outcome.

    The condition of the assignment is not used: a measurement is made in one way.
    """
    if assignment.tool in _OWN:
        return _run_own(_OWN[assignment.tool], assignment.loaded)
    search_first(assignment.site)  # before the adapter, which may import its tool at once
    return _measure(assignment)


def search_first(site: str | None) -> None:
    """Search a tool's folder first, then where this program searches, then what a model added."""
    own = [*filter(None, [site]), *_PATH]
    sys.path[:] = [*own, *(entry for entry in sys.path if entry not in own)]


def load(tool: Tool, site: str | None) -> None:
    """Import a tool, which has to be of the distribution whose version is recorded for it.

    Nothing is imported from the model's folder for it.

    Raises:
        MisplacedError: the module is of another distribution, or of the model.
        ImportError: another version has been imported, or the folder does not hold the package.
        Exception: whatever the package raises when it is imported.
    """
    imported = sys.modules.get(tool.package.partition(".")[0])
    if site and imported and not _lies_in(imported, site):
        raise ImportError("another version of it has already been imported")
    with user_modules.hidden("model"):
        module = importlib.import_module(tool.package)
    if site and not _lies_in(module, site):
        raise ImportError("the folder given for it does not hold it")
    if user_modules.belongs_to_user(tool.package, "model"):
        place = next(iter(_files(module)), "no file")
        raise MisplacedError(f"{tool.package} is imported from {place}, which is of the model.")
    stranger = provenance.foreign(module, tool.distribution, Path(site) if site else None)
    if stranger:
        raise MisplacedError(stranger)


class MisplacedError(ImportError):
    """What was imported as a tool is not the tool; the message is a sentence with the places."""


def why_not_loaded(tool: Tool, error: Exception) -> str:
    """Return the error of a tool that `load` could not import."""
    if isinstance(error, MisplacedError):
        return plain(str(error))
    return f"cannot import {tool.package}: {one_line(error)}"


def _files(module: ModuleType) -> list[str]:
    file = getattr(module, "__file__", None)  # a package without an __init__ has folders alone
    return [file] if file else list(getattr(module, "__path__", ()))


def _lies_in(module: ModuleType, site: str) -> bool:
    places = [Path(place).resolve() for place in _files(module)]
    return bool(places) and all(place.is_relative_to(site) for place in places)


def _measure(assignment: Assignment) -> Outcome:
    tool = find(assignment.tool)
    try:
        load(tool, assignment.site)
    except Exception as error:  # noqa: BLE001 - a package may raise anything when it is imported
        _print(error)
        return failed("unavailable", why_not_loaded(tool, error))
    started = time.perf_counter()
    result: Result
    try:
        result = _result(tool.measure(assignment.loaded, assignment.variant))
    except Unsupported as reason:
        result = Failed("unsupported", plain(str(reason)))
    except Exception as error:  # noqa: BLE001 - whatever a tool raises is its outcome
        _print(error)
        result = Failed("errored", one_line(error))
    return Outcome(result, seconds=time.perf_counter() - started)


def _print(error: BaseException) -> None:
    """Print an error with its traceback; of a list of all backends of torch, the first sentence."""
    if str(error).strip().startswith(f"{first_line(str(error))}\n") or "\n" not in str(error):
        traceback.print_exception(error)
        return
    print("Traceback (most recent call last):", file=sys.stderr)
    traceback.print_tb(error.__traceback__)
    print(one_line(error), file=sys.stderr)


def _result(returned: ToolResult) -> Counted | Failed:
    """Turn what an adapter returned into exact integers, or say why that is not possible."""
    unchecked: Any = returned  # an adapter may be anyone's
    if not isinstance(unchecked, ToolResult) or not isinstance(unchecked.raw, dict):
        error = f"the tool's adapter returned {returned!r:.200}, which is not a ToolResult"
        return Failed("errored", plain(error))
    raw = jsonable(returned.raw)
    try:
        return Counted(
            raw=raw,
            reported=exact(returned.count, "count"),
            params=None if returned.params is None else exact(returned.params, "params"),
            modules=tuple(map(_module_row, returned.rows)),
        )
    except ValueError as error:
        return Failed("errored", plain(str(error)), raw)


def _module_row(row: ModuleCount) -> ModuleRow:
    return ModuleRow(
        path=plain(str(row.path)),
        type=plain(str(row.type)),
        count=_whole(row.count),
        params=None if row.params is None else _whole(row.params),
        operator=plain(str(row.operator)),
    )


def exact(value: object, name: str) -> int:
    """Return a tool's number as an exact integer.

    Args:
        value: what the tool returned.
        name: what the number is, for the message.

    Raises:
        ValueError: the value is not a whole number, is negative or has too many digits.
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


def _reference(loaded: LoadedModel) -> ReferenceCounted:
    from flopaudit.reference.counter import count
    from flopaudit.reference.summary import summary

    fields = summary(count(loaded.model, *loaded.inputs, device="auto", **loaded.kwargs))
    operators = tuple(OperatorTotal(**row) for row in fields.pop("operators"))
    modules = tuple(ModuleParams(**row) for row in fields.pop("modules"))
    return ReferenceCounted(operators=operators, modules=modules, **fields)


def _trace(loaded: LoadedModel) -> Traced:
    from flopaudit.tracing.watcher import trace

    return Traced(trace(loaded.model, loaded.inputs, loaded.kwargs).to_json())


def _run_own(task: Callable[[LoadedModel], Result], loaded: LoadedModel) -> Outcome:
    """Run one of the harness's own cells; a model that raises fails the cell."""
    announce(Step.RUNNING)
    started = time.perf_counter()
    try:
        outcome = Outcome(task(loaded))
    except FormulaError as error:
        return Outcome(Failed("errored", plain(error.message), remedy=error.remedy))
    except Exception as error:  # noqa: BLE001 - the model may raise anything
        from flopaudit.models.dtypes import mismatch

        _print(error)
        explained = mismatch(error, loaded.model, loaded.inputs, loaded.kwargs)
        return failed("errored", str(explained) if explained else one_line(error))
    return replace(outcome, seconds=time.perf_counter() - started)


_OWN: dict[str, Callable[[LoadedModel], Result]] = {REFERENCE: _reference, TRACE: _trace}


def jsonable(value: object, depth: int = 0) -> Any:
    """Return a value as JSON can hold it; what JSON has no form for, as text."""
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


tasks.register(MEASURE, run)
