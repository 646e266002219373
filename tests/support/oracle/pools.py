"""Proofs of pooling, over fixed and adaptive windows, and its gradients."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from tests.support.oracle.scalar import (
    Array,
    Case,
    Draw,
    Num,
    aten,
    case,
    greatest,
    imagined,
    spot,
    summed,
)

# -- pooling ---------------------------------------------------------------------------------------


def windows(x: Array, kernel: Sequence[int], stride: Sequence[int]) -> Array:
    """Return the windows of each result along a new last dimension."""
    dims = len(kernel)
    sizes = [(n - k) // s + 1 for n, k, s in zip(x.shape[-dims:], kernel, stride, strict=True)]
    out = np.empty((*x.shape[:-dims], *sizes, math.prod(kernel)), dtype=object)
    for place in np.ndindex(*sizes):
        cut = tuple(slice(p * s, p * s + k) for p, s, k in zip(place, stride, kernel, strict=True))
        out[spot(..., *place, slice(None))] = x[spot(..., *cut)].reshape(*x.shape[:-dims], -1)
    return out


def max_pool(x: Array, kernel: Sequence[int]) -> Array:
    return greatest(windows(x, kernel, kernel), -1)


def avg_pool(x: Array, kernel: Sequence[int], *_o: Any) -> Array:
    return summed(windows(x, kernel, kernel), -1) / math.prod(kernel)


def adaptive(x: Array, out: Sequence[int], reduce: Callable[[Array], Any]) -> Array:
    """Windows from floor(i·I/O) to ceil((i+1)·I/O)."""
    result = np.empty((*x.shape[: -len(out)], *out), dtype=object)
    sizes = x.shape[-len(out) :]
    for place in np.ndindex(*out):
        cut = tuple(
            slice(p * n // o, -(-(p + 1) * n // o))
            for p, n, o in zip(place, sizes, out, strict=True)
        )
        for lead in np.ndindex(*x.shape[: -len(out)]):
            result[lead + place] = reduce(x[lead + cut].reshape(-1))
    return result


def average(x: Array) -> Any:
    return summed(x).item() / x.size


def highest(x: Array) -> Any:
    return greatest(x).item()


def scattered(shape: Sequence[int], places: Sequence[Any], values: Sequence[Any]) -> Array:
    """Add values to zeros at their positions."""
    out = np.empty(shape, dtype=object)
    for at in np.ndindex(*shape):
        out[at] = Num(0.0)
    for at, value in zip(places, values, strict=True):
        out[at] = out[at] + value
    return out


def max_backward(g: Array, x: Array, *rest: Any) -> Array:
    """Add each gradient at its index in the flat image."""
    indices = rest[-1]
    dims = indices.ndim - 2
    flat = (*x.shape[:-dims], math.prod(x.shape[-dims:]))
    places = [(*at[:-dims], int(indices[at])) for at in np.ndindex(*g.shape)]
    return scattered(flat, places, list(g.reshape(-1))).reshape(x.shape)


def avg_backward(g: Array, x: Array, kernel: Sequence[int], *_o: Any) -> Array:
    places, values = [], []
    shares = g / math.prod(kernel)
    dims = len(kernel)
    for at in np.ndindex(*g.shape):
        for tap in np.ndindex(*kernel):
            inner = tuple(p * k + t for p, k, t in zip(at[-dims:], kernel, tap, strict=True))
            places.append(at[:-dims] + inner)
            values.append(shares[at])
    return scattered(x.shape, places, values)


def adaptive_backward(g: Array, x: Array) -> Array:
    places, values = [], []
    for at in np.ndindex(*g.shape):
        spans = [
            range(p * n // o, -(-(p + 1) * n // o))
            for p, n, o in zip(at[2:], x.shape[2:], g.shape[2:], strict=True)
        ]
        taps = list(itertools.product(*spans))
        share = g[at] / len(taps)
        places += [at[:2] + tap for tap in taps]
        values += [share] * len(taps)
    return scattered(x.shape, places, values)


def space(draw: Draw, dims: int) -> torch.Tensor:
    return draw.s(1, draw.a, *[draw.b + 1, draw.c + 1, 2][:dims])


def max_backward_arguments(draw: Draw) -> tuple[Any, ...]:
    x = space(draw, 2)
    out, indices = aten("max_pool2d_with_indices")(x, [2, 2])
    return torch.rand_like(out), x, [2, 2], [2, 2], [0, 0], [1, 1], False, indices


def avg_backward_arguments(draw: Draw, dims: int) -> tuple[Any, ...]:
    x = space(draw, dims)
    out = aten(f"avg_pool{dims}d")(x, [2] * dims)
    return torch.rand_like(out), x, [2] * dims, [2] * dims, [0] * dims, False, True, None


POOLS = [
    imagined(
        "quantized_max_pool1d",
        torch.nn.functional.max_pool1d,
        lambda d: (space(d, 1), [2]),
        max_pool,
    ),
    case("max_pool2d_with_indices", lambda d: (space(d, 2), [2, 2]), max_pool),
    case("max_pool3d_with_indices", lambda d: (space(d, 3), [2, 2, 2]), max_pool),
    case("avg_pool1d", lambda d: (space(d, 1), [2]), avg_pool),
    case("avg_pool2d", lambda d: (space(d, 2), [2, 2]), avg_pool),
    case("avg_pool3d", lambda d: (space(d, 3), [2, 2, 2]), avg_pool),
    imagined(
        "adaptive_avg_pool1d",
        torch.nn.functional.adaptive_avg_pool1d,
        lambda d: (space(d, 1), [d.d]),
        lambda x, o: adaptive(x, o, average),
    ),
    case(
        "_adaptive_avg_pool2d",
        lambda d: (space(d, 2), [d.d, 2]),
        lambda x, o: adaptive(x, o, average),
    ),
    case(
        "_adaptive_avg_pool3d",
        lambda d: (space(d, 3), [d.d, 2, 1]),
        lambda x, o: adaptive(x, o, average),
    ),
    case(
        "adaptive_max_pool2d",
        lambda d: (space(d, 2), [d.d, 2]),
        lambda x, o: adaptive(x, o, highest),
    ),
    case(
        "adaptive_max_pool3d",
        lambda d: (space(d, 3), [d.d, 2, 1]),
        lambda x, o: adaptive(x, o, highest),
    ),
    case(
        "max_unpool2d",
        lambda d: (d.s(1, d.a, 1, 1), d.i(4, 1, d.a, 1, 1), [2, 2]),
        lambda x, *_o: x,
        exact=False,
    ),
    case("max_pool2d_with_indices_backward", max_backward_arguments, max_backward),
    case("avg_pool2d_backward", lambda d: avg_backward_arguments(d, 2), avg_backward),
    case("avg_pool3d_backward", lambda d: avg_backward_arguments(d, 3), avg_backward),
    case(
        "_adaptive_avg_pool2d_backward",
        lambda d: (d.s(1, d.a, d.d, 2), space(d, 2)),
        adaptive_backward,
    ),
    case(
        "_adaptive_avg_pool3d_backward",
        lambda d: (d.s(1, d.a, d.d, 2, 1), space(d, 3)),
        adaptive_backward,
    ),
]


CASES: list[Case] = [*POOLS]
