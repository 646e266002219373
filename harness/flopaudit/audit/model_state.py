"""Readers of the states of a model: its hooks, buffers, parameters, modes and more."""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Iterator
from typing import Any

import torch

from flopaudit.audit.snapshot import (
    Facts,
    Identity,
    SnapshotContext,
    StateReader,
    by_own_name,
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
"""Attributes that every module has; other readers cover them."""


def hooks(context: SnapshotContext) -> Facts:
    """Return every hook of every module and parameter."""
    owners = [
        *((path, module, _MODULE_HOOKS) for path, module in context.model.named_modules()),
        *((path, tensor, _TENSOR_HOOKS) for path, tensor in context.model.named_parameters()),
    ]
    return {
        f"{path or 'root'}{kind}[{number}]": Identity(hook)
        for path, owner, kinds in owners
        for kind in kinds
        for number, hook in (getattr(owner, kind, None) or {}).items()
    }


def buffers(context: SnapshotContext) -> Facts:
    """Return the identity of every buffer."""
    return {name: Identity(buffer) for name, buffer in context.model.named_buffers()}


def statistics(context: SnapshotContext) -> Facts:
    """Return a hash of the values of every buffer."""
    return {name: digest(buffer) for name, buffer in context.model.named_buffers()}


def state_dict(context: SnapshotContext) -> Facts:
    """Return the keys of the state_dict."""
    return dict.fromkeys(context.model.state_dict(), "")


def parameters(context: SnapshotContext) -> Facts:
    """Return the identity of every parameter."""
    return {name: Identity(parameter) for name, parameter in context.model.named_parameters()}


def values(context: SnapshotContext) -> Facts:
    """Return a hash of the values of every parameter."""
    return {name: digest(parameter) for name, parameter in context.model.named_parameters()}


def requires_grad(context: SnapshotContext) -> Facts:
    """Return which parameters are trained."""
    return {name: tensor.requires_grad for name, tensor in context.model.named_parameters()}


def grads(context: SnapshotContext) -> Facts:
    """Return a hash of the values of every gradient that exists."""
    return {
        name: digest(tensor.grad)
        for name, tensor in context.model.named_parameters()
        if tensor.grad is not None
    }


def modules(context: SnapshotContext) -> Facts:
    """Return the identity and the class of every module."""
    found = context.model.named_modules()
    return dict(item for path, module in found for item in _module(path, module))


def _module(path: str, module: Any) -> Iterator[tuple[str, object]]:
    yield path or "root", Identity(module)
    yield f"{path or 'root'}.__class__", Identity(type(module))


def modes(context: SnapshotContext) -> Facts:
    """Return the mode of every module."""
    return {
        path or "root": "train" if module.training else "eval"
        for path, module in context.model.named_modules()
    }


def attributes(context: SnapshotContext) -> Facts:
    """Return every attribute of every module that is not torch's own."""
    return {
        f"{path or 'root'}.{name}": Identity(value)
        for path, module in context.model.named_modules()
        for name, value in vars(module).items()
        if name not in _TORCHS_OWN
    }


def digest(tensor: torch.Tensor) -> str:
    """Return a short hash of a tensor's shape, type and memory, without using torch's operators."""
    storage = tensor.untyped_storage()
    head = f"{tensor.dtype} {tuple(tensor.shape)} {tensor.stride()}".encode()
    if tensor.device.type != "cpu" or not storage.nbytes():
        return hashlib.blake2b(head, digest_size=4).hexdigest()
    memory = (ctypes.c_char * storage.nbytes()).from_address(storage.data_ptr())
    state = hashlib.blake2b(head, digest_size=4)
    state.update(memory)
    return state.hexdigest()


STATES: dict[str, StateReader] = {
    "hooks": StateReader(hooks),
    "buffers": StateReader(buffers),
    "statistics": StateReader(statistics, by_own_name),
    "state_dict": StateReader(state_dict),
    "parameters": StateReader(parameters),
    "values": StateReader(values, by_own_name),
    "requires_grad": StateReader(requires_grad, by_own_name),
    "grads": StateReader(grads),
    "modules": StateReader(modules),
    "modes": StateReader(modes, by_own_name),
    "attributes": StateReader(attributes),
}
