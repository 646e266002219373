"""Loading of a user's model: what a name in a module, or in a file, stands for.

Used in the process that holds the model. The current directory and the folder of the file are
searched last, so that nothing there takes the place of torch or of a tool.
"""

from __future__ import annotations

from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any

from flopaudit_adapters import user_modules

from flopaudit.core.errors import UsageError

_executed: dict[Path, tuple[dict[Path, bytes], ModuleType]] = {}
"""The modules of files, with the contents of all files that were executed for each."""


def find(location: str, name: str) -> Any:
    """Return what a dotted name stands for in the user's code.

    Args:
        location: a dotted module, installed or in the current directory, or the path of a file that
            ends in .py. A file may import its siblings and, in a package, relative to it.
        name: such as `make` or `Outer.make`.

    Raises:
        UsageError: there is no such module, file or name, or it cannot be imported as it is named.
        Exception: whatever the code raises when it is imported.
    """
    import torch

    try:
        with torch.device("cpu"):  # what is made at import has values, even for a model on meta
            module = (
                _import_file(Path(location))
                if location.endswith(".py")
                else user_modules.import_module(location, "model")
            )
    except user_modules.NotFound as error:
        raise UsageError(error.message, error.remedy) from error
    try:
        return attrgetter(name)(module)
    except AttributeError:
        raise UsageError(
            f"'{location}' has no '{name}'.",
            "Name a function or class that returns the model, or a module object.",
        ) from None


def _import_file(path: Path) -> ModuleType:
    """Import a file, again only if it or what it imports was edited.

    A model and its inputs share their classes. A model may be built twice, but an operator that its
    file defines only once.
    """
    known = _executed.get(path.absolute())
    if known and all(_has(file, content) for file, content in known[0].items()):
        return known[1]
    module = user_modules.import_file(path, "model")
    _executed[path.absolute()] = (user_modules.contents("model"), module)
    return module


def _has(file: Path, content: bytes) -> bool:
    return file.is_file() and file.read_bytes() == content
