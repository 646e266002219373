"""Proofs of products: matrices, convolutions, attention, recurrent layers; and their gradients."""

# ruff: noqa: PLR0913, PLR0917 - a definition takes what its operator takes

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
    Pair,
    aten,
    case,
    each,
    exp,
    greatest,
    imagined,
    mac,
    maximum,
    minimum,
    product,
    rounded,
    spot,
    summed,
    tanh,
    with_bias,
)
from tests.scalar_elementwise import gelu, sigmoid

# -- matrices --------------------------------------------------------------------------------------


def batched(left: Array, right: Array) -> Array:
    """A product for each of a batch, or one."""
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
    """As nn.Bilinear asks for it: each term is x·w, and then a MAC with y."""
    out = np.empty((x.shape[0], w.shape[0]), dtype=object)
    for n, k in np.ndindex(*out.shape):
        total: Any = 0.0
        for i, j in itertools.product(range(x.shape[1]), range(y.shape[1])):
            total = mac(total, x[n, i] * w[k, i, j], y[n, j])
        out[n, k] = total
    return out


def sparse_product(left: Array, right: Array) -> Array:
    """Only what is there is multiplied: zeros are told by their value, for free."""
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
    """Weights as a quantized operator takes them."""

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
    from tests.scalar import lift

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
    from tests.scalar import Num

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
    """Each result: every weight of its group times the input under it."""
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
    """Each input times every weight of its group, added where it belongs; the border is cut off."""
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
    """Input, weight and bias."""
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
    """Of a convolution without padding: each product of the forward pass is met twice."""
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


# -- attention -------------------------------------------------------------------------------------


def softmax(x: Array, axis: int = -1) -> Array:
    top = np.expand_dims(greatest(x, axis), axis)
    grown = exp(x - top)
    return grown / np.expand_dims(summed(grown, axis), axis)


def attend(
    q: Array, k: Array, v: Array, mask: Array | None = None, scale: float | None = None
) -> Array:
    """One head after the other; groups of query heads share keys and values."""
    groups = q.shape[-3] // k.shape[-3]
    factor = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    out = np.empty((*q.shape[:-1], v.shape[-1]), dtype=object)
    for n, h in np.ndindex(*q.shape[:2]):
        scores = product(q[n, h], k[n, h // groups].T)
        scores = scores if factor == 1 and scale is not None else scores * factor
        scores = scores if mask is None else scores + np.broadcast_to(mask, scores.shape)
        out[n, h] = product(softmax(scores), v[n, h // groups])
    return out


def heads(draw: Draw, *, groups: int = 1) -> tuple[Any, ...]:
    keys = draw.c + 1
    return (
        draw.s(draw.a, groups * draw.b, draw.d, 4),
        draw.s(draw.a, draw.b, keys, 4),
        draw.s(draw.a, draw.b, keys, 4),
    )


def flash(
    q: Array, k: Array, v: Array, *_o: Any, attn_mask: Any = None, scale: Any = None
) -> Array:
    return attend(q, k, v, attn_mask, scale)


def sdpa_gradients(g: Array, q: Array, k: Array, v: Array, *_o: Any) -> tuple[Array, ...]:
    """From the probabilities, which the forward pass had."""
    from tests.scalar import TALLY

    factor = 1 / math.sqrt(q.shape[-1])
    out = [np.empty(t.shape, dtype=object) for t in (q, k, v)]
    for at in np.ndindex(*q.shape[:2]):
        p = softmax(product(q[at], k[at].T) * factor)
        TALLY.clear() if at == (0, 0) else _forget(p, q[at])
        dp = product(g[at], v[at].T)
        weighted = dp * p
        ds = (weighted - p_times(p, weighted)) * factor
        out[0][at], out[1][at] = product(ds, k[at]), product(ds.T, q[at])
        out[2][at] = product(p.T, g[at])
    return tuple(out)


def p_times(p: Array, weighted: Array) -> Array:
    return p * np.expand_dims(summed(weighted, -1), -1)


def _forget(p: Array, q: Array) -> None:
    """The forward pass is not part of the gradient."""
    from tests.scalar import TALLY

    rows, keys = p.shape
    spent = {
        "macs": p.size * q.shape[-1],
        "muls": p.size,
        "comparisons": p.size - rows,
        "adds": p.size + rows * (keys - 1),
        "elementary": p.size,
        "divs": p.size,
    }
    TALLY.subtract(spent)


def sdpa_backward_arguments(draw: Draw) -> tuple[Any, ...]:
    q, k, v = heads(draw)
    out, lse = aten("_scaled_dot_product_flash_attention_for_cpu")(q, k, v)[:2]
    return torch.rand_like(out), q, k, v, out, lse, 0.0, False


def multi_head(
    x: Array, k: Array, v: Array, embed: int, count: int, w: Array, b: Array, wo: Array, bo: Array
) -> tuple[Array, Array]:
    parts = [
        linear(t, weight, bias)
        for t, weight, bias in zip((x, k, v), np.split(w, 3), np.split(b, 3), strict=True)
    ]
    split = [t.reshape(*t.shape[:2], count, embed // count).transpose(0, 2, 1, 3) for t in parts]
    scores = np.stack([batched(q, m.transpose(0, 2, 1)) for q, m in zip(*split[:2], strict=True)])
    weights = softmax(scores * (1 / math.sqrt(embed // count)))
    mixed = np.stack([batched(p, m) for p, m in zip(weights, split[2], strict=True)])
    joined = mixed.transpose(0, 2, 1, 3).reshape(x.shape)
    return linear(joined, wo, bo), weights


def native(*args: Any) -> tuple[Array, Array]:
    out, weights = multi_head(*args[:9])
    return out, summed(weights, 1) / weights.shape[1]


def native_arguments(draw: Draw) -> tuple[Any, ...]:
    embed = 2 * draw.d
    x = draw.s(draw.a, draw.b, embed)
    square = draw.s(embed, embed)
    return x, x, x, embed, 2, draw.s(3 * embed, embed), draw.s(3 * embed), square, draw.s(embed)


def normalised(x: Array, weight: Array, bias: Array, eps: float) -> Array:
    from tests.scalar_layers import layer_norm

    return layer_norm(x, [x.shape[-1]], weight, bias, eps)


def encoder_layer(*a: Any) -> Array:
    """Attention, sum, norm, feed-forward, sum, norm."""
    x, embed, count = a[:3]
    attended, _ = multi_head(x, x, x, embed, count, *a[3:7])
    x = normalised(x + attended, a[10], a[11], a[9])
    hidden = linear(x, a[14], a[15])
    hidden = gelu(hidden) if a[7] else maximum(hidden, 0.0)
    return normalised(x + linear(hidden, a[16], a[17]), a[12], a[13], a[9])


def encoder_arguments(gelu_used: object) -> Callable[[Draw], tuple[Any, ...]]:
    def arguments(draw: Draw) -> tuple[Any, ...]:
        x, _, _, embed, count, *weights = native_arguments(draw)
        norms = [draw.s(embed) for _ in range(4)]
        hidden = draw.c
        feed = [draw.s(hidden, embed), draw.s(hidden), draw.s(embed, hidden), draw.s(embed)]
        return x, embed, count, *weights, bool(gelu_used), False, 1e-5, *norms, *feed

    return arguments


def laid_out(x: Array) -> Array:
    return x.transpose(0, 2, 1, 3)


def packed_heads(draw: Draw) -> tuple[Any, ...]:
    ends = torch.tensor([0, draw.a, draw.a + draw.b])
    tokens = [draw.s(draw.a + draw.b, 2, 4) for _ in range(3)]
    return *tokens, ends, ends, 4, 4, 0.0, True, False


def packed_attention(q: Array, k: Array, v: Array, ends: Array, *_o: Any) -> None:
    for start, end in itertools.pairwise(ends):
        one = [t[start:end].transpose(1, 0, 2)[None] for t in (q, k, v)]
        attend(*one)


def rescaled(qkv: Array, bias: Array, count: int) -> tuple[Array, ...]:
    q, k, v = np.split(with_bias(qkv, bias), 3, axis=-1)
    width = q.shape[-1] // count
    parts = [q * (1 / math.sqrt(width)), k, v]
    return tuple(t.reshape(*t.shape[:2], count, width).transpose(0, 2, 1, 3) for t in parts)


ATTENTION = [
    case("_scaled_dot_product_flash_attention_for_cpu", heads, flash),
    case("_scaled_dot_product_flash_attention_for_cpu", heads, flash, scale=1.0),
    case("_scaled_dot_product_flash_attention_for_cpu", heads, flash, scale=0.3),
    imagined(
        "_scaled_dot_product_flash_attention_for_cpu",
        lambda q, *_o, **_k: q,
        heads,
        flash,
        attn_mask=torch.rand(1, 1),
    ),
    case("_scaled_dot_product_attention_math", heads, flash),
    case(
        "_scaled_dot_product_attention_math",
        lambda d: heads(d, groups=2),
        lambda q, k, v, **_o: attend(q, k, v),
        enable_gqa=True,
    ),
    imagined(
        "_scaled_dot_product_efficient_attention",
        lambda q, *_o: q,
        lambda d: (*heads(d), d.s(1, 1), False),
        lambda q, k, v, m, _l: attend(q, k, v, m),
    ),
    imagined(
        "_flash_attention_forward",
        lambda q, *_o: q,
        lambda d: (
            *(t.transpose(1, 2) for t in heads(d)),
            None,
            None,
            1,
            1,
            0.0,
            False,
            False,
        ),
        lambda q, k, v, *_o: attend(*map(laid_out, (q, k, v))),
    ),
    imagined("_flash_attention_forward", lambda q, *_o: q, packed_heads, packed_attention),
    imagined(
        "_efficient_attention_forward",
        lambda q, *_o: q,
        lambda d: (
            *(t.transpose(1, 2) for t in heads(d)),
            d.s(1, 1),
            None,
            None,
            1,
            1,
            0.0,
            0,
        ),
        lambda q, k, v, m, *_o: attend(laid_out(q), laid_out(k), laid_out(v), m),
    ),
    case(
        "_scaled_dot_product_flash_attention_for_cpu_backward",
        sdpa_backward_arguments,
        sdpa_gradients,
        part=3,
    ),
    case("_native_multi_head_attention", native_arguments, native, exact=False),
    case(
        "_transformer_encoder_layer_fwd",
        encoder_arguments(gelu_used=True),
        encoder_layer,
        exact=False,
    ),
    case(
        "_transformer_encoder_layer_fwd",
        encoder_arguments(gelu_used=False),
        encoder_layer,
        exact=False,
    ),
    case(
        "_transform_bias_rescale_qkv",
        lambda d: (d.s(d.a, d.b, 6 * d.c), d.s(6 * d.c), 2),
        rescaled,
        part=3,
    ),
]


# -- recurrent layers ------------------------------------------------------------------------------


def lstm_gates(gates: Array, c: Array) -> tuple[Array, Array]:
    i, f, g, o = np.split(gates, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(c), c


def gru_gates(gi: Array, gh: Array, h: Array) -> Array:
    ir, iz, i_n = np.split(gi, 3, axis=-1)
    hr, hz, hn = np.split(gh, 3, axis=-1)
    r, z = sigmoid(ir + hr), sigmoid(iz + hz)
    n = tanh(i_n + r * hn)
    return n + z * (h - n)


Step = Callable[[Array, Array, Any], tuple[Array, Any]]


def lstm_step(gi: Array, gh: Array, state: Any) -> tuple[Array, Any]:
    h, c = lstm_gates(gi + gh, state[1])
    return h, (h, c)


def plain_step(kind: Callable[[Array], Array]) -> Step:
    def step(gi: Array, gh: Array, _state: Any) -> tuple[Array, Any]:
        h = kind(gi + gh)
        return h, (h,)

    return step


def gru_step(gi: Array, gh: Array, state: Any) -> tuple[Array, Any]:
    h = gru_gates(gi, gh, state[0])
    return h, (h,)


STEPS: dict[str, Step] = {
    "lstm": lstm_step,
    "gru": gru_step,
    "rnn_tanh": plain_step(tanh),
    "rnn_relu": plain_step(lambda x: maximum(x, 0.0)),
}


def run_direction(cell: str, x: Array, weights: Sequence[Array], states: Sequence[Array]) -> Array:
    """x: steps, batch, width. weights: two, two biases or none, a projection or none."""
    biased_ = len(weights) >= 4
    projection = weights[-1] if len(weights) in (3, 5) else None
    outs, state = [], tuple(states)
    for step in x:
        gi = linear(step, weights[0], weights[2] if biased_ else None)
        gh = linear(state[0], weights[1], weights[3] if biased_ else None)
        h, state = STEPS[cell](gi, gh, state)
        if projection is not None:
            h = linear(h, projection)
            state = (h, *state[1:])
        outs.append(h)
    return np.stack(outs)


def run_layers(cell: str, x: Array, weights: Sequence[Array], states: Array, both: object) -> Array:
    """All layers; `states` holds one state for each direction of each layer."""
    directions = 2 if both else 1
    per = len(weights) // len(states[0])
    for at in range(0, len(states[0]), directions):
        outs = []
        for turned in range(directions):
            mine = weights[(at + turned) * per : (at + turned + 1) * per]
            start = [s[at + turned] for s in states]
            order = x[::-1] if turned else x
            out = run_direction(cell, order, mine, start)
            outs.append(out[::-1] if turned else out)
        x = np.concatenate(outs, axis=-1)
    return x


def stack(
    draw: Draw,
    gates: int,
    *,
    layers: int = 2,
    both: bool = True,
    bias: bool = True,
    projection: int = 0,
) -> tuple[Any, ...]:
    """Data, states and flat weights of a layer of width 3."""
    hidden, directions, fed = 3, 2 if both else 1, projection or 3
    weights = []
    for layer in range(layers):
        width = directions * fed if layer else draw.c
        for _ in range(directions):
            weights += [draw.s(gates * hidden, width), draw.s(gates * hidden, fed)]
            weights += [draw.s(gates * hidden)] * 2 if bias else []
            weights += [draw.s(projection, hidden)] if projection else []
    data = draw.s(draw.a, draw.b, draw.c)
    states = [draw.s(layers * directions, draw.b, fed)]
    states += [draw.s(layers * directions, draw.b, hidden)] if gates == 4 else []
    return data, states, weights


def mkldnn_arguments(draw: Draw) -> tuple[Any, ...]:
    x, states, weights = stack(draw, 4, layers=1, both=False)
    h, c = (s[0].float() for s in states)
    options: tuple[Any, ...] = (False, [], 2, 3, 1, True, False, False, False)
    return x.float(), *(w.float() for w in weights), h, c, *options


def cudnn_arguments(draw: Draw) -> tuple[Any, ...]:
    x, (h, c), weights = stack(draw, 4, projection=2)
    return x, weights, 5, None, h, c, 2, 3, 2, 2, False, 0.0, False, True, [], None


def miopen_arguments(draw: Draw) -> tuple[Any, ...]:
    x, (h,), weights = stack(draw, 3, bias=False)
    return x, weights, 2, h, None, 3, 3, 2, False, 0.0, False, True, [], None


def mps_arguments(draw: Draw) -> tuple[Any, ...]:
    x, states, weights = stack(draw, 4)
    return x, states, weights, True, 2, 0.0, False, True, False


def fused_lstm(
    gi: Array, gh: Array, c: Array, bi: Any = None, bh: Any = None
) -> tuple[Array, Array]:
    gi, gh = (g if b is None else with_bias(g, b) for g, b in ((gi, bi), (gh, bh)))
    return lstm_gates(gi + gh, c)


def fused_gru(gi: Array, gh: Array, h: Array, bi: Any = None, bh: Any = None) -> Array:
    gi, gh = (g if b is None else with_bias(g, b) for g, b in ((gi, bi), (gh, bh)))
    return gru_gates(gi, gh, h)


def gates_of(count: int, *, bias: bool) -> Callable[[Draw], tuple[Any, ...]]:
    def arguments(draw: Draw) -> tuple[Any, ...]:
        wide = count * draw.b
        biases = (draw.s(wide), draw.s(wide)) if bias else ()
        return draw.s(draw.a, wide), draw.s(draw.a, wide), draw.s(draw.a, draw.b), *biases

    return arguments


def lstm_gradients(
    dh: Array, dc: Array, c: Array, c_new: Array, gates: Array, bias: object
) -> tuple[Array, ...]:
    i, f, g, o = np.split(gates, 4, axis=-1)
    t = tanh(c_new)
    dc = dc + dh * o * (1 - t * t)
    parts = [
        dc * g * i * (1 - i),
        dc * c * f * (1 - f),
        dc * i * (1 - g * g),
        dh * t * o * (1 - o),
    ]
    joined = np.concatenate(parts, axis=-1)
    return joined, dc * f, summed(joined, 0) if bias else joined


def gru_gradients(dh: Array, saved: Array, bias: object) -> tuple[Array, ...]:
    r, z, n, h, u = np.split(saved, 5, axis=-1)
    dn = dh * (1 - z) * (1 - n * n)
    dz = dh * (h - n) * z * (1 - z)
    dr = dn * u * r * (1 - r)
    inputs = np.concatenate([dr, dz, dn], axis=-1)
    hidden = np.concatenate([dr, dz, dn * r], axis=-1)
    sums = [summed(inputs, 0), summed(hidden, 0)] if bias else []
    return inputs, hidden, dh * z, *sums


RECURRENT = [
    case(
        "mkldnn_rnn_layer", mkldnn_arguments, lambda x, *a: run_direction("lstm", x, a[:4], a[4:6])
    ),
    imagined(
        "_cudnn_rnn",
        lambda x, *_o: x,
        cudnn_arguments,
        lambda x, w, _s, _b, h, c, *_o: run_layers("lstm", x, w, (h, c), both=True),
    ),
    imagined(
        "miopen_rnn",
        lambda x, *_o: x,
        miopen_arguments,
        lambda x, w, _s, h, *_o: run_layers("gru", x, w, (h,), both=True),
    ),
    imagined(
        "_lstm_mps",
        lambda x, *_o: x,
        mps_arguments,
        lambda x, s, w, *_o: run_layers("lstm", x, w, s, both=True),
    ),
    imagined("_thnn_fused_lstm_cell", lambda *a: a[2], gates_of(4, bias=True), fused_lstm),
    imagined("_thnn_fused_lstm_cell", lambda *a: a[2], gates_of(4, bias=False), fused_lstm),
    imagined("_thnn_fused_gru_cell", lambda *a: a[2], gates_of(3, bias=True), fused_gru),
    imagined(
        "_thnn_fused_lstm_cell_backward_impl",
        lambda *a: a[2],
        lambda d: (*(d.s(d.a, d.b) for _ in range(4)), d.x(d.a, 4 * d.b), True),
        lstm_gradients,
    ),
    imagined(
        "_thnn_fused_gru_cell_backward",
        lambda *a: a[0],
        lambda d: (d.s(d.a, d.b), d.x(d.a, 5 * d.b), True),
        gru_gradients,
    ),
]

CASES: list[Case] = [*MATRICES, *CONVOLUTIONS, *ATTENTION, *RECURRENT]
