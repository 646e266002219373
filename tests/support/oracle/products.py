"""Proofs of products of matrices and convolutions, and their gradients."""

# ruff: noqa: PLR0913, PLR0917 - a definition takes what its operator takes

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from tests.support.oracle.elementwise import gelu
from tests.support.oracle.scalar import (
    Array,
    Case,
    Draw,
    Num,
    Pair,
    case,
    each,
    greatest,
    imagined,
    lift,
    mac,
    maximum,
    minimum,
    product,
    rounded,
    spot,
    summed,
    with_bias,
)

# -- matrices --------------------------------------------------------------------------------------


def batched(left: Array, right: Array) -> Array:
    """Return a product for each sample of a batch, or a single one."""
    if left.ndim == 2:
        return product(left, right)
    return np.stack([product(a, b) for a, b in zip(left, right, strict=True)])


def added(bias: Array, left: Array, right: Array, beta: float = 1, alpha: float = 1) -> Array:
    out = batched(left, right)
    out = out if alpha == 1 else out * alpha
    if beta == 0:
        return out
    stretched = np.broadcast_to(bias, out.shape)
    return with_bias(out, stretched if beta == 1 else stretched * beta)


def added_batches(bias: Array, left: Array, right: Array) -> Array:
    joined = product(np.concatenate(list(left), 1), np.concatenate(list(right), 0))
    return with_bias(joined, bias)


def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    rows = product(x.reshape(-1, x.shape[-1]), weight.T)
    out = rows.reshape(*x.shape[:-1], weight.shape[0])
    return out if bias is None else with_bias(out, bias)


def vector(matrix: Array, column: Array) -> Array:
    return product(matrix, column.reshape(-1, 1)).reshape(-1)


def dotted(left: Array, right: Array) -> Any:
    return product(left.reshape(1, -1), right.reshape(-1, 1))[0, 0]


def trilinear(x: Array, w: Array, y: Array) -> Array:
    """Return the product of nn.Bilinear: each term is x·w, then a MAC with y."""
    out = np.empty((x.shape[0], w.shape[0]), dtype=object)
    for n, k in np.ndindex(*out.shape):
        total: Any = 0.0
        for i, j in itertools.product(range(x.shape[1]), range(y.shape[1])):
            total = mac(total, x[n, i] * w[k, i, j], y[n, j])
        out[n, k] = total
    return out


def sparse_product(left: Array, right: Array) -> Array:
    """Multiply only stored values; zeros are recognised by their value, for free."""
    out = np.full((left.shape[0], right.shape[1]), 0.0, dtype=object)
    for i, k in np.ndindex(*left.shape):
        if left[i, k].value != 0:
            for j in range(right.shape[1]):
                out[i, j] = mac(out[i, j], left[i, k], right[k, j])
    return out


def holes(draw: Draw, rows: int, columns: int) -> torch.Tensor:
    return draw.x(rows, columns) * draw.i(2, rows, columns)


def scaled_product(a: Array, b: Array, sa: Array, sb: Array, bias: Array) -> Array:
    return with_bias(product(a, b) * sa * sb, bias)


def grouped(left: Array, right: Array, ends: Array) -> Array:
    rows = np.split(left, ends[:-1])
    return np.concatenate([product(a, b) for a, b in zip(rows, right, strict=True)])


def requantized(x: Array) -> Array:
    return rounded(x * 0.1)


class Packed:
    """Return weights packed for a quantized operator."""

    def __init__(self, weight: Any, bias: Any) -> None:
        self.weight, self.bias = weight, bias

    def unpack(self) -> tuple[Any, Any]:
        return self.weight, self.bias


def dynamic(x: Array, packed: Packed) -> Array:
    greatest(x)
    each(lambda v: v, minimum_of(x))
    quantized = rounded(x / 0.1)
    weight = numbers(packed.weight)
    return with_bias(linear(quantized, weight) * 0.01, numbers(packed.bias))


def minimum_of(x: Array) -> Array:
    flat = x.reshape(-1)
    least = flat[0]
    for value in flat[1:]:
        least = minimum(least, value)
    return np.asarray(least, dtype=object)


def numbers(tensor: torch.Tensor) -> Array:
    return lift(tensor)


def int4(x: Array, weight: Array, _group: int, scales: Array) -> Array:
    return product(x, weight * scales[0, 0, 0] + scales[0, 0, 1])


MATRICES = [
    case("mm", lambda d: (d.s(d.a, d.b), d.s(d.b, d.c)), product),
    case("matmul", lambda d: (d.s(d.d, d.a, d.b), d.s(d.d, d.b, d.c)), batched, exact=False),
    case("matmul", lambda d: (d.s(d.b), d.s(d.b)), dotted),
    case("mm", lambda d: (d.z(d.a, d.b), d.z(d.b, d.c)), product),
    case("mm", lambda d: (holes(d, d.a, d.b).to_sparse(), d.s(d.b, d.c)), sparse_product),
    case("bmm", lambda d: (d.s(d.d, d.a, d.b), d.s(d.d, d.b, d.c)), batched),
    case("addmm", lambda d: (d.s(d.c), d.s(d.a, d.b), d.s(d.b, d.c)), added),
    case("addmm", lambda d: (d.s(d.c), d.s(d.a, d.b), d.s(d.b, d.c)), added, beta=0),
    case("addmm", lambda d: (d.s(d.a, d.c), d.s(d.a, d.b), d.s(d.b, d.c)), added, beta=2, alpha=3),
    case("baddbmm", lambda d: (d.s(d.d, d.a, d.c), d.s(d.d, d.a, d.b), d.s(d.d, d.b, d.c)), added),
    case(
        "addbmm", lambda d: (d.s(d.a, d.c), d.s(d.d, d.a, d.b), d.s(d.d, d.b, d.c)), added_batches
    ),
    case(
        "addmv",
        lambda d: (d.s(d.a), d.s(d.a, d.b), d.s(d.b)),
        lambda c, m, v: with_bias(vector(m, v), c),
    ),
    case("mv", lambda d: (d.s(d.a, d.b), d.s(d.b)), vector),
    case(
        "addr",
        lambda d: (d.s(d.a, d.b), d.s(d.a), d.s(d.b)),
        lambda c, u, v: with_bias(product(u.reshape(-1, 1), v.reshape(1, -1)), c),
    ),
    case("dot", lambda d: (d.s(d.a), d.s(d.a)), dotted),
    case("linear", lambda d: (d.s(d.a, d.b, d.c), d.s(d.d, d.c), d.s(d.d)), linear),
    case("linear", lambda d: (d.s(d.a, d.c), d.s(d.d, d.c)), linear),
    case(
        "_trilinear",
        lambda d: (d.s(d.a, d.b), d.s(d.d, d.b, d.c), d.s(d.a, d.c), [1, 3], [0], [1, 2], [2, 3]),
        lambda x, w, y, *_o: trilinear(x, w, y),
    ),
    case("_int_mm", lambda d: (d.i(9, 32, 8).to(torch.int8), d.i(9, 8, 8).to(torch.int8)), product),
    case(
        "_addmm_activation",
        lambda d: (d.s(d.c), d.s(d.a, d.b), d.s(d.b, d.c)),
        lambda c, a, b: maximum(added(c, a, b), 0.0),
    ),
    case(
        "_addmm_activation",
        lambda d: (d.s(d.c), d.s(d.a, d.b), d.s(d.b, d.c)),
        lambda c, a, b, use_gelu: gelu(added(c, a, b)),  # noqa: ARG005 - the operator's own
        use_gelu=True,
        exact=False,
    ),
    imagined(
        "_scaled_mm",
        lambda a, b, *_o: a @ b,
        lambda d: (d.s(d.a, d.b), d.s(d.b, d.c), d.s(1), d.s(1), d.s(d.c)),
        scaled_product,
    ),
    imagined(
        "_weight_int8pack_mm",
        lambda x, w, _s: x @ w.T,
        lambda d: (d.s(d.a, d.b), d.s(d.c, d.b), d.s(d.c)),
        lambda x, w, s: linear(x, w) * s,
    ),
    imagined(
        "_weight_int4pack_mm",
        lambda x, w, *_o: x @ w,
        lambda d: (d.s(d.a, d.b), d.s(d.b, d.c), d.b, d.s(1, 1, 2)),
        int4,
    ),
    imagined(
        "_grouped_mm",
        lambda x, w, _e: x.new_empty(len(x), w.shape[-1]),
        lambda d: (d.s(2 * d.a, d.b), d.s(2, d.b, d.c), torch.tensor([d.a, 2 * d.a])),
        grouped,
    ),
    imagined(
        "quantized::linear",
        lambda x, p, *_o: x @ p.weight.T,
        lambda d: (d.s(d.a, d.b), Packed(d.s(d.c, d.b), d.s(d.c)), 1.0, 0),
        lambda x, p, *_o: requantized(linear(x, numbers(p.weight), numbers(p.bias))),
    ),
    imagined(
        "quantized::linear_dynamic",
        lambda x, p: x @ p.weight.T,
        lambda d: (d.s(d.a, d.b), Packed(d.s(d.c, d.b), d.s(d.c))),
        dynamic,
    ),
    imagined(
        "linear_backward",
        lambda x, *_o: x,
        lambda d: (d.s(d.a, d.b), d.s(d.a, d.c), d.s(d.c, d.b), (True, True, True)),
        lambda x, g, w, _m: (product(g, w), product(g.T, x), summed(g, 0)),
    ),
    imagined(
        "mkldnn_linear_backward_input",
        lambda *a: a[1],
        lambda d: ([d.a, d.b], d.s(d.a, d.c), d.s(d.c, d.b)),
        lambda _s, g, w: product(g, w),
    ),
    imagined(
        "mkldnn_linear_backward_weights",
        lambda *a: a[2],
        lambda d: (d.s(d.a, d.c), d.s(d.a, d.b), d.s(d.c, d.b), True),
        lambda g, x, _w, _b: (product(g.T, x), summed(g, 0)),
    ),
    imagined(
        "matmul_backward",
        lambda *a: a[1],
        lambda d: (d.s(d.a, d.c), d.s(d.a, d.b), d.s(d.b, d.c), (True, True)),
        lambda g, a, b, _m: (product(g, b.T), product(a.T, g)),
    ),
]


# -- convolutions ----------------------------------------------------------------------------------


def padded(x: Array, pads: Sequence[int]) -> Array:
    zero: Any = Pair(Num(0), Num(0)) if isinstance(x.reshape(-1)[0], Pair) else Num(0.0)
    sizes = [n + 2 * p for n, p in zip(x.shape[2:], pads, strict=True)]
    out = np.full((*x.shape[:2], *sizes), zero, dtype=object)
    middle = tuple(slice(p, p + n) for n, p in zip(x.shape[2:], pads, strict=True))
    out[spot(slice(None), slice(None), *middle)] = x
    return out


def convolved(
    x: Array,
    weight: Array,
    bias: Array | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int = 1,
) -> Array:
    """Convolve: each result is every weight of its group times the input under it."""
    x = padded(x, padding)
    kernel = weight.shape[2:]
    sizes = [
        (n - d * (k - 1) - 1) // s + 1
        for n, d, k, s in zip(x.shape[2:], dilation, kernel, stride, strict=True)
    ]
    out = np.empty((x.shape[0], weight.shape[0], *sizes), dtype=object)
    inside, outside = weight.shape[1], weight.shape[0] // groups
    for n, channel, *place in np.ndindex(*out.shape):
        first = channel // outside * inside
        total: Any = 0.0
        for i, *tap in np.ndindex(inside, *kernel):
            at = tuple(
                p * s + t * d for p, s, t, d in zip(place, stride, tap, dilation, strict=True)
            )
            total = mac(total, x[spot(n, first + i, *at)], weight[spot(channel, i, *tap)])
        out[spot(n, channel, *place)] = total
    return out if bias is None else with_bias(out, bias.reshape(-1, *[1] * len(kernel)))


def spread(
    x: Array,
    weight: Array,
    bias: Array | None,
    stride: Sequence[int],
    padding: Sequence[int],
    more: Sequence[int],
    groups: int = 1,
) -> Array:
    """Convolve transposed: add each input times every weight of its group; crop the border."""
    kernel = weight.shape[2:]
    sizes = [
        (n - 1) * s + k + m for n, s, k, m in zip(x.shape[2:], stride, kernel, more, strict=True)
    ]
    outside, inside = weight.shape[1], x.shape[1] // groups
    out = np.full((x.shape[0], outside * groups, *sizes), 0.0, dtype=object)
    for n, channel, *place in np.ndindex(*x.shape):
        first = channel // inside * outside
        for o, *tap in np.ndindex(outside, *kernel):
            at = (n, first + o, *(p * s + t for p, s, t in zip(place, stride, tap, strict=True)))
            out[at] = mac(out[at], x[spot(n, channel, *place)], weight[spot(channel, o, *tap)])
    cut = tuple(slice(p, n - p) for p, n in zip(padding, sizes, strict=True))
    out = out[spot(slice(None), slice(None), *cut)]
    return out if bias is None else with_bias(out, bias.reshape(-1, *[1] * len(kernel)))


def convolution(
    x: Array, w: Array, b: Any, s: Any, p: Any, d: Any, transposed: object, more: Any, groups: int
) -> Array:
    if transposed:
        return spread(x, w, b, s, p, more, groups)
    return convolved(x, w, b, s, p, d, groups)


def image(draw: Draw, dims: int, *, groups: int = 1, bias: bool = True) -> tuple[Any, ...]:
    """Return input, weight and bias."""
    channels, out = groups * draw.a, groups * draw.b
    space, kernel = [draw.c + 2] * dims, [min(draw.d, 3)] * dims
    weight = draw.s(out, draw.a, *kernel)
    return draw.s(1 + draw.a % 2, channels, *space), weight, draw.s(out) if bias else None


def convolving(
    dims: int, *, groups: int = 1, bias: bool = True, stride: int = 1, dilation: int = 1
) -> Callable[[Draw], tuple[Any, ...]]:
    def arguments(draw: Draw) -> tuple[Any, ...]:
        x, w, b = image(draw, dims, groups=groups, bias=bias)
        options = ([stride] * dims, [2] * dims, [dilation] * dims, False, [0] * dims, groups)
        return x, w, b, *options

    return arguments


def spreading(dims: int, *, groups: int = 1) -> Callable[[Draw], tuple[Any, ...]]:
    def arguments(draw: Draw) -> tuple[Any, ...]:
        x = draw.s(1, groups * draw.a, *[draw.c] * dims)
        w = draw.s(groups * draw.a, draw.b, *[min(draw.d, 3)] * dims)
        options = ([2] * dims, [0] * dims, [1] * dims, True, [1] * dims, groups)
        return x, w, draw.s(groups * draw.b), *options

    return arguments


def slow(draw: Draw) -> tuple[Any, ...]:
    x, w, b = image(draw, 2)
    return x, w, list(w.shape[2:]), b, [1, 1], [1, 1]


def backward(g: Array, x: Array, w: Array, *_options: Any) -> tuple[Array, Array, Array]:
    """Return the gradients of a convolution without padding; each forward product occurs twice."""
    dx = np.full(x.shape, 0.0, dtype=object)
    dw = np.full(w.shape, 0.0, dtype=object)
    for n, o, *place in np.ndindex(*g.shape):
        for i, *tap in np.ndindex(*w.shape[1:]):
            at = (n, i, *(p + t for p, t in zip(place, tap, strict=True)))
            gradient = g[spot(n, o, *place)]
            dx[at] = mac(dx[at], gradient, w[spot(o, i, *tap)])
            dw[spot(o, i, *tap)] = mac(dw[spot(o, i, *tap)], gradient, x[at])
    return dx, dw, summed(g, [0, *range(2, g.ndim)])


def backward_arguments(draw: Draw) -> tuple[Any, ...]:
    x, w, b = image(draw, 2)
    grad = torch.rand_like(torch.nn.functional.conv2d(x, w))
    options = ([1, 1], [0, 0], [1, 1], False, [0, 0], 1, [True, True, True])
    return grad, x, w, [len(b)], *options


def quantized_image(draw: Draw) -> tuple[Any, ...]:
    x, w, b = image(draw, 2)
    return x, Packed(w, b), 1.0, 0


def quantized_spread(draw: Draw) -> tuple[Any, ...]:
    x, w, b, *_ = spreading(2)(draw)
    return x, Packed(w, b), 1.0, 0


def complex_image(draw: Draw) -> tuple[Any, ...]:
    x, w, b = draw.z(1, draw.a, 3), draw.z(draw.b, draw.a, 2), draw.z(draw.b)
    return x, w, b, [1], [0], [1], False, [0], 1


def _complex_result(x: torch.Tensor, w: torch.Tensor, *_options: Any) -> torch.Tensor:
    return x.new_empty(1, len(w), 2)


def _slow_spread(draw: Draw) -> tuple[Any, ...]:
    x, w, b, *_ = spreading(2)(draw)
    return x, w, list(w.shape[2:]), b


ONE, NONE = [1, 1], [0, 0]
conv2d = torch.nn.functional.conv2d


def plain(x: Array, w: Array, bias: Array | None = None) -> Array:
    return convolved(x, w, bias, ONE, NONE, ONE)


CONVOLUTIONS = [
    case("convolution", convolving(1, groups=2), convolution),
    case("convolution", convolving(2, stride=2), convolution),
    case("convolution", convolving(2, bias=False, dilation=2), convolution),
    case("convolution", convolving(3), convolution),
    imagined("convolution", _complex_result, complex_image, convolution),
    case("convolution", spreading(1, groups=2), convolution),
    case("convolution", spreading(2), convolution),
    case("_slow_conv2d_forward", slow, lambda x, w, _k, b, s, p: convolved(x, w, b, s, p, ONE)),
    case(
        "mkldnn_convolution",
        lambda d: (*(t.float() for t in image(d, 2)), ONE, ONE, ONE, 1),
        lambda x, w, b, p, s, d, g: convolved(x, w, b, s, p, d, g),
        exact=False,
    ),
    imagined("cudnn_convolution", lambda x, w, *_o: conv2d(x, w), lambda d: image(d, 2)[:2], plain),
    imagined(
        "cudnn_convolution_relu",
        conv2d,
        lambda d: image(d, 2),
        lambda x, w, b: maximum(plain(x, w, b), 0.0),
    ),
    imagined(
        "cudnn_convolution_add_relu",
        lambda x, w, *_o: conv2d(x, w),
        lambda d: (*image(d, 2)[:2], d.s(1), 2.0, image(d, 2)[2]),
        lambda x, w, z, a, b: maximum(_and_scaled(plain(x, w, b), z, a), 0.0),
    ),
    case(
        "conv_transpose2d.input",
        lambda d: (*spreading(2)(d)[:3], [2, 2]),
        lambda x, w, b, s: spread(x, w, b, s, NONE, NONE),
    ),
    imagined(
        "slow_conv_transpose2d",
        lambda x, w, _k, b: torch.nn.functional.conv_transpose2d(x, w, b),
        _slow_spread,
        lambda x, w, _k, b: spread(x, w, b, ONE, NONE, NONE),
    ),
    imagined(
        "cudnn_convolution_transpose",
        torch.nn.functional.conv_transpose2d,
        lambda d: spreading(2)(d)[:2],
        lambda x, w: spread(x, w, None, ONE, NONE, NONE),
    ),
    case(
        "conv_tbc",
        lambda d: (d.s(d.a + 2, d.b, d.c), d.s(2, d.c, d.d), d.s(d.d)),
        lambda x, w, b: convolved(
            x.transpose(1, 2, 0), w.transpose(2, 1, 0), b, [1], [0], [1]
        ).transpose(2, 0, 1),
    ),
    imagined(
        "quantized::conv2d",
        lambda x, p, *_o: conv2d(x, p.weight),
        quantized_image,
        lambda x, p, *_o: requantized(plain(x, numbers(p.weight), numbers(p.bias))),
    ),
    imagined(
        "quantized::conv_transpose2d",
        lambda x, p, *_o: torch.nn.functional.conv_transpose2d(x, p.weight),
        quantized_spread,
        lambda x, p, *_o: requantized(
            spread(x, numbers(p.weight), numbers(p.bias), ONE, NONE, NONE)
        ),
    ),
    case("convolution_backward", backward_arguments, backward, part=3),
]


def _and_scaled(out: Array, other: Array, alpha: float) -> Array:
    return out + np.broadcast_to(other, out.shape) * alpha


CASES: list[Case] = [*MATRICES, *CONVOLUTIONS]
