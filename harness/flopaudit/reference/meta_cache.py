"""What need not be worked out twice on meta tensors: a call comes in, its rows and results go out.

On meta tensors an operator is a pure function of shapes, strides, dtypes and plain arguments. What
it cost and what its results look like is kept for the next call that is the same in all of them,
across models; then new meta tensors are made in place of running torch's own shape inference, which
takes most of the time of a meta forward pass. `tests/test_replay.py` holds that it changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from flopaudit.reference.ledger_entries import Entry

MOST = 200_000
"""Calls that are kept; then all are forgotten and learned anew."""

_PLAIN = frozenset([int, float, bool, str, type(None), complex, torch.dtype, torch.device,
                    torch.layout, torch.memory_format])  # fmt: skip
_TENSORS = (torch.Tensor, torch.nn.Parameter)


class Unkeyed(Exception):  # noqa: N818 - a way to take, not a fault
    """The call has an argument, such as a tensor with values, that says more than a key can."""


class Made(NamedTuple):
    """How to make one tensor of a result anew."""

    shape: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype


class Known(NamedTuple):
    """What is known of a call: its rows, and its results (RUN where it has to be run)."""

    entries: tuple[Entry, ...]
    results: Any


RUN = object()
_ITSELF = object()
_KNOWN: dict[Any, Known] = {}


def find(key: Any) -> Known | None:
    """What is known of a call, if anything."""
    return _KNOWN.get(key)


def learn(key: Any, known: Known) -> None:
    """Keep what is known of a call."""
    if len(_KNOWN) >= MOST:
        _KNOWN.clear()
    _KNOWN[key] = known


def forget() -> None:
    """Know of no call any more."""
    _KNOWN.clear()


def key_of(value: Any) -> Any:
    """Something hashable that says all of an argument that matters on meta tensors.

    Raises:
        Unkeyed: that cannot be done.
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
    """How to make an operator's results: anew, or as the tensor that it writes to; else RUN."""
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
    """How to make the results of a function that keeps none of its arguments; else RUN."""
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
        return Made(out.shape, out.stride(), out.dtype)
    if type(out) in (tuple, list):
        inside = [_template(item) for item in out]
        return RUN if any(item is RUN for item in inside) else type(out)(inside)
    return None if out is None else RUN


def remake(results: Any, args: Sequence[Any]) -> Any:
    """Results of a known call, new ones."""
    kind = type(results)
    if kind is Made:
        shape, stride, dtype = results
        return torch.empty_strided(shape, stride, dtype=dtype, device="meta")
    if results is _ITSELF:
        return args[0]
    if kind is tuple or kind is list:
        return kind([remake(item, args) for item in results])
    return results
