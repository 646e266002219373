"""The audit of one call in a worker process: take snapshots around it, and repeat trials after it.

The order: the tool is imported; the trials are made; a snapshot; the call; a snapshot; the trials
are made again. Under the condition `import`, the import takes the place of the call.
"""

from __future__ import annotations

import copy
import importlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from flopaudit_adapters import find
from flopaudit_adapters.contract import LoadedModel, Tool

from flopaudit.audit import (
    audit_models,
    model_state,
    own_counter,
    process_state,
    snapshot,
    torch_state,
    trials,
)
from flopaudit.audit.cases import IMPORT, OTHERS, TASK
from flopaudit.audit.effects import DURING_CALL
from flopaudit.audit.forked_trials import FAILS
from flopaudit.audit.snapshot import Comparison, Facts, SnapshotContext
from flopaudit.audit.tool_calls import RAISED, call_tool
from flopaudit.audit.trials import (
    OF_OTHERS,
    OF_TOOL,
    OF_TOOLS,
    TRIALS,
    TrialContext,
)
from flopaudit.core.text import one_line, portable
from flopaudit.isolation import tasks
from flopaudit.isolation.jobs import REFERENCE
from flopaudit.isolation.outcomes import Audited, Check, Outcome, failed
from flopaudit.isolation.tasks import Assignment
from flopaudit.isolation.worker import load, search_first, why_not_loaded
from flopaudit.records.schema import When
from flopaudit.tools import versions

IMPORTED = "imported"
STATES = {**model_state.STATES, **torch_state.STATES, **process_state.STATES}


def _call_nothing(_loaded: LoadedModel) -> str:
    return ""


@dataclass(frozen=True)
class Action:
    """The action that is audited: the call of a tool, or its import.

    Attributes:
        perform: performs it and returns its result as text.
        checks: makes the checks of this action alone, given the result of the model's own forward
            pass and that of the action.
        call_tool: calls the tool on a model.
        tool_trials: the names of the trials that call the tool.
    """

    perform: Callable[[], str]
    checks: Callable[[str, str], Iterable[Comparison]]
    call_tool: Callable[[LoadedModel], str] = _call_nothing
    tool_trials: tuple[str, ...] = ()


def run(assignment: Assignment) -> Outcome:
    """Audit one call, or one import, under a condition of `cases.CONDITIONS`."""
    tool, site, condition = assignment.tool, assignment.site, assignment.condition
    loaded = assignment.loaded
    search_first(site)
    known = own_counter.TOOL if tool == REFERENCE else find(tool)
    if condition == IMPORT:
        checks = partial(_import_checks, known, site)
        action = Action(lambda: _import(known), lambda _forward, text: checks(text))
        return _audit(action, loaded)
    try:
        if tool != REFERENCE:
            load(known, site)
    except Exception as error:  # noqa: BLE001 - a package may raise anything when it is imported
        return failed("unavailable", why_not_loaded(known, error))
    loaded = in_condition(loaded, condition)
    call = partial(call_tool, known, assignment.variant)
    if condition == OTHERS:
        return _audit_other_tools(lambda: call(loaded), loaded)
    return _audit(Action(lambda: call(loaded), _call_checks, call, OF_TOOL), loaded)


def in_condition(loaded: LoadedModel, condition: str) -> LoadedModel:
    """Put a model into a condition of `cases.CONDITIONS`."""
    model, inputs, kwargs = loaded.model, loaded.inputs, loaded.kwargs
    if condition == "train":
        model.train()
    elif condition == "mixed":
        leaves = [module for module in model.modules() if not list(module.children())]
        for module in leaves[::2]:
            module.train()
    elif condition == "meta":
        model.to("meta")
        inputs, kwargs = torch.utils._pytree.tree_map_only(  # noqa: SLF001 - as torch's own users do
            torch.Tensor, lambda tensor: tensor.to("meta"), (inputs, dict(kwargs))
        )
    return LoadedModel(model, inputs, kwargs)


def _import(tool: Tool) -> str:
    try:
        importlib.import_module(tool.package)
    except Exception as error:  # noqa: BLE001 - a package may raise anything when it is imported
        return FAILS + portable(one_line(error))
    return IMPORTED


def _audit(action: Action, loaded: LoadedModel) -> Outcome:
    """Compare snapshots and trials from before and after an action."""
    trial_context = TrialContext(loaded, _copied(loaded), action.call_tool)
    first = [name for name in TRIALS if name not in OF_TOOLS or name in action.tool_trials[:1]]
    tried = trials.try_all(trial_context, first)
    with _empty_directory() as (home, printed):
        context = SnapshotContext(loaded.model, home, printed)
        trials.seed()
        before = snapshot.take(STATES, context)
        with _watching(context) as seen:
            text = action.perform()
        after = snapshot.take(STATES, context)
    tried |= dict.fromkeys(action.tool_trials[1:], text)
    again = trials.try_all(trial_context, [*first, *action.tool_trials[1:]])
    checks = [
        *action.checks(tried["forward"], text),
        *trials.compare(tried, again),
        *snapshot.compare(STATES, before, after),
        *_during_call(before, seen),
    ]
    return _outcome(text, checks)


def _audit_other_tools(call: Callable[[], str], loaded: LoadedModel) -> Outcome:
    """Compare what the other tools return before and after a call, and nothing else."""
    context = TrialContext(loaded, None, _call_nothing)
    before = trials.try_all(context, OF_OTHERS)
    with _empty_directory():
        trials.seed()
        text = call()
    compared = trials.compare(before, trials.try_all(context, OF_OTHERS))
    return _outcome(text, [each for each in compared if each.check in OF_OTHERS])


def _outcome(text: str, checks: Iterable[Comparison]) -> Outcome:
    return Outcome(Audited(_when(text), tuple(Check(**vars(check)) for check in checks)))


def _when(text: str) -> When:
    """Return the event before the second snapshot, given the result of the action."""
    if text == IMPORTED or text.startswith(FAILS):
        return "import"
    if text.startswith("unsupported"):
        return "none"
    return "success" if text.startswith("counted") else "raise"


def _import_checks(tool: Tool, site: str | None, text: str) -> Iterator[Comparison]:
    """Check that a tool can be imported, and that the imported files are its own."""
    failed = text.removeprefix(FAILS) if text != IMPORTED else ""
    yield Comparison("import", "", text, int(bool(failed)), failed)
    owners = versions.overwritten(tool.distribution, tool.package, Path(site) if site else None)
    expected = dict.fromkeys(owners, tool.distribution)
    yield snapshot.difference(
        "installed", expected, {file: owner or "?" for file, owner in owners.items()}
    )


def _call_checks(forward: str, text: str) -> Iterator[Comparison]:
    """Check whether a tool raises on its own, and whether it passes on what the model raises."""
    model_fails, raised = forward.startswith(FAILS), text.startswith(RAISED)
    before = forward if model_fails else "the model runs"
    yield Comparison(
        "raises",
        before,
        text,
        int(raised and not model_fails),
        "" if model_fails else text.removeprefix(RAISED),
    )
    passed_on = not model_fails or raised or text.startswith("unsupported")
    detail = "" if passed_on else f"the model {before}, and the tool {text}"
    yield Comparison("call", before, text, int(not passed_on), detail)


@contextmanager
def _watching(context: SnapshotContext) -> Iterator[list[dict[str, Facts]]]:
    """Collect the snapshots that a `Watched` model takes while it runs."""
    seen: list[dict[str, Facts]] = []
    states = {name: STATES[name] for name in DURING_CALL}
    audit_models.WATCHERS.append(lambda: seen.append(snapshot.take(states, context)))
    try:
        yield seen
    finally:
        audit_models.WATCHERS.clear()


def _during_call(before: dict[str, Facts], seen: list[dict[str, Facts]]) -> Iterator[Comparison]:
    """Compare the state before the call with each one during it; keep the largest difference."""
    for name, check in DURING_CALL.items():
        states = {name: STATES[name]}
        found = [each for at in seen for each in snapshot.compare(states, before, at)]
        if found:
            yield replace(max(found, key=lambda each: each.amount), check=check)


def _copied(loaded: LoadedModel) -> LoadedModel | None:
    try:
        return LoadedModel(copy.deepcopy(loaded.model), loaded.inputs, loaded.kwargs)
    except Exception:  # noqa: BLE001 - such a model is one of the cases; the trial reports it
        return None


@contextmanager
def _empty_directory() -> Iterator[tuple[Path, tuple[Path, Path]]]:
    """Work in an empty directory with standard output and error in files; restore both at the end.

    Yields:
        The directory, and the files of standard output and standard error.
    """
    old = Path.cwd()
    root = Path(tempfile.mkdtemp(prefix="flopaudit-"))
    home, printed = root / "home", (root / "stdout", root / "stderr")
    home.mkdir()
    kept = [os.dup(stream) for stream in (1, 2)]
    for stream, file in zip((1, 2), printed, strict=True):
        descriptor = os.open(file, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(descriptor, stream)
        os.close(descriptor)
    os.chdir(home)
    try:
        yield home.resolve(), printed
    finally:
        os.chdir(old)
        for stream, file, descriptor in zip((1, 2), printed, kept, strict=True):
            os.dup2(descriptor, stream)
            os.close(descriptor)
            os.write(stream, file.read_bytes())
        shutil.rmtree(root, ignore_errors=True)


tasks.register(TASK, run)
