"""Normalisation: of a batch, a layer, groups, by the root mean square, of weights; backward too.

(x - mean) / √(var + eps)·weight + bias, with the mean and the centred values computed once.
"""

from __future__ import annotations

from math import prod
from typing import Any

from flopaudit.reference.cost import NOTHING, Work
from flopaudit.reference.formulas.call import Call, Formula, numel, over_complex
from flopaudit.reference.formulas.tables import Table, entries, table
from flopaudit.reference.kinds import Kind

Mask = tuple[bool, bool, bool]
_ALL: Mask = (True, True, True)


def affine(weight: Any, bias: Any, elements: int) -> Work:
    """Return a multiplication if there is a weight, and an addition if there is a bias."""
    return Work(
        muls=elements if weight is not None else 0,
        adds=elements if bias is not None else 0,
    )


def normalised(elements: int, rows: int) -> Work:
    """Return the cost of normalising rows: mean, centring, mean square, + eps, root, division."""
    return Work(
        adds=2 * (elements - rows) + elements + rows,
        muls=elements,
        divs=2 * rows + elements,
        elementary=rows,
    )


def _batch_norm(call: Call, *, training: bool) -> Work:
    image, weight, bias = call.args[0], call.arg(1, "weight"), call.arg(2, "bias")
    elements, channels = numel(image), int(image.shape[1])
    scaled = affine(weight, bias, elements)
    if not training:
        apply = Work(adds=elements + channels, divs=elements, elementary=channels)
        return apply + scaled
    running = hasattr(call.arg(3, "running_mean"), "shape")
    return normalised(elements, channels) + (_UPDATE * channels if running else NOTHING) + scaled


# (1 - m)·running + m·statistic for both, the variance times n / (n - 1) first.
_UPDATE = Work(adds=2, muls=5)


def batch_norm(call: Call) -> Work:
    """By the running statistics; in training by the batch's, with an update of the running ones.

    (Ioffe & Szegedy 2015, arXiv:1502.03167, algorithms 1 and 2.)
    """
    # The overload without statistics has the flag at the position of a tensor in the others.
    training = any(arg is True for arg in call.args[3:6])
    return _batch_norm(call, training=training or call.kwargs.get("training", False))


def batch_norm_eval(call: Call) -> Work:
    """By the running statistics, whatever the mode."""
    return _batch_norm(call, training=False)


def batch_norm_train(call: Call) -> Work:
    """By the batch's statistics, always."""
    return _batch_norm(call, training=True)


def layer_norm(call: Call) -> Work:
    """Over the last dimensions, given by the normalised shape; Ba et al., arXiv:1607.06450."""
    elements, shape = numel(call.args[0]), call.args[1]
    scaled = affine(call.arg(2, "weight"), call.arg(3, "bias"), elements)
    return normalised(elements, _rows(elements, shape)) + scaled


def _rows(elements: int, shape: Any) -> int:
    return elements // prod(shape) if elements else 0


def group_norm(call: Call) -> Work:
    """Over each group of channels of each sample; Wu & He 2018, arXiv:1803.08494."""
    elements = numel(call.args[0])
    rows = int(call.arg(3, "N")) * int(call.arg(6, "group"))
    return normalised(elements, rows) + affine(call.arg(1, "weight"), call.arg(2, "bias"), elements)


def rms_norm(call: Call) -> Work:
    """x·1/√(mean(x²) + eps)·weight; Zhang & Sennrich 2019, arXiv:1910.07467."""
    elements = numel(call.args[0])
    rows = _rows(elements, call.args[1])
    statistics = Work(muls=elements, adds=elements, divs=2 * rows, elementary=rows)
    scaled = affine(call.arg(2, "weight"), None, elements)
    return statistics + Work(muls=elements) + scaled


def weight_norm(call: Call) -> Work:
    """v·(g / ‖v‖), a norm for each entry of g; Salimans & Kingma 2016, arXiv:1602.07868."""
    elements, rows = numel(call.args[0]), numel(call.args[1])
    return Work(muls=2 * elements, adds=elements - rows, elementary=rows, divs=rows)


# -- backward --------------------------------------------------------------------------------------


def normalised_backward(elements: int, rows: int, parameters: int, gain: Any, mask: Mask) -> Work:
    """The gradients of the input, the weight and the bias, of values normalised over rows.

    With x̂ = (x - mean)·rstd and h = g·weight: dx = rstd·(h - mean(h) - x̂·mean(h·x̂)),
    dw = Σ g·x̂, db = Σ g. x̂ is computed once from the saved statistics.
    """
    unit = Work(adds=elements, muls=elements) if mask[0] or mask[1] else NOTHING
    inputs = Work(
        muls=3 * elements + (elements if gain is not None else 0),
        adds=2 * (elements - rows) + 2 * elements,
        divs=2 * rows,
    )
    weight = Work(muls=elements, adds=elements - parameters)
    bias = Work(adds=elements - parameters)
    parts = zip(mask, (inputs, weight, bias), strict=True)
    return sum((work for wanted, work in parts if wanted), unit)


def batch_norm_backward(call: Call) -> Work:
    """Over each channel; if the running statistics were used, dx is g·weight·rstd."""
    image, weight = call.args[1:3]
    mask, elements, channels = call.arg(9, "output_mask", _ALL), numel(image), int(image.shape[1])
    if call.arg(7, "train", default=False):
        return normalised_backward(elements, channels, channels, weight, mask)
    unit = Work(adds=elements, muls=elements) if mask[1] else NOTHING
    # the saved statistics are not used: 1 / √(var + eps) for each channel
    root = Work(adds=channels, elementary=channels, divs=channels) if any(mask[:2]) else NOTHING
    inputs = Work(muls=elements * (1 + (weight is not None)))
    sums = elements - channels
    parts = (inputs, Work(muls=elements, adds=sums), Work(adds=sums))
    return sum((w for wanted, w in zip(mask, parts, strict=True) if wanted), unit + root)


def layer_norm_backward(call: Call) -> Work:
    """Over the last dimensions."""
    image, shape = call.args[1:3]
    elements = numel(image)
    mask = call.arg(7, "output_mask", _ALL)
    rows = _rows(elements, shape)
    return normalised_backward(elements, rows, prod(shape), call.arg(5, "weight"), mask)


def group_norm_backward(call: Call) -> Work:
    """Over each group of channels of each sample."""
    elements, channels = numel(call.args[1]), int(call.args[6])
    rows = int(call.args[5]) * int(call.args[8])
    mask = call.arg(9, "output_mask", _ALL)
    return normalised_backward(elements, rows, channels, call.arg(4, "weight"), mask)


def rms_norm_backward(call: Call) -> Work:
    """x̂ = x·rstd, h = g·weight: dx = rstd·(h - x̂·mean(h·x̂)), dw = Σ g·x̂."""
    elements, shape, gain = numel(call.args[1]), call.args[2], call.arg(4, "weight")
    rows, mask = _rows(elements, shape), call.arg(5, "output_mask", (True, True))
    gained = elements if gain is not None else 0
    inputs = Work(muls=3 * elements + gained, adds=elements - rows + elements, divs=rows)
    weight = Work(muls=elements, adds=elements - prod(shape))
    parts = zip(mask, (inputs, weight), strict=True)
    return sum((work for wanted, work in parts if wanted), Work(muls=elements))


def weight_norm_backward(call: Call) -> Work:
    """With s = Σ g·v / ‖v‖: dg = s, dv = (gain/‖v‖)·(g - v·s/‖v‖)."""
    elements, rows = numel(call.args[1]), numel(call.args[2])
    return Work(muls=3 * elements, adds=elements - rows + elements, divs=3 * rows)


TABLE: Table = table(
    __name__,
    entries(
        Kind.NORMALISATION,
        batch_norm,
        "native_batch_norm _native_batch_norm_legit cudnn_batch_norm miopen_batch_norm"
        " _native_batch_norm_legit_functional",
    ),
    entries(
        Kind.NORMALISATION,
        batch_norm_eval,
        "_native_batch_norm_legit_no_training _batch_norm_no_update quantized_batch_norm",
    ),
    entries(
        Kind.NORMALISATION,
        batch_norm_train,
        "_batch_norm_with_update _batch_norm_with_update_functional",
    ),
    entries(Kind.NORMALISATION, layer_norm, "native_layer_norm"),
    entries(Kind.NORMALISATION, group_norm, "native_group_norm"),
    entries(Kind.NORMALISATION, rms_norm, "_fused_rms_norm rms_norm"),
    entries(Kind.NORMALISATION, weight_norm, "_weight_norm_interface"),
    entries(Kind.NORMALISATION, batch_norm_backward, "native_batch_norm_backward"),
    entries(Kind.NORMALISATION, layer_norm_backward, "native_layer_norm_backward"),
    entries(Kind.NORMALISATION, group_norm_backward, "native_group_norm_backward"),
    entries(Kind.NORMALISATION, rms_norm_backward, "_fused_rms_norm_backward"),
    entries(Kind.NORMALISATION, weight_norm_backward, "_weight_norm_interface_backward"),
)

ALTERNATIVES: dict[str, dict[str, Formula]] = {
    "batch-norm-as-eval": {
        name: over_complex(batch_norm_eval)
        for name, (_, formula) in TABLE.items()
        if formula in (batch_norm, batch_norm_train)
    }
}
