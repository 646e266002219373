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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from adapters import find
from adapters.contract import Subject, Tool, Unsupported
from harness.audit import model_state, own, process_state, snapshot, torch_state, trials
from harness.audit.cases import IMPORT
from harness.audit.snapshot import Compared, Scene
from harness.audit.trials import FAILS, OF_TOOL, TRIALS, Ground
from harness.cell import exact, load, one_line
from harness.host import portable
from harness.scheduler import REFERENCE

STATES = {**model_state.STATES, **torch_state.STATES, **process_state.STATES}


def run(
    tool: str, variant: str | None, subject: Subject, task: str, site: str | None = None
) -> Any:
    """Audit one call, or one import, and return what came of it as plain data.

    Args:
        tool: what `adapters.find` knows it by, or `reference`.
        variant: of the tool.
        subject: a model in eval mode on the CPU.
        task: a condition of `cases.CONDITIONS`.
        site: the folder to import the tool from, if not from where everything is installed.
    """
    if site:
        sys.path.insert(0, site)
    known = own.TOOL if tool == REFERENCE else find(tool)
    if task == IMPORT:
        return _audited(subject, lambda: _import(known), _unsaid, ())
    try:
        load(known.package, site)
    except Exception as error:  # noqa: BLE001 - a package may raise anything when it is imported
        return {
            "status": "unavailable",
            "error": f"cannot import {known.package}: {one_line(error)}",
        }
    subject = placed(subject, task)
    return _audited(
        subject, lambda: said(known, variant, subject), lambda of: said(known, variant, of), OF_TOOL
    )


def placed(subject: Subject, condition: str) -> Subject:
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
    return Subject(model, inputs, kwargs)


def said(tool: Tool, variant: str | None, subject: Subject) -> str:
    """What a tool says of a subject, or what it raises."""
    try:
        reading = tool.measure(subject, variant)
    except Unsupported as reason:
        return f"unsupported: {reason}"
    except Exception as error:  # noqa: BLE001 - whatever a tool raises is its outcome
        return "raised " + portable(one_line(error))
    try:
        return f"counted {exact(reading.count, 'count'):,}"
    except ValueError:
        return f"returned {reading.count!r:.80}"


def _import(tool: Tool) -> str:
    try:
        importlib.import_module(tool.package)
    except Exception as error:  # noqa: BLE001 - a package may raise anything when it is imported
        return "raised " + portable(one_line(error))
    return "imported"


def _unsaid(_subject: Subject) -> str:
    return ""


def _audited(
    subject: Subject,
    call: Callable[[], str],
    say: Callable[[Subject], str],
    of_tool: tuple[str, ...],
) -> dict[str, Any]:
    """Everything before and after a call, compared."""
    ground = Ground(subject, _copied(subject), say)
    first = [name for name in TRIALS if name not in OF_TOOL or name in of_tool[:1]]
    tried = trials.attempts(ground, first)
    with _place() as (home, printed):
        scene = Scene(subject.model, home, printed)
        trials.seed()
        before = snapshot.take(STATES, scene)
        text = call()
        after = snapshot.take(STATES, scene)
    tried |= dict.fromkeys(of_tool[1:], text)
    again = trials.attempts(ground, [*first, *of_tool[1:]])
    checks = [
        _call(tried["forward"], text),
        *trials.compare(tried, again),
        *snapshot.compare(STATES, before, after),
    ]
    return {
        "status": "audited",
        "when": _when(text),
        "checks": [check.to_json() for check in checks],
    }


def _when(text: str) -> str:
    """After what a snapshot was taken."""
    if text == "imported":
        return "import"
    if text.startswith("unsupported"):
        return "none"
    return "success" if text.startswith("counted") else "raise"


def _call(alone: str, text: str) -> Compared:
    """Whether a tool passes on that the model raises; that it raises by itself is no effect."""
    before = alone if alone.startswith(FAILS) else "the model runs"
    kept = not alone.startswith(FAILS) or text.startswith(("raised", "unsupported", "imported"))
    detail = "" if kept else f"the model {before}, and the tool {text}"
    return Compared("call", before, text, int(not kept), detail)


def _copied(subject: Subject) -> Subject | None:
    try:
        return Subject(copy.deepcopy(subject.model), subject.inputs, subject.kwargs)
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
