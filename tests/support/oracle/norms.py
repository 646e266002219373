"""Proofs of normalisation and softmax, and their gradients."""

# ruff: noqa: PLR0913, PLR0917, FBT003 - a definition takes what its operator takes

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from tests.support.oracle.scalar import (
    Array,
    Case,
    Draw,
    aten,
    case,
    exp,
    greatest,
    imagined,
    log,
    sqrt,
    summed,
)


def kept(array: Array, axis: Any) -> Array:
    """Return values with the reduced dimensions kept at size 1."""
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
    """Return (x - mean) / √(var + eps), the mean and the variance."""
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
    """Return gradients, with statistics over some dimensions, parameters shared over others."""
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


def softmax(x: Array, axis: int = -1) -> Array:
    top = np.expand_dims(greatest(x, axis), axis)
    grown = exp(x - top)
    return grown / np.expand_dims(summed(grown, axis), axis)


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


CASES: list[Case] = [*NORMS, *SOFTMAX]
