"""Proofs of reductions, norms and distances, scatters, bags of embeddings."""

# ruff: noqa: PLR0913, PLR0917 - a definition takes what its operator takes

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from tests.support.oracle.norms import kept, mean, summed_size
from tests.support.oracle.pools import scattered
from tests.support.oracle.scalar import (
    Array,
    Case,
    Draw,
    Num,
    aten,
    case,
    drawn,
    each,
    elementary,
    exp,
    folded,
    greatest,
    imagined,
    larger,
    log,
    maximum,
    power,
    smaller,
    spot,
    sqrt,
    summed,
    where,
)

# -- reductions ------------------------------------------------------------------------------------


def variance(x: Array, axis: Any) -> Array:
    return unit_variance(x, axis)


def unit_variance(x: Array, axis: Any) -> Array:
    moved = x - kept(mean(x, axis), tuple(axis))
    return summed(moved * moved, axis) / (x.size // max(summed_size(x, axis), 1) - 1)


def running(step: Callable[[Any, Any], Any], x: Array, axis: int) -> Array:
    rows = list(np.moveaxis(x, axis, 0))
    for i in range(1, len(rows)):
        rows[i] = each(step, rows[i - 1], rows[i])
    return np.moveaxis(np.stack(rows), 0, axis)


def logsumexp(x: Array, axis: Sequence[int]) -> Array:
    top = greatest(x, axis)
    return top + log(summed(exp(x - kept(top, tuple(axis))), axis))


def log_add(a: Any, b: Any) -> Any:
    return larger(a, b) + elementary(math.log1p)(exp(-abs(a - b))).item()


def norm(x: Array, order: float = 2, axis: Any = None) -> Array:
    if order == 2:
        return sqrt(summed(squares(x), axis))
    if order == 0:
        return summed(each(lambda v: Num(float(v != 0)), x), axis)
    sizes = magnitude(x)
    if order == math.inf:
        return greatest(sizes, axis)
    if order == 1:
        return summed(sizes, axis)
    return power(summed(power(sizes, order), axis), 1 / order)


def squares(x: Array) -> Array:
    return each(lambda v: v.re * v.re + v.im * v.im if hasattr(v, "re") else v * v, x)


def magnitude(x: Array) -> Array:
    if hasattr(x.reshape(-1)[0], "re"):
        return sqrt(squares(x))
    return abs(x)


def power_sum(x: Array, order: float) -> Array:
    return summed(power(abs(x), order))


def cdist(x: Array, y: Array, order: float, _mode: Any = None) -> Array:
    return norm(x[:, None] - y[None], order, 2)


def pdist(x: Array, order: float = 2.0) -> Array:
    rows = itertools.combinations(x, 2)
    return np.array([norm(a - b, order).item() for a, b in rows], dtype=object)


def renorm(x: Array, order: float, _dim: int, bound: float) -> Array:
    sizes = norm(x, order, 1)
    factor = where(sizes > bound, bound / (sizes + 1e-7), 1.0)
    return x * kept(factor, 1)


def embedding_renorm(table: Array, indices: Any, bound: float, order: float) -> None:
    renorm(table[indices.reshape(-1)], order, 0, bound)


def scatter_with(step: Callable[[Any, Any], Any]) -> Callable[..., Array]:
    """Scatter each element of the source along the first dimension."""

    def scalar(x: Array, _dim: int, index: Any, source: Array, *_o: Any, **_k: Any) -> Array:
        out = x.copy()
        for at in np.ndindex(*index.shape):
            place = (int(index[at]), *at[1:])
            out[place] = step(out[place], source[at])
        return out

    return scalar


def rows_with(step: Callable[[Any, Any], Any]) -> Callable[..., Array]:
    """Scatter each row of the source to its index."""

    def scalar(x: Array, _dim: int, index: Any, source: Array, *_o: Any, alpha: Any = 1) -> Array:
        out = x.copy()
        for at, row in zip(index, source if alpha == 1 else source * alpha, strict=True):
            out[at] = each(step, out[at], row)
        return out

    return scalar


def plus(a: Any, b: Any) -> Any:
    return a + b


def times(a: Any, b: Any) -> Any:
    return a * b


def scatter_mean(x: Array, dim: int, index: Any, source: Array, *_o: Any) -> Array:
    counts = np.ones(x.shape)
    for at in np.ndindex(*index.shape):
        counts[spot(int(index[at]), *at[1:])] += 1
    return scatter_with(plus)(x, dim, index, source) / counts


def index_mean(x: Array, dim: int, index: Any, source: Array, *_o: Any) -> Array:
    counts = np.ones(x.shape)
    for at in index:
        counts[at] += 1
    return rows_with(plus)(x, dim, index, source) / counts


def accumulate(x: Array, indices: Sequence[Any], values: Array, *_o: Any) -> Array:
    out = x.copy()
    for at, value in zip(indices[0], values, strict=True):
        out[at] = each(plus, out[at], value)
    return out


def put(x: Array, index: Any, source: Array, _accumulate: object) -> Array:
    out = x.copy().reshape(-1)
    for at, value in zip(index.reshape(-1), source.reshape(-1), strict=True):
        out[at] = out[at] + value
    return out.reshape(x.shape)


def bags(table: Array, indices: Any, offsets: Any, *options: Any) -> Array:
    mode, weights = options[1], options[3] if len(options) > 3 else None
    rows = table[indices]
    rows = rows if weights is None else rows * weights[:, None]
    ends = [*offsets[1:], len(indices)]
    each_bag = [rows[a:b] for a, b in zip(offsets, ends, strict=True)]
    if mode == 2:
        return np.stack([greatest(bag, 0) for bag in each_bag])
    sums = np.stack([summed(bag, 0) for bag in each_bag])
    sizes = np.array([len(bag) for bag in each_bag])
    return sums / sizes[:, None] if mode == 1 else sums


def bag_arguments(mode: int, *, weighted: bool = False) -> Callable[[Draw], tuple[Any, ...]]:
    def arguments(draw: Draw) -> tuple[Any, ...]:
        table, indices = draw.s(5, draw.b), draw.i(5, 2 * draw.a + draw.c)
        weights = draw.s(len(indices)) if weighted else None
        return table, indices, torch.tensor([0, draw.a, 2 * draw.a]), False, mode, False, weights

    return arguments


def bag_backward(
    g: Array, indices: Any, bag_of: Any, size: Any, mode: int, weights: Any, rows: int
) -> Array:
    shares = g / size[:, None] if mode == 1 else g
    out = scattered((rows, g.shape[1]), [], [])
    for i, (row, bag) in enumerate(zip(indices, bag_of, strict=True)):
        share = shares[bag] if weights is None else shares[bag] * weights[i]
        out[row] = out[row] + share
    return out


def bag_backward_arguments(
    draw: Draw, mode: int, *, weighted: bool, dense: bool
) -> tuple[Any, ...]:
    args = bag_arguments(mode, weighted=weighted)(draw)
    out, bag_of, size, top = aten("_embedding_bag")(*args)
    bag_of = torch.repeat_interleave(torch.arange(3), torch.tensor([draw.a, draw.a, draw.c]))
    size = torch.tensor([draw.a, draw.a, draw.c])
    grad, weights = torch.rand_like(out), args[6]
    if dense:
        return grad, args[1], bag_of, size, top, 5, False, mode, weights
    return grad, args[1], args[2], bag_of, size, top, 5, False, mode, False, weights


def embedding_backward(g: Array, index: Any, rows: int, _pad: int, by_frequency: object) -> Array:
    counts = np.bincount(index, minlength=rows)[index]
    shares = g / counts[:, None] if by_frequency else g
    out = scattered((rows, g.shape[1]), [], [])
    for row, share in zip(index, shares, strict=True):
        out[row] = out[row] + share
    return out


def padding_backward(g: Array, x: Array, pads: Sequence[int]) -> Array:
    size = x.shape[-1]
    places = []
    for at in np.ndindex(*g.shape):
        i = abs(at[-1] - pads[0])
        places.append((*at[:-1], i if i < size else 2 * (size - 1) - i))
    return scattered(x.shape, places, list(g.reshape(-1)))


def fold(x: Array, size: Sequence[int], kernel: Sequence[int], *_o: Any) -> Array:
    n, rows, _ = x.shape
    channels = rows // math.prod(kernel)
    wide = [s - k + 1 for s, k in zip(size, kernel, strict=True)]
    columns = x.reshape(n, channels, *kernel, *wide)
    places, values = [], []
    for at in np.ndindex(*columns.shape):
        i, c, kh, kw, h, w = at
        places.append((i, c, kh + h, kw + w))
        values.append(columns[at])
    return scattered((n, channels, *size), places, values)


def two(draw: Draw) -> torch.Tensor:
    return draw.s(draw.a, draw.b)


def index_arguments(draw: Draw, *more: Any) -> tuple[Any, ...]:
    return two(draw), 0, draw.i(draw.a, draw.c), draw.s(draw.c, draw.b), *more


def scatter_arguments(draw: Draw, *more: Any) -> tuple[Any, ...]:
    return two(draw), 0, draw.i(draw.a, draw.c, draw.b), draw.s(draw.c, draw.b), *more


_STEPS: dict[str, Callable[[Any, Any], Any]] = {
    "sum": plus, "prod": times, "amax": larger, "amin": smaller,
}  # fmt: skip
_ORDERS = (0.0, 1.0, 2.0, 3.0, math.inf)

REDUCTIONS = [
    case("sum.dim_IntList", lambda d: (d.s(d.a, d.b, d.c), [0, 2]), summed),
    case("sum", lambda d: (d.s(d.a, d.b, d.c),), summed),
    case("prod.dim_int", lambda d: (two(d), 1), lambda x, a: folded(times, x, a)),
    case("mean.dim", lambda d: (d.s(d.a, d.b, d.c), [0, 2]), mean),
    case("nansum", lambda d: (two(d), [0]), lambda x, a: summed(where(x != x, 0.0, x), a)),  # noqa: PLR0124 - what NaN is
    *(
        case(f"{n}.correction", lambda d: (d.s(d.a, d.b + 1), [1]), variance)
        for n in ("var", "var_mean")
    ),
    *(
        case(
            f"{n}.correction", lambda d: (d.s(d.a, d.b + 1), [1]), lambda x, a: sqrt(variance(x, a))
        )
        for n in ("std", "std_mean")
    ),
    case("amax", lambda d: (d.s(d.a, d.b), [1]), greatest),
    case("max.dim", lambda d: (d.s(d.a, d.b), 1), greatest),
    case("max.other", lambda d: (d.s(d.a, d.b), d.s(d.b)), maximum),
    case(
        "aminmax",
        lambda d: (two(d),),
        lambda x, dim: (folded(smaller, x, dim), greatest(x, dim)),
        part=2,
        dim=0,
    ),
    case("logsumexp", lambda d: (d.s(d.a, d.b, d.c), [0, 2]), logsumexp),
    case("trace", lambda d: (two(d),), lambda x: summed(np.diagonal(x))),
    case("cumsum", lambda d: (two(d), 1), lambda x, a: running(plus, x, a)),
    case("cumprod", lambda d: (two(d), 0), lambda x, a: running(times, x, a)),
    case("cummax", lambda d: (two(d), 1), lambda x, a: running(larger, x, a), exact=False),
    case("_logcumsumexp", lambda d: (two(d), 1), lambda x, a: running(log_add, x, a)),
    *(case("linalg_vector_norm", drawn(lambda d, p: (two(d), p, [1]), p), norm) for p in _ORDERS),
    *(
        case("linalg_vector_norm", drawn(lambda d, p: (d.z(d.a, d.b), p, [1]), p), norm)
        for p in (1.0, 2.0, 3.0, math.inf)
    ),
    case("linalg__powsum", lambda d: (two(d), 3.0), power_sum),
    *(
        case(
            "_cdist_forward", drawn(lambda d, p: (d.s(d.a, d.b), d.s(d.c, d.b), p, None), p), cdist
        )
        for p in (1.0, 2.0, 3.0)
    ),
    case("_euclidean_dist", lambda d: (d.s(d.a, d.b), d.s(d.c, d.b)), lambda x, y: cdist(x, y, 2)),
    case("_pdist_forward", lambda d: (d.s(d.a + 1, d.b),), pdist),
    case("dist", lambda d: (two(d), d.s(d.b)), lambda x, y: norm(x - y)),
    case("renorm", lambda d: (two(d), 2.0, 0, 3.0), renorm),
    case(
        "embedding_renorm",
        lambda d: (two(d), d.i(d.a, d.c), 1.0, 2.0),
        embedding_renorm,
        exact=False,
    ),
    case("scatter_add", scatter_arguments, scatter_with(plus)),
    case("scatter.reduce", scatter_arguments, scatter_with(times), reduce="multiply"),
    case("scatter.src", scatter_arguments, lambda x, *_o: x, exact=False),
    *(
        case("scatter_reduce.two", drawn(scatter_arguments, n), scatter_with(s))
        for n, s in _STEPS.items()
    ),
    case("scatter_reduce.two", lambda d: scatter_arguments(d, "mean"), scatter_mean),
    case("index_add", index_arguments, rows_with(plus)),
    case("index_add", index_arguments, rows_with(plus), alpha=2),
    *(
        case("index_reduce", drawn(index_arguments, n), rows_with(s))
        for n, s in _STEPS.items()
        if n != "sum"
    ),
    case("index_reduce", lambda d: index_arguments(d, "mean"), index_mean),
    case("index_put", lambda d: (two(d), [d.i(d.a, d.c)], d.s(d.c, d.b), True), accumulate),
    case(
        "index_put",
        lambda d: (two(d), [d.i(d.a, d.c)], d.s(d.c, d.b), False),
        lambda x, *_o: x,
        exact=False,
    ),
    case("put", lambda d: (two(d), d.i(d.a * d.b, d.c), d.s(d.c), True), put),
    *(case("_embedding_bag", bag_arguments(m), bags) for m in (0, 1, 2)),
    case("_embedding_bag", bag_arguments(0, weighted=True), bags),
    case(
        "_embedding_bag_dense_backward",
        lambda d: bag_backward_arguments(d, 1, weighted=False, dense=True),
        lambda g, i, b, s, _t, n, _f, m, w: bag_backward(g, i, b, s, m, w, n),
    ),
    case(
        "_embedding_bag_dense_backward",
        lambda d: bag_backward_arguments(d, 0, weighted=True, dense=True),
        lambda g, i, b, s, _t, n, _f, m, w: bag_backward(g, i, b, s, m, w, n),
    ),
    case(
        "_embedding_bag_backward",
        lambda d: bag_backward_arguments(d, 0, weighted=False, dense=False),
        lambda g, i, _o, b, s, _t, n, _f, m, _s, w: bag_backward(g, i, b, s, m, w, n),
    ),
    imagined(
        "_embedding_bag_per_sample_weights_backward",
        lambda *a: a[0],
        lambda d: (d.s(3, d.b), d.s(5, d.b), d.i(5, d.c), d.i(1, 3), d.i(3, d.c), 0),
        lambda g, t, i, _o, b, _m: summed(g[b] * t[i], 1),
    ),
    case(
        "embedding_dense_backward",
        lambda d: (d.s(d.c, d.b), d.i(4, d.c), 4, -1, False),
        embedding_backward,
    ),
    case(
        "embedding_dense_backward",
        lambda d: (d.s(d.c, d.b), d.i(4, d.c), 4, -1, True),
        embedding_backward,
    ),
    case(
        "reflection_pad1d_backward",
        lambda d: (d.s(d.a, d.b, 7), d.s(d.a, d.b, 4), [1, 2]),
        padding_backward,
    ),
    case("col2im", lambda d: (d.s(d.a, 4 * d.b, 9), [4, 4], [2, 2], [1, 1], [0, 0], [1, 1]), fold),
]


CASES: list[Case] = [*REDUCTIONS]
