"""Trials: uses of a model and of torch, such as training, each with a short text as result.

All trials are made in a forked child, before the call of a tool and again after it, so that none
changes the process that is audited. A trial that failed before the call may fail after it.
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
from flopaudit.audit.audit_models import other_model
from flopaudit.audit.forked_trials import FAILS
from flopaudit.audit.snapshot import Comparison
from flopaudit.audit.tool_calls import call_each


@dataclass(frozen=True)
class TrialContext:
    """The models and the tool that trials use.

    Attributes:
        loaded: the model, as the tool left it.
        fresh: a copy made before the call; None if the model cannot be copied.
        call_tool: calls the tool on a model and returns its count or its exception as text.
    """

    loaded: LoadedModel
    fresh: LoadedModel | None
    call_tool: Callable[[LoadedModel], str]


def forward(loaded: LoadedModel) -> Any:
    """Run the model and return its output."""
    return loaded.model(*loaded.inputs, **loaded.kwargs)


def output(loaded: LoadedModel) -> str:
    """Return a hash of the numbers in the output of a model."""
    state = hashlib.blake2b(digest_size=4)
    with torch.no_grad():
        for leaf in tree_leaves(forward(loaded)):
            if not isinstance(leaf, torch.Tensor):
                state.update(repr(leaf).encode())
            elif leaf.is_meta:
                state.update(str(leaf.shape).encode())
            else:
                state.update(repr(leaf.flatten().tolist()).encode())
    return f"output {state.hexdigest()}"


def _forward(context: TrialContext) -> str:
    return output(context.loaded)


def _fresh_forward(context: TrialContext) -> str:
    return output(_unused(context.fresh)) if context.fresh else ""


def _neighbour_forward(_ground: TrialContext) -> str:
    return output(other_model())


def _numpy(_ground: TrialContext) -> str:
    array = np.asarray(torch.tensor([1.5, 2.5]).numpy())
    back = torch.from_numpy(array.copy())
    return f"{array.sum()} {back.sum().item()} {np.asarray(torch.ones(2)).sum()}"


def _deepcopy(context: TrialContext) -> str:
    copy.deepcopy(context.loaded.model)
    return "works"


def _pickle(context: TrialContext) -> str:
    pickle.loads(pickle.dumps(context.loaded.model))  # noqa: S301 - its own bytes
    return "works"


def _save(context: TrialContext) -> str:
    file = io.BytesIO()
    torch.save(context.loaded.model, file)
    file.seek(0)
    torch.load(file, weights_only=False)
    return "works"


def _checkpoint(context: TrialContext) -> str:
    file = io.BytesIO()
    torch.save(context.loaded.model.state_dict(), file)
    file.seek(0)
    context.loaded.model.load_state_dict(torch.load(file, weights_only=True))
    return "works"


def _export(context: TrialContext) -> str:
    inputs, kwargs = _inputs(context)
    torch.export.export(context.loaded.model, inputs, dict(kwargs))
    return "works"


def _trace(context: TrialContext) -> str:
    inputs, kwargs = _inputs(context)
    named = {"example_kwarg_inputs": dict(kwargs)} if kwargs else {"example_inputs": inputs}
    torch.jit.trace(context.loaded.model, check_trace=False, **named)  # type: ignore[no-untyped-call] # torch's own
    return "works"


def _script(context: TrialContext) -> str:
    torch.jit.script(context.loaded.model)
    return "works"


def _train(context: TrialContext) -> str:
    """Make one step of gradient descent; return the number of parameters that it trains."""
    model = context.loaded.model
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.1)
    optimizer.zero_grad()
    leaves = [leaf for leaf in tree_leaves(forward(context.loaded)) if leaf.requires_grad]
    sum(leaf.square().sum() for leaf in leaves).backward()
    optimizer.step()
    return f"{len(trained)} parameters"


def _flop_counter(context: TrialContext) -> str:
    return _each(context, _flops)


def _reference(context: TrialContext) -> str:
    return _each(context, _counted)


def _each(context: TrialContext, counter: Callable[[LoadedModel], str]) -> str:
    """Count the model and another one; an exception from either is part of the text."""
    return ", ".join(
        forked_trials.try_one(partial(counter, each)) for each in (context.loaded, other_model())
    )


def _flops(loaded: LoadedModel) -> str:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        forward(loaded)
    return f"{counter.get_total_flops():,}"


def _counted(loaded: LoadedModel) -> str:
    from flopaudit.reference.counter import count

    return f"{count(loaded.model, *loaded.inputs, **loaded.kwargs).macs:,}"


def _other_tools(context: TrialContext) -> str:
    """Call the package's tools on another model, to see whether they still work."""
    del context
    return call_each(NAMES, other_model())


def _again_neighbour(context: TrialContext) -> str:
    return context.call_tool(other_model())


def _again(context: TrialContext) -> str:
    return context.call_tool(context.loaded)


def _again_fresh(context: TrialContext) -> str:
    return context.call_tool(_unused(context.fresh)) if context.fresh else ""


def _unused(fresh: LoadedModel) -> LoadedModel:
    """Copy the fresh model, so that no trial changes it for the next one."""
    return LoadedModel(copy.deepcopy(fresh.model), fresh.inputs, fresh.kwargs)


def _again_meta(context: TrialContext) -> str:
    """Call the tool on a copy on the meta device; return "" if it cannot count there."""
    if not context.fresh:
        return ""
    inputs, kwargs = tree_map_only(
        torch.Tensor,
        lambda tensor: tensor.to("meta"),
        (context.fresh.inputs, dict(context.fresh.kwargs)),
    )
    on_meta = copy.deepcopy(context.fresh.model).to("meta")
    text = context.call_tool(LoadedModel(on_meta, inputs, kwargs))
    return text if text.startswith("counted") else ""


def _inputs(context: TrialContext) -> tuple[Any, Any]:
    return context.loaded.inputs, context.loaded.kwargs


# In this order: trials that change the model or the process come after those that do not.
TRIALS: dict[str, Callable[[TrialContext], str]] = {
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
"""Trials that call other tools, which takes a long time."""

OF_TOOLS = (*OF_OTHERS, *OF_TOOL)


def compare(before: dict[str, str], after: dict[str, str]) -> Iterator[Comparison]:
    """Compare the results of each trial; one that failed before the call is not counted as lost."""
    for name in (name for name in TRIALS if name in before):
        old, new = before[name], after.get(name, "")
        lost = bool(old and new) and not old.startswith(FAILS) and old != new
        yield Comparison(name, old, new, int(lost), f"{old} → {new}" if lost else "")


def try_all(context: TrialContext, names: Collection[str]) -> dict[str, str]:
    """Make the named trials in a forked child, and return their results by name."""
    return forked_trials.try_all(
        {name: partial(_seeded, name, context) for name in TRIALS if name in names}
    )


def _seeded(name: str, context: TrialContext) -> str:
    seed()
    return TRIALS[name](context)


def seed() -> None:
    """Seed all generators, so that each trial draws the same random numbers."""
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - models that use numpy draw from this generator
