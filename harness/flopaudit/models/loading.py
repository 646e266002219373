"""Import of the user's own code: a module or a file, and what a name in it stands for."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from functools import lru_cache
from operator import attrgetter
from pathlib import Path
from typing import Any

from flopaudit.core.errors import UsageError


def find(location: str, name: str) -> Any:
    """Return what a dotted name stands for in the user's code.

    Args:
        location: a dotted module, or the path of a file that ends in .py.
        name: such as `make` or `Outer.make`.

    Raises:
        UsageError: there is no such module, file or name.
        Exception: whatever the code raises when it is imported.
    """
    found = _import_file(Path(location)) if location.endswith(".py") else _import(location)
    try:
        return attrgetter(name)(found)
    except AttributeError:
        raise UsageError(
            f"'{location}' has no '{name}'.",
            "Name a function or class that returns the model, or a module object.",
        ) from None


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
    state = path.stat()
    return _executed(path.resolve(), state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=32)
def _executed(path: Path, _changed: int, _size: int) -> Any:
    """Execute a file, once for each state of it: a model and its inputs share their classes."""
    sys.path.insert(0, str(path.parent))
    module_spec = importlib.util.spec_from_file_location(path.stem, path)
    if module_spec is None or module_spec.loader is None:
        raise UsageError(f"'{path}' is not Python.", "Name a .py file.")
    module = importlib.util.module_from_spec(module_spec)
    sys.modules.setdefault(path.stem, module)
    module_spec.loader.exec_module(module)
    return module
