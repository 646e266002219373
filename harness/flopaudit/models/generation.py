"""What a transformers model keeps between two calls: its cache, and the output of its encoder.

Which name a model gives to its cache, and of which kind it is, differ from model to model and from
release to release: key and value tensors, sliding windows, the state of a recurrent layer. So a
model is run on the tokens before, and what it returns under the name of one of forward's parameters
is its cache. Imports torch.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from flopaudit.core.errors import UsageError

_SWITCHES = ("use_cache", "use_mems")
"""Parameters of forward that make a model return its cache."""


class Kept(NamedTuple):
    """A cache, and the name of the parameter of forward that takes it."""

    name: str
    value: Any


def main_input(model: Any) -> str:
    """Return the name of the input that a model's tokens are given by."""
    name = getattr(model, "main_input_name", "input_ids")
    return name if isinstance(name, str) else str(name[0])


def cache(model: Any, before: Mapping[str, Any]) -> Any:
    """Return what a model keeps of its inputs for the next call.

    Args:
        model: is run once, without gradients.
        before: all inputs of that run, by keyword.

    Raises:
        UsageError: the model keeps nothing.
        Exception: whatever the model raises.
    """
    found = kept(model, before)
    if found is None:
        raise no_cache(type(model).__name__)
    return found.value


def no_cache(name: str) -> UsageError:
    """Return the error for a model that keeps no cache."""
    return UsageError(
        f"{name} returns no cache from which a next call could go on.",
        "Leave out --phase, or name a model that generates text, such as transformers:llama.",
    )


def kept(model: Any, before: Mapping[str, Any]) -> Kept | None:
    """Run a model, and return its cache; None if it keeps none."""
    parameters = inspect.signature(model.forward).parameters
    switches = {name: True for name in _SWITCHES if name in parameters}
    with torch.no_grad():
        returned = model(**before, **switches)
    fields = returned.items() if isinstance(returned, Mapping) else ()
    same = (Kept(name, value) for name, value in fields if name in parameters)
    return next((each for each in same if each.value is not None), None)


def encoded(model: Any, inputs: Mapping[str, Any]) -> Any:
    """Return what the encoder of a model returns for inputs by keyword.

    Raises:
        UsageError: the model has no encoder of its own.
        Exception: whatever the encoder raises.
    """
    find = getattr(model, "get_encoder", None)
    encoder = find() if find else None
    if encoder is None or encoder is model:
        raise UsageError(
            f"{type(model).__name__} has no encoder of its own.", "Leave out the input encoded:."
        )
    with torch.no_grad():
        return encoder(**inputs)
