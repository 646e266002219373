"""The libraries that models can come from beside torchvision: which module here speaks for which.

A library is imported only when a model of it is asked for: names, inputs and factories all need it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any, Protocol

from flopaudit.core.errors import UsageError
from flopaudit.core.specs import ModelSpec


class Library(Protocol):
    """What a module such as `timm_zoo` offers; each function may raise UsageError."""

    def names(self) -> list[str]:
        """All models, sorted."""

    def family(self, name: str) -> str:
        """What a model is grouped by."""

    def inputs(self, spec: ModelSpec) -> tuple[str, ...]:
        """What one forward pass of a model takes, in the notation of the command line."""

    def factory(self, spec: ModelSpec) -> Callable[[], Any]:
        """What builds a model with random weights."""


def library(source: str) -> Library:
    """The module that speaks for a library.

    Raises:
        UsageError: the library is not installed.
    """
    if importlib.util.find_spec(source) is None:
        raise UsageError(f"{source} is not installed.", f"pip install 'flopaudit[{source}]'.")
    if source == "timm":
        from flopaudit.models import timm_zoo

        return timm_zoo
    from flopaudit.models import transformers_zoo

    return transformers_zoo
