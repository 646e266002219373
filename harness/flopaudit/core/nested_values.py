"""Nested values: lists, dicts, dataclasses and other objects with values in them.

The inputs of a model may hold tensors anywhere, for example in the cache of a transformers model.
Imports no torch.
"""

from __future__ import annotations

import copy
import types
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple


class Leaf(NamedTuple):
    """A value without values in it; `plain` if only lists, tuples and dicts are around it."""

    value: Any
    plain: bool


_ATOMS = (type(None), bool, int, float, complex, str, bytes, type, types.FunctionType)
_SERIES = (list, tuple, set, frozenset, deque)


def leaves(value: Any, is_leaf: Callable[[Any], bool]) -> Iterator[Leaf]:
    """Yield the leaves of a nested value, each object once, in order.

    Args:
        value: may hold itself.
        is_leaf: whether to take an object as a leaf, such as a tensor.
    """
    seen: set[int] = set()
    waiting = [(value, True)]
    while waiting:
        found, plain = waiting.pop()
        if isinstance(found, _ATOMS) or id(found) in seen:
            continue
        seen.add(id(found))
        held = None if is_leaf(found) else _held(found)
        if held is None:
            yield Leaf(found, plain)
            continue
        inner = plain and type(found) in {list, tuple, dict}
        waiting += [(each, inner) for each in reversed(held)]


def _held(value: Any) -> list[Any] | None:
    """Return the values in a value; None if it has none of its own, as a lock or a file."""
    found: list[Any] = []
    if isinstance(value, Mapping):
        found += value.values()
    elif isinstance(value, _SERIES):
        found += value
    attributes = getattr(value, "__dict__", None)
    slots = [name for kind in type(value).__mro__ for name in _slots(kind)]
    if isinstance(value, types.ModuleType) or callable(value):
        return found or None
    if not isinstance(value, (Mapping, *_SERIES)) and attributes is None and not slots:
        return None
    found += (attributes or {}).values()
    found += (getattr(value, name) for name in slots if hasattr(value, name))
    return found


def _slots(kind: type) -> tuple[str, ...]:
    named = kind.__dict__.get("__slots__", ())
    return (named,) if isinstance(named, str) else tuple(named)


def copied(value: Any, is_leaf: Callable[[Any], bool], replace: Callable[[Leaf], Any]) -> Any:
    """Return a copy of a nested value whose leaves are replaced.

    Args:
        value: is not changed.
        is_leaf: whether to take an object as a leaf, such as a tensor.
        replace: returns what takes the place of a leaf; the leaf itself to share it.
    """
    # The memo makes deepcopy use the replacements.
    memo = {id(leaf.value): replace(leaf) for leaf in leaves(value, is_leaf)}
    return copy.deepcopy(value, memo)
