"""What runs inside a cell that audits: a tool and a model come in, what the call left goes out.

The order: the tool is imported; what can be done is tried; a snapshot; the call; a snapshot; what
can be done is tried again. For the task `import` it is the import that stands in the call's place.
"""

from __future__ import annotations

import copy
import importlib
import os
import shutil
import sys
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
from flopaudit.audit.effects import MEANWHILE
from flopaudit.audit.forked_trials import FAILS
from flopaudit.audit.snapshot import Compared, Facts, Scene
from flopaudit.audit.tool_answers import RAISED, tool_answer
from flopaudit.audit.trials import (
    OF_OTHERS,
    OF_TOOL,
    OF_TOOLS,
    TRIALS,
    Ground,
)
from flopaudit.core.text import one_line, portable
from flopaudit.isolation import tasks
from flopaudit.isolation.jobs import REFERENCE
from flopaudit.isolation.outcomes import Audited, Check, Outcome, failed
from flopaudit.isolation.tasks import Assignment
from flopaudit.isolation.worker import load
from flopaudit.records.schema import When
from flopaudit.tools import versions

IMPORTED = "imported"
STATES = {**model_state.STATES, **torch_state.STATES, **process_state.STATES}


def _unsaid(_subject: LoadedModel) -> str:
    return ""


@dataclass(frozen=True)
class Act:
    """What is audited.

    Attributes:
        do: does it, and says what came of it.
        checks: of this act alone, from what came of the model by itself and what of the act.
        say: calls the tool on a subject.
        of_tool: the trials that call the tool.
    """

    do: Callable[[], str]
    checks: Callable[[str, str], Iterable[Compared]]
    say: Callable[[LoadedModel], str] = _unsaid
    of_tool: tuple[str, ...] = ()


def run(assignment: Assignment) -> Outcome:
    """Audit one call, or one import, under a condition of `cases.CONDITIONS`."""
    tool, site, condition = assignment.tool, assignment.site, assignment.condition
    subject = assignment.loaded
    if site:
        sys.path.insert(0, site)
    known = own_counter.TOOL if tool == REFERENCE else find(tool)
    if condition == IMPORT:
        checks = partial(_of_import, known, site)
        return _audited(Act(lambda: _import(known), lambda _alone, text: checks(text)), subject)
    try:
        load(known.package, site)
    except Exception as error:  # noqa: BLE001 - a package may raise anything when it is imported
        return failed("unavailable", f"cannot import {known.package}: {one_line(error)}")
    subject = placed(subject, condition)
    say = partial(tool_answer, known, assignment.variant)
    if condition == OTHERS:
        return _beside(lambda: say(subject), subject)
    return _audited(Act(lambda: say(subject), _of_call, say, OF_TOOL), subject)


def placed(subject: LoadedModel, condition: str) -> LoadedModel:
    """The subject as a condition of `cases.CONDITIONS` has it."""
    model, inputs, kwargs = subject.model, subject.inputs, subject.kwargs
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


def _audited(act: Act, subject: LoadedModel) -> Outcome:
    """Everything before and after an act, compared."""
    ground = Ground(subject, _copied(subject), act.say)
    first = [name for name in TRIALS if name not in OF_TOOLS or name in act.of_tool[:1]]
    tried = trials.attempts(ground, first)
    with _place() as (home, printed):
        scene = Scene(subject.model, home, printed)
        trials.seed()
        before = snapshot.take(STATES, scene)
        with _watching(scene) as seen:
            text = act.do()
        after = snapshot.take(STATES, scene)
    tried |= dict.fromkeys(act.of_tool[1:], text)
    again = trials.attempts(ground, [*first, *act.of_tool[1:]])
    checks = [
        *act.checks(tried["forward"], text),
        *trials.compare(tried, again),
        *snapshot.compare(STATES, before, after),
        *_meanwhile(before, seen),
    ]
    return _outcome(text, checks)


def _beside(call: Callable[[], str], subject: LoadedModel) -> Outcome:
    """What the other tools say before a call and after it, and nothing else."""
    ground = Ground(subject, None, _unsaid)
    before = trials.attempts(ground, OF_OTHERS)
    with _place():
        trials.seed()
        text = call()
    compared = trials.compare(before, trials.attempts(ground, OF_OTHERS))
    return _outcome(text, [each for each in compared if each.check in OF_OTHERS])


def _outcome(text: str, checks: Iterable[Compared]) -> Outcome:
    return Outcome(Audited(_when(text), tuple(Check(**vars(check)) for check in checks)))


def _when(text: str) -> When:
    """After what a snapshot was taken."""
    if text == IMPORTED or text.startswith(FAILS):
        return "import"
    if text.startswith("unsupported"):
        return "none"
    return "success" if text.startswith("counted") else "raise"


def _of_import(tool: Tool, site: str | None, text: str) -> Iterator[Compared]:
    """Whether a tool can be imported, and whether what is imported is its own."""
    failed = text.removeprefix(FAILS) if text != IMPORTED else ""
    yield Compared("import", "", text, int(bool(failed)), failed)
    whose = versions.overwritten(tool.distribution, tool.package, Path(site) if site else None)
    own_counter = dict.fromkeys(whose, tool.distribution)
    yield snapshot.difference(
        "installed", own_counter, {file: name or "?" for file, name in whose.items()}
    )


def _of_call(alone: str, text: str) -> Iterator[Compared]:
    """Whether a tool raises by itself, and whether it passes on that the model raises."""
    before = alone if alone.startswith(FAILS) else "the model runs"
    fails, raised = alone.startswith(FAILS), text.startswith(RAISED)
    yield Compared(
        "raises",
        before,
        text,
        int(raised and not fails),
        "" if fails else text.removeprefix(RAISED),
    )
    kept = not fails or raised or text.startswith("unsupported")
    detail = "" if kept else f"the model {before}, and the tool {text}"
    yield Compared("call", before, text, int(not kept), detail)


@contextmanager
def _watching(scene: Scene) -> Iterator[list[dict[str, Facts]]]:
    """What is seen by a model that looks about itself while it runs."""
    seen: list[dict[str, Facts]] = []
    states = {name: STATES[name] for name in MEANWHILE}
    audit_models.WATCHERS.append(lambda: seen.append(snapshot.take(states, scene)))
    try:
        yield seen
    finally:
        audit_models.WATCHERS.clear()


def _meanwhile(before: dict[str, Facts], seen: list[dict[str, Facts]]) -> Iterator[Compared]:
    """The most that was otherwise at any time."""
    for name, check in MEANWHILE.items():
        states = {name: STATES[name]}
        found = [each for at in seen for each in snapshot.compare(states, before, at)]
        if found:
            yield replace(max(found, key=lambda each: each.amount), check=check)


def _copied(subject: LoadedModel) -> LoadedModel | None:
    try:
        return LoadedModel(copy.deepcopy(subject.model), subject.inputs, subject.kwargs)
    except Exception:  # noqa: BLE001 - such a model is one of the cases, and the trial says so
        return None


@contextmanager
def _place() -> Iterator[tuple[Path, tuple[Path, Path]]]:
    """An empty directory to be in, and files for what is printed; all taken back at the end."""
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
