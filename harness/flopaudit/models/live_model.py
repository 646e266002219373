"""Live models: a model object of the user's process, saved to a folder and loaded by a host.

`save` runs in the user's process and changes nothing there; `load` runs in the host. Classes that
workers cannot import, such as those of a script or a notebook, are copied with the model
(cloudpickle). Other classes of the user's are imported from the same files. The weights are mapped
from the file, so that all workers share them.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import inspect
import io
import json
import os
import pickle
import site
import sys
import sysconfig
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple

import cloudpickle  # type: ignore[import-untyped] # it ships no types
import psutil
import torch
from flopaudit_adapters.contract import LoadedModel
from torch import nn

from flopaudit.core.errors import UsageError
from flopaudit.core.specs import LIVE, ModelSpec
from flopaudit.core.text import one_line

SEED = 0

_OBJECT, _MODULES = "model.pt", "modules.json"

_REMEDY = (
    "Write a function that returns the model into a file, and settle it by its name, "
    "path/to/file.py:function."
)

_START_MARGIN_SECONDS = 2.0
"""How far the start of a process may be off: it is computed from ticks since the machine booted."""

_registering = threading.Lock()


class _Place(NamedTuple):
    """Where a module is imported from: its file, None for a namespace; the folders of a package."""

    file: str | None
    folders: list[str] | None


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
    saved = {
        "model": model,
        "inputs": inputs,
        "kwargs": dict(kwargs),
        "code": _code_of(model),
        "dtype": torch.get_default_dtype(),
    }
    modules = dict(_modules_of_user())
    with _copied_by_value(_not_importable(modules)):
        try:
            torch.save(saved, to / _OBJECT, cloudpickle, pickle.HIGHEST_PROTOCOL)
        except Exception as error:
            raise _not_saved(error, saved, to) from error
    places = {name: place for name, module in modules.items() if (place := _place(module))}
    paths = [os.path.abspath(entry) for entry in sys.path]  # noqa: PTH100 - "" is the current folder
    text = json.dumps({"places": places, "path": paths})
    (to / _MODULES).write_text(text, encoding="utf-8")
    return ModelSpec(LIVE, str(to / _OBJECT), type(model).__name__)


def load(spec: ModelSpec) -> LoadedModel:
    """Load a saved model, in eval mode and on the CPU, and its inputs.

    The user's modules are imported from where the user's process has them, and from its path. This
    process is for this model alone.

    Raises:
        UsageError: a method of the model is not what its file defines.
        Exception: any exception of the user's modules.
    """
    path = Path(spec.location)
    modules = json.loads((path.parent / _MODULES).read_text(encoding="utf-8"))
    places = {name: _Place(*place) for name, place in modules["places"].items()}
    sys.meta_path.insert(0, _SameFiles(places))
    sys.path += [entry for entry in modules["path"] if entry not in sys.path]
    saved = torch.load(path, map_location="cpu", weights_only=False, mmap=True)
    model = saved["model"]
    _check_code(saved["code"], _code_of(model))
    torch.set_default_dtype(saved["dtype"])
    torch.manual_seed(SEED)
    return LoadedModel(model.eval(), saved["inputs"], saved["kwargs"])


# -- modules ---------------------------------------------------------------------------------------


class _SameFiles(MetaPathFinder):
    """Finds the user's modules where the user's process has found them."""

    def __init__(self, places: Mapping[str, _Place]) -> None:
        self._places = places

    def find_spec(
        self, name: str, _path: object = None, _target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return how to import a module; None for all that are not the user's."""
        place = self._places.get(name)
        if place is None:
            return None
        if place.file is not None:
            return importlib.util.spec_from_file_location(
                name, place.file, submodule_search_locations=place.folders
            )
        spec = importlib.machinery.ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = place.folders
        return spec


def _modules_of_user() -> Iterator[tuple[str, ModuleType]]:
    """Yield the modules that are neither Python's nor installed, nor of this program."""
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    folders = [*(sysconfig.get_path(name) for name in names), *site.getsitepackages()]
    installed = tuple(f"{folder}{os.sep}" for folder in (*folders, site.getusersitepackages()))
    ours = {"flopaudit", "flopaudit_adapters", "__main__"}
    for name, module in list(sys.modules.items()):
        # A module of another type may resolve any name, and import much for it.
        if type(module) is ModuleType and name.partition(".")[0] not in ours:
            file = vars(module).get("__file__")
            spec = vars(module).get("__spec__")
            found = getattr(spec, "origin", None) in {"built-in", "frozen"}
            if not found and not (file and os.path.abspath(file).startswith(installed)):  # noqa: PTH100 - links stay
                yield name, module


def _place(module: ModuleType) -> _Place | None:
    """Return where a module is imported from; None if it is not from a file or folder."""
    file, folders = vars(module).get("__file__"), vars(module).get("__path__")
    here = None if folders is None else [os.path.abspath(folder) for folder in folders]  # noqa: PTH100 - the same
    if file and Path(file).is_file():
        return _Place(os.path.abspath(file), here)  # noqa: PTH100 - the same
    return _Place(None, here) if here and not file else None


def _not_importable(modules: Mapping[str, ModuleType]) -> Iterator[ModuleType]:
    """Yield the modules that a worker cannot import as they are in this process.

    They have no file, or the file has changed since, or may have.
    """
    started = psutil.Process().create_time() - _START_MARGIN_SECONDS
    for module in modules.values():
        place = _place(module)
        if place is None or (place.file and Path(place.file).stat().st_mtime > started):
            yield module


@contextmanager
def _copied_by_value(modules: Iterable[ModuleType]) -> Iterator[None]:
    """Let cloudpickle copy what these modules define, instead of their names."""
    with _registering:
        known = cloudpickle.list_registry_pickle_by_value()
        added = [module for module in modules if module.__name__ not in known]
        for module in added:
            cloudpickle.register_pickle_by_value(module)
        try:
            yield
        finally:
            for module in added:
                cloudpickle.unregister_pickle_by_value(module)


# -- code ------------------------------------------------------------------------------------------


def _code_of(model: nn.Module) -> dict[str, tuple[CodeType, ...]]:
    """Return the code of every method of the classes of a model's modules, by name."""
    classes = dict.fromkeys(base for module in model.modules() for base in type(module).__mro__)
    return {
        f"{owner.__module__}.{owner.__qualname__}.{name}": _code(value)
        for owner in classes
        if owner not in {nn.Module, object}
        for name, value in vars(owner).items()
        if isinstance(value, FunctionType)
    }


def _code(function: FunctionType) -> tuple[CodeType, ...]:
    """Return the code of a function, and of what it wraps."""
    inner = inspect.unwrap(function)
    return (function.__code__, *([inner.__code__] if isinstance(inner, FunctionType) else []))


def _check_code(of_user: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Check that the methods are those of the user's process.

    Raises:
        UsageError: a method is another one here.
    """
    for name, code in of_user.items():
        if here.get(name) != code:
            raise UsageError(
                f"{name} is not what its file defines: it was replaced, or the file was edited.",
                "Define a subclass with the method instead, or import the file again.",
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
    known = {id(module) for module in model.modules()}
    root = type(model).__name__
    attributes = (
        (f"The attribute {'.'.join(filter(None, (root, path, name)))}", value)
        for path, module in model.named_modules()
        for name, value in vars(module).items()
    )
    classes = ((f"The class {each.__qualname__}", each) for each in set(map(type, model.modules())))
    inputs = ((f"Input {place}", value) for place, value in enumerate(saved["inputs"], start=1))
    kwargs = ((f"The input {name}", value) for name, value in saved["kwargs"].items())
    for what, value in (*attributes, *classes, *inputs, *kwargs):
        error = _WithoutTensors(known).error_of(value)
        if error:
            yield what, error


class _WithoutTensors(cloudpickle.Pickler):  # type: ignore[misc] # its base has no types
    """A pickler that leaves out tensors and modules of the model, which are looked at alone."""

    def __init__(self, modules: set[int]) -> None:
        super().__init__(io.BytesIO())
        self._modules = modules

    def error_of(self, value: object) -> Exception | None:
        """Return what pickling a value raises; None if it can be pickled."""
        try:
            self.dump(value)
        except Exception as error:  # noqa: BLE001 - an object may raise anything when it is pickled
            return error
        return None

    def persistent_id(self, value: object) -> str | None:
        """Return a name for what is left out."""
        left_out = isinstance(value, torch.Tensor) or id(value) in self._modules
        return "left out" if left_out else None
