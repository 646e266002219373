"""Inputs of a model as plain data, and how each is written.

An input is a tensor, a constant, a list, tuple or dict of inputs, or something that is made where
the model is built: the content of a file, what a function of the user returns, or the cache that
a model keeps of the tokens before. `str(spec)` is what `core.input_notation` reads. Imports no
torch.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

DTYPES = (
    "float32", "float64", "float16", "bfloat16", "complex64", "complex128",
    "int64", "int32", "int16", "int8", "uint8", "bool",
)  # fmt: skip
FLOATING = ("float32", "float64", "float16", "bfloat16")
DTYPE_ALIASES = {
    "fp32": "float32",
    "fp64": "float64",
    "double": "float64",
    "fp16": "float16",
    "half": "float16",
    "bf16": "bfloat16",
    "long": "int64",
}
"""Other names of dtypes; `float` and `int` are not among them, because they mean a number."""


@dataclass(frozen=True)
class TensorSpec:
    """A random tensor: `1x3x224x224`, `int64:1x128`, or `float32:()` without dimensions."""

    shape: tuple[int, ...]
    dtype: str = "float32"

    def __str__(self) -> str:
        shape = "x".join(map(str, self.shape)) or "()"
        return shape if self.dtype == "float32" and self.shape else f"{self.dtype}:{shape}"


@dataclass(frozen=True)
class Constant:
    """A number, a truth value, text or None: `int:3`, `0.5`, `true`, `"text"`, `none`."""

    value: bool | int | float | str | None

    def __str__(self) -> str:
        if isinstance(self.value, str):
            return quoted(self.value)
        if isinstance(self.value, float):
            text = repr(self.value)
            return text if text[-1].isdigit() else f"float:{text}"
        if self.value is None or isinstance(self.value, bool):
            return str(self.value).lower()
        return f"int:{self.value}"


@dataclass(frozen=True)
class ListSpec:
    """A list of values: `[1x3x64x64, 1x3x32x32]`."""

    items: tuple[Value, ...]

    def __str__(self) -> str:
        return f"[{', '.join(map(_inside, self.items))}]"


@dataclass(frozen=True)
class TupleSpec:
    """A tuple of values: `(1x3x64x64, none)`."""

    items: tuple[Value, ...]

    def __str__(self) -> str:
        return f"({', '.join(map(_inside, self.items))})"


@dataclass(frozen=True)
class DictSpec:
    """A dict of values by text: `{image: 1x3x64x64, scale: 0.5}`."""

    items: tuple[tuple[str, Value], ...]

    def __str__(self) -> str:
        pairs = (f"{_key(key)}: {_inside(value)}" for key, value in self.items)
        return f"{{{', '.join(pairs)}}}"


@dataclass(frozen=True)
class FileSpec:
    """The content of a file of tensors: `file:batch.pt`."""

    path: str

    def __str__(self) -> str:
        return f"file:{_bare(self.path)}"


@dataclass(frozen=True)
class CallSpec:
    """What a function of the user returns: `call:path/to/file.py:make_inputs`."""

    location: str
    function: str

    def __str__(self) -> str:
        return f"call:{_bare(f'{self.location}:{self.function}')}"


@dataclass(frozen=True)
class CacheSpec:
    """What a transformers model keeps of the tokens before: `cache:1x512`, batch by tokens.

    Attributes:
        inputs: what the model was run on before: a shape of tokens, or all inputs by keyword.
    """

    inputs: TensorSpec | DictSpec

    def __str__(self) -> str:
        if isinstance(self.inputs, TensorSpec):
            return f"cache:{'x'.join(map(str, self.inputs.shape))}"
        return f"cache:{self.inputs}"


@dataclass(frozen=True)
class EncodedSpec:
    """What the encoder of a transformers model returns: `encoded:{input_ids: int64:1x128}`."""

    inputs: DictSpec

    def __str__(self) -> str:
        return f"encoded:{self.inputs}"


Value = (
    TensorSpec
    | Constant
    | ListSpec
    | TupleSpec
    | DictSpec
    | FileSpec
    | CallSpec
    | CacheSpec
    | EncodedSpec
)


@dataclass(frozen=True)
class InputSpec:
    """One input of a forward pass, given by keyword if it has a name: `input_ids=int64:1x128`.

    A file or a function without a name gives all inputs that it holds or returns.
    """

    value: Value
    name: str = ""

    def __str__(self) -> str:
        return f"{self.name}={self.value}" if self.name else str(self.value)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of a tensor; () for anything else."""
        return self.value.shape if isinstance(self.value, TensorSpec) else ()

    @property
    def dtype(self) -> str:
        """The dtype of a tensor; "" for anything else."""
        return self.value.dtype if isinstance(self.value, TensorSpec) else ""


def tensor(shape: tuple[int, ...], dtype: str = "float32", name: str = "") -> InputSpec:
    """Return an input that is a tensor."""
    return InputSpec(TensorSpec(shape, dtype), name)


def inside(value: Value) -> Iterator[Value]:
    """Yield a value and all values in it, outermost first."""
    yield value
    if isinstance(value, (ListSpec, TupleSpec)):
        for item in value.items:
            yield from inside(item)
    elif isinstance(value, DictSpec):
        for _, item in value.items:
            yield from inside(item)
    elif isinstance(value, (CacheSpec, EncodedSpec)):
        yield from inside(value.inputs)


def with_tensors(value: Value, change: Callable[[TensorSpec], TensorSpec]) -> Value:
    """Return a value with each tensor in it changed, also in lists, tuples and dicts."""
    if isinstance(value, TensorSpec):
        return change(value)
    if isinstance(value, (ListSpec, TupleSpec)):
        return type(value)(tuple(with_tensors(item, change) for item in value.items))
    if isinstance(value, DictSpec):
        return DictSpec(tuple((key, with_tensors(item, change)) for key, item in value.items))
    return value


def first_tensor(specs: Iterable[InputSpec]) -> TensorSpec | None:
    """Return the first tensor of a forward pass, in lists, tuples and dicts too; None without."""
    found = (value for spec in specs for value in inside(spec.value))
    return next((value for value in found if isinstance(value, TensorSpec)), None)


def quoted(text: str) -> str:
    """Return text in double quotes; what cannot be printed is escaped as in JSON."""
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(character: str) -> str:
    plain = character.isprintable() and character not in '"\\'
    return character if plain else json.dumps(character)[1:-1]


def _key(text: str) -> str:
    return text if re.fullmatch(r"[^\W\d][\w.-]*", text) else quoted(text)


def _bare(text: str) -> str:
    """Return text as it is, or in quotes if it could not be told from what follows it."""
    plain = text.isprintable() and text == text.strip() and not set(text) & set("[](){},\"'\\")
    return text if text and plain else quoted(text)


def _inside(value: Value) -> str:
    """Return how a value is written in a list: one number alone could be a shape or a number."""
    if isinstance(value, TensorSpec) and len(value.shape) == 1:
        return f"{value.dtype}:{value.shape[0]}"
    return str(value)
