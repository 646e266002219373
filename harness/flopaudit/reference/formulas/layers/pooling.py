"""Pooling by maximum and by mean, over fixed and adaptive windows; backward too.

Windows that reach beyond the border are counted in full, as the dense algorithm computes them.
"""

from __future__ import annotations

from math import prod
from typing import Any

from flopaudit.reference.cost import Work
from flopaudit.reference.formulas.call import Call, Formula, nothing, numel
from flopaudit.reference.formulas.tables import Table, entries, table
from flopaudit.reference.kinds import Kind


def _window(kernel: Any, dims: int) -> int:
    sizes = [kernel] if isinstance(kernel, int) else list(kernel)
    return int(prod(sizes * dims if len(sizes) == 1 else sizes))


def max_pool(dims: int) -> Formula:
    """Return the formula for `dims` dimensions: kernel - 1 comparisons an output."""

    def formula(call: Call) -> Work:
        window = _window(call.args[1], dims)
        return Work(comparisons=(window - 1) * numel(call.first_out))

    return formula


def avg_pool(dims: int) -> Formula:
    """Return the formula for `dims` dimensions: kernel - 1 additions and a division an output."""

    def formula(call: Call) -> Work:
        out = numel(call.first_out)
        return Work(adds=(_window(call.args[1], dims) - 1) * out, divs=out)

    return formula


def _adaptive_windows(image: Any, out: Any, dims: int) -> int:
    """Input elements read over all outputs: window i of O over I is floor(iI/O):ceil((i+1)I/O)."""
    read = prod(out.shape[:-dims])
    for size, windows in zip(image.shape[-dims:], out.shape[-dims:], strict=True):
        ends = (-(-(i + 1) * size // windows) - i * size // windows for i in range(windows))
        read *= sum(ends)
    return int(read)


def adaptive_avg_pool(dims: int) -> Formula:
    """Return the formula for `dims` dimensions: the additions of each window, and a division."""

    def formula(call: Call) -> Work:
        out = numel(call.first_out)
        return Work(adds=_adaptive_windows(call.args[0], call.first_out, dims) - out, divs=out)

    return formula


def adaptive_max_pool(dims: int) -> Formula:
    """Return the formula for `dims` dimensions: the comparisons of each window."""

    def formula(call: Call) -> Work:
        read = _adaptive_windows(call.args[0], call.first_out, dims)
        return Work(comparisons=read - numel(call.first_out))

    return formula


# -- backward: each gradient is added to the places it came from -----------------------------------


def max_pool_backward(call: Call) -> Work:
    """One addition for each output: its gradient goes to the place of the maximum."""
    return Work(adds=numel(call.args[0]))


def avg_pool_backward(dims: int) -> Formula:
    """Return the formula for `dims` dimensions: a division an output, additions to each place."""

    def formula(call: Call) -> Work:
        out = numel(call.args[0])
        return Work(divs=out, adds=_window(call.args[2], dims) * out)

    return formula


def adaptive_avg_pool_backward(dims: int) -> Formula:
    """Return the formula for `dims` dimensions: the same over adaptive windows."""

    def formula(call: Call) -> Work:
        grad, image = call.args[:2]
        return Work(divs=numel(grad), adds=_adaptive_windows(image, grad, dims))

    return formula


TABLE: Table = table(
    __name__,
    entries(Kind.POOLING, max_pool(1), "quantized_max_pool1d"),
    entries(
        Kind.POOLING,
        max_pool(2),
        """max_pool2d max_pool2d_with_indices mkldnn_max_pool2d quantized_max_pool2d
        fractional_max_pool2d""",
    ),
    entries(
        Kind.POOLING,
        max_pool(3),
        """max_pool3d max_pool3d_with_indices mkldnn_max_pool3d quantized_max_pool3d
        fractional_max_pool3d""",
    ),
    entries(Kind.POOLING, avg_pool(1), "avg_pool1d"),
    entries(Kind.POOLING, avg_pool(2), "avg_pool2d"),
    entries(Kind.POOLING, avg_pool(3), "avg_pool3d"),
    entries(Kind.POOLING, adaptive_avg_pool(1), "adaptive_avg_pool1d"),
    entries(
        Kind.POOLING,
        adaptive_avg_pool(2),
        "_adaptive_avg_pool2d adaptive_avg_pool2d mkldnn_adaptive_avg_pool2d",
    ),
    entries(Kind.POOLING, adaptive_avg_pool(3), "_adaptive_avg_pool3d adaptive_avg_pool3d"),
    entries(Kind.POOLING, adaptive_max_pool(2), "adaptive_max_pool2d"),
    entries(Kind.POOLING, adaptive_max_pool(3), "adaptive_max_pool3d"),
    entries(Kind.POOLING, nothing, "max_unpool2d max_unpool3d"),
    entries(
        Kind.POOLING,
        max_pool_backward,
        """max_pool2d_with_indices_backward max_pool3d_with_indices_backward
        adaptive_max_pool2d_backward adaptive_max_pool3d_backward
        fractional_max_pool2d_backward fractional_max_pool3d_backward""",
    ),
    entries(Kind.POOLING, avg_pool_backward(2), "avg_pool2d_backward"),
    entries(Kind.POOLING, avg_pool_backward(3), "avg_pool3d_backward"),
    entries(
        Kind.POOLING,
        adaptive_avg_pool_backward(2),
        "_adaptive_avg_pool2d_backward mkldnn_adaptive_avg_pool2d_backward",
    ),
    entries(
        Kind.POOLING,
        adaptive_avg_pool_backward(3),
        "_adaptive_avg_pool3d_backward adaptive_avg_pool3d_backward",
    ),
)
