"""States of a model: its hooks, buffers, parameters, modes; each a pure reading of a scene."""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Iterator
from typing import Any

import torch

from flopaudit.audit.snapshot import (
    Facts,
    Same,
    Scene,
    State,
    itself,
)

_MODULE_HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)
_TENSOR_HOOKS = ("_backward_hooks", "_post_accumulate_grad_hooks")
_TORCHS_OWN = frozenset(vars(torch.nn.Module()))
"""Attributes that every module has; other states look into them."""


def hooks(scene: Scene) -> Facts:
    """Every hook of every module and parameter."""
    owners = [
        *((path, module, _MODULE_HOOKS) for path, module in scene.model.named_modules()),
        *((path, tensor, _TENSOR_HOOKS) for path, tensor in scene.model.named_parameters()),
    ]
    return {
        f"{path or 'root'}{kind}[{number}]": Same(hook)
        for path, owner, kinds in owners
        for kind in kinds
        for number, hook in (getattr(owner, kind, None) or {}).items()
    }


def buffers(scene: Scene) -> Facts:
    """Every buffer, as the object it is."""
    return {name: Same(buffer) for name, buffer in scene.model.named_buffers()}


def statistics(scene: Scene) -> Facts:
    """What every buffer holds."""
    return {name: digest(buffer) for name, buffer in scene.model.named_buffers()}


def state_dict(scene: Scene) -> Facts:
    """The keys of the state_dict."""
    return dict.fromkeys(scene.model.state_dict(), "")


def parameters(scene: Scene) -> Facts:
    """Every parameter, as the object it is."""
    return {name: Same(parameter) for name, parameter in scene.model.named_parameters()}


def values(scene: Scene) -> Facts:
    """What every parameter holds."""
    return {name: digest(parameter) for name, parameter in scene.model.named_parameters()}


def requires_grad(scene: Scene) -> Facts:
    """Which parameters are trained."""
    return {name: tensor.requires_grad for name, tensor in scene.model.named_parameters()}


def grads(scene: Scene) -> Facts:
    """The gradients that are there, and what they hold."""
    return {
        name: digest(tensor.grad)
        for name, tensor in scene.model.named_parameters()
        if tensor.grad is not None
    }


def modules(scene: Scene) -> Facts:
    """Every module, as the object it is, and its class."""
    found = scene.model.named_modules()
    return dict(item for path, module in found for item in _module(path, module))


def _module(path: str, module: Any) -> Iterator[tuple[str, object]]:
    yield path or "root", Same(module)
    yield f"{path or 'root'}.__class__", Same(type(module))


def modes(scene: Scene) -> Facts:
    """Which modules are in training mode."""
    return {
        path or "root": "train" if module.training else "eval"
        for path, module in scene.model.named_modules()
    }


def attributes(scene: Scene) -> Facts:
    """Every attribute of every module beside those of torch's own."""
    return {
        f"{path or 'root'}.{name}": Same(value)
        for path, module in scene.model.named_modules()
        for name, value in vars(module).items()
        if name not in _TORCHS_OWN
    }


def digest(tensor: torch.Tensor) -> str:
    """A short hash of a tensor's shape, type and memory, read without torch's operators."""
    storage = tensor.untyped_storage()
    head = f"{tensor.dtype} {tuple(tensor.shape)} {tensor.stride()}".encode()
    if tensor.device.type != "cpu" or not storage.nbytes():
        return hashlib.blake2b(head, digest_size=4).hexdigest()
    memory = (ctypes.c_char * storage.nbytes()).from_address(storage.data_ptr())
    state = hashlib.blake2b(head, digest_size=4)
    state.update(memory)
    return state.hexdigest()


STATES: dict[str, State] = {
    "hooks": State(hooks),
    "buffers": State(buffers),
    "statistics": State(statistics, itself),
    "state_dict": State(state_dict),
    "parameters": State(parameters),
    "values": State(values, itself),
    "requires_grad": State(requires_grad, itself),
    "grads": State(grads),
    "modules": State(modules),
    "modes": State(modes, itself),
    "attributes": State(attributes),
}
