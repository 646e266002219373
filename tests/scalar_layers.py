"""Proofs of normalisation, softmax, pooling, reductions, losses, and their gradients."""

# ruff: noqa: PLR0913, PLR0917, FBT003 - a definition takes what its operator takes

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from tests.scalar import (
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
    minimum,
    power,
    smaller,
    spot,
    sqrt,
    summed,
    where,
)
from tests.scalar_elementwise import sigmoid
from tests.scalar_products import softmax


def kept(array: Array, axis: Any) -> Array:
    """Reduced dimensions as dimensions of one."""
    return np.expand_dims(array, axis)


def mean(x: Array, axis: Any) -> Array:
    count = x.size // max(summed_size(x, axis), 1)
    return summed(x, axis) / count


def summed_size(x: Array, axis: Any) -> int:
    axes = [axis] if isinstance(axis, int) else list(axis)
    gone = {a % x.ndim for a in axes}
    return math.prod(n for i, n in enumerate(x.shape) if i not in gone)


# -- normalisation ---------------------------------------------------------------------------------


def unit(x: Array, axes: Sequence[int], eps: float) -> tuple[Array, Array, Array]:
    """(x - mean) / √(var + eps), the mean and the variance."""
    centre = mean(x, axes)
    moved = x - kept(centre, tuple(axes))
    variance = mean(moved * moved, axes)
    return moved / kept(sqrt(variance + eps), tuple(axes)), centre, variance


def affine(x: Array, weight: Any, bias: Any) -> Array:
    scaled = x if weight is None else x * weight
    return scaled if bias is None else scaled + bias


def layer_norm(x: Array, shape: Sequence[int], weight: Any, bias: Any, eps: float) -> Array:
    axes = tuple(range(x.ndim - len(shape), x.ndim))
    return affine(unit(x, axes, eps)[0], weight, bias)


def by_channel(value: Any, x: Array) -> Any:
    return None if value is None else value.reshape(1, -1, *[1] * (x.ndim - 2))


def batch_norm(
    x: Array, w: Any, b: Any, rm: Any, rv: Any, training: object, momentum: float, eps: float
) -> Array:
    axes = (0, *range(2, x.ndim))
    weight, bias = by_channel(w, x), by_channel(b, x)
    if not training:
        root = by_channel(sqrt(rv + eps), x)
        return affine((x - by_channel(rm, x)) / root, weight, bias)
    out, centre, variance = unit(x, axes, eps)
    if rm is not None:
        count = x.size // x.shape[1]
        for running, new in ((rm, centre), (rv, variance * (count / max(count - 1, 1)))):
            running * (1 - momentum) + new * momentum
    return affine(out, weight, bias)


def group_norm(
    x: Array, w: Any, b: Any, n: int, channels: int, space: int, groups: int, eps: float
) -> Array:
    rows = x.reshape(n, groups, channels // groups * space)
    out = unit(rows, (2,), eps)[0].reshape(n, channels, space)
    return affine(out, by_channel(w, out), by_channel(b, out)).reshape(x.shape)


def rms_norm(x: Array, shape: Sequence[int], weight: Any, eps: float) -> Array:
    axes = tuple(range(x.ndim - len(shape), x.ndim))
    out = x * kept(1 / sqrt(mean(x * x, axes) + eps), axes)
    return out if weight is None else out * weight


def weight_norm(v: Array, g: Array) -> Array:
    axes = tuple(range(1, v.ndim))
    size = kept(sqrt(summed(v * v, axes)), axes)
    return v * (g / size)


def image(draw: Draw) -> torch.Tensor:
    return draw.s(draw.a + 1, draw.b, draw.c)


def bn(*, affine_: bool = True, running: bool = True, training: bool = True) -> Callable[..., Any]:
    def arguments(draw: Draw) -> tuple[Any, ...]:
        c = draw.b
        learned = (draw.s(c), draw.s(c)) if affine_ else (None, None)
        stats = (draw.s(c), draw.x(c)) if running else (None, None)
        return image(draw), *learned, *stats, training, 0.1, 1e-5

    return arguments


def without_flag(draw: Draw) -> tuple[Any, ...]:
    x, w, b, rm, rv, _, momentum, eps = bn(training=False)(draw)
    return x, w, b, rm, rv, momentum, eps


def no_stats(x: Array, w: Any, b: Any, training: object, momentum: float, eps: float) -> Array:
    return batch_norm(x, w, b, None, None, training, momentum, eps)


# -- and backward ----------------------------------------------------------------------------------


def unit_backward(
    g: Array, x: Array, centre: Array, rstd: Array, w: Any, over: Any, learned: Any
) -> tuple[Array, Array, Array]:
    """With statistics over some dimensions, and parameters that are shared over others."""
    normal = (x - centre) * rstd
    h = g if w is None else g * w
    inner = h - kept(mean(h, over), over) - normal * kept(mean(h * normal, over), over)
    return inner * rstd, summed(g * normal, learned), summed(g, learned)


def bn_backward(*a: Any) -> tuple[Array, Array, Array]:
    g, x, w, rm, rv, m, rstd, train, eps, _mask = a
    over = (0, 2)
    if train:
        stats = by_channel(m, x), by_channel(rstd, x)
        return unit_backward(g, x, *stats, by_channel(w, x), over, over)
    root = by_channel(1 / sqrt(rv + eps), x)
    normal = (x - by_channel(rm, x)) * root
    return g * by_channel(w, x) * root, summed(g * normal, over), summed(g, over)


def bn_backward_arguments(draw: Draw, *, train: bool) -> tuple[Any, ...]:
    x, w, b, rm, rv, *_ = bn()(draw)
    _, m, rstd = aten("native_batch_norm")(x, w, b, rm, rv, train, 0.1, 1e-5)
    return draw.s(*x.shape), x, w, rm, rv, m, rstd, train, 1e-5, [True, True, True]


def ln_backward_arguments(draw: Draw) -> tuple[Any, ...]:
    x, w, b = draw.s(draw.a, draw.b), draw.s(draw.b), draw.s(draw.b)
    _, m, rstd = aten("native_layer_norm")(x, [draw.b], w, b, 1e-5)
    return draw.s(*x.shape), x, [draw.b], m, rstd, w, b, [True, True, True]


def ln_backward(*a: Any) -> tuple[Array, Array, Array]:
    g, x, _, m, rstd, w, *_ = a
    return unit_backward(g, x, m, rstd, w, (1,), (0,))


def gn_backward_arguments(draw: Draw) -> tuple[Any, ...]:
    n, c, hw = draw.a, 2 * draw.b, draw.c
    x, w, b = draw.s(n, c, hw), draw.s(c), draw.s(c)
    _, m, rstd = aten("native_group_norm")(x, w, b, n, c, hw, 2, 1e-5)
    return draw.s(n, c, hw), x, m, rstd, w, n, c, hw, 2, [True, True, True]


def gn_backward(*a: Any) -> tuple[Array, Array, Array]:
    g, x, m, rstd, w, n, c, hw, groups, _ = a
    split = (n, groups, c // groups, hw)
    centre, spread = (t.reshape(n, groups, 1, 1) for t in (m, rstd))
    gain = w.reshape(1, groups, c // groups, 1)
    dx, dw, db = unit_backward(
        g.reshape(split), x.reshape(split), centre, spread, gain, (2, 3), (0, 3)
    )
    return dx.reshape(x.shape), dw.reshape(-1), db.reshape(-1)


def rms_backward(g: Array, x: Array, _s: Any, rstd: Array, w: Array, _m: Any) -> tuple[Array, ...]:
    normal, h = x * rstd, g * w
    inner = h - normal * kept(mean(h * normal, 1), 1)
    return inner * rstd, summed(g * normal, 0)


def wn_backward(grad: Array, v: Array, g: Array, size: Array, _dim: int) -> tuple[Array, Array]:
    gain = summed(grad * v, 1) / size.reshape(-1)
    dv = (grad - v * kept(gain / size.reshape(-1), 1)) * (g / size)
    return dv, gain.reshape(g.shape)


def wn_backward_arguments(draw: Draw) -> tuple[Any, ...]:
    v, g = draw.s(draw.a, draw.b), draw.s(draw.a, 1)
    _, size = aten("_weight_norm_interface")(v, g, 0)
    return draw.s(*v.shape), v, g, size, 0


NORMS = [
    case("native_batch_norm", bn(), batch_norm),
    case("native_batch_norm", bn(affine_=False, training=False), batch_norm),
    case("native_batch_norm", bn(running=False), batch_norm),
    case(
        "_native_batch_norm_legit.no_stats",
        lambda d: (image(d), None, None, True, 0.1, 1e-5),
        no_stats,
    ),
    case(
        "_native_batch_norm_legit_no_training",
        without_flag,
        lambda x, w, b, m, v, t, e: batch_norm(x, w, b, m, v, False, t, e),
    ),
    case(
        "_batch_norm_with_update",
        without_flag,
        lambda x, w, b, m, v, t, e: batch_norm(x, w, b, m, v, True, t, e),
    ),
    case(
        "native_layer_norm",
        lambda d: (image(d), [d.b, d.c], d.s(d.b, d.c), d.s(d.b, d.c), 1e-5),
        layer_norm,
    ),
    case("native_layer_norm", lambda d: (image(d), [d.c], d.s(d.c), None, 1e-5), layer_norm),
    case(
        "native_group_norm",
        lambda d: (d.s(d.a, 2 * d.b, d.c), d.s(2 * d.b), d.s(2 * d.b), d.a, 2 * d.b, d.c, 2, 1e-5),
        group_norm,
    ),
    case("_fused_rms_norm", lambda d: (image(d), [d.c], d.s(d.c), 1e-5), rms_norm),
    case("_fused_rms_norm", lambda d: (image(d), [d.c], None, 1e-5), rms_norm),
    case(
        "_weight_norm_interface",
        lambda d: (d.s(d.a, d.b), d.s(d.a, 1), 0),
        lambda v, g, _d: weight_norm(v, g),
    ),
    case(
        "native_batch_norm_backward",
        lambda d: bn_backward_arguments(d, train=True),
        bn_backward,
        part=3,
    ),
    case(
        "native_batch_norm_backward",
        lambda d: bn_backward_arguments(d, train=False),
        bn_backward,
        part=3,
    ),
    case("native_layer_norm_backward", ln_backward_arguments, ln_backward, part=3),
    case("native_group_norm_backward", gn_backward_arguments, gn_backward, part=3),
    imagined(
        "_fused_rms_norm_backward",
        lambda *a: a[1],
        lambda d: (d.s(d.a, d.b), d.s(d.a, d.b), [d.b], d.x(d.a, 1), d.s(d.b), [True, True]),
        rms_backward,
    ),
    case("_weight_norm_interface_backward", wn_backward_arguments, wn_backward, part=2),
]


# -- softmax ---------------------------------------------------------------------------------------


def log_softmax(x: Array, axis: int, _half: object = None) -> Array:
    moved = x - kept(greatest(x, axis), axis)
    return moved - kept(log(summed(exp(moved), axis)), axis)


def softmax_backward(g: Array, y: Array, axis: int, _dtype: Any) -> Array:
    return y * (g - kept(summed(g * y, axis), axis))


def log_softmax_backward(g: Array, y: Array, axis: int, _dtype: Any) -> Array:
    return g - exp(y) * kept(summed(g, axis), axis)


SOFTMAX = [
    case("_softmax", lambda d: (d.s(d.a, d.b, d.c), 1, False), lambda x, dim, _h: softmax(x, dim)),
    case(
        "_masked_softmax",
        lambda d: (d.s(d.a, d.b), torch.zeros(d.a, d.b).bool(), 1, 2),
        lambda x, *_o: softmax(x),
    ),
    case("_log_softmax", lambda d: (d.s(d.a, d.b), 0, False), log_softmax),
    case(
        "_softmax_backward_data",
        lambda d: (d.s(d.a, d.b), d.s(d.a, d.b), 0, torch.float64),
        softmax_backward,
    ),
    case(
        "_log_softmax_backward_data",
        lambda d: (d.s(d.a, d.b), d.s(d.a, d.b), 0, torch.float64),
        log_softmax_backward,
    ),
]


# -- pooling ---------------------------------------------------------------------------------------


def windows(x: Array, kernel: Sequence[int], stride: Sequence[int]) -> Array:
    """The windows of each result along a new last dimension."""
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
    """Values added to zeros at their places."""
    out = np.empty(shape, dtype=object)
    for at in np.ndindex(*shape):
        out[at] = Num(0.0)
    for at, value in zip(places, values, strict=True):
        out[at] = out[at] + value
    return out


def max_backward(g: Array, x: Array, *rest: Any) -> Array:
    """Each gradient to the place that the indices name in the flat image."""
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
    """Along the first dimension, each element of the source into its place."""

    def scalar(x: Array, _dim: int, index: Any, source: Array, *_o: Any, **_k: Any) -> Array:
        out = x.copy()
        for at in np.ndindex(*index.shape):
            place = (int(index[at]), *at[1:])
            out[place] = step(out[place], source[at])
        return out

    return scalar


def rows_with(step: Callable[[Any, Any], Any]) -> Callable[..., Array]:
    """The rows of the source, each into its place."""

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


# -- losses ----------------------------------------------------------------------------------------


def reduced(values: Array, reduction: int) -> Array:
    if reduction == 0:
        return values
    return summed(values) / values.size if reduction == 1 else summed(values)


def loss(each_value: Callable[..., Array]) -> Callable[..., Array]:
    return lambda x, t, reduction, *more: reduced(each_value(x, t, *more), reduction)


def squared(x: Array, t: Array) -> Array:
    difference = x - t
    return difference * difference


def smooth(x: Array, t: Array, beta: float = 1.0) -> Array:
    d = abs(x - t)
    return where(d < beta, 0.5 * (d * d) / beta, d - 0.5 * beta)


def huber(x: Array, t: Array, delta: float = 1.0) -> Array:
    d = abs(x - t)
    return where(d < delta, 0.5 * (d * d), delta * (d - 0.5 * delta))


def bce(x: Array, t: Array, weight: Any, reduction: int) -> Array:
    out = -(t * log(x) + (1 - t) * log(1 - x))
    return reduced(out if weight is None else out * weight, reduction)


def bce_logits(x: Array, t: Array, weight: Any, positive: Any, reduction: int) -> Array:
    s = sigmoid(x)
    first = t * log(s)
    out = -((first if positive is None else first * positive) + (1 - t) * log(1 - s))
    return reduced(out if weight is None else out * weight, reduction)


def nll(x: Array, t: Any, weight: Any, reduction: int, _ignored: int) -> Array:
    picked = np.array([-x[i, k] for i, k in enumerate(t)], dtype=object)
    if weight is None:
        return reduced(picked, reduction)
    total = summed(picked * weight[t]) if reduction else picked * weight[t]
    return total / summed(weight[t]) if reduction == 1 else total


def margin(x: Array, t: Any, p: int, bound: float, weight: Any, reduction: int) -> Array:
    losses = []
    for row, target in zip(x, t, strict=True):
        others = np.delete(row, target)
        over = maximum(bound - row[target] + others, 0.0)
        over = over * over if p == 2 else over
        over = over if weight is None else over * weight[target]
        losses.append(summed(over).item() / len(row))
    return reduced(np.array(losses, dtype=object), reduction)


def log_sum(values: Sequence[Any]) -> Any:
    """The log of a sum of exps; of nothing but -∞ it is that."""
    top = values[0]
    for value in values[1:]:
        top = larger(top, value)
    base = top.value if math.isfinite(top.value) else 0.0
    grown = [exp(v - base).item() for v in values]
    total = grown[0]
    for value in grown[1:]:
        total = total + value
    return log(total).item() + base


def ctc(logs: Array, targets: Any, *_o: Any) -> Array:
    """The forward table; what a label may not follow is -∞."""
    frames, batch, _ = logs.shape
    return np.array([_ctc_one(logs[:, n], targets[n], frames) for n in range(batch)], dtype=object)


def _ctc_one(logs: Array, target: Any, frames: int) -> Any:
    labels = [0, *itertools.chain.from_iterable((int(k), 0) for k in target)]
    never = Num(-math.inf)
    alpha = [logs[0, k] if s < 2 else never for s, k in enumerate(labels)]
    for t in range(1, frames):
        fresh = []
        for s, k in enumerate(labels):
            skips = s >= 2 and k not in (0, labels[s - 2])
            terms = [alpha[s], alpha[s - 1] if s else never, alpha[s - 2] if skips else never]
            fresh.append(log_sum(terms) + logs[t, k])
        alpha = fresh
    return -log_sum(alpha[-2:])


def divided(g: Array, values: Array, reduction: int) -> Array:
    return g.item() / values.size if reduction == 1 else g


def mse_backward(g: Array, x: Array, t: Array, reduction: int) -> Array:
    return (x - t) * 2 * divided(g, x, reduction)


def smooth_backward(g: Array, x: Array, t: Array, reduction: int, beta: float) -> Array:
    return minimum(maximum((x - t) / beta, -1.0), 1.0) * divided(g, x, reduction)


def huber_backward(g: Array, x: Array, t: Array, reduction: int, delta: float) -> Array:
    return minimum(maximum(x - t, -delta), delta) * divided(g, x, reduction)


def soft_margin_backward(g: Array, x: Array, t: Array, reduction: int) -> Array:
    grown = exp(-(t * x))
    return -(divided(g, x, reduction) * t * grown / (1 + grown))


def bce_backward(g: Array, x: Array, t: Array, weight: Any, reduction: int) -> Array:
    out = divided(g, x, reduction) * (x - t) / ((1 - x) * x)
    return out if weight is None else out * weight


def nll_backward(g: Array, x: Array, t: Any, weight: Any, reduction: int, *rest: Any) -> Array:
    share = g / rest[1] if reduction == 1 else g
    out = np.zeros(x.shape, dtype=object)
    for i, k in enumerate(t):
        one = share.item() if isinstance(share, np.ndarray) else share
        out[i, k] = -one if weight is None else -(one * weight[k])
    return out


def labels(draw: Draw, *, weighted: bool, reduction: int) -> tuple[Any, ...]:
    weight = draw.x(draw.b) if weighted else None
    return two(draw), draw.i(draw.b, draw.a), weight, reduction, -100


def nll_backward_arguments(draw: Draw, *, weighted: bool) -> tuple[Any, ...]:
    args = labels(draw, weighted=weighted, reduction=1)
    total = aten("nll_loss_forward")(*args)[1]
    return draw.s(), *args, total


def margin_arguments(draw: Draw, p: int, *, weighted: bool) -> tuple[Any, ...]:
    weight = draw.x(draw.b + 1) if weighted else None
    return draw.s(draw.a, draw.b + 1), draw.i(draw.b + 1, draw.a), p, 1.0, weight, 1


def ctc_arguments(draw: Draw) -> tuple[Any, ...]:
    length, frames = draw.b, 2 * draw.b + 1 + draw.c
    logs = draw.s(frames, draw.a, 5).log_softmax(-1)
    targets = draw.i(4, draw.a, length) + 1
    return logs, targets, [frames] * draw.a, [length] * draw.a


def likely(draw: Draw) -> tuple[Any, ...]:
    return draw.x(draw.a, draw.b), draw.x(draw.a, draw.b)


_REDUCTIONS = (0, 1, 2)
LOSSES = [
    *(
        case(
            "mse_loss",
            drawn(lambda d, r: (two(d), two(d), r), r),
            loss(squared),
        )
        for r in _REDUCTIONS
    ),
    case("smooth_l1_loss", lambda d: (two(d), two(d), 1, 0.5), loss(smooth)),
    case("huber_loss", lambda d: (two(d), two(d), 1, 0.5), loss(huber)),
    case(
        "soft_margin_loss", lambda d: (two(d), two(d), 1), loss(lambda x, t: log(1 + exp(-(t * x))))
    ),
    *(
        case("binary_cross_entropy", drawn(lambda d, r: (*likely(d), None, r), r), bce)
        for r in _REDUCTIONS
    ),
    case("binary_cross_entropy", lambda d: (*likely(d), d.x(d.b), 1), bce),
    case("binary_cross_entropy_with_logits", lambda d: (*likely(d), None, None, 1), bce_logits),
    case(
        "binary_cross_entropy_with_logits",
        lambda d: (*likely(d), d.x(d.b), d.x(d.b), 0),
        bce_logits,
    ),
    *(
        case(
            "nll_loss_forward", drawn(lambda d, r, w: labels(d, weighted=w, reduction=r), r, w), nll
        )
        for r in _REDUCTIONS
        for w in (False, True)
    ),
    *(
        case(
            "multi_margin_loss",
            drawn(lambda d, p, w: margin_arguments(d, p, weighted=w), p, w),
            margin,
        )
        for p, w in ((1, False), (2, True))
    ),
    case("_ctc_loss", ctc_arguments, ctc),
    *(
        case("mse_loss_backward", drawn(lambda d, r: (d.s(), two(d), two(d), r), r), mse_backward)
        for r in (1, 2)
    ),
    case("smooth_l1_loss_backward", lambda d: (d.s(), two(d), two(d), 1, 0.5), smooth_backward),
    case("huber_loss_backward", lambda d: (d.s(), two(d), two(d), 1, 0.5), huber_backward),
    case("soft_margin_loss_backward", lambda d: (d.s(), two(d), two(d), 1), soft_margin_backward),
    *(
        case(
            "binary_cross_entropy_backward",
            drawn(lambda d, r: (d.s(), *likely(d), None, r), r),
            bce_backward,
        )
        for r in (1, 2)
    ),
    case(
        "binary_cross_entropy_backward",
        lambda d: (d.s(), *likely(d), d.x(d.a, d.b), 1),
        bce_backward,
    ),
    *(
        case(
            "nll_loss_backward",
            drawn(lambda d, w: nll_backward_arguments(d, weighted=w), w),
            nll_backward,
        )
        for w in (False, True)
    ),
]

CASES: list[Case] = [*NORMS, *SOFTMAX, *POOLS, *REDUCTIONS, *LOSSES]
