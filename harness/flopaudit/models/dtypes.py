"""Dtypes of a model: its conversion, and the explanation of an input that does not match it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch

from flopaudit.core.errors import UsageError
from flopaudit.reference.ledger_entries import floating_dtypes

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
    found = floating_dtypes(model, (args, dict(kwargs)))
    if not found.foreign:
        return None
    wanted, given = found.weights[0], found.foreign[0]
    return UsageError(
        f"The weights are {' and '.join(found.weights)}, and an input is {given}.",
        f"Give the input as {wanted}, which is written {wanted}:1x8, or convert the model by "
        f"--dtype {given}.",
    )
