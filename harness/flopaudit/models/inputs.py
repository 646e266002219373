"""Inputs of a model, made from their specs where the model is built.

Tensors are random, from a fixed seed. Files are read, functions of the user are called, and the
cache of a transformers model is made by running it on the tokens before. Imports torch only to make
inputs.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flopaudit.core.errors import UsageError
from flopaudit.core.input_values import (
    CacheSpec,
    CallSpec,
    Constant,
    DictSpec,
    EncodedSpec,
    FileSpec,
    InputSpec,
    ListSpec,
    TensorSpec,
    TupleSpec,
    Value,
    inside,
)
from flopaudit.core.specs import SEED

if TYPE_CHECKING:
    import torch

ARRAYS = frozenset([".npz", ".npy"])
"""Endings of files of numpy; any other is read by torch.load."""

Made = tuple[tuple[Any, ...], dict[str, Any]]
"""The arguments of a model's call, by position and by keyword."""


def check_files(specs: Iterable[InputSpec]) -> None:
    """Check that the files that inputs come from are there.

    Raises:
        UsageError: one is missing, or is not a regular file.
    """
    for path in _files(specs):
        if not Path(path).exists():
            raise UsageError(f"There is no file '{path}'.", "Check the path of the input.")
        if not Path(path).is_file():
            raise UsageError(f"'{path}' is not a regular file.", "Check the path of the input.")


def content_digests(specs: Iterable[InputSpec]) -> dict[str, str]:
    """Return the SHA-256 of each file that inputs come from, data and code, by its path as given.

    The code of a function that is named by a module, as in `call:package.module:function`, is not
    looked up, because that would import the package.

    Raises:
        UsageError: a file is missing, or cannot be read.
    """
    specs = tuple(specs)
    check_files(specs)
    return {path: _digest(path) for path in _files(specs)}


def _files(specs: Iterable[InputSpec]) -> Iterator[str]:
    for value in (value for spec in specs for value in inside(spec.value)):
        if isinstance(value, FileSpec):
            yield value.path
        elif isinstance(value, CallSpec) and value.location.endswith(".py"):
            yield value.location


def _digest(path: str) -> str:
    digest = hashlib.sha256()
    try:
        with Path(path).open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise UsageError(f"'{path}' cannot be read: {error.strerror}.", "Check it.") from error
    return digest.hexdigest()


def make(specs: Iterable[InputSpec], model: torch.nn.Module | None = None) -> Made:
    """Make the inputs of one forward pass.

    Tensors are random: floats in [0, 1), integers 0 or 1.

    Args:
        specs: those without a name are given by position.
        model: is run to make a cache or an encoder's output; not needed for other inputs.

    Returns:
        The arguments by position and by keyword.

    Raises:
        UsageError: a file or what a function returns is not inputs, or a keyword is given twice.
        Exception: whatever the model raises.
    """
    import torch

    specs = tuple(specs)
    maker = _Maker(model)
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    torch.manual_seed(SEED)
    for spec in specs:
        if not spec.name:
            given, named = maker.arguments(spec.value)
            args.extend(given)
            _add(kwargs, named)
    torch.manual_seed(SEED)
    for spec in specs:
        if spec.name:
            _add(kwargs, {spec.name: maker.value(spec.value)})
    return tuple(args), kwargs


def _add(kwargs: dict[str, Any], named: dict[str, Any]) -> None:
    twice = next((name for name in named if name in kwargs), None)
    if twice is not None:
        raise UsageError(f"The input '{twice}' is given twice.", "Give each name once.")
    kwargs.update(named)


class _Maker:
    """A maker of values for one model."""

    def __init__(self, model: torch.nn.Module | None) -> None:
        self._model = model

    def arguments(self, value: Value) -> Made:
        """Return all arguments that an input without a name gives."""
        made = self.value(value)
        return arguments_in(made) if isinstance(value, (FileSpec, CallSpec)) else ((made,), {})

    def value(self, value: Value) -> Any:
        """Return one value."""
        if isinstance(value, (ListSpec, TupleSpec)):
            items = [self.value(item) for item in value.items]
            return items if isinstance(value, ListSpec) else tuple(items)
        if isinstance(value, DictSpec):
            return {key: self.value(item) for key, item in value.items}
        if isinstance(value, (CacheSpec, EncodedSpec)):
            return self._of_model(value)
        return _made_alone(value)

    def _of_model(self, value: CacheSpec | EncodedSpec) -> Any:
        from flopaudit.models import generation

        if self._model is None:
            raise UsageError(f"'{value}' needs a model to be made with.", "Give other inputs.")
        if isinstance(value, EncodedSpec):
            return generation.encoded(self._model, self.value(value.inputs))
        before = self.value(value.inputs)
        if isinstance(value.inputs, TensorSpec):
            before = {generation.main_input(self._model): before}
        return generation.cache(self._model, before)


def _made_alone(value: TensorSpec | Constant | FileSpec | CallSpec) -> Any:
    """Return a value that has no values in it and needs no model."""
    if isinstance(value, Constant):
        return value.value
    if isinstance(value, FileSpec):
        return _content(value.path)
    return _returned(value) if isinstance(value, CallSpec) else _tensor(value)


def arguments_in(made: Any) -> Made:
    """Return the arguments that the content of a file, or what a function returned, stands for.

    A list or tuple is the arguments by position; a dict by text is the arguments by keyword; a pair
    of a tuple and such a dict is both; anything else is one argument.
    """
    pair = isinstance(made, tuple) and [type(each) for each in made] == [tuple, dict]
    if pair and _is_named(made[1]):
        return made[0], made[1]
    if isinstance(made, (list, tuple)) and not hasattr(made, "_fields"):
        return tuple(made), {}
    return ((), made) if _is_named(made) else ((made,), {})


def _is_named(made: Any) -> bool:
    return type(made) is dict and all(isinstance(key, str) for key in made)


def _tensor(spec: TensorSpec) -> torch.Tensor:
    import torch

    dtype: torch.dtype = getattr(torch, spec.dtype)
    if dtype.is_floating_point or dtype.is_complex:
        return torch.rand(spec.shape).to(dtype)
    return torch.randint(0, 2, spec.shape).to(dtype)


def _returned(spec: CallSpec) -> Any:
    """Return what a function of the user returns, with values even where the model has none."""
    import torch

    from flopaudit.core.text import one_line
    from flopaudit.models import loading

    function = loading.find(spec.location, spec.function)
    torch.manual_seed(SEED)
    try:
        with torch.device("cpu"):
            return function()
    except (Exception, SystemExit) as error:  # a function of the user may raise anything
        raise UsageError(
            f"'{spec}' does not make the inputs: {one_line(error)}.",
            "Name a function without arguments that returns them.",
        ) from error


def _content(path: str) -> Any:
    """Return what a file holds; nothing in it is executed.

    Raises:
        UsageError: the file is damaged, or holds more than tensors and plain values.
    """
    check_files([InputSpec(FileSpec(path))])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _arrays(path) if Path(path).suffix.lower() in ARRAYS else _saved(path)
    except Exception as error:  # each kind of damage has an error of its own
        raise UsageError(
            f"The input file '{path}' cannot be read: {_reason(error)}.",
            "Save tensors, numbers, lists and dicts with torch.save, or arrays with numpy.savez.",
        ) from error


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, TypeError):
        return "it holds arrays of something else than numbers"
    unsafe = ("unsupported", "object arrays")  # of torch and of numpy
    if any(word in str(error).lower() for word in unsafe):
        return "it holds more than tensors and plain values, which could execute code"
    return "it is damaged, or of another kind"


def _saved(path: str) -> Any:
    import torch

    with torch.device("cpu"):
        return torch.load(path, map_location="cpu", weights_only=True)


def _arrays(path: str) -> Any:
    """Return the arrays of a file of numpy: those without a name in order, the others by name."""
    import numpy as np

    loaded = np.load(path, allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        return _of_array(loaded)
    with loaded:
        held = {name: _of_array(loaded[name]) for name in loaded.files}
    unnamed = tuple(held.pop(f"arr_{n}") for n in range(len(held)) if f"arr_{n}" in held)
    return (unnamed, held) if unnamed and held else held or unnamed


def _of_array(array: Any) -> torch.Tensor:
    import torch

    with torch.device("cpu"):
        return torch.from_numpy(array.astype(array.dtype.newbyteorder("=")))
