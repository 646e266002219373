"""Attention: softmax(scale·Q·Kᵀ + mask)·V, as one operator, one function, or one fused layer.

Vaswani et al. 2017, arXiv:1706.03762, eq. 1. The scores are scaled once, whichever of its factors
an implementation scales; a mask of floats is added, one of booleans selects, which is free. Causal
attention is counted in full: its operators receive, and most of them compute, every score. Keys
and values shared by a group of query heads are counted for each query head.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise, zip_longest
from math import prod
from typing import Any

from flopaudit.reference.cost import NOTHING, Work
from flopaudit.reference.formulas.call import Call, Formula, Parts, numel, shapes
from flopaudit.reference.formulas.layers.activation import softmax_work
from flopaudit.reference.formulas.tables import FunctionTable, Table, entries, table
from flopaudit.reference.kinds import Kind

Shape = Sequence[int]

_ADDED_MASK = "attn_mask", "attn_bias", "bias"


def scores_work(  # noqa: PLR0913 - each is an option of the operator
    scores: int, rows: int, widths: int, *, mask: bool, scaled: bool = True, dropout: bool = False
) -> Work:
    """Return the work of attention by its scores, their rows, and the widths E + Ev."""
    products = Work(macs=scores * widths, muls=scores * scaled, adds=scores * mask)
    dropped = Work(muls=scores, divs=scores) if dropout else NOTHING
    return products + softmax_work(scores, rows) + dropped


def visible(queries: int, keys: int, *, half: bool) -> int:
    """Return the scores of one head: all, or those of keys up to the query's own position."""
    if not half:
        return queries * keys
    full = max(queries - keys, 0)
    growing = queries - full
    return growing * (growing + 1) // 2 + full * keys


def scaled_dot_product_attention(  # noqa: PLR0913 - as torch's own function
    query_shape: Shape,
    key_shape: Shape,
    value_shape: Shape,
    *,
    mask: bool = False,
    causal: bool = False,
    enable_gqa: bool = False,
    scaled: bool = True,
    dropout: bool = False,
    half: bool = False,
) -> Work:
    """Return the work of attention: batch·heads·L·S·(E + Ev) MACs, scaling, mask and softmax.

    Args:
        query_shape: …, heads, L, E.
        key_shape: …, heads, S, E; fewer heads under `enable_gqa`.
        value_shape: …, heads, S, Ev.
        mask: whether a mask of floats is added to the scores.
        causal: whether later keys are hidden; that alone changes nothing.
        enable_gqa: whether groups of query heads share keys, which changes nothing either.
        scaled: whether the scale is not 1.
        dropout: whether dropout is applied to the probabilities, as in training.
        half: count only the scores that a causal query sees, by the alternative convention.
    """
    heads = _broadcast(query_shape[:-2], key_shape[:-2], grouped=enable_gqa)
    queries, keys = query_shape[-2], key_shape[-2]
    scores = heads * visible(queries, keys, half=half and causal)
    widths = query_shape[-1] + value_shape[-1]
    rows = heads * queries
    return scores_work(scores, rows, widths, mask=mask, scaled=scaled, dropout=dropout)


def _broadcast(left: Shape, right: Shape, *, grouped: bool) -> int:
    """Return the heads of all samples; shared keys are repeated for each head of the queries."""
    if grouped:
        return prod(left)
    pairs = zip_longest(reversed(left), reversed(right), fillvalue=1)
    return prod(b if a == 1 else a for a, b in pairs)


def is_float(mask: Any) -> bool:
    """Whether a mask is given that is added to the scores."""
    return mask is not None and bool(getattr(mask.dtype, "is_floating_point", False))


def flex_attention(call: Call) -> Work:
    """Attention in full, whatever blocks its mask leaves out; query heads may share keys."""
    shapes = [tuple(tensor.shape) for tensor in call.args[:3]]
    query, key, value = shapes
    return scaled_dot_product_attention(query, key, value, enable_gqa=True)


# -- operators -------------------------------------------------------------------------------------


def _fused(
    *, mask: int | None, dropout: int, causal: int, first: int = 0, half: bool = False
) -> Formula:
    """Return the formula of an operator by the positions of its arguments.

    Query, key and value start at `first`.

    A boolean mask reaches a fused operator as floats.
    """

    def formula(call: Call) -> Work:
        named = next((call.kwargs[n] for n in _ADDED_MASK if n in call.kwargs), None)
        added = call.args[mask] if mask is not None and mask < len(call.args) else named
        options = {
            "mask": is_float(added),
            "causal": bool(call.arg(causal, "is_causal", default=False)),
            "scaled": call.kwargs.get("scale") != 1,
            "dropout": call.arg(dropout, "dropout_p", 0.0) > 0,
        }
        given = zip(*(shapes(tensor) for tensor in call.args[first : first + 3]), strict=True)
        works = (
            scaled_dot_product_attention(*one, **options, enable_gqa=True, half=half)
            for one in given
        )
        return sum(works, NOTHING)

    return formula


def _of_packed(*, lengths: int, dropout: int, mask: int | None, half: bool = False) -> Formula:
    """Return the formula of an operator on N, L, H, E, or on concatenated sequences, T, H, E.

    `lengths` is the position of the running sums of the sequences' lengths, for queries and keys.
    """

    def formula(call: Call) -> Work:
        added = call.arg(mask, "bias") if mask is not None else None
        causal = _packed_causal(call, mask)
        work = NOTHING
        for queries, keys, copies in _sequences(call, lengths):
            heads, width = call.args[0].shape[-2:]
            seen = visible(queries, keys, half=half and causal)
            work += scores_work(
                copies * heads * seen,
                copies * heads * queries,
                width + call.args[2].shape[-1],
                mask=is_float(added),
                scaled=call.kwargs.get("scale") != 1,
                dropout=call.arg(dropout, "dropout_p", 0.0) > 0,
            )
        return work

    return formula


def _packed_causal(call: Call, mask: int | None) -> bool:
    if mask is None:
        return bool(call.arg(8, "is_causal", default=False))
    return bool(call.arg(9, "custom_mask_type", 0))


def _sequences(call: Call, lengths: int) -> Iterator[tuple[int, int, int]]:
    """Yield the length of queries, the length of keys, and the number of such sequences."""
    query, key = call.args[:2]
    ends = call.arg(lengths, "cum_seq_q"), call.arg(lengths + 1, "cum_seq_k")
    if ends[0] is None or ends[1] is None:
        yield query.shape[1], key.shape[1], query.shape[0]
        return
    starts_and_ends = [[int(end) for end in cumulative.tolist()] for cumulative in ends]
    each = [[b - a for a, b in pairwise(e)] for e in starts_and_ends]
    yield from ((queries, keys, 1) for queries, keys in zip(*each, strict=True))


def attention_backward(call: Call) -> Work:
    """The gradients of queries, keys and values: two products for each of the forward's.

    dV = Pᵀ·dO, dP = dO·Vᵀ, dS = P∘(dP - rowsum(P∘dP)), dQ = scale·dS·K, dK = scale·dSᵀ·Q. Fused
    operators compute the scores again, which the definition does not include.
    """
    query, key, value = (shapes(tensor)[0] for tensor in call.args[1:4])
    scores, rows = prod(query[:-1]) * key[-2], prod(query[:-1])
    scaled = scores if call.kwargs.get("scale") != 1 else 0
    return Work(
        macs=2 * scores * (query[-1] + value[-1]),
        muls=2 * scores + scaled,
        adds=scores - rows + scores,
    )


def transform_bias_rescale_qkv(call: Call) -> Work:
    """The in-projection's bias added, and the queries scaled."""
    elements = numel(call.args[0])
    return Work(bias_adds=elements, muls=elements // 3)


# -- the same as functions -------------------------------------------------------------------------


def sdpa_function(call: Call, *, half: bool = False) -> Parts:
    """The function torch.nn.functional.scaled_dot_product_attention, whatever it runs."""
    tensors = (call.arg(i, name) for i, name in enumerate(("query", "key", "value")))
    given = zip(*(shapes(tensor) for tensor in tensors), strict=True)
    options = {
        "mask": is_float(call.arg(3, "attn_mask")),
        "dropout": call.arg(4, "dropout_p", 0.0) > 0,
        "causal": bool(call.arg(5, "is_causal", default=False)),
        "scaled": call.arg(6, "scale") != 1,
        "enable_gqa": bool(call.arg(7, "enable_gqa", default=False)),
    }
    works = (scaled_dot_product_attention(*one, **options, half=half) for one in given)
    return [(Kind.ATTENTION, sum(works, NOTHING))]


def _operators(*, half: bool) -> dict[str, Formula]:
    """Return the operators of attention, with causal ones counted in full or by half."""
    biased = _fused(mask=3, dropout=5, causal=6, half=half)
    math = _fused(mask=3, dropout=4, causal=5, half=half)
    plain = _fused(mask=None, dropout=3, causal=4, half=half)
    return {
        "_scaled_dot_product_flash_attention": plain,
        "_scaled_dot_product_flash_attention_for_cpu": plain,
        "_scaled_dot_product_efficient_attention": biased,
        "_scaled_dot_product_cudnn_attention": biased,
        "_scaled_dot_product_fused_attention_overrideable": math,
        "_scaled_dot_product_attention_math": math,
        "_scaled_dot_product_attention_math_for_mps": math,
        "scaled_dot_product_attention": math,
        "_flash_attention_forward": _of_packed(lengths=3, dropout=7, mask=None, half=half),
        "_efficient_attention_forward": _of_packed(lengths=4, dropout=8, mask=3, half=half),
    }


TABLE: Table = table(
    __name__,
    {name: (Kind.ATTENTION, formula) for name, formula in _operators(half=False).items()},
    entries(
        Kind.ATTENTION,
        attention_backward,
        """_scaled_dot_product_flash_attention_backward
        _scaled_dot_product_flash_attention_for_cpu_backward
        _scaled_dot_product_efficient_attention_backward
        _scaled_dot_product_cudnn_attention_backward
        _scaled_dot_product_fused_attention_overrideable_backward""",
    ),
    entries(Kind.ATTENTION, transform_bias_rescale_qkv, "_transform_bias_rescale_qkv"),
)

ALTERNATIVES = {"causal-half": _operators(half=True)}

FUNCTIONS: FunctionTable = {
    "torch.nn.functional.scaled_dot_product_attention": sdpa_function,
}

CAUSAL_HALF_FUNCTIONS: FunctionTable = {
    "torch.nn.functional.scaled_dot_product_attention": partial(sdpa_function, half=True),
}
