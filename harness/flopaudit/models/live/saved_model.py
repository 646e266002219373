"""A live model in a folder: `save` runs in the user's process, `load` in the host.

`save` changes nothing in the user's process. Classes that no other process can import, such as
those of a script or a notebook, are copied with the model. The weights are mapped from the file, so
that all workers share them.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator, Mapping
from operator import attrgetter
from pathlib import Path
from types import FunctionType, SimpleNamespace
from typing import Any

import torch
from flopaudit_adapters.contract import LoadedModel
from torch import nn

from flopaudit.core.errors import UsageError
from flopaudit.core.specs import LIVE, SEED, ModelSpec
from flopaudit.core.text import one_line
from flopaudit.models.live import module_places
from flopaudit.models.live.object_pickler import (
    Pickler,
    flop_formulas_of,
    operators_of,
    reason_against,
    register_flop_formulas,
)

_OBJECT, _MODULES = "model.pt", "modules.json"

_PICKLE = SimpleNamespace(__name__="cloudpickle", Pickler=Pickler)
"""What `torch.save` takes in place of the module `pickle`."""

_REMEDY = (
    "Write a function that returns the model into a file, and settle it by its name, "
    "path/to/file.py:function."
)

Code = dict[str, dict[str, Any]]
"""The code of methods, by class and name."""


def save(
    model: nn.Module, inputs: tuple[Any, ...], kwargs: Mapping[str, Any], to: Path
) -> ModelSpec:
    """Save a model and its inputs, and return the model spec that a host loads them by.

    Args:
        model: is not changed. A compiled model is saved as the model that was compiled.
        inputs: of the model's call, by position.
        kwargs: of the model's call, by keyword.
        to: an empty folder that nobody else can write to, because loading executes what is in it.

    Raises:
        UsageError: the model or an input cannot be copied to another process, or there is no room.
    """
    model = getattr(model, "_orig_mod", model)
    modules = module_places.loaded()
    copies = module_places.not_importable(modules)
    names = ["__main__", *(module.__name__ for module in copies)]
    saved = {
        "operators": operators_of(names),  # first, because the model may use them
        "model": model,
        "inputs": inputs,
        "kwargs": dict(kwargs),
        "code": {_name(owner): code for owner, code in _code_of(model).items()},
        "dtype": torch.get_default_dtype(),
        "flop_formulas": flop_formulas_of(names),
    }
    with module_places.copied(copies):
        try:
            torch.save(saved, to / _OBJECT, _PICKLE, pickle.HIGHEST_PROTOCOL)
        except Exception as error:
            raise _not_saved(error, saved, to) from error
    (to / _MODULES).write_text(module_places.describe(modules), encoding="utf-8")
    return ModelSpec(LIVE, str(to / _OBJECT), type(model).__name__)


def use_modules(spec: ModelSpec) -> None:
    """Let this process import the user's modules from where the user's process has them.

    Raises:
        Exception: any exception of these modules.
    """
    module_places.use((Path(spec.location).parent / _MODULES).read_text(encoding="utf-8"))


def load(spec: ModelSpec) -> LoadedModel:
    """Load a saved model, in eval mode and on the CPU, and its inputs.

    This process is for this model alone, and uses its modules already.

    Raises:
        UsageError: a method of the model is not what its file defines.
        Exception: any exception of the user's modules.
    """
    saved = torch.load(spec.location, map_location="cpu", weights_only=False, mmap=True)
    model: nn.Module = saved["model"]
    _check_code(saved["code"], model)
    register_flop_formulas(saved["flop_formulas"])
    torch.set_default_dtype(saved["dtype"])
    torch.manual_seed(SEED)
    return LoadedModel(model.eval(), saved["inputs"], saved["kwargs"])


# -- code ------------------------------------------------------------------------------------------


def _code_of(model: nn.Module) -> dict[type, dict[str, Any]]:
    """Return the code of every method of the classes of a model's modules."""
    classes = dict.fromkeys(base for module in model.modules() for base in type(module).__mro__)
    return {
        owner: {
            name: module_places.code_of(value)
            for name, value in vars(owner).items()
            if isinstance(value, FunctionType)
        }
        for owner in classes
        if owner not in {nn.Module, object}
    }


def _name(owner: type) -> str:
    return f"{owner.__module__}.{owner.__qualname__}"


def _is_imported(owner: type) -> bool:
    """Whether a class is the one that its module has, and not a copy."""
    try:
        found = attrgetter(owner.__qualname__)(sys.modules[owner.__module__])
    except (AttributeError, KeyError):
        return False
    return found is owner


def _check_code(of_user: Mapping[str, dict[str, Any]], model: nn.Module) -> None:
    """Check that the methods of imported classes are those of the user's process.

    Raises:
        UsageError: a method is another one here.
    """
    for owner, here in _code_of(model).items():
        there = of_user.get(_name(owner), {})
        for method in {**there, **here} if _is_imported(owner) else ():
            if there.get(method) != here.get(method):
                raise UsageError(
                    f"{_name(owner)}.{method} is not what its file defines: it was replaced, or "
                    "the file was edited.",
                    "Define a subclass with that method instead, or import the file again.",
                )


# -- what cannot be saved --------------------------------------------------------------------------


def _not_saved(error: Exception, saved: Mapping[str, Any], to: Path) -> UsageError:
    """Return the error that says what cannot be copied, or that there is no room."""
    if isinstance(error, OSError) or "PytorchStreamWriter" in str(error):
        return UsageError(
            f"The copy of the model could not be written to {to.parent}: {one_line(error)}.",
            "Make room there, or set TMPDIR to a folder that has more.",
        )
    what, why = next(_uncopyable(saved), (f"This {type(saved['model']).__name__}", error))
    return UsageError(f"{what} cannot be copied to another process: {one_line(why)}.", _REMEDY)


def _uncopyable(saved: Mapping[str, Any]) -> Iterator[tuple[str, Exception]]:
    """Yield the names of the attributes, classes and inputs that cannot be copied, and why."""
    model: nn.Module = saved["model"]
    modules = frozenset(map(id, model.modules()))
    root = type(model).__name__
    attributes = (
        (f"The attribute {'.'.join(filter(None, (root, path, name)))}", value)
        for path, module in model.named_modules()
        for name, value in vars(module).items()
    )
    classes = dict.fromkeys(map(type, model.modules()))
    parts = (
        *attributes,
        *((f"The class {owner.__qualname__}", owner) for owner in classes),
        *((f"Input {place}", value) for place, value in enumerate(saved["inputs"], start=1)),
        *((f"The input {name}", value) for name, value in saved["kwargs"].items()),
    )
    for what, value in parts:
        error = reason_against(value, modules)
        if error:
            yield what, error
