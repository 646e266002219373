"""Proofs of losses and their gradients."""

# ruff: noqa: PLR0913, PLR0917 - a definition takes what its operator takes

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tests.support.oracle.elementwise import sigmoid
from tests.support.oracle.reductions import two
from tests.support.oracle.scalar import (
    Array,
    Case,
    Draw,
    Num,
    aten,
    case,
    drawn,
    exp,
    larger,
    log,
    maximum,
    minimum,
    summed,
    where,
)

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
    """Return the log of a sum of exps, or -∞ if all terms are -∞."""
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
    """Return the forward table; transitions that are not allowed are -∞."""
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


CASES: list[Case] = [*LOSSES]
