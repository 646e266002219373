"""Peak memory of one inference, in bytes, computed on meta tensors without allocating it.

Every storage that an operator creates is followed until nothing refers to it any more. Parameters
and buffers are left out, because they stay in memory.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from flopaudit.reference.ledger_entries import (
    all_tensors,
    arguments_on_meta,
    tensors_in,
    to_meta,
)


def peak_activation_bytes(model: torch.nn.Module, *args: Any, **kwargs: Any) -> int:
    """Return the most bytes that inputs, intermediate and final results take at one time.

    The workspace of a kernel and the rounding of an allocator are not included.

    Args:
        model: is not changed; a copy is run in its eval or training mode, without gradients.
        *args: of the model's call; only shapes are used.
        **kwargs: of the model's call.

    Returns:
        The peak, in bytes.

    Raises:
        Exception: whatever the model raises on meta tensors.
    """
    args, kwargs = arguments_on_meta((args, kwargs))
    memo: dict[int, Any] = {id(t): to_meta(t) for t in (*model.parameters(), *model.buffers())}
    moved = copy.deepcopy(model, memo)
    live = _Live([*moved.parameters(), *moved.buffers()])
    live.add(all_tensors((args, kwargs)))
    with torch.no_grad(), live:
        moved(*args, **kwargs)
    return live.peak


class _Live(TorchDispatchMode):  # type: ignore[no-untyped-call] # torch's own
    """A mode that follows the storages that are alive."""

    def __init__(self, excluded: list[torch.Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # torch's own
        self.peak = 0
        self._excluded = {_reference(tensor) for tensor in excluded}
        self._alive: dict[Any, int] = {}

    def add(self, tensors: list[torch.Tensor]) -> None:
        """Add new results, and drop the storages that are gone."""
        for tensor in tensors:
            reference = _reference(tensor)
            if reference not in self._excluded:
                self._alive[reference] = tensor.untyped_storage().nbytes()
        self._alive = {ref: size for ref, size in self._alive.items() if not ref.expired()}
        self.peak = max(self.peak, sum(self._alive.values()))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.add(list(tensors_in((out,))))
        return out


def _reference(tensor: torch.Tensor) -> Any:
    """Return a weak reference to a tensor's storage, equal for all its views."""
    return StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call] # torch's own
