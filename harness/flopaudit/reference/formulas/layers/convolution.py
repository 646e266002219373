"""Convolution in all operators that torch has for it, with their gradients."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from flopaudit.reference.cost import Work
from flopaudit.reference.formulas.call import Call, Formula, numel, over_complex
from flopaudit.reference.formulas.tables import Table, entries, table
from flopaudit.reference.formulas.tensor_math.products import REQUANTIZE
from flopaudit.reference.kinds import Kind


def _batch_and_space(tensor: Any, weight: Any) -> int:
    """Return N·prod(space) of N, C, *space, or of C, *space without a batch."""
    dims = len(weight.shape) - 2
    space = prod(tensor.shape[-dims:]) if dims else 1
    return space * (tensor.shape[0] if len(tensor.shape) == dims + 2 else 1)


def dense(positions: Any, weight: Any) -> int:
    """Return the MACs if each position of a tensor meets each weight once."""
    return int(_batch_and_space(positions, weight)) * numel(weight)


def direct(bias_at: int | None = 2) -> Formula:
    """Return the formula of a convolution whose bias is at that position.

    N·prod(out)·Cout·(Cin/groups)·prod(K) MACs; padding is multiplied like any other value, as the
    dense algorithm does (Dumoulin & Visin 2016, arXiv:1603.07285, ch. 2).
    """

    def formula(call: Call) -> Work:
        has_bias = bias_at is not None and call.arg(bias_at, "bias") is not None
        macs = dense(call.first_out, call.args[1])
        return Work(macs=macs, bias_adds=numel(call.first_out) if has_bias else 0)

    return formula


def transposed(bias_at: int | None = 2) -> Formula:
    """Return the formula of a transposed convolution, counted from its input.

    N·prod(in)·Cin·(Cout/groups)·prod(K) MACs: every input element meets every weight of its group
    once, and what lands outside of a padded result is computed too (Dumoulin & Visin, ch. 4).
    """

    def formula(call: Call) -> Work:
        has_bias = bias_at is not None and call.arg(bias_at, "bias") is not None
        macs = dense(call.args[0], call.args[1])
        return Work(macs=macs, bias_adds=numel(call.first_out) if has_bias else 0)

    return formula


def transposed_by_output(call: Call) -> Work:
    """Alternative convention, the kernel slid over the result: N·prod(out)·Cin·(Cout/groups)·K."""
    has_bias = call.arg(2, "bias") is not None
    macs = dense(call.first_out, call.args[1])
    return Work(macs=macs, bias_adds=numel(call.first_out) if has_bias else 0)


_DIRECT, _TRANSPOSED = direct(), transposed()


def convolution(call: Call) -> Work:
    """Direct or transposed, by the seventh argument."""
    return (_TRANSPOSED if call.arg(6, "transposed", default=False) else _DIRECT)(call)


def convolution_by_output(call: Call) -> Work:
    """Direct, or transposed and counted from its result."""
    return (transposed_by_output if call.arg(6, "transposed", default=False) else _DIRECT)(call)


def with_relu(call: Call) -> Work:
    """Convolution, bias, ReLU."""
    return _DIRECT(call) + Work(comparisons=numel(call.first_out))


def with_add_relu(call: Call) -> Work:
    """Convolution, bias, alpha times another tensor, ReLU."""
    out = numel(call.first_out)
    alpha = call.arg(3, "alpha")
    scaled = alpha is not None and alpha != 1
    has_bias = call.arg(4, "bias") is not None
    macs = dense(call.first_out, call.args[1])
    rest = Work(adds=out, muls=out if scaled else 0, comparisons=out)
    return Work(macs=macs, bias_adds=out if has_bias else 0) + rest


def time_batch_channel(call: Call) -> Work:
    """A 1-D convolution of time × batch × channel with weights K × Cin × Cout, bias always."""
    out = call.first_out
    width, channels = call.args[1].shape[:2]
    return Work(macs=numel(out) * int(width) * int(channels), bias_adds=numel(out))


def quantized(kind: Callable[[Any, Any], int]) -> Formula:
    """Return the formula for packed integer weights: MACs, bias, and rescaling each result."""

    def formula(call: Call) -> Work:
        weight, bias = call.args[1].unpack()
        out = numel(call.first_out)
        has_bias = bias is not None
        macs = kind(call, weight)
        return Work(macs=macs, bias_adds=out if has_bias else 0) + REQUANTIZE * out

    return formula


def _from_result(call: Call, weight: Any) -> int:
    return dense(call.first_out, weight)


def _from_input(call: Call, weight: Any) -> int:
    return dense(call.args[0], weight)


def convolution_backward(call: Call) -> Work:
    """Of Y = X∗W, dX and dW have the forward's MACs each; db is a sum over batch and space."""
    grad, image, weight = call.args[:3]
    positions = image if call.arg(7, "transposed", default=False) else grad
    mask = call.arg(10, "output_mask", (True, True, True))
    macs = dense(positions, weight) * (bool(mask[0]) + bool(mask[1]))
    channels = int(grad.shape[1 - len(weight.shape) + len(grad.shape)])
    return Work(macs=macs, adds=numel(grad) - channels if mask[2] else 0)


TABLE: Table = table(
    __name__,
    entries(Kind.CONVOLUTION, convolution, "convolution _convolution convolution_overrideable"),
    entries(
        Kind.CONVOLUTION,
        direct(),
        """conv1d conv2d conv3d _convolution_mode mkldnn_convolution _mps_convolution
        _nnpack_spatial_convolution miopen_convolution miopen_depthwise_convolution""",
    ),
    entries(
        Kind.CONVOLUTION,
        direct(bias_at=3),
        """_slow_conv2d_forward thnn_conv2d slow_conv3d slow_conv3d_forward _conv_depthwise2d
        conv_depthwise3d slow_conv_dilated2d slow_conv_dilated3d""",
    ),
    entries(Kind.CONVOLUTION, direct(bias_at=None), "cudnn_convolution"),
    entries(Kind.CONVOLUTION, with_relu, "cudnn_convolution_relu miopen_convolution_relu"),
    entries(
        Kind.CONVOLUTION, with_add_relu, "cudnn_convolution_add_relu miopen_convolution_add_relu"
    ),
    entries(
        Kind.CONVOLUTION,
        transposed(),
        """conv_transpose1d conv_transpose2d conv_transpose3d miopen_convolution_transpose""",
    ),
    entries(Kind.CONVOLUTION, transposed(bias_at=3), "slow_conv_transpose2d slow_conv_transpose3d"),
    entries(
        Kind.CONVOLUTION,
        transposed(bias_at=None),
        "cudnn_convolution_transpose _mps_convolution_transpose",
    ),
    entries(Kind.CONVOLUTION, time_batch_channel, "conv_tbc"),
    entries(
        Kind.CONVOLUTION,
        quantized(_from_result),
        """quantized::conv1d quantized::conv2d quantized::conv3d
        quantized::conv1d_relu quantized::conv2d_relu quantized::conv3d_relu""",
    ),
    entries(
        Kind.CONVOLUTION,
        quantized(_from_input),
        "quantized::conv_transpose1d quantized::conv_transpose2d quantized::conv_transpose3d",
    ),
    entries(
        Kind.CONVOLUTION,
        convolution_backward,
        "convolution_backward convolution_backward_overrideable",
    ),
)

ALTERNATIVES: dict[str, dict[str, Formula]] = {
    "transposed-by-output": {
        **dict.fromkeys(
            ("convolution", "_convolution", "convolution_overrideable"),
            over_complex(convolution_by_output),
        ),
        **dict.fromkeys(
            ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"),
            over_complex(transposed_by_output),
        ),
    }
}
