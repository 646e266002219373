"""Attention: the function, the layer, transformer layers, and attention written by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flopaudit.probes.definition import (
    Case,
    Make,
    Probe,
    cut,
    function,
    layer,
)

# Batch, heads, queries, keys, features of a head.
_SIZES = ((1, 2, 3, 5, 4), (2, 3, 4, 3, 2), (1, 5, 7, 2, 3), (3, 2, 5, 6, 5), (2, 1, 6, 4, 7),
          (1, 4, 2, 7, 6))  # fmt: skip
_SELF = [cut((b, h, s, e)) for b, h, s, _, e in _SIZES]
_CROSS = [cut((b, h, n, e), (b, h, s, e), (b, h, s, e)) for b, h, n, s, e in _SIZES]
_WIDE = [cut((b, h, n, e), (b, h, s, e), (b, h, s, e + 3)) for b, h, n, s, e in _SIZES]
_MASKED = [cut((b, h, n, e), (b, h, s, e), (b, h, s, e), (n, s)) for b, h, n, s, e in _SIZES]
_THREE_D = [cut((b * h, n, e), (b * h, s, e), (b * h, s, e)) for b, h, n, s, e in _SIZES]
_GROUPED = [cut((b, 2 * h, n, e), (b, h, s, e), (b, h, s, e)) for b, h, n, s, e in _SIZES]


def _sdpa(torch: Any, q: Any, k: Any, v: Any, *more: Any, **options: Any) -> Any:
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, *more, **options)


def _sdpa_in(guard: str) -> Make:
    def call(torch: Any, q: Any, k: Any, v: Any) -> Any:
        with getattr(torch, guard)():
            return _sdpa(torch, q, k, v)

    return call


def _by_hand(torch: Any, q: Any, k: Any, v: Any) -> Any:
    del torch
    scores = (q @ k.transpose(-2, -1)) * q.shape[-1] ** -0.5
    return scores.softmax(dim=-1) @ v


def _by_functions(torch: Any, q: Any, k: Any, v: Any) -> Any:
    scores = torch.matmul(q, k.transpose(-2, -1)) / q.shape[-1] ** 0.5
    return torch.matmul(torch.nn.functional.softmax(scores, dim=-1), v)


def _by_einsum(torch: Any, q: Any, k: Any, v: Any) -> Any:
    scores = torch.einsum("bhne,bhse->bhns", q, k) * q.shape[-1] ** -0.5
    return torch.einsum("bhns,bhse->bhne", scores.softmax(-1), v)


def _by_bmm(torch: Any, q: Any, k: Any, v: Any) -> Any:
    scores = torch.bmm(q, k.transpose(1, 2))
    return torch.bmm(torch.softmax(scores, -1), v)


_FUNCTIONS: dict[str, tuple[str, Make, list[Case]]] = {
    "sdpa_function": ("scaled_dot_product_attention", _sdpa, _CROSS),
    "sdpa_function_self": (
        "scaled_dot_product_attention of one tensor",
        lambda torch, x: _sdpa(torch, x, x, x),
        _SELF,
    ),
    "sdpa_wide_values": (
        "scaled_dot_product_attention with longer values than keys",
        _sdpa,
        _WIDE,
    ),
    "sdpa_3d": ("scaled_dot_product_attention of 3-D stacks", _sdpa, _THREE_D),
    "sdpa_mask": ("scaled_dot_product_attention with a mask of floats", _sdpa, _MASKED),
    "sdpa_mask_bool": (
        "scaled_dot_product_attention with a mask of booleans",
        lambda torch, q, k, v, m: _sdpa(torch, q, k, v, m >= 0),
        _MASKED,
    ),
    "sdpa_causal": (
        "scaled_dot_product_attention, causal",
        lambda torch, q, k, v: _sdpa(torch, q, k, v, is_causal=True),
        _CROSS,
    ),
    "sdpa_scale": (
        "scaled_dot_product_attention with a scale of its own",
        lambda torch, q, k, v: _sdpa(torch, q, k, v, scale=0.5),
        _CROSS,
    ),
    "sdpa_dropout0": (
        "scaled_dot_product_attention with dropout_p=0",
        lambda torch, q, k, v: _sdpa(torch, q, k, v, dropout_p=0.0),
        _CROSS,
    ),
    "sdpa_grouped": (
        "scaled_dot_product_attention, two query heads to one of keys",
        lambda torch, q, k, v: _sdpa(torch, q, k, v, enable_gqa=True),
        _GROUPED,
    ),
    "sdpa_no_grad": ("scaled_dot_product_attention in no_grad", _sdpa_in("no_grad"), _CROSS),
    "sdpa_inference_mode": (
        "scaled_dot_product_attention in inference_mode",
        _sdpa_in("inference_mode"),
        _CROSS,
    ),
    "by_hand_operators": ("softmax(q @ k.T * scale) @ v", _by_hand, _CROSS),
    "by_hand_functions": (
        "attention by torch.matmul and functional.softmax",
        _by_functions,
        _CROSS,
    ),
    "by_hand_einsum": ("attention by two einsums", _by_einsum, _CROSS),
    "by_hand_bmm": ("attention by torch.bmm and torch.softmax", _by_bmm, _THREE_D),
}

# Batch, queries, keys, features, heads.
_LAYERS = ((2, 3, 5, 4, 2), (1, 4, 3, 6, 3), (3, 5, 2, 4, 1), (2, 2, 7, 10, 5), (1, 6, 4, 8, 2),
           (3, 7, 6, 6, 2))  # fmt: skip


def _self_cases(*, batch_first: bool) -> list[Case]:
    return [cut((b, n, e) if batch_first else (n, b, e), sizes=(e, h)) for b, n, _, e, h in _LAYERS]


def _cross_cases(*, batch_first: bool) -> list[Case]:
    return [
        cut(*((b, n, e), (b, s, e)) if batch_first else ((n, b, e), (s, b, e)), sizes=(e, h))
        for b, n, s, e, h in _LAYERS
    ]


def _attention(**options: Any) -> Make:
    return lambda torch, features, heads: torch.nn.MultiheadAttention(features, heads, **options)


def _attends(**options: Any) -> Make:
    """Return a call of attention: self-attention on one tensor, or from one to another."""

    def call(torch: Any, attention: Any, x: Any, other: Any = None) -> Any:
        del torch
        other = x if other is None else other
        return attention(x, other, other, **options)[0]

    return call


def _attends_in(guard: str) -> Make:
    def call(torch: Any, attention: Any, x: Any) -> Any:
        with getattr(torch, guard)():
            return attention(x, x, x, need_weights=False)[0]

    return call


def _multihead() -> Iterator[Probe]:
    for first in (True, False):
        for weights in (True, False):
            for to, cases in (("self", _self_cases), ("cross", _cross_cases)):
                key = f"{'batch_first_' if first else ''}{'weights' if weights else 'no_weights'}"
                yield layer(
                    f"attention/multihead_{to}_{key}",
                    f"MultiheadAttention, {to}, {key.replace('_', ' ')}",
                    _attention(batch_first=first),
                    cases(batch_first=first),
                    call=_attends(need_weights=weights),
                )


_SELF_FIRST = _self_cases(batch_first=True)
_MULTIHEAD: dict[str, tuple[str, Make, list[Case], Make]] = {
    "no_bias": (
        "without bias",
        _attention(bias=False, batch_first=True),
        _SELF_FIRST,
        _attends(need_weights=False),
    ),
    "bias_kv": (
        "with a bias of keys and values",
        _attention(add_bias_kv=True, batch_first=True),
        _SELF_FIRST,
        _attends(need_weights=False),
    ),
    "zero_attention": (
        "with a key of zeros added",
        _attention(add_zero_attn=True, batch_first=True),
        _SELF_FIRST,
        _attends(need_weights=False),
    ),
    "weights_of_each_head": (
        "whose weights are not averaged",
        _attention(batch_first=True),
        _SELF_FIRST,
        _attends(average_attn_weights=False),
    ),
    "no_grad": ("in no_grad", _attention(batch_first=True), _SELF_FIRST, _attends_in("no_grad")),
    "inference_mode": (
        "in inference_mode",
        _attention(batch_first=True),
        _SELF_FIRST,
        _attends_in("inference_mode"),
    ),
    "kdim_vdim": (
        "whose keys and values have other sizes",
        lambda torch, features, heads, keys, values: torch.nn.MultiheadAttention(
            features, heads, kdim=keys, vdim=values, batch_first=True
        ),
        [
            cut((b, n, e), (b, s, e + 1), (b, s, e + 2), sizes=(e, h, e + 1, e + 2))
            for b, n, s, e, h in _LAYERS
        ],
        lambda torch, attention, q, k, v: attention(q, k, v, need_weights=False)[0],
    ),
    "unbatched": (
        "of an unbatched sequence",
        _attention(),
        [cut((n, e), sizes=(e, h)) for _, n, _, e, h in _LAYERS],
        _attends(need_weights=False),
    ),
    "mask": (
        "with a mask of floats",
        _attention(batch_first=True),
        [cut((b, n, e), (n, n), sizes=(e, h)) for b, n, _, e, h in _LAYERS],
        lambda torch, attention, x, mask: attention(x, x, x, attn_mask=mask, need_weights=False)[0],
    ),
}


def _transformer(kind: str, **options: Any) -> Make:
    def make(torch: Any, features: int, heads: int, inner: int) -> Any:
        return getattr(torch.nn, kind)(features, heads, inner, batch_first=True, **options)

    return make


def _encoder(torch: Any, features: int, heads: int, inner: int) -> Any:
    one = torch.nn.TransformerEncoderLayer(features, heads, inner, batch_first=True)
    return torch.nn.TransformerEncoder(one, 2)


def _in_no_grad(torch: Any, inside: Any, *tensors: Any) -> Any:
    with torch.no_grad():
        return inside(*tensors)


def _in_inference_mode(torch: Any, inside: Any, *tensors: Any) -> Any:
    with torch.inference_mode():
        return inside(*tensors)


_ENCODED = [cut((b, n, e), sizes=(e, h, e + n)) for b, n, _, e, h in _LAYERS]
_DECODED = [cut((b, n, e), (b, s, e), sizes=(e, h, e + n)) for b, n, s, e, h in _LAYERS]
_TRANSFORMERS: dict[str, tuple[str, Make, list[Case], Make | None]] = {
    "encoder_layer": (
        "TransformerEncoderLayer",
        _transformer("TransformerEncoderLayer"),
        _ENCODED,
        None,
    ),
    "encoder_layer_norm_first": (
        "TransformerEncoderLayer, norm first",
        _transformer("TransformerEncoderLayer", norm_first=True),
        _ENCODED,
        None,
    ),
    "encoder_layer_gelu": (
        "TransformerEncoderLayer with GELU",
        _transformer("TransformerEncoderLayer", activation="gelu"),
        _ENCODED,
        None,
    ),
    "encoder_layer_no_bias": (
        "TransformerEncoderLayer without bias",
        _transformer("TransformerEncoderLayer", bias=False),
        _ENCODED,
        None,
    ),
    "encoder_layer_no_grad": (
        "TransformerEncoderLayer in no_grad",
        _transformer("TransformerEncoderLayer"),
        _ENCODED,
        _in_no_grad,
    ),
    "encoder_layer_inference_mode": (
        "TransformerEncoderLayer in inference_mode",
        _transformer("TransformerEncoderLayer"),
        _ENCODED,
        _in_inference_mode,
    ),
    "encoder": ("TransformerEncoder of two layers", _encoder, _ENCODED, None),
    "encoder_no_grad": (
        "TransformerEncoder of two layers in no_grad",
        _encoder,
        _ENCODED,
        _in_no_grad,
    ),
    "decoder_layer": (
        "TransformerDecoderLayer",
        _transformer("TransformerDecoderLayer"),
        _DECODED,
        None,
    ),
    "decoder_layer_norm_first": (
        "TransformerDecoderLayer, norm first",
        _transformer("TransformerDecoderLayer", norm_first=True),
        _DECODED,
        None,
    ),
}

PROBES: tuple[Probe, ...] = (
    *(
        function(f"attention/{key}", about, call, cases)
        for key, (about, call, cases) in _FUNCTIONS.items()
    ),
    *_multihead(),
    *(
        layer(f"attention/multihead_{key}", f"MultiheadAttention {about}", make, cases, call)
        for key, (about, make, cases, call) in _MULTIHEAD.items()
    ),
    *(
        layer(f"attention/{key}", about, make, cases, call)
        for key, (about, make, cases, call) in _TRANSFORMERS.items()
    ),
)
