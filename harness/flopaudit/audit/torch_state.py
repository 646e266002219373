"""States of torch in a process: what of it is patched, and how its switches are set."""

from __future__ import annotations

import hashlib
import pickle
import random as python_random
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import torch

from flopaudit.audit.snapshot import (
    Facts,
    Same,
    Scene,
    State,
    itself,
)

_PACKAGES = frozenset({"torch", "torchvision", "numpy", "builtins"})
_OWN_CLASSES = (torch.Tensor, torch.nn.Parameter, torch.autograd.Function, torch.Generator)
_CHANGING = frozenset(
    {"__doc__", "__dict__", "__weakref__", "__annotations__", "__abstractmethods__"}
)
"""Attributes of classes that Python itself sets."""


def functions(scene: Scene) -> Facts:
    """Every function and class in every module of torch, torchvision, numpy and Python itself."""
    del scene
    return {
        f"{module.__name__}.{name}": Same(value)
        for module in _namespaces()
        for name, value in list(vars(module).items())
        if callable(value) and not issubclass(type(value), ModuleType)
    }


def _namespaces() -> Iterator[ModuleType]:
    for name, module in list(sys.modules.items()):
        # A namespace that answers for any name, such as torch.ops, is filled by being asked.
        if name.split(".", 1)[0] in _PACKAGES and type(module) is ModuleType:
            yield module


def classes(scene: Scene) -> Facts:
    """Every attribute of every class of modules there is, and of torch's tensors."""
    del scene
    owners = dict.fromkeys((torch.nn.Module, *_subclasses(torch.nn.Module), *_OWN_CLASSES))
    return {
        f"{owner.__module__}.{owner.__qualname__}.{name}": Same(value)
        for owner in owners
        for name, value in list(vars(owner).items())
        if name not in _CHANGING and callable(getattr(value, "__get__", value))
    }


def _class(attribute: str) -> str:
    """The class of an attribute: those of classes that are made later are no patches."""
    return attribute.rpartition(".")[0]


def _subclasses(base: type) -> Iterator[type]:
    each: type
    for each in type.__subclasses__(base):
        yield each
        yield from _subclasses(each)


def global_hooks(scene: Scene) -> Facts:
    """Hooks that are registered for all modules."""
    del scene
    return {
        f"{name}[{number}]": Same(hook)
        for name, hooks in vars(torch.nn.modules.module).items()
        if name.startswith("_global") and hasattr(hooks, "items")
        for number, hook in hooks.items()
    }


def mode_stacks(scene: Scene) -> Facts:
    """How many modes are on: those that see functions, and those that see operators."""
    del scene
    return {
        "functions": torch._C._len_torch_function_stack(),  # noqa: SLF001 - torch has no public name for it
        "operators": torch._C._len_torch_dispatch_stack(),  # noqa: SLF001 - the same
    }


def grad_mode(scene: Scene) -> Facts:
    """Whether autograd is on."""
    del scene
    return {
        "grad": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "anomaly detection": torch.is_anomaly_enabled(),
    }


def dtype(scene: Scene) -> Facts:
    """What floats are by default."""
    del scene
    return {"dtype": str(torch.get_default_dtype())}


def device(scene: Scene) -> Facts:
    """Where tensors are made by default."""
    del scene
    return {"device": str(torch.get_default_device())}


def autocast(scene: Scene) -> Facts:
    """Whether precision is lowered by itself, and to what."""
    del scene
    return {
        "cpu": torch.is_autocast_enabled("cpu"),
        "cuda": torch.is_autocast_enabled("cuda"),
        "dtype": str(torch.get_autocast_dtype("cpu")),
        "cache": torch.is_autocast_cache_enabled(),
    }


def backends(scene: Scene) -> Facts:
    """Flags of determinism and of the ways torch computes in."""
    del scene
    return {
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "warn only": torch.is_deterministic_algorithms_warn_only_enabled(),
        "cudnn": torch.backends.cudnn.enabled,
        "cudnn benchmark": torch.backends.cudnn.benchmark,
        "cudnn deterministic": torch.backends.cudnn.deterministic,
        "mkldnn": torch.backends.mkldnn.enabled,
        "attention fast path": torch.backends.mha.get_fastpath_enabled(),
        "flash attention": torch.backends.cuda.flash_sdp_enabled(),  # type: ignore[no-untyped-call] # torch's own
        "precision of matmul": torch.get_float32_matmul_precision(),
    }


def torch_threads(scene: Scene) -> Facts:
    """How many threads torch computes on."""
    del scene
    return {"threads": str(torch.get_num_threads())}


def random(scene: Scene) -> Facts:
    """The state of each generator of random numbers."""
    del scene
    drawn: dict[str, Any] = {
        "torch": torch.get_rng_state().tolist(),
        "numpy": np.random.get_state(legacy=True)[1:3],  # type: ignore[index] # noqa: NPY002 - the old interface is what users draw from
        "python": python_random.getstate(),
    }
    return {
        name: hashlib.blake2b(pickle.dumps(state), digest_size=4).hexdigest()
        for name, state in drawn.items()
    }


STATES: dict[str, State] = {
    "functions": State(functions, itself),
    "classes": State(classes, _class),
    "global_hooks": State(global_hooks),
    "mode_stacks": State(mode_stacks),
    "grad_mode": State(grad_mode),
    "dtype": State(dtype),
    "device": State(device),
    "autocast": State(autocast),
    "backends": State(backends),
    "torch_threads": State(torch_threads),
    "random": State(random),
}
