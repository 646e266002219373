"""How much memory one inference holds at its peak: a model and its arguments come in, bytes go out.

Counted on meta tensors, so none of it is taken: every storage that an operator makes is followed
until nothing refers to it any more. Parameters and buffers are apart, since they stay.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from flopaudit.reference.ledger_entries import tensors_in, to_meta


def peak_activation_bytes(model: torch.nn.Module, *args: Any, **kwargs: Any) -> int:
    """The most bytes that inputs, intermediate and final results take at one time.

    What a kernel needs inside itself is not seen, nor what an allocator rounds up.

    Args:
        model: left as it was found; run as it is, in eval or training mode, without gradients.
        *args: what to call the model with; only shapes are used.
        **kwargs: passed on to the model.

    Raises:
        Exception: whatever the model raises on meta tensors.
    """
    args, kwargs = tree_map_only(torch.Tensor, to_meta, (args, kwargs))
    memo: dict[int, Any] = {id(t): to_meta(t) for t in (*model.parameters(), *model.buffers())}
    moved = copy.deepcopy(model, memo)
    live = _Live([*moved.parameters(), *moved.buffers()])
    live.add([leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)])
    with torch.no_grad(), live:
        moved(*args, **kwargs)
    return live.peak


class _Live(TorchDispatchMode):  # type: ignore[no-untyped-call] # torch's own
    """Follows the storages that are alive."""

    def __init__(self, apart: list[torch.Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # torch's own
        self.peak = 0
        self._apart = {_reference(tensor) for tensor in apart}
        self._alive: dict[Any, int] = {}

    def add(self, tensors: list[torch.Tensor]) -> None:
        """Take in new results, and forget the storages that are gone."""
        for tensor in tensors:
            reference = _reference(tensor)
            if reference not in self._apart:
                self._alive[reference] = tensor.untyped_storage().nbytes()
        self._alive = {ref: size for ref, size in self._alive.items() if not ref.expired()}
        self.peak = max(self.peak, sum(self._alive.values()))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.add(list(tensors_in((out,))))
        return out


def _reference(tensor: torch.Tensor) -> Any:
    """A weak reference to a tensor's storage, equal for all its views."""
    return StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call] # torch's own
