"""Losses: the cost of each element or sample, and of the reduction; their gradients too."""

from __future__ import annotations

from typing import Any

from flopaudit.reference.cost import NOTHING, Work
from flopaudit.reference.formulas.call import Call, Formula, numel
from flopaudit.reference.formulas.scalar_functions import SIGMOID
from flopaudit.reference.formulas.tables import Table, entries, table
from flopaudit.reference.kinds import Kind

MEAN = 1  # torch's numbers: 0 none, 1 mean, 2 sum


def reduced(reduction: int, values: int) -> Work:
    """Return the cost of the reduction: nothing, a sum, or a sum and a division."""
    if reduction == 0:
        return NOTHING
    return Work(adds=max(values - 1, 0), divs=1 if reduction == MEAN else 0)


def _elements(*tensors: Any) -> int:
    return max(map(numel, tensors))


def elementwise(reduction_at: int, **operations: int) -> Formula:
    """Return the formula of a loss with a fixed cost for each element."""
    each = Work(**operations)

    def formula(call: Call) -> Work:
        values = _elements(*call.args[:2])
        return each * values + reduced(call.arg(reduction_at, "reduction", MEAN), values)

    return formula


def binary_cross_entropy(call: Call) -> Work:
    """-(t·log(x) + (1 - t)·log(1 - x)), times a weight if there is one."""
    values = _elements(*call.args[:2])
    weighted = call.arg(2, "weight") is not None
    each = Work(elementary=2, muls=2 + weighted, adds=4)
    return each * values + reduced(call.arg(3, "reduction", MEAN), values)


def binary_cross_entropy_with_logits(call: Call) -> Work:
    """The same of σ(x), which is computed once; the positive term can have a weight of its own."""
    values = _elements(*call.args[:2])
    weights = sum(call.arg(i, name) is not None for i, name in ((2, "weight"), (3, "pos_weight")))
    each = SIGMOID + Work(elementary=2, muls=2 + weights, adds=4)
    return each * values + reduced(call.arg(4, "reduction", MEAN), values)


def nll_loss(call: Call) -> Work:
    """-x[target], times the weight of its class; a mean divides by the sum of these weights."""
    samples = numel(call.args[1])
    weighted = call.arg(2, "weight") is not None
    reduction = call.arg(3, "reduction", MEAN)
    weights = samples - 1 if weighted and reduction == MEAN else 0
    each = Work(adds=1, muls=int(weighted)) * samples
    return each + reduced(reduction, samples) + Work(adds=max(weights, 0))


def multi_margin_loss(call: Call) -> Work:
    """Σ over the other classes of max(0, (margin - x[target]) + x)ᵖ, divided by the classes."""
    samples, classes = max(numel(call.args[1]), 1), int(call.args[0].shape[-1])
    weighted, squared = call.arg(4, "weight") is not None, call.arg(2, "p", 1) == 2  # noqa: PLR2004 - the only other power
    others = samples * (classes - 1)
    each = Work(adds=1, comparisons=1, muls=int(squared) + int(weighted)) * others
    sums = Work(adds=samples + max(others - samples, 0), divs=samples)
    total = each + sums
    return total + reduced(call.arg(5, "reduction", MEAN), samples)


def ctc_loss(call: Call) -> Work:
    """The forward recursion over T frames and 2·L + 1 labels with blanks, as a dense table.

    α[t, s] = log(exp α[t-1, s] + exp α[t-1, s-1] + exp α[t-1, s-2]) + log p: the largest, three
    differences, exps, their sum, its log, two additions; skipped terms, of blanks and repeated
    labels, are computed as -∞. The loss is -log of the sum of the last two. (Graves et al. 2006.)
    """
    batch, frames, labels = map(int, call.out[1].shape)
    cell = Work(comparisons=2, adds=3 + 2 + 1 + 1, elementary=3 + 1)
    last = Work(comparisons=1, adds=2 + 1 + 1 + 1, elementary=2 + 1)
    return cell * (batch * (frames - 1) * labels) + last * batch


# -- backward --------------------------------------------------------------------------------------


def _divided(reduction: int) -> Work:
    """The incoming gradient divided by the number of elements, once, for a mean."""
    return Work(divs=1 if reduction == MEAN else 0)


def elementwise_backward(reduction_at: int, **operations: int) -> Formula:
    """Return the formula of a gradient with a fixed cost for each element."""
    each = Work(**operations)

    def formula(call: Call) -> Work:
        reduction = call.arg(reduction_at, "reduction", MEAN)
        return each * numel(call.first_out) + _divided(reduction)

    return formula


def binary_cross_entropy_backward(call: Call) -> Work:
    """g·(x - t) / ((1 - x)·x), times a weight if there is one."""
    weighted = call.arg(3, "weight") is not None
    each = Work(adds=2, muls=2 + weighted, divs=1)
    return each * numel(call.first_out) + _divided(call.arg(4, "reduction", MEAN))


def nll_loss_backward(call: Call) -> Work:
    """-g at the target of each sample, times the weight of its class, over their sum for a mean."""
    samples = numel(call.args[2])
    weighted = call.arg(3, "weight") is not None
    return Work(adds=samples, muls=samples * weighted) + _divided(call.arg(4, "reduction", MEAN))


TABLE: Table = table(
    __name__,
    entries(Kind.LOSS, elementwise(2, adds=1, muls=1), "mse_loss"),
    # d = |x - t|: d²/2β below β, d - β/2 above
    entries(Kind.LOSS, elementwise(2, adds=2, comparisons=2, muls=2, divs=1), "smooth_l1_loss"),
    # d²/2 below δ, δ·(d - δ/2) above
    entries(Kind.LOSS, elementwise(2, adds=2, comparisons=2, muls=3), "huber_loss"),
    # the log of 1 + exp(-t·x)
    entries(Kind.LOSS, elementwise(2, adds=2, muls=1, elementary=2), "soft_margin_loss"),
    entries(Kind.LOSS, binary_cross_entropy, "binary_cross_entropy"),
    entries(Kind.LOSS, binary_cross_entropy_with_logits, "binary_cross_entropy_with_logits"),
    entries(Kind.LOSS, nll_loss, "nll_loss_forward nll_loss2d_forward"),
    entries(Kind.LOSS, multi_margin_loss, "multi_margin_loss"),
    entries(Kind.LOSS, ctc_loss, "_ctc_loss"),
    # twice (x - t)·g
    entries(Kind.LOSS, elementwise_backward(3, adds=1, muls=2), "mse_loss_backward"),
    # the difference over β, held between -1 and 1, times g
    entries(
        Kind.LOSS,
        elementwise_backward(3, adds=1, comparisons=2, muls=1, divs=1),
        "smooth_l1_loss_backward",
    ),
    # the difference, held between -δ and δ, times g
    entries(
        Kind.LOSS, elementwise_backward(3, adds=1, comparisons=2, muls=1), "huber_loss_backward"
    ),
    # with e = exp(-t·x), the quotient of -g·t·e and 1 + e
    entries(
        Kind.LOSS,
        elementwise_backward(3, adds=3, muls=3, divs=1, elementary=1),
        "soft_margin_loss_backward",
    ),
    entries(Kind.LOSS, binary_cross_entropy_backward, "binary_cross_entropy_backward"),
    entries(Kind.LOSS, nll_loss_backward, "nll_loss_backward nll_loss2d_backward"),
)
