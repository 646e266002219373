"""The notation of inputs, as of the option `--input`, read into plain data.

Imports no torch.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TypeVar

from flopaudit.core.errors import UsageError, closest, suggestion
from flopaudit.core.input_values import (
    DTYPE_ALIASES,
    DTYPES,
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
)

DEEPEST = 20
"""Levels of lists, tuples and dicts within each other that are read."""

FORMS = (
    "Write it as 1x3x224x224, int64:1x128 with a dtype, name=1x128 by keyword, int:3, 0.5, true, "
    'none or "text", or nested as in {image: 1x3x64x64, sizes: [int64:1x2]}.'
)

_SHOWN = 120
_Item = TypeVar("_Item")
_NAME = re.compile(r"([A-Za-z_]\w*)\s*=\s*")
_SHAPE = re.compile(r"(?:([a-z]\w*):)?(\d{1,18}(?:\s*[xX×*]\s*\d{1,18})*)(?![\w.:×*])")
_LISTED_SIZES = re.compile(r"[\[(]?\s*(\d+(?:\s*,\s*\d+)+)\s*,?\s*[\])]?")
_SCALAR_SHAPE = re.compile(r"([a-z]\w*):\(\s*\)")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.:×*])")
_TYPED_NUMBER = re.compile(r"(int|float):([+-]?[\w.+-]+)")
_PREFIX = re.compile(r"(file|call|cache|encoded):")
_WORD = re.compile(r"[^\W\d][\w.-]*")
_CONSTANTS = {"true": True, "false": False, "none": None, "null": None}
_JSON_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_PLACE = re.compile(r"(.+):([^\W\d]\w*(?:\.[^\W\d]\w*)*)", re.DOTALL)


def read(text: str, floating: str = "float32") -> InputSpec:
    """Read one input.

    Args:
        text: such as `1x3x224x224`, `mask=none` or `{image: 1x3x64x64}`.
        floating: the dtype of tensors that are written without one.

    Raises:
        UsageError: the text is not an input, or a dtype is unknown.
    """
    return _Reader(text.strip(), floating).whole()


def dtype(name: str, text: str) -> str:
    """Return a dtype by its name or another name of it.

    Raises:
        UsageError: there is no such dtype.
    """
    found = DTYPE_ALIASES.get(name, name)
    if found not in DTYPES:
        shown = f"'{name}' in '{_short(text)}'"
        near = suggestion(closest(name, DTYPES))
        raise UsageError(
            f"{shown} is not a dtype.", near or f"The choices are {', '.join(DTYPES)}."
        )
    return found


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


class _Reader:
    """A reader of one text, from left to right."""

    def __init__(self, text: str, floating: str) -> None:
        self._text = text
        self._floating = floating
        self._at = 0
        self._depth = 0

    def whole(self) -> InputSpec:
        """Read the text to its end."""
        name = self._match(_NAME)
        sizes = _LISTED_SIZES.fullmatch(self._text, self._at)
        if sizes:
            shape = re.sub(r"\s*,\s*", "x", sizes[1])
            raise self._error(f"a shape is written {_short(shape)}")
        value = self._value()
        self._skip()
        if self._at < len(self._text):
            raise self._error(f"'{_short(self._text[self._at :])}' follows its end")
        return InputSpec(value, name[1] if name else "")

    def _value(self) -> Value:
        self._skip()
        containers: dict[str, Callable[[], Value]] = {
            "[": lambda: ListSpec(self._items("]", self._value)),
            "(": lambda: TupleSpec(self._items(")", self._value)),
            "{": self._dict,
        }
        start = self._text[self._at : self._at + 1]
        if start in containers:
            return self._nested(containers[start])
        if start in {'"', "'"}:
            return Constant(self._string())
        prefix = self._match(_PREFIX)
        if prefix:
            return self._nested(lambda: self._made(prefix[1]))
        return self._leaf()

    def _nested(self, read: Callable[[], Value]) -> Value:
        self._depth += 1
        if self._depth > DEEPEST:
            raise UsageError(
                f"'{_short(self._text)}' is nested more than {DEEPEST} levels deep.",
                "Give such inputs by a function: --input-from path/to/file.py:function.",
            )
        found = read()
        self._depth -= 1
        return found

    def _leaf(self) -> Value:
        number = self._match(_TYPED_NUMBER)
        if number:
            return self._typed(number[1], number[2])
        scalar = self._match(_SCALAR_SHAPE)
        if scalar:
            return TensorSpec((), dtype(scalar[1], self._text))
        shaped = self._match(_SHAPE)
        if shaped:
            return self._tensor(shaped[1], shaped[2])
        number = self._match(_NUMBER)
        if number:
            whole = re.fullmatch(r"[+-]?\d+", number[0])
            return self._typed("int" if whole else "float", number[0])
        word = self._match(_WORD)
        if word and word[0].lower() in _CONSTANTS:
            return Constant(_CONSTANTS[word[0].lower()])
        if word and not self._text.startswith(":", self._at):
            raise self._error(f'text is written in quotes, as "{word[0]}"')
        raise self._error("" if self._depth == 0 else "a value is missing or cannot be read")

    def _tensor(self, named: str | None, written: str) -> TensorSpec:
        shape = tuple(map(int, re.split(r"\s*[xX×*]\s*", written)))
        if self._depth and len(shape) == 1 and not named:
            raise self._error(
                f"{written} could be a shape or a number, so write {self._floating}:{written} or "
                f"int:{written}"
            )
        return TensorSpec(shape, dtype(named, self._text) if named else self._floating)

    def _typed(self, kind: str, written: str) -> Constant:
        try:
            return Constant(int(written) if kind == "int" else float(written))
        except ValueError:
            several = re.fullmatch(r"\d+([xX]\d+)+", written)
            remedy = f", and a tensor is written {kind}32:{written}" if several else ""
            raise self._error(f"'{_short(written)}' is not a number{remedy}") from None

    def _items(self, end: str, read: Callable[[], _Item]) -> tuple[_Item, ...]:
        """Read up to the end of a container; a comma after the last item is allowed."""
        self._at += 1
        items = []
        while not self._ends(end):
            items.append(read())
            if self._ends(","):
                continue
            if self._ends(end):
                break
            raise self._error(f"a comma or '{end}' is missing")
        return tuple(items)

    def _ends(self, mark: str) -> bool:
        """Whether a mark comes next, which is then passed."""
        self._skip()
        found = self._text.startswith(mark, self._at)
        self._at += len(mark) if found else 0
        return found

    def _dict(self) -> DictSpec:
        items = self._items("}", self._pair)
        keys = [key for key, _ in items]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise self._error(f"the key '{twice}' is given twice")
        return DictSpec(items)

    def _pair(self) -> tuple[str, Value]:
        self._skip()
        if self._text.startswith(('"', "'"), self._at):
            key = self._string()
        else:
            word = self._match(_WORD)
            if not word:
                raise self._error("a key is missing; {key: 1x3} is a dict")
            key = word[0]
        if not self._ends(":"):
            raise self._error(f"a colon is missing after the key '{_short(key)}'")
        return key, self._value()

    def _string(self) -> str:
        if self._text.startswith("'", self._at):
            end = self._text.find("'", self._at + 1)
            if end < 0:
                raise self._error("the quote is not closed")
            found = self._text[self._at + 1 : end]
            self._at = end + 1
            return found
        match = self._match(_JSON_STRING)
        if not match:
            raise self._error("the quote is not closed")
        try:
            decoded: str = json.loads(match[0], strict=False)
        except ValueError:
            raise self._error(f"{_short(match[0])} has an escape that is not one of JSON") from None
        return decoded

    def _made(self, kind: str) -> Value:
        """Read what follows `file:`, `call:`, `cache:` or `encoded:`."""
        if kind == "file":
            return FileSpec(self._place(kind))
        if kind == "call":
            match = _PLACE.fullmatch(self._place(kind))
            if not match:
                raise self._error("a function is named call:path/to/file.py:function")
            return CallSpec(match[1], match[2])
        shape = self._match(_SHAPE) if kind == "cache" else None
        if shape:
            sizes = tuple(map(int, re.split(r"\s*[xX×*]\s*", shape[2])))
            if len(sizes) != len(("batch", "tokens")) or shape[1]:
                raise self._error("a cache is written cache:1x512, batch by tokens")
            return CacheSpec(TensorSpec(sizes, "int64"))
        if not self._text.startswith("{", self._at):
            raise self._error(f"{kind}: takes inputs by keyword, as {{input_ids: int64:1x512}}")
        inputs = self._value()
        if not isinstance(inputs, DictSpec):
            raise TypeError(f"a brace opened a {type(inputs).__name__}")
        return CacheSpec(inputs) if kind == "cache" else EncodedSpec(inputs)

    def _place(self, kind: str) -> str:
        """Read a path: to the end of the text, in quotes, or up to the next item of a list."""
        if self._text.startswith(('"', "'"), self._at):
            found = self._string()
        else:
            outermost = self._depth == 1
            match = self._match(re.compile(r".+" if outermost else r"[^,\[\](){}\"']+", re.DOTALL))
            found = match[0].strip() if match else ""
        if not found:
            raise self._error(f"a path is missing after {kind}:")
        return found

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        match = pattern.match(self._text, self._at)
        self._at = match.end() if match else self._at
        return match

    def _skip(self) -> None:
        while self._text[self._at : self._at + 1].isspace():
            self._at += 1

    def _error(self, reason: str) -> UsageError:
        because = f": {reason}" if reason else ""
        return UsageError(f"'{_short(self._text)}' is not an input{because}.", FORMS)
