"""Proofs of attention and recurrent layers, and their gradients."""

# ruff: noqa: PLR0913, PLR0917 - a definition takes what its operator takes

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from tests.support.oracle.elementwise import gelu, sigmoid
from tests.support.oracle.norms import layer_norm, softmax
from tests.support.oracle.products import batched, linear
from tests.support.oracle.scalar import (
    TALLY,
    Array,
    Case,
    Draw,
    aten,
    case,
    imagined,
    maximum,
    product,
    summed,
    tanh,
    with_bias,
)

# -- attention -------------------------------------------------------------------------------------


def attend(
    q: Array, k: Array, v: Array, mask: Array | None = None, scale: float | None = None
) -> Array:
    """Attend one head after another; groups of query heads share keys and values."""
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
    """Return the gradients from the probabilities of the forward pass."""
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
    """Return the gradients without counting the forward pass."""
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
    """Run one direction; x is steps, batch, width; biases and projection are optional."""
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
    """Run all layers; `states` has one state for each direction of each layer."""
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
    """Return data, states and flat weights of a layer of width 3."""
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


CASES: list[Case] = [*ATTENTION, *RECURRENT]
