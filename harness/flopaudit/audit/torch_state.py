"""Readers of the states of torch in a process: its functions and classes, modes and settings."""

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
    Identity,
    SnapshotContext,
    StateReader,
    by_own_name,
)

_PACKAGES = frozenset({"torch", "torchvision", "numpy", "builtins"})
_OWN_CLASSES = (torch.Tensor, torch.nn.Parameter, torch.autograd.Function, torch.Generator)
_CHANGING = frozenset(
    {"__doc__", "__dict__", "__weakref__", "__annotations__", "__abstractmethods__"}
)
"""Attributes of classes that Python itself sets."""


def functions(context: SnapshotContext) -> Facts:
    """Return every function and class in the modules of torch, torchvision, numpy and Python."""
    del context
    return {
        f"{module.__name__}.{name}": Identity(value)
        for module in _namespaces()
        for name, value in list(vars(module).items())
        if callable(value) and not issubclass(type(value), ModuleType)
    }


def _namespaces() -> Iterator[ModuleType]:
    for name, module in list(sys.modules.items()):
        # A namespace that resolves any name, such as torch.ops, would be filled by reading it.
        if name.split(".", 1)[0] in _PACKAGES and type(module) is ModuleType:
            yield module


def classes(context: SnapshotContext) -> Facts:
    """Return every attribute of every class of modules that exists, and of torch's tensors."""
    del context
    owners = dict.fromkeys((torch.nn.Module, *_subclasses(torch.nn.Module), *_OWN_CLASSES))
    return {
        f"{owner.__module__}.{owner.__qualname__}.{name}": Identity(value)
        for owner in owners
        for name, value in list(vars(owner).items())
        if name not in _CHANGING and callable(getattr(value, "__get__", value))
    }


def _class(attribute: str) -> str:
    """Return the class of an attribute; a class that is made later is not patched."""
    return attribute.rpartition(".")[0]


def _subclasses(base: type) -> Iterator[type]:
    each: type
    for each in type.__subclasses__(base):
        yield each
        yield from _subclasses(each)


def global_hooks(context: SnapshotContext) -> Facts:
    """Return the hooks that are registered for all modules."""
    del context
    return {
        f"{name}[{number}]": Identity(hook)
        for name, hooks in vars(torch.nn.modules.module).items()
        if name.startswith("_global") and hasattr(hooks, "items")
        for number, hook in hooks.items()
    }


def mode_stacks(context: SnapshotContext) -> Facts:
    """Return the number of active function modes and dispatch modes."""
    del context
    return {
        "functions": torch._C._len_torch_function_stack(),  # noqa: SLF001 - torch has no public name for it
        "operators": torch._C._len_torch_dispatch_stack(),  # noqa: SLF001 - the same
    }


def grad_mode(context: SnapshotContext) -> Facts:
    """Return the switches of autograd."""
    del context
    return {
        "grad": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "anomaly detection": torch.is_anomaly_enabled(),
    }


def dtype(context: SnapshotContext) -> Facts:
    """Return the default dtype."""
    del context
    return {"dtype": str(torch.get_default_dtype())}


def device(context: SnapshotContext) -> Facts:
    """Return the default device."""
    del context
    return {"device": str(torch.get_default_device())}


def autocast(context: SnapshotContext) -> Facts:
    """Return the switches of autocast and its dtype."""
    del context
    return {
        "cpu": torch.is_autocast_enabled("cpu"),
        "cuda": torch.is_autocast_enabled("cuda"),
        "dtype": str(torch.get_autocast_dtype("cpu")),
        "cache": torch.is_autocast_cache_enabled(),
    }


def backends(context: SnapshotContext) -> Facts:
    """Return the flags of determinism and of torch's backends."""
    del context
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


def torch_threads(context: SnapshotContext) -> Facts:
    """Return the number of threads that torch uses."""
    del context
    return {"threads": str(torch.get_num_threads())}


def random(context: SnapshotContext) -> Facts:
    """Return a hash of the state of each random number generator."""
    del context
    drawn: dict[str, Any] = {
        "torch": torch.get_rng_state().tolist(),
        "numpy": np.random.get_state(legacy=True)[1:3],  # type: ignore[index] # noqa: NPY002 - users draw from the old interface
        "python": python_random.getstate(),
    }
    return {
        name: hashlib.blake2b(pickle.dumps(state), digest_size=4).hexdigest()
        for name, state in drawn.items()
    }


STATES: dict[str, StateReader] = {
    "functions": StateReader(functions, by_own_name),
    "classes": StateReader(classes, _class),
    "global_hooks": StateReader(global_hooks),
    "mode_stacks": StateReader(mode_stacks),
    "grad_mode": StateReader(grad_mode),
    "dtype": StateReader(dtype),
    "device": StateReader(device),
    "autocast": StateReader(autocast),
    "backends": StateReader(backends),
    "torch_threads": StateReader(torch_threads),
    "random": StateReader(random),
}
