"""Registry of the libraries that models can come from in addition to torchvision.

To add a library, write `models/NAME_zoo.py` with the functions of `Library` and add NAME to
`core.specs.LIBRARIES`. A library is imported only when one of its models is requested: names,
inputs and factories all need it.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any, Protocol, cast

from flopaudit.core.errors import UsageError
from flopaudit.core.specs import ModelSpec


class Library(Protocol):
    """The functions of a module such as `timm_zoo`; each may raise UsageError."""

    def names(self) -> list[str]:
        """Return the names of all models, sorted."""

    def family(self, name: str) -> str:
        """Return the group of similar models that a model belongs to."""

    def inputs(self, spec: ModelSpec) -> tuple[str, ...]:
        """Return the inputs of one forward pass, in the notation of the command line."""

    def factory(self, spec: ModelSpec) -> Callable[[], Any]:
        """Return a function that builds the model with random weights."""


def require(source: str) -> None:
    """Refuse a library that is not installed, without importing it.

    Raises:
        UsageError: the library is not installed.
    """
    if importlib.util.find_spec(source) is None:
        raise UsageError(f"{source} is not installed.", f"pip install 'flopaudit[{source}]'.")


def library(source: str) -> Library:
    """Return the module for a library of `core.specs.LIBRARIES`.

    Raises:
        UsageError: the library is not installed.
    """
    require(source)
    found: Any = importlib.import_module(f"flopaudit.models.{source}_zoo")
    return cast("Library", found)
