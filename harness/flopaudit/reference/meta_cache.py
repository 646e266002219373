"""Cache of operator calls on meta tensors: the rows of a call and the shapes of its results.

On meta tensors an operator is a pure function of shapes, strides, dtypes and plain arguments. So
its cost and the layout of its results are kept for the next call with the same arguments, across
models. That call then creates new meta tensors and skips torch's own shape inference, which takes
most of the time of a meta forward pass. `tests/reference/test_meta_cache.py` checks that the cache
changes no ledger.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from flopaudit.reference.ledger_entries import Entry

CAPACITY = 200_000
"""Calls that are kept at most; then the cache is cleared."""

_PLAIN = frozenset([int, float, bool, str, type(None), complex, torch.dtype, torch.device,
                    torch.layout, torch.memory_format])  # fmt: skip
_TENSORS = (torch.Tensor, torch.nn.Parameter)


class Unkeyed(Exception):  # noqa: N818 - handled by running the call, not an error
    """The call has an argument, such as a tensor with values, that a key cannot represent."""


class Layout(NamedTuple):
    """The layout of one tensor of a result, from which a new one is created."""

    shape: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype


class Known(NamedTuple):
    """The cached part of a call: its rows, and its results, or RUN if it has to be run."""

    entries: tuple[Entry, ...]
    results: Any


RUN = object()
_ITSELF = object()
_KNOWN: dict[Any, Known] = {}


def find(key: Any) -> Known | None:
    """Return what is cached of a call, if anything."""
    return _KNOWN.get(key)


def add(key: Any, known: Known) -> None:
    """Add a call to the cache."""
    if len(_KNOWN) >= CAPACITY:
        _KNOWN.clear()
    _KNOWN[key] = known


def clear() -> None:
    """Clear the cache."""
    _KNOWN.clear()


def key_of(value: Any) -> Any:
    """Return a hashable key of everything in an argument that matters on meta tensors.

    Raises:
        Unkeyed: the argument has no such key.
    """
    kind = type(value)
    if kind in _TENSORS:
        if not value.is_meta or value.layout is not torch.strided or value.is_complex():
            raise Unkeyed
        return (value.shape, value.stride(), value.dtype)
    if kind in _PLAIN:
        return (kind, value)  # True and 1 are one key otherwise
    if kind is tuple or kind is list:
        return tuple([key_of(item) for item in value])
    if kind is dict:
        return tuple([(name, key_of(item)) for name, item in value.items()])
    raise Unkeyed


def results_of_operator(func: Any, args: Sequence[Any], out: Any) -> Any:
    """Return how to recreate an operator's results: layouts, the tensor it writes to, or RUN."""
    schema = func._schema  # noqa: SLF001 - torch's own way
    aliases = [value.alias_info for value in (*schema.arguments, *schema.returns)]
    if not any(aliases):
        return _template(out)
    written = schema.returns and schema.returns[0].alias_info
    alone = len(schema.returns) == 1 and len([a for a in aliases if a]) == 2  # noqa: PLR2004 - in, out
    if alone and written and written.is_write and args and out is args[0]:
        return _ITSELF
    return RUN


def results_of_function(args: Any, kwargs: Any, out: Any) -> Any:
    """Return how to recreate a function's results, or RUN if they share memory with arguments."""
    given = {id(t) for t in _storages((args, list(kwargs.values())))}
    return RUN if any(id(t) in given for t in _storages(out)) else _template(out)


def _storages(value: Any) -> list[Any]:
    if isinstance(value, torch.Tensor):
        return [value.untyped_storage()]
    if isinstance(value, (tuple, list)):
        return [storage for item in value for storage in _storages(item)]
    return []


def _template(out: Any) -> Any:
    if type(out) is torch.Tensor and out.is_meta and out.layout is torch.strided:
        return Layout(out.shape, out.stride(), out.dtype)
    if type(out) in (tuple, list):
        inside = [_template(item) for item in out]
        return RUN if any(item is RUN for item in inside) else type(out)(inside)
    return None if out is None else RUN


def remake(results: Any, args: Sequence[Any]) -> Any:
    """Create new results for a cached call."""
    kind = type(results)
    if kind is Layout:
        shape, stride, dtype = results
        return torch.empty_strided(shape, stride, dtype=dtype, device="meta")
    if results is _ITSELF:
        return args[0]
    if kind is tuple or kind is list:
        return kind([remake(item, args) for item in results])
    return results
