"""One small pure function for each operator: arguments and result in, `Work` out.

A formula gets a `Call`: the operator's arguments by position and name, and its result. Tensors
are only asked for their shape and dtype, so meta, fake and real ones serve alike. Which operator
has which formula stands in `operators.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from harness.work import NOTHING, Work

# The kinds of work; a convention picks among them.
CONV, LINEAR, MATMUL, ATTENTION = "conv", "linear", "matmul", "attention"
NORM, ACTIVATION, POOLING, ELEMENTWISE = "normalisation", "activation", "pooling", "elementwise"
REDUCTION, INTERPOLATION, SAMPLING, MOVE = "reduction", "interpolation", "sampling", "data movement"

PRODUCT_KINDS = (CONV, LINEAR, MATMUL, ATTENTION)


@dataclass(frozen=True)
class Call:
    """One execution of an operator."""

    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    out: Any

    def arg(self, index: int, name: str, default: Any = None) -> Any:
        """The argument at that position or of that name; the schema's default where omitted."""
        if index < len(self.args):
            return self.args[index]
        return self.kwargs.get(name, default)

    @property
    def first_out(self) -> Any:
        """The result, or the first of several."""
        return self.out[0] if isinstance(self.out, (tuple, list)) else self.out


Formula = Callable[[Call], Work]


def numel(tensor: Any) -> int:
    """Elements of a tensor, exact."""
    return prod(tensor.shape)


# -- products ------------------------------------------------------------------------------------


def convolution(call: Call) -> Work:
    """Dense convolution: N·prod(out)·Cout·(Cin/groups)·prod(K) MACs, padding counted as work.

    A transposed one is counted from its input, N·prod(in)·Cin·(Cout/groups)·prod(K): every input
    element meets every weight of its group once. (Dumoulin & Visin 2016, arXiv:1603.07285, ch. 4.)
    """
    image, weight, bias = call.args[:3]
    transposed = bool(call.arg(6, "transposed", default=False))
    positions = image if transposed else call.first_out
    batch_and_space = _batch_and_space(positions, weight)
    macs = batch_and_space * prod(weight.shape)
    return Work(macs=macs, bias_adds=numel(call.first_out) if bias is not None else 0)


def _batch_and_space(tensor: Any, weight: Any) -> int:
    """N·prod(space), of N, C, *space or of C, *space without a batch."""
    dims = len(weight.shape) - 2
    space = prod(tensor.shape[-dims:]) if dims else 1
    return space * (tensor.shape[0] if len(tensor.shape) == dims + 2 else 1)


def mm(call: Call) -> Work:
    """(n×k)·(k×m): n·k·m MACs."""
    left, right = call.args[:2]
    return Work(macs=numel(left) * right.shape[-1])


def addmm(call: Call) -> Work:
    """Product of the last two plus the first: n·k·m MACs, n·m additions of the bias."""
    left, right = call.args[1:3]
    beta = call.kwargs.get("beta", 1)
    return Work(macs=numel(left) * right.shape[-1], bias_adds=numel(call.first_out) if beta else 0)


def mv(call: Call) -> Work:
    """(n×k)·(k): n·k MACs."""
    return Work(macs=numel(call.args[0]))


def addmv(call: Call) -> Work:
    """Product of the last two plus the first."""
    return Work(macs=numel(call.args[1]), bias_adds=numel(call.first_out))


def dot(call: Call) -> Work:
    """K MACs."""
    return Work(macs=numel(call.args[0]))


def linear(call: Call) -> Work:
    """x·Wᵀ + b on the last dimension: numel(x)·out MACs."""
    inputs, out = call.args[0], numel(call.first_out)
    has_bias = call.arg(2, "bias") is not None
    return Work(macs=out * inputs.shape[-1], bias_adds=out if has_bias else 0)


def attention(call: Call) -> Work:
    """softmax(scale·Q·Kᵀ + mask)·V, in full also where causal: B·H·L·S·(E + Ev) MACs.

    Scaling, masking and softmax are counted with it; keys and values shared by groups of query
    heads are counted for each query head. (Vaswani et al. 2017, arXiv:1706.03762, eq. 1.)
    """
    query, key, value = call.args[:3]
    return _attention(query.shape, key.shape, value.shape)


def _attention(query: Sequence[int], key: Sequence[int], value: Sequence[int]) -> Work:
    rows, keys = prod(query[:-1]), key[-2]
    scores = rows * keys
    products = Work(macs=scores * (query[-1] + value[-1]), muls=scores)
    return products + _softmax(scores, rows)


def native_multi_head_attention(call: Call) -> Work:
    """The fused self-attention layer: in-projection, attention, out-projection, their biases."""
    query, key, value = call.args[:3]
    heads, embed = call.args[4], call.args[3]
    batch, length = query.shape[:2]
    keys = key.shape[1]
    tokens = batch * (length + keys + value.shape[1])
    head = embed // heads
    projections = Work(
        macs=tokens * embed * embed + batch * length * embed * embed,
        bias_adds=tokens * embed + batch * length * embed,
    )
    per_head = _attention(
        (batch, heads, length, head), (batch, heads, keys, head), (batch, heads, keys, head)
    )
    return projections + per_head


def transformer_encoder_layer(call: Call) -> Work:
    """The fused encoder layer: self-attention, two additions, two layer norms, feed-forward."""
    source, embed, heads = call.args[0], int(call.args[1]), call.args[2]
    hidden, tokens = int(call.args[15].shape[0]), int(prod(source.shape[:-1]))
    attended = native_multi_head_attention(Call((source, source, source, embed, heads), {}, source))
    gelu = bool(call.args[8])
    return (
        attended
        + Work(macs=2 * tokens * embed * hidden, bias_adds=tokens * (hidden + embed))
        + Work(adds=2 * tokens * embed)
        + _normalised(tokens * embed, tokens, affine=True) * 2
        + (GELU_ERF if gelu else Work(comparisons=1)) * (tokens * hidden)
    )


# -- normalisation, pooling, softmax ---------------------------------------------------------------


def _normalised(elements: int, rows: int, *, affine: bool) -> Work:
    """Mean, variance, (x - mean) / sqrt(var + eps), and weight and bias, over rows of elements."""
    statistics = Work(
        adds=2 * (elements - rows) + elements + rows,
        muls=elements,
        divs=2 * rows + elements,
        elementary=rows,
    )
    return statistics + (Work(adds=elements, muls=elements) if affine else NOTHING)


def batch_norm(call: Call) -> Work:
    """(x - mean) / sqrt(var + eps) · weight + bias; in training also mean and variance.

    (Ioffe & Szegedy 2015, arXiv:1502.03167, algorithm 1 and 2.)
    """
    image, weight = call.args[0], call.args[1]
    elements, channels = numel(image), image.shape[1]
    affine = weight is not None
    training = len(call.args) > 5 and call.args[5] is True  # noqa: PLR2004 - the schema's position
    if training:
        update = Work(adds=2 * channels, muls=4 * channels)
        return _normalised(elements, channels, affine=affine) + update
    apply = Work(adds=elements + channels, divs=elements, elementary=channels)
    return apply + (Work(adds=elements, muls=elements) if affine else NOTHING)


def layer_norm(call: Call) -> Work:
    """Over the last dimensions, given by the normalised shape; Ba et al., arXiv:1607.06450."""
    image, shape, weight = call.args[0], call.args[1], call.arg(2, "weight")
    elements = numel(image)
    return _normalised(elements, elements // prod(shape), affine=weight is not None)


def group_norm(call: Call) -> Work:
    """Over each group of channels of each sample; Wu & He 2018, arXiv:1803.08494."""
    image, weight = call.args[0], call.args[1]
    batch, groups = call.args[3], call.args[6]
    return _normalised(numel(image), batch * groups, affine=weight is not None)


def _softmax(elements: int, rows: int) -> Work:
    return Work(
        comparisons=elements - rows,
        adds=elements + elements - rows,
        elementary=elements,
        divs=elements,
    )


def softmax(call: Call) -> Work:
    """exp(x - max) / sum, over one dimension: its maximum, subtraction, exp, sum, division."""
    elements, length = _along(call)
    return _softmax(elements, elements // length if length else 0)


def log_softmax(call: Call) -> Work:
    """X - max - log(sum(exp(x - max))), over one dimension."""
    elements, length = _along(call)
    rows = elements // length if length else 0
    return Work(
        comparisons=elements - rows,
        adds=3 * elements - rows,
        elementary=elements + rows,
    )


def _along(call: Call) -> tuple[int, int]:
    tensor, dim = call.args[:2]
    return numel(tensor), tensor.shape[dim] if len(tensor.shape) else 1


def _window(call: Call, dims: int) -> int:
    kernel = list(call.args[1])
    return int(prod(kernel * dims if len(kernel) == 1 else kernel))


def max_pool(dims: int) -> Formula:
    """The formula for so many dimensions: kernel - 1 comparisons an output, padding counted."""

    def formula(call: Call) -> Work:
        return Work(comparisons=(_window(call, dims) - 1) * numel(call.first_out))

    return formula


def avg_pool(dims: int) -> Formula:
    """The formula for so many dimensions: kernel - 1 additions and a division an output."""

    def formula(call: Call) -> Work:
        out = numel(call.first_out)
        return Work(adds=(_window(call, dims) - 1) * out, divs=out)

    return formula


def _adaptive_windows(call: Call, dims: int) -> int:
    """Input elements read over all outputs: window i of O over I is floor(iI/O):ceil((i+1)I/O)."""
    image, out = call.args[0], call.first_out
    read = prod(out.shape[:-dims])
    for size, windows in zip(image.shape[-dims:], out.shape[-dims:], strict=True):
        ends = (-(-(i + 1) * size // windows) - i * size // windows for i in range(windows))
        read *= sum(ends)
    return int(read)


def adaptive_avg_pool(dims: int) -> Formula:
    """The formula for so many dimensions: the additions of each window, and a division."""

    def formula(call: Call) -> Work:
        out = numel(call.first_out)
        return Work(adds=_adaptive_windows(call, dims) - out, divs=out)

    return formula


def adaptive_max_pool(dims: int) -> Formula:
    """The formula for so many dimensions: the comparisons of each window."""

    def formula(call: Call) -> Work:
        return Work(comparisons=_adaptive_windows(call, dims) - numel(call.first_out))

    return formula


# -- elementwise, reductions, sampling -----------------------------------------------------------


def per_output(**operations: int) -> Formula:
    """So many operations for each element of the result."""
    each = Work(**operations)

    def formula(call: Call) -> Work:
        return each * numel(call.first_out)

    formula.__doc__ = ", ".join(f"{n} {name}" for name, n in operations.items()) + " an output."
    return formula


def add(call: Call) -> Work:
    """One addition for each output, and a multiplication where alpha is not 1."""
    out = numel(call.first_out)
    scaled = call.kwargs.get("alpha", 1) != 1
    return Work(adds=out, muls=out if scaled else 0)


def clamp(call: Call) -> Work:
    """One comparison for each bound that is given."""
    bounds = sum(call.arg(i, name) is not None for i, name in ((1, "min"), (2, "max")))
    return Work(comparisons=bounds * numel(call.first_out))


def power(call: Call) -> Work:
    """Multiplications for small whole exponents, else one elementary function for each output."""
    exponent, out = call.arg(1, "exponent"), numel(call.first_out)
    if isinstance(exponent, (int, float)) and exponent == int(exponent) and 1 <= exponent <= 4:  # noqa: PLR2004 - torch's own fast cases are 2 and 3
        return Work(muls=(int(exponent) - 1) * out)
    return Work(elementary=out)


GELU_ERF = Work(muls=3, adds=1, elementary=1)
GELU_TANH = Work(muls=6, adds=2, elementary=1)


def gelu(call: Call) -> Work:
    """x/2·(1 + erf(x/√2)), or the tanh approximation; Hendrycks & Gimpel, arXiv:1606.08415."""
    approximate = call.arg(1, "approximate", "none")
    return (GELU_TANH if approximate == "tanh" else GELU_ERF) * numel(call.first_out)


def reduction(call: Call) -> Work:
    """A sum: one addition less than there are elements, for each output."""
    return Work(adds=max(numel(call.args[0]) - numel(call.first_out), 0))


def mean(call: Call) -> Work:
    """A sum and a division for each output."""
    return reduction(call) + Work(divs=numel(call.first_out))


def extremum(call: Call) -> Work:
    """Of a dimension, one comparison less than elements; of two tensors, one for each output."""
    tensors = [arg for arg in call.args if hasattr(arg, "shape")]
    out = numel(call.first_out)
    if len(tensors) > 1:
        return Work(comparisons=out)
    return Work(comparisons=max(numel(call.args[0]) - out, 0))


def variance(call: Call) -> Work:
    """Mean, centred squares, their sum and division."""
    elements, out = numel(call.args[0]), numel(call.first_out)
    return Work(adds=3 * elements - 2 * out, muls=elements, divs=2 * out)


def vector_norm(call: Call) -> Work:
    """Squares, their sum and its root (order 2)."""
    elements, out = numel(call.args[0]), numel(call.first_out)
    return Work(muls=elements, adds=max(elements - out, 0), elementary=out)


def cumulative(call: Call) -> Work:
    """One addition for each element after the first of a row."""
    elements, length = _along(call)
    return Work(adds=elements - (elements // length if length else 0))


def interpolate(points: int) -> Formula:
    """The formula for so many neighbours: their weighted sum for each output; weights are free."""

    def formula(call: Call) -> Work:
        out = numel(call.first_out)
        return Work(muls=points * out, adds=(points - 1) * out)

    return formula


def grid_sampler(call: Call) -> Work:
    """A weighted sum of the 2^d neighbours (bilinear), 16 (bicubic) or a copy (nearest)."""
    mode = call.arg(2, "interpolation_mode", 0)
    dims = len(call.args[0].shape) - 2
    points = {0: 2**dims, 1: 0, 2: 4**dims}[mode]
    out = numel(call.first_out)
    return Work(muls=points * out, adds=max(points - 1, 0) * out)


def roi_align(call: Call) -> Work:
    """Bilinear samples averaged over each bin; with adaptive sampling one sample a bin is taken.

    (He et al. 2017, arXiv:1703.06870.) Sampling ratio ≤ 0 depends on the boxes' sizes.
    """
    ratio = call.args[5]
    samples = ratio * ratio if ratio > 0 else 1
    out = numel(call.first_out)
    return Work(muls=4 * samples * out, adds=(4 * samples - 1) * out, divs=out)
