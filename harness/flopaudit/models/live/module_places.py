"""The user's modules: imported in a host from the files that the user's process has them from.

A module whose code a file no longer has, as after an edit in a running notebook, is copied instead.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import inspect
import json
import os
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
from torch._library.custom_ops import CustomOpDef

_OURS = ("flopaudit", "flopaudit_adapters", "__main__")

_START_MARGIN_SECONDS = 2.0
"""How far the start of a process may be off: it is computed from ticks since the machine booted."""

_registering = threading.Lock()


class _Place(NamedTuple):
    """Where a module is imported from: its file, None for a namespace; the folders of a package."""

    file: str | None
    folders: list[str] | None


def loaded() -> dict[str, ModuleType]:
    """Return the modules that are neither Python's nor installed, nor of this program, by name."""
    paths = map(sysconfig.get_path, ("stdlib", "platstdlib", "purelib", "platlib"))
    folders = {*paths, *site.getsitepackages(), site.getusersitepackages()}
    installed = tuple(f"{folder}{os.sep}" for folder in folders)
    return {
        name: module
        for name, module in list(sys.modules.items())
        # A module of another type may resolve any name, and import much for it.
        if type(module) is ModuleType
        and name.partition(".")[0] not in _OURS
        and getattr(vars(module).get("__spec__"), "origin", None) not in {"built-in", "frozen"}
        and not _full(vars(module).get("__file__") or "").startswith(installed)
    }


def _full(path: str) -> str:
    return os.path.abspath(path)  # noqa: PTH100 - Path.resolve would follow links


def describe(modules: Mapping[str, ModuleType]) -> str:
    """Return, as text for `use`, where the modules are imported from."""
    places = {name: place for name, module in modules.items() if (place := _place(module))}
    return json.dumps(
        {
            "places": places,
            "path": list(map(_full, sys.path)),
            "libraries": sorted(map(str, torch.ops.loaded_libraries)),
            "registering": [name for name in places if _registers(modules[name])],
        }
    )


def use(description: str) -> None:
    """Let this process import the modules as the user's process did.

    Modules and libraries that register operators are imported at once.

    Raises:
        Exception: any exception of these modules.
    """
    described = json.loads(description)
    places = {name: _Place(*place) for name, place in described["places"].items()}
    sys.meta_path.insert(0, _SameFiles(places))
    sys.path += [entry for entry in described["path"] if entry not in sys.path]
    for library in described["libraries"]:
        if library not in torch.ops.loaded_libraries:
            torch.ops.load_library(library)  # type: ignore[no-untyped-call] # torch's own
    for name in described["registering"]:
        importlib.import_module(name)


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


def _place(module: ModuleType) -> _Place | None:
    """Return where a module is imported from; None if it is not from a file or folder."""
    file, folders = vars(module).get("__file__"), vars(module).get("__path__")
    here = None if folders is None else list(map(_full, folders))
    if file and Path(file).is_file():
        return _Place(_full(file), here)
    return _Place(None, here) if here and not file else None


def _registers(module: ModuleType) -> bool:
    """Whether a module holds operators that it registered with torch."""
    kinds = (CustomOpDef, torch.library.Library)
    return any(issubclass(type(value), kinds) for value in vars(module).values())


# -- modules to be copied --------------------------------------------------------------------------


@contextmanager
def copied(modules: Iterable[ModuleType]) -> Iterator[None]:
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


def not_importable(modules: Mapping[str, ModuleType]) -> list[ModuleType]:
    """Return the modules that no other process can import as they are here.

    They have no file, or the file was edited after they were imported.
    """
    started = psutil.Process().create_time() - _START_MARGIN_SECONDS
    return [
        module
        for module in modules.values()
        if not (place := _place(module)) or (place.file and _edited(module, place.file, started))
    ]


def _edited(module: ModuleType, file: str, started: float) -> bool:
    """Whether a file is newer than this process, and lacks code that its module has."""
    if Path(file).stat().st_mtime < started or not file.endswith(".py"):
        return False
    try:
        whole = compile(Path(file).read_bytes(), file, "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return True
    return not set(_code_in(module, file)) <= set(_nested(whole))


def _nested(code: CodeType) -> Iterator[CodeType]:
    """Yield a code object and all within it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)


def _code_in(module: ModuleType, file: str) -> Iterator[CodeType]:
    """Yield the code of the functions and methods that a module defines."""
    values = list(vars(module).values())
    owners = [value for value in values if isinstance(value, type)]
    methods = (
        getattr(value, "__func__", value)
        for owner in owners
        if owner.__module__ == module.__name__
        for value in vars(owner).values()
    )
    for value in (*values, *methods):
        if isinstance(value, FunctionType):
            for code in code_of(value):
                if _full(code.co_filename) == file:
                    yield code


def code_of(function: FunctionType) -> tuple[CodeType, ...]:
    """Return the code of a function, and of what it wraps."""
    inner: Any = inspect.unwrap(function)
    return (function.__code__, *([inner.__code__] if isinstance(inner, FunctionType) else []))
