"""Model building: a model in eval mode with random weights, and its inputs, from a model spec.

Used in the host process that holds the model (see `isolation/host.py`), and where the harness
counts or traces a model itself. Nothing is downloaded; the seed is fixed.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from typing import Any

import torch

from flopaudit import probes
from flopaudit.core.errors import UsageError
from flopaudit.core.specs import (
    LIBRARIES,
    PROBE,
    InputSpec,
    ModelSpec,
)
from flopaudit.models import libraries
from flopaudit.models.loading import load_factory_module
from flopaudit.tools.provenance import require_libraries

SEED = 0


def build(spec: ModelSpec) -> torch.nn.Module:
    """Build a model, in eval mode, from a fixed seed.

    Raises:
        UsageError: there is no such model, the factory returned something else, or a library that
            was imported for it is not the one whose version is recorded.
        Exception: any exception of the factory.
    """
    factory = _find(spec)
    torch.manual_seed(SEED)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = factory()
    if not isinstance(model, torch.nn.Module):
        raise UsageError(
            f"'{spec}' gave a {type(model).__name__}, not a torch.nn.Module.",
            "Name a function or class that takes no arguments and returns the model.",
        )
    require_libraries(imported=True)
    return model.eval()


def make_inputs(specs: tuple[InputSpec, ...]) -> tuple[torch.Tensor, ...]:
    """Make the inputs without a name, from a fixed seed: floats in [0, 1), integers 0 or 1."""
    torch.manual_seed(SEED)
    return tuple(_tensor(spec) for spec in specs if not spec.name)


def make_kwargs(specs: tuple[InputSpec, ...]) -> dict[str, Any]:
    """Make the inputs with a name, random in the same way, by name."""
    torch.manual_seed(SEED)
    return {spec.name: _tensor(spec) for spec in specs if spec.name}


def _tensor(spec: InputSpec) -> torch.Tensor:
    dtype: torch.dtype = getattr(torch, spec.dtype)
    if dtype.is_floating_point:
        return torch.rand(spec.shape).to(dtype)
    return torch.randint(0, 2, spec.shape).to(dtype)


def _find(spec: ModelSpec) -> Callable[[], Any]:
    if spec.source == "torchvision":
        return _torchvision(spec.location)
    if spec.source in LIBRARIES:
        return libraries.library(spec.source).factory(spec)
    if spec.source == PROBE:
        probe, case = probes.find(spec)
        return lambda: probes.build(probe.name, case)
    return _factory(spec)


def _torchvision(name: str) -> Callable[[], Any]:
    from torchvision import models

    try:
        builder = models.get_model_builder(name)
    except ValueError as error:
        raise UsageError(
            f"torchvision has no model '{name}'.", "`flopaudit models` lists what it has."
        ) from error
    # Builders with a backbone would load its weights; only some of them take the argument.
    untrained = {"weights": None, "weights_backbone": None}
    accepted = inspect.signature(builder).parameters
    kwargs = {key: None for key in untrained if key in accepted}
    return lambda: builder(**kwargs)


def _factory(spec: ModelSpec) -> Callable[[], Any]:
    module = load_factory_module(spec)
    factory = getattr(module, spec.factory, None)
    if not callable(factory):
        raise UsageError(
            f"'{spec.location}' has no '{spec.factory}' that can be called.",
            "Name a function or class that takes no arguments and returns the model.",
        )
    found: Callable[[], Any] = factory
    return found
