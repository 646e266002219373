"""Layers of attention with their projections: multi-head attention, the fused encoder layer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from flopaudit.reference.cost import NOTHING, Work
from flopaudit.reference.formulas.call import Call, Parts, is_nested, shapes, total
from flopaudit.reference.formulas.layers.attention import (
    is_float,
    scores_work,
    visible,
)
from flopaudit.reference.formulas.layers.normalisation import normalised
from flopaudit.reference.formulas.scalar_functions import GELU_ERF, RELU
from flopaudit.reference.formulas.tables import FunctionTable, Table, entries, table
from flopaudit.reference.kinds import Kind


def _projections(tokens: Sequence[int], widths: Sequence[int], embed: int, *, bias: bool) -> Work:
    """Return the cost of projecting queries, keys and values to the embedding's width."""
    macs = sum(n * width * embed for n, width in zip(tokens, widths, strict=True))
    return Work(macs=macs, bias_adds=sum(tokens) * embed if bias else 0)


def multi_head_attention(  # noqa: PLR0913 - as torch's own function
    batch: int,
    queries: int,
    keys: int,
    *,
    embed: int,
    heads: int,
    key_width: int | None = None,
    value_width: int | None = None,
    in_bias: bool = True,
    out_bias: bool = True,
    extra_keys: int = 0,
    masks: int = 0,
    dropout: bool = False,
    averaged: bool = False,
    half: bool = False,
) -> Parts:
    """Return the work of multi-head attention by kind: projections, attention, projection.

    Args:
        batch: sequences.
        queries: length of the queries' sequence.
        keys: length of the keys' and values' sequence.
        embed: width of queries and result.
        heads: among which `embed` is divided.
        key_width: width of the input keys, if it is not `embed`.
        value_width: width of the input values, if it is not `embed`.
        in_bias: whether the first projections have a bias.
        out_bias: whether the last one has.
        extra_keys: number of keys added after projection (`bias_k`, `add_zero_attn`).
        masks: number of float masks that are added.
        dropout: whether dropout is applied to the probabilities.
        averaged: whether the probabilities are also returned, averaged over the heads.
        half: count only the scores that a causal query sees, by the alternative convention.
    """
    tokens = (batch * queries, batch * keys, batch * keys)
    widths = (embed, key_width or embed, value_width or embed)
    inward = _projections(tokens, widths, embed, bias=in_bias)
    outward = _projections(tokens[:1], (embed,), embed, bias=out_bias)
    pairs = batch * (visible(queries, keys, half=half) + queries * extra_keys)
    attended = scores_work(
        heads * pairs, heads * batch * queries, 2 * (embed // heads), mask=False, dropout=dropout
    )
    mean = Work(adds=(heads - 1) * pairs, divs=pairs) if averaged else NOTHING
    masked = Work(adds=masks * heads * pairs)
    return [(Kind.LINEAR, inward + outward), (Kind.ATTENTION, attended + masked + mean)]


def _lengths(tensor: Any) -> list[tuple[int, int]]:
    """Return the batch and length of N, L, E; for a nested tensor, one pair for each sample."""
    if is_nested(tensor):
        return [(1, int(shape[0])) for shape in shapes(tensor)]
    return [(int(tensor.shape[0]), int(tensor.shape[1]))]


def native_multi_head_attention(call: Call) -> Work:
    """The fused layer: in-projection, attention, out-projection, their biases."""
    need, average = call.arg(10, "need_weights", True), call.arg(11, "average_attn_weights", True)  # noqa: FBT003 - the schema's defaults
    works = (
        multi_head_attention(
            batch,
            queries,
            keys,
            embed=int(call.args[3]),
            heads=int(call.args[4]),
            averaged=need and average,
            masks=int(is_float(call.arg(9, "mask"))),
        )
        for (batch, queries), (_, keys) in zip(
            _lengths(call.args[0]), _lengths(call.args[1]), strict=True
        )
    )
    return sum(map(total, works), NOTHING)


def transformer_encoder_layer(call: Call) -> Work:
    """The fused encoder layer: self-attention, two additions, two layer norms, feed-forward."""
    embed, heads, gelu = int(call.args[1]), int(call.args[2]), bool(call.args[7])
    hidden = int(call.args[14].shape[0])
    work = NOTHING
    for batch, length in _lengths(call.args[0]):
        tokens = batch * length
        work += total(multi_head_attention(batch, length, length, embed=embed, heads=heads))
        work += Work(macs=2 * tokens * embed * hidden, bias_adds=tokens * (hidden + embed))
        work += (GELU_ERF if gelu else RELU) * (tokens * hidden)
        norm = normalised(tokens * embed, tokens) + Work(muls=1, adds=1) * (tokens * embed)
        work += (norm + Work(adds=tokens * embed)) * 2
    return work


_MHA = [
    "query",
    "key",
    "value",
    "embed_dim_to_check",
    "num_heads",
    "in_proj_weight",
    "in_proj_bias",
    "bias_k",
    "bias_v",
    "add_zero_attn",
    "dropout_p",
    "out_proj_weight",
    "out_proj_bias",
    "training",
    "key_padding_mask",
    "need_weights",
    "attn_mask",
    "use_separate_proj_weight",
    "q_proj_weight",
    "k_proj_weight",
    "v_proj_weight",
    "static_k",
    "static_v",
    "average_attn_weights",
    "is_causal",
]
_MHA_DEFAULTS = {"training": True, "need_weights": True, "average_attn_weights": True}


def mha_function(call: Call, *, half: bool = False) -> Parts:
    """The function torch.nn.functional.multi_head_attention_forward, whatever it runs."""
    given = {**_MHA_DEFAULTS, **dict(zip(_MHA, call.args, strict=False)), **call.kwargs}
    query, key, value = (given[name].shape for name in ("query", "key", "value"))
    extra = (given["bias_k"] is not None) + bool(given["add_zero_attn"])
    masks = [given.get(name) for name in ("attn_mask", "key_padding_mask")]
    return multi_head_attention(
        query[1] if len(query) == 3 else 1,  # noqa: PLR2004 - L, N, E, or L, E
        query[0],
        key[0],
        embed=query[-1],
        heads=given["num_heads"],
        key_width=key[-1],
        value_width=value[-1],
        in_bias=given["in_proj_bias"] is not None,
        out_bias=given["out_proj_bias"] is not None,
        extra_keys=extra,
        masks=sum(map(is_float, masks)),
        dropout=bool(given["training"]) and given["dropout_p"] > 0,
        averaged=bool(given["need_weights"]) and bool(given["average_attn_weights"]),
        half=half and bool(given.get("is_causal")),
    )


TABLE: Table = table(
    __name__,
    entries(Kind.ATTENTION, native_multi_head_attention, "_native_multi_head_attention"),
    entries(Kind.ATTENTION, transformer_encoder_layer, "_transformer_encoder_layer_fwd"),
)

FUNCTIONS: FunctionTable = {"torch.nn.functional.multi_head_attention_forward": mha_function}

CAUSAL_HALF_FUNCTIONS: FunctionTable = {
    "torch.nn.functional.multi_head_attention_forward": partial(mha_function, half=True),
}
