"""Model building: a model in eval mode with random weights, and its inputs, from a model spec.

Used in the host process that holds the model (see `isolation/host.py`), and where the harness
counts or traces a model itself. Nothing is downloaded; the seed is fixed.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from flopaudit_adapters.contract import LoadedModel

from flopaudit import probes
from flopaudit.core.errors import UsageError
from flopaudit.core.specs import (
    LIBRARIES,
    LIVE,
    PROBE,
    InputSpec,
    ModelSpec,
    parse_inputs,
)
from flopaudit.models import libraries
from flopaudit.models.live import saved_model

SEED = 0


def load(spec: ModelSpec, inputs: tuple[str, ...]) -> LoadedModel:
    """Build a model and make its inputs; load both if it is a live model.

    Raises:
        UsageError: there is no such model, or the factory returned something else.
        Exception: any exception of the factory, or of the modules of a live model.
    """
    if spec.source == LIVE:
        return saved_model.load(spec)
    specs = parse_inputs(inputs)
    return LoadedModel(build(spec), make_inputs(specs), make_kwargs(specs))


def build(spec: ModelSpec) -> torch.nn.Module:
    """Build a model, in eval mode, from a fixed seed.

    Raises:
        UsageError: there is no such model, or the factory returned something else.
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
    module = _import_file(Path(spec.location)) if spec.source == "file" else _import(spec.location)
    factory = getattr(module, spec.factory, None)
    if not callable(factory):
        raise UsageError(
            f"'{spec.location}' has no '{spec.factory}' that can be called.",
            "Name a function or class that takes no arguments and returns the model.",
        )
    found: Callable[[], Any] = factory
    return found


def _import(name: str) -> Any:
    # A user's package is found where the command is run.
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise UsageError(
            f"There is no module '{error.name}'.",
            "Run where it can be imported, or write path/to/file.py:factory.",
        ) from error


def _import_file(path: Path) -> Any:
    if not path.is_file():
        raise UsageError(f"There is no file '{path}'.", "Check the path before the colon.")
    sys.path.insert(0, str(path.parent.resolve()))
    module_spec = importlib.util.spec_from_file_location(path.stem, path)
    if module_spec is None or module_spec.loader is None:
        raise UsageError(f"'{path}' is not Python.", "Name a .py file.")
    module = importlib.util.module_from_spec(module_spec)
    sys.modules.setdefault(path.stem, module)
    module_spec.loader.exec_module(module)
    return module
