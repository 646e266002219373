"""What can be done with a model and in a process, each tried once: a short text of what came of it.

All are tried in a forked child, before the call of a tool and again after it, so that no trial
changes what the next audit sees. What failed before may fail after.
"""

from __future__ import annotations

import copy
import hashlib
import io
import pickle
import random
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from flopaudit_adapters import NAMES
from flopaudit_adapters.contract import LoadedModel
from torch.utils._pytree import tree_leaves, tree_map_only

from flopaudit.audit import forked_trials
from flopaudit.audit.audit_models import neighbour
from flopaudit.audit.forked_trials import FAILS
from flopaudit.audit.snapshot import Compared
from flopaudit.audit.tool_answers import answers_of_each


@dataclass(frozen=True)
class Ground:
    """What is tried on.

    Attributes:
        subject: the model, as the tool left it.
        fresh: a copy made before the call; None where the model cannot be copied.
        said: calls the tool on a subject and gives what it says, or raises, as text.
    """

    subject: LoadedModel
    fresh: LoadedModel | None
    said: Callable[[LoadedModel], str]


def called(subject: LoadedModel) -> Any:
    """What the model returns."""
    return subject.model(*subject.inputs, **subject.kwargs)


def output(subject: LoadedModel) -> str:
    """A hash of the numbers a model returns."""
    state = hashlib.blake2b(digest_size=4)
    with torch.no_grad():
        for leaf in tree_leaves(called(subject)):
            if not isinstance(leaf, torch.Tensor):
                state.update(repr(leaf).encode())
            elif leaf.is_meta:
                state.update(str(leaf.shape).encode())
            else:
                state.update(repr(leaf.flatten().tolist()).encode())
    return f"output {state.hexdigest()}"


def _forward(ground: Ground) -> str:
    return output(ground.subject)


def _fresh_forward(ground: Ground) -> str:
    return output(_unused(ground.fresh)) if ground.fresh else ""


def _neighbour_forward(_ground: Ground) -> str:
    return output(neighbour())


def _numpy(_ground: Ground) -> str:
    there = np.asarray(torch.tensor([1.5, 2.5]).numpy())
    back = torch.from_numpy(there.copy())
    return f"{there.sum()} {back.sum().item()} {np.asarray(torch.ones(2)).sum()}"


def _deepcopy(ground: Ground) -> str:
    copy.deepcopy(ground.subject.model)
    return "works"


def _pickle(ground: Ground) -> str:
    pickle.loads(pickle.dumps(ground.subject.model))  # noqa: S301 - its own bytes
    return "works"


def _save(ground: Ground) -> str:
    file = io.BytesIO()
    torch.save(ground.subject.model, file)
    file.seek(0)
    torch.load(file, weights_only=False)
    return "works"


def _checkpoint(ground: Ground) -> str:
    file = io.BytesIO()
    torch.save(ground.subject.model.state_dict(), file)
    file.seek(0)
    ground.subject.model.load_state_dict(torch.load(file, weights_only=True))
    return "works"


def _export(ground: Ground) -> str:
    inputs, kwargs = _inputs(ground)
    torch.export.export(ground.subject.model, inputs, dict(kwargs))
    return "works"


def _trace(ground: Ground) -> str:
    inputs, kwargs = _inputs(ground)
    named = {"example_kwarg_inputs": dict(kwargs)} if kwargs else {"example_inputs": inputs}
    torch.jit.trace(ground.subject.model, check_trace=False, **named)  # type: ignore[no-untyped-call] # torch's own
    return "works"


def _script(ground: Ground) -> str:
    torch.jit.script(ground.subject.model)
    return "works"


def _train(ground: Ground) -> str:
    """A step of gradient descent; which parameters it moves."""
    model = ground.subject.model
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.1)
    optimizer.zero_grad()
    leaves = [leaf for leaf in tree_leaves(called(ground.subject)) if leaf.requires_grad]
    sum(leaf.square().sum() for leaf in leaves).backward()
    optimizer.step()
    return f"{len(trained)} parameters"


def _flop_counter(ground: Ground) -> str:
    return _each(ground, _flops)


def _reference(ground: Ground) -> str:
    return _each(ground, _counted)


def _each(ground: Ground, say: Callable[[LoadedModel], str]) -> str:
    """What a counter says of the model and of another, one failing or not."""
    return ", ".join(
        forked_trials.attempt(partial(say, each)) for each in (ground.subject, neighbour())
    )


def _flops(subject: LoadedModel) -> str:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        called(subject)
    return f"{counter.get_total_flops():,}"


def _counted(subject: LoadedModel) -> str:
    from flopaudit.reference.counter import count

    return f"{count(subject.model, *subject.inputs, **subject.kwargs).macs:,}"


def _other_tools(ground: Ground) -> str:
    """What the package's tools say of another model, and so whether they can still be used."""
    del ground
    return answers_of_each(NAMES, neighbour())


def _again_neighbour(ground: Ground) -> str:
    return ground.said(neighbour())


def _again(ground: Ground) -> str:
    return ground.said(ground.subject)


def _again_fresh(ground: Ground) -> str:
    return ground.said(_unused(ground.fresh)) if ground.fresh else ""


def _unused(fresh: LoadedModel) -> LoadedModel:
    """A copy, so that what a trial leaves in it is not there for the next one."""
    return LoadedModel(copy.deepcopy(fresh.model), fresh.inputs, fresh.kwargs)


def _again_meta(ground: Ground) -> str:
    """What the tool says of a copy on meta; nothing where it does not count there at all."""
    if not ground.fresh:
        return ""
    inputs, kwargs = tree_map_only(
        torch.Tensor,
        lambda tensor: tensor.to("meta"),
        (ground.fresh.inputs, dict(ground.fresh.kwargs)),
    )
    on_meta = copy.deepcopy(ground.fresh.model).to("meta")
    said = ground.said(LoadedModel(on_meta, inputs, kwargs))
    return said if said.startswith("counted") else ""


def _inputs(ground: Ground) -> tuple[Any, Any]:
    return ground.subject.inputs, ground.subject.kwargs


# In this order: what changes the model, or the process, comes after what does not.
TRIALS: dict[str, Callable[[Ground], str]] = {
    "numpy": _numpy,
    "neighbour_forward": _neighbour_forward,
    "forward": _forward,
    "fresh_forward": _fresh_forward,
    "deepcopy": _deepcopy,
    "pickle": _pickle,
    "save": _save,
    "checkpoint": _checkpoint,
    "export": _export,
    "trace": _trace,
    "script": _script,
    "train": _train,
    "flop_counter": _flop_counter,
    "reference": _reference,
    "other_tools": _other_tools,
    "again_neighbour": _again_neighbour,
    "again_fresh": _again_fresh,
    "again": _again,
    "again_meta": _again_meta,
}


OF_TOOL = ("again_neighbour", "again_fresh", "again", "again_meta")
"""Trials that call the tool."""

OF_OTHERS = ("other_tools",)
"""Trials that call other tools, which takes long."""

OF_TOOLS = (*OF_OTHERS, *OF_TOOL)


def compare(before: dict[str, str], after: dict[str, str]) -> Iterator[Compared]:
    """Each trial made, before and after; what could not be done before is not missed after."""
    for name in (name for name in TRIALS if name in before):
        old, new = before[name], after.get(name, "")
        lost = bool(old and new) and not old.startswith(FAILS) and old != new
        yield Compared(name, old, new, int(lost), f"{old} → {new}" if lost else "")


def attempts(ground: Ground, names: Collection[str]) -> dict[str, str]:
    """What comes of the named trials, in a child of this process."""
    return forked_trials.attempts(
        {name: partial(_seeded, name, ground) for name in TRIALS if name in names}
    )


def _seeded(name: str, ground: Ground) -> str:
    seed()
    return TRIALS[name](ground)


def seed() -> None:
    """The same random numbers for each trial."""
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - what models that draw from numpy draw from
