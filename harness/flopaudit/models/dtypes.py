"""Dtypes of a model: its conversion, and the explanation of an input that does not match it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from flopaudit.core.errors import UsageError
from flopaudit.core.nested_values import leaves

_OF_DTYPES = re.compile(r"dtype|scalar type|Input type|data type", re.IGNORECASE)


def converted(model: torch.nn.Module, dtype: str) -> torch.nn.Module:
    """Return the model with its floating-point parameters and buffers in a dtype; "" leaves it."""
    return model.to(getattr(torch, dtype)) if dtype else model


def mismatch(
    error: BaseException, model: torch.nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> UsageError | None:
    """Return the error for inputs of another dtype than the weights, if that is why a run failed.

    Args:
        error: what the run raised.
        model: the model that was run.
        args: its inputs by position.
        kwargs: its inputs by keyword.
    """
    if not isinstance(error, RuntimeError) or not _OF_DTYPES.search(str(error)):
        return None
    weights = _floating((*model.parameters(), *model.buffers()))
    given = _floating(tensors_in((args, dict(kwargs))))
    if not weights or not given or given <= weights:
        return None
    wanted, other = min(weights), min(given - weights)
    return UsageError(
        f"The weights are {' and '.join(sorted(weights))}, and an input is {other}.",
        f"Give the input as {wanted}, such as --input {wanted}:1x8, or the model as "
        f"--dtype {other}.",
    )


def tensors_in(value: Any) -> Iterable[torch.Tensor]:
    """Yield the tensors anywhere in a nested value."""
    found = leaves(value, lambda each: isinstance(each, torch.Tensor))
    return (leaf.value for leaf in found if isinstance(leaf.value, torch.Tensor))


def _floating(tensors: Iterable[torch.Tensor]) -> set[str]:
    return {str(t.dtype).removeprefix("torch.") for t in tensors if t.is_floating_point()}
