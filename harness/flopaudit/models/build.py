"""Model building: a model in eval mode with random weights, and its inputs, from a model spec.

Used in the host process that holds the model (see `isolation/host.py`), and where the harness
counts or traces a model itself. Nothing is downloaded; the seed is fixed.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import torch
from flopaudit_adapters.contract import LoadedModel

from flopaudit import probes
from flopaudit.core.errors import UsageError
from flopaudit.core.input_values import InputSpec
from flopaudit.core.specs import (
    LIBRARIES,
    LIVE,
    PROBE,
    SEED,
    ModelSpec,
    parse_inputs,
    parse_options,
)
from flopaudit.core.text import one_line
from flopaudit.models import inputs, libraries
from flopaudit.models.dtypes import converted
from flopaudit.models.factories import user_factory
from flopaudit.models.live import saved_model
from flopaudit.tools.provenance import require_libraries


def prepare(spec: ModelSpec) -> None:
    """Let this process import the modules that a live model comes from; nothing for others.

    Raises:
        Exception: any exception of these modules.
    """
    if spec.source == LIVE:
        saved_model.use_modules(spec)


def load(spec: ModelSpec, texts: Iterable[str]) -> LoadedModel:
    """Build a model and make its inputs; load both if it is a live model.

    Args:
        spec: the model.
        texts: its inputs, in the notation of the command line.

    Raises:
        UsageError: there is no such model, the factory returned something else, or an input cannot
            be made.
        Exception: any exception of the factory, or of the model where it is run for its cache.
    """
    if spec.source == LIVE:
        return saved_model.load(spec)
    specs = parse_inputs(texts)
    model = build(spec)
    args, kwargs = inputs.make(specs, model)
    return LoadedModel(model, args, kwargs)


def build(spec: ModelSpec) -> torch.nn.Module:
    """Build a model, in eval mode, from a fixed seed.

    Raises:
        UsageError: there is no such model, the factory returned something else, or a library that
            was imported for it is not the one whose version is recorded.
        Exception: any exception of the factory.
    """
    torch.manual_seed(SEED)  # a module object is made when it is imported
    factory = _find(spec)
    torch.manual_seed(SEED)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = factory()
    if not isinstance(model, torch.nn.Module):
        raise UsageError(
            f"'{spec}' gave a {type(model).__name__}, not a torch.nn.Module.",
            "Name a function or class that returns the model, or a module object.",
        )
    require_libraries(imported=True)
    return converted(model.eval(), spec.dtype)


def make_inputs(specs: Iterable[InputSpec]) -> tuple[Any, ...]:
    """Make the inputs that are given by position, if they need no model (see `inputs.make`)."""
    return inputs.make(specs)[0]


def make_kwargs(specs: Iterable[InputSpec]) -> dict[str, Any]:
    """Make the inputs that are given by keyword, if they need no model (see `inputs.make`)."""
    return inputs.make(specs)[1]


def _find(spec: ModelSpec) -> Callable[[], Any]:
    if spec.source == "torchvision":
        return _torchvision(spec)
    if spec.source in LIBRARIES:
        return libraries.library(spec.source).factory(spec)
    if spec.source == PROBE:
        probe, case = probes.find(spec)
        return lambda: probes.build(probe.name, case)
    return user_factory(spec)


def _torchvision(spec: ModelSpec) -> Callable[[], Any]:
    from torchvision import models

    try:
        builder = models.get_model_builder(spec.location)
    except ValueError as error:
        raise UsageError(
            f"torchvision has no model '{spec.location}'.", "`flopaudit models` lists what it has."
        ) from error
    options: dict[str, Any] = {**parse_options(spec.options)}
    weights = next((name for name in options if name.startswith(("weights", "pretrained"))), None)
    if weights:
        raise UsageError(
            f"'{weights}' is not an option here: weights are random, and nothing is downloaded.",
            f"Leave out {weights}.",
        )
    # Builders with a backbone would load its weights; only some of them take the argument.
    accepted = inspect.signature(builder).parameters
    untrained = {key: None for key in ("weights", "weights_backbone") if key in accepted}

    def make() -> Any:
        try:
            return builder(**untrained, **options)
        except (TypeError, ValueError) as error:
            if not options:
                raise
            raise UsageError(
                f"torchvision does not build '{spec.location}' with these options: "
                f"{one_line(error)}.",
                "Give other options.",
            ) from error

    return make
