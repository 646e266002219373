"""Tools that each have one side effect, named on the command line as `audited_tools.py:NAME`.

NAME is the check that must find the effect, in capitals; `CLEAN` has none. `ALSO` lists the checks
that fail as a consequence: a model with a hook that raises cannot be trained either.
"""

from __future__ import annotations

import functools
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flopaudit_adapters.contract import LoadedModel, Tool, ToolResult

if TYPE_CHECKING:
    from collections.abc import Callable

AGES = 600
CALLS: list[object] = []
"""The models that tools were called on in this process."""


def nothing(*_args: object, **_kwargs: object) -> None:
    """A hook, or a handler."""


def raises(*_args: object, **_kwargs: object) -> None:
    """A hook that raises."""
    raise RuntimeError("left behind")


def _clean(loaded: LoadedModel) -> int:
    loaded.model(*loaded.inputs)
    return 7


def _call(loaded: LoadedModel) -> int:
    try:
        return _clean(loaded)
    except RuntimeError:
        return 7


# -- of the model


def _values(loaded: LoadedModel) -> None:
    model: Any = loaded.model
    model.conv.bias.data.add_(1)


def _statistics(loaded: LoadedModel) -> None:
    model: Any = loaded.model
    model.norm.num_batches_tracked.add_(1)


def _state_dict(loaded: LoadedModel) -> None:
    model: Any = loaded.model
    model.norm._non_persistent_buffers_set.add("num_batches_tracked")  # noqa: SLF001 - no other way


def _hooks(loaded: LoadedModel) -> None:
    model: Any = loaded.model
    model.conv.weight.register_hook(nothing)


def _buffers(loaded: LoadedModel) -> None:
    import torch

    loaded.model.register_buffer("stray", torch.zeros(1), persistent=False)


def _parameters(loaded: LoadedModel) -> None:
    import torch

    model: Any = loaded.model
    model.conv.bias = torch.nn.Parameter(model.conv.bias.detach().clone())


def _modules(loaded: LoadedModel) -> None:
    import torch

    loaded.model.act = torch.nn.ReLU().eval()


def _modes(loaded: LoadedModel) -> None:
    model: Any = loaded.model
    model.act.train()


def _requires_grad(loaded: LoadedModel) -> None:
    model: Any = loaded.model
    model.conv.bias.requires_grad_(False)  # noqa: FBT003 - torch's own


def _grads(loaded: LoadedModel) -> None:
    import torch

    model: Any = loaded.model
    model.conv.bias.grad = torch.ones(8)


def _attributes(loaded: LoadedModel) -> None:
    model: Any = loaded.model
    model.stray = 1


# -- of torch


def _classes(_loaded: LoadedModel) -> None:
    import torch

    torch.nn.Bilinear.forward = nothing  # type: ignore[assignment]


def _functions(_loaded: LoadedModel) -> None:
    import torch

    torch.nn.functional.bilinear = nothing  # type: ignore[assignment]


def _global_hooks(_loaded: LoadedModel) -> None:
    import torch

    torch.nn.modules.module.register_module_module_registration_hook(nothing)


def _mode_stacks(_loaded: LoadedModel) -> None:
    from torch.overrides import BaseTorchFunctionMode

    mode: Any = BaseTorchFunctionMode()
    mode.__enter__()


def _grad_mode(_loaded: LoadedModel) -> None:
    import torch

    torch.set_grad_enabled(False)


def _dtype(_loaded: LoadedModel) -> None:
    import torch

    torch.set_default_dtype(torch.float64)


def _device(_loaded: LoadedModel) -> None:
    import torch

    torch.set_default_device("meta")


def _autocast(_loaded: LoadedModel) -> None:
    import torch

    torch.set_autocast_cache_enabled(False)


def _backends(_loaded: LoadedModel) -> None:
    import torch

    torch.backends.cudnn.benchmark = True


def _torch_threads(_loaded: LoadedModel) -> None:
    import torch

    torch.set_num_threads(2)


def _random(_loaded: LoadedModel) -> None:
    random.random()  # noqa: S311 - the generator is the point


# -- of the process


def _streams(_loaded: LoadedModel) -> None:
    sys.excepthook = nothing


def _signals(_loaded: LoadedModel) -> None:
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)


def _logging(_loaded: LoadedModel) -> None:
    logging.basicConfig(level=logging.DEBUG, force=True, handlers=[logging.NullHandler()])


def _warnings(_loaded: LoadedModel) -> None:
    warnings.simplefilter("ignore")


def _environ(_loaded: LoadedModel) -> None:
    os.environ["STRAY"] = "1"


def _path(_loaded: LoadedModel) -> None:
    sys.path.insert(0, "stray")


def _directory(_loaded: LoadedModel) -> None:
    os.chdir("/")


def _interpreter(_loaded: LoadedModel) -> None:
    sys.setrecursionlimit(5000)


def _children(_loaded: LoadedModel) -> None:
    CALLS.append(subprocess.Popen(["sleep", str(AGES)]))  # noqa: S607 - any process will do


def _threads(_loaded: LoadedModel) -> None:
    threading.Thread(target=time.sleep, args=(AGES,), daemon=True).start()


def _descriptors(_loaded: LoadedModel) -> None:
    os.open(os.devnull, os.O_RDONLY)


def _files(_loaded: LoadedModel) -> None:
    Path("stray.txt").touch()


def _printed(_loaded: LoadedModel) -> None:
    print("stray")


# -- of trials


def _numpy(_loaded: LoadedModel) -> None:
    import torch

    torch.Tensor.numpy = raises  # type: ignore[assignment,method-assign]


def _neighbour_forward(_loaded: LoadedModel) -> None:
    import torch

    torch.nn.functional.scaled_dot_product_attention = raises  # type: ignore[assignment]


def _fresh_forward(loaded: LoadedModel) -> None:
    type(loaded.model).forward = raises


def _forward(loaded: LoadedModel) -> None:
    model: Any = loaded.model
    model.forward = raises


def _train(loaded: LoadedModel) -> None:
    model: Any = loaded.model
    model.conv.weight.register_hook(raises)


def _pickle(loaded: LoadedModel) -> None:
    model: Any = loaded.model
    model.stray = lambda: None


def _deepcopy(loaded: LoadedModel) -> None:
    model: Any = loaded.model
    model.stray = threading.Lock()


def _save(loaded: LoadedModel) -> None:
    import torch

    del loaded
    torch.load = raises


def _checkpoint(loaded: LoadedModel) -> None:
    model: Any = loaded.model
    # `len` can be pickled, and raises because it takes one argument.
    model.conv.register_load_state_dict_pre_hook(len)


def _export(_loaded: LoadedModel) -> None:
    import torch

    torch.export.export = raises  # type: ignore[assignment]


def _trace(_loaded: LoadedModel) -> None:
    import torch

    torch.jit.trace = raises


def _script(_loaded: LoadedModel) -> None:
    import torch

    torch.jit.script = raises  # type: ignore[assignment]


def _flop_counter(_loaded: LoadedModel) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    FlopCounterMode.get_total_flops = nothing  # type: ignore[assignment,method-assign]


def _reference(_loaded: LoadedModel) -> None:
    from flopaudit.reference import counter

    counter.count = raises  # type: ignore[assignment]


def _other_tools(_loaded: LoadedModel) -> None:
    import ptflops

    ptflops.get_model_complexity_info = raises


def _classes_meanwhile(loaded: LoadedModel) -> None:
    import torch

    kept = torch.nn.Bilinear.forward
    torch.nn.Bilinear.forward = nothing  # type: ignore[assignment]
    _clean(loaded)
    torch.nn.Bilinear.forward = kept  # type: ignore[method-assign]


def _functions_meanwhile(loaded: LoadedModel) -> None:
    import torch

    kept = torch.nn.functional.bilinear
    torch.nn.functional.bilinear = nothing  # type: ignore[assignment]
    _clean(loaded)
    torch.nn.functional.bilinear = kept


def _raises(_loaded: LoadedModel) -> None:
    raise RuntimeError("cannot")


def _again(loaded: LoadedModel) -> int:
    """Return another count when it is called again on the same model."""
    CALLS.append(loaded.model)
    return sum(known is loaded.model for known in CALLS)


def _again_fresh(loaded: LoadedModel) -> int:
    """Return another count when it is called on a second model of the same class."""
    CALLS.append(loaded.model)
    first = next(known for known in CALLS if isinstance(known, type(loaded.model)))
    return 1 + (first is not loaded.model)


def _again_neighbour(loaded: LoadedModel) -> int:
    """Return another count when it is called on the other model after this one."""
    CALLS.append(loaded.model)
    unlike = type(CALLS[0]) is not type(loaded.model)
    return 1 + (unlike and type(loaded.model).__name__ == "OtherModel")


def _again_meta(loaded: LoadedModel) -> int:
    """Return another count on the meta device."""
    return 1 + any(parameter.is_meta for parameter in loaded.model.parameters())


EFFECTS: dict[str, Callable[[LoadedModel], Any]] = {
    name.removeprefix("_"): effect
    for name, effect in list(globals().items())
    if name.startswith("_") and callable(effect) and getattr(effect, "__module__", "") == __name__
}

RUNS = {"train", "export", "trace", "script", "flop_counter", "reference"}
"""The trials that run the model."""

ALSO: dict[str, set[str]] = {
    "values": {"forward"},
    "requires_grad": {"train"},
    "grad_mode": {"train"},
    "dtype": {"functions", "neighbour_forward"},  # torch.Storage is of the default dtype
    "device": {"flop_counter", "mode_stacks", "neighbour_forward", "numpy"},
    "numpy": {"classes"},
    "neighbour_forward": {"functions", "flop_counter", "reference"},
    "fresh_forward": {"classes", "forward"} | RUNS,
    "forward": {"attributes", "pickle", "save"} | RUNS,
    "train": {"hooks"},
    "pickle": {"attributes", "save"},
    "deepcopy": {"attributes", "pickle", "save"},
    "checkpoint": {"hooks"},
    "again_fresh": {"again_meta"},  # which is a fresh copy too
    "save": {"functions", "checkpoint", "pickle"},
    "export": {"functions"},
    "trace": {"functions"},
    "script": {"functions"},
}


def as_tool(name: str, effect: Callable[[LoadedModel], Any]) -> Tool:
    def measure(loaded: LoadedModel, _variant: str | None) -> ToolResult:
        count = effect(loaded)
        return ToolResult({}, count if isinstance(count, int) else 7)

    return Tool(f"leaves_{name}", "torch", "torch", "MAC", functools.wraps(effect)(measure), "", "")


def __getattr__(name: str) -> Tool:
    """Return the tool of that name, in capitals."""
    if name.lower() not in EFFECTS:
        raise AttributeError(name)
    return as_tool(name.lower(), EFFECTS[name.lower()])
