"""Functions counted as a whole, operators on nested tensors, and alternative conventions."""

from __future__ import annotations

from math import prod
from typing import Any

import flopaudit
import pytest
import torch
from flopaudit.reference.cost import NOTHING, Work
from flopaudit.reference.formulas.call import Call, Parts, total
from flopaudit.reference.formulas.layers.attention import scaled_dot_product_attention
from flopaudit.reference.formulas.layers.multihead import multi_head_attention
from flopaudit.reference.formulas.layers.recurrent import (
    gru,
    lstm,
    rnn_relu,
    rnn_tanh,
)
from flopaudit.reference.kinds import Kind
from flopaudit.reference.ledger import Ledger
from flopaudit.reference.operators import ALTERNATIVES, FORMULAS, FUNCTIONS_WHOLE
from torch import nn
from torch.nn import functional


def meta(*shape: int) -> torch.Tensor:
    return torch.empty(*shape, device="meta")


def counted(model: nn.Module, *inputs: torch.Tensor) -> Ledger:
    return flopaudit.count(model.eval(), *inputs, device="meta")


# -- functions ------------------------------------------------------------------------------------


def by_hand(x: torch.Tensor, layer: nn.MultiheadAttention) -> torch.Tensor:
    """MultiheadAttention on N, L, E, written out."""
    width = layer.embed_dim // layer.num_heads
    q, k, v = functional.linear(x, layer.in_proj_weight, layer.in_proj_bias).chunk(3, -1)
    q, k, v = (t.reshape(*x.shape[:2], layer.num_heads, width).transpose(1, 2) for t in (q, k, v))
    scores = (q @ k.transpose(-1, -2)) * width**-0.5
    mixed = scores.softmax(-1) @ v
    return functional.linear(
        mixed.transpose(1, 2).flatten(2), layer.out_proj.weight, layer.out_proj.bias
    )


class ByHand(nn.Module):
    """The layer's weights, used as written out."""

    def __init__(self, layer: nn.MultiheadAttention) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return by_hand(x, self.layer)


def test_multi_head_attention_is_its_composition() -> None:
    batch, length, width, heads = 2, 5, 16, 4
    layer = nn.MultiheadAttention(width, heads, batch_first=True)
    composed = counted(ByHand(layer), meta(batch, length, width)).work
    assert total(multi_head_attention(batch, length, length, embed=width, heads=heads)) == composed


def test_multi_head_attention_as_a_function() -> None:
    layer = nn.MultiheadAttention(16, 4)
    q, kv = torch.rand(5, 2, 16), torch.rand(7, 2, 16)
    args: tuple[Any, ...] = (
        q,
        kv,
        kv,
        16,
        4,
        layer.in_proj_weight,
        layer.in_proj_bias,
        None,
        None,
        False,
        0.0,
    )
    args = (*args, layer.out_proj.weight, layer.out_proj.bias)
    kwargs: dict[str, Any] = {"training": False, "need_weights": False}
    out = functional.multi_head_attention_forward(*args, **kwargs)
    formula = FUNCTIONS_WHOLE["torch.nn.functional.multi_head_attention_forward"]
    assert formula(Call(args, kwargs, out)) == multi_head_attention(2, 5, 7, embed=16, heads=4)


@pytest.mark.parametrize("masked", [True, False])
def test_attention_as_a_function_is_its_operator(masked: object) -> None:
    q, k, v = torch.rand(2, 4, 5, 8), torch.rand(2, 2, 7, 8), torch.rand(2, 2, 7, 8)
    mask = torch.rand(5, 7) if masked else None
    kwargs = {"attn_mask": mask, "enable_gqa": True}
    out = functional.scaled_dot_product_attention(q, k, v, **kwargs)  # type: ignore[arg-type] # a dict of options
    formula = FUNCTIONS_WHOLE["torch.nn.functional.scaled_dot_product_attention"]
    expected = scaled_dot_product_attention(
        q.shape, k.shape, v.shape, mask=bool(masked), enable_gqa=True
    )
    assert formula(Call((q, k, v), kwargs, out)) == [(Kind.ATTENTION, expected)]


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.LSTM(4, 6, 2, bidirectional=True), lstm(15, 4, 6, layers=2, directions=2)),
        (
            nn.LSTM(4, 6, 2, proj_size=3, bias=False),
            lstm(15, 4, 6, layers=2, projection=3, bias=False),
        ),
        (nn.GRU(4, 6, 2), gru(15, 4, 6, layers=2)),
        (nn.RNN(4, 6), rnn_tanh(15, 4, 6)),
        (nn.RNN(4, 6, nonlinearity="relu"), rnn_relu(15, 4, 6)),
        # Its six weights of which the third is square are no projections: only an LSTM has those.
        (nn.RNN(4, 6, 3, bias=False), rnn_tanh(15, 4, 6, layers=3, bias=False)),
    ],
)
def test_recurrent_layer_is_its_function(layer: Any, expected: Parts, packed: object) -> None:
    """What torch runs for a layer adds up to the formula of the function it calls."""
    data = torch.rand(5, 3, 4)
    given_ = nn.utils.rnn.pack_padded_sequence(data, torch.tensor([5, 5, 5])) if packed else data
    if not packed:
        for device in ("meta", "own"):
            found = flopaudit.count(layer, data, device=device)
            assert found.work == total(expected)
    name = layer.mode.lower()
    assert _as_function(layer, given_, name) == expected


def _as_function(layer: Any, data: Any, name: str) -> Parts:
    states = (torch.zeros(1), torch.zeros(1)) if name == "lstm" else torch.zeros(1)
    options = (layer.bias, layer.num_layers, 0.0, False, layer.bidirectional)
    weights = layer._flat_weights  # noqa: SLF001 - what torch itself passes
    packed = isinstance(data, nn.utils.rnn.PackedSequence)
    first = (data.data, data.batch_sizes, states) if packed else (data, states)
    args = (*first, weights, *options, *(() if packed else (False,)))
    return FUNCTIONS_WHOLE[f"torch._VF.{name}"](Call(args, {}, None))


def test_linear_as_a_function_keeps_its_bias_apart() -> None:
    x, weight, bias = torch.rand(2, 3, 4), torch.rand(5, 4), torch.rand(5)
    formula = FUNCTIONS_WHOLE["torch.nn.functional.linear"]
    parts = formula(Call((x, weight), {"bias": bias}, functional.linear(x, weight, bias)))
    assert parts == [(Kind.LINEAR, Work(macs=2 * 3 * 4 * 5, bias_adds=30))]


def test_bilinear_as_a_function_is_its_operator_and_a_bias() -> None:
    x, y, weight, bias = torch.rand(2, 3), torch.rand(2, 4), torch.rand(5, 3, 4), torch.rand(5)
    formula = FUNCTIONS_WHOLE["torch.nn.functional.bilinear"]
    args = (x, y, weight, bias)
    parts = formula(Call(args, {}, functional.bilinear(*args)))
    assert parts == [(Kind.LINEAR, Work(macs=2 * 60, muls=2 * 60, bias_adds=10))]


# -- nested tensors --------------------------------------------------------------------------------


def _work(name: str, operator: Any, *args: Any) -> Work:
    with torch.no_grad():
        return FORMULAS[name][1](Call(args, {}, operator(*args)))


@pytest.mark.parametrize("layout", [torch.strided, torch.jagged])
def test_nested_is_the_sum_of_its_samples(layout: torch.layout) -> None:
    samples = [torch.rand(3, 8), torch.rand(5, 8)]
    nested = torch.nested.nested_tensor(samples, layout=layout)
    aten, weight, bias = torch.ops.aten, torch.rand(4, 8), torch.rand(4)
    for name, operator, more in (
        ("linear", aten.linear, (weight, bias)),
        ("_softmax", aten._softmax, (-1, False)),  # noqa: SLF001 - its name
        ("relu", aten.relu, ()),
    ):
        each = (_work(name, operator, sample, *more) for sample in samples)
        assert _work(name, operator, nested, *more) == sum(each, NOTHING)


def test_padding_that_is_masked_is_not_counted_where_it_is_not_computed() -> None:
    """The fused encoder layer runs on nested samples without their padding."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    nested = torch.nested.nested_tensor([torch.rand(3, 8), torch.rand(5, 8)])
    attention, norms = layer.self_attn, (layer.norm1, layer.norm2)
    weights: list[Any] = [attention.in_proj_weight, attention.in_proj_bias]
    weights += [attention.out_proj.weight, attention.out_proj.bias]
    affine = [parameter for norm in norms for parameter in (norm.weight, norm.bias)]
    feed = [p for one in (layer.linear1, layer.linear2) for p in (one.weight, one.bias)]
    args = (nested, 8, 2, *weights, False, False, 1e-5, *affine, *feed)
    work = _work("_transformer_encoder_layer_fwd", torch._transformer_encoder_layer_fwd, *args)  # noqa: SLF001 - its name
    assert work.macs == sum(n * (4 * 64 + 2 * 8 * 16) + 2 * n * n * 8 for n in (3, 5))


# -- alternative conventions -----------------------------------------------------------------------


def test_causal_half_counts_what_a_query_sees() -> None:
    shape = (2, 3, 6, 8)
    full = scaled_dot_product_attention(shape, shape, shape, causal=True)
    half = scaled_dot_product_attention(shape, shape, shape, causal=True, half=True)
    assert full.macs == 2 * 3 * 36 * 16
    assert half.macs == 2 * 3 * sum(range(1, 7)) * 16
    tensors = [torch.rand(shape) for _ in range(3)]
    name = "_scaled_dot_product_flash_attention_for_cpu"
    as_operator = ALTERNATIVES["causal-half"][name]
    assert as_operator(Call((*tensors, 0.0, True), {}, tensors[0])) == half
    assert as_operator(Call((*tensors, 0.0, False), {}, tensors[0])) == full


def test_transposed_by_output() -> None:
    x, w = meta(2, 4, 5, 5), meta(4, 6, 3, 3)
    args = (x, w, None, [2, 2], [1, 1], [1, 1], True, [1, 1], 1)
    out = torch.ops.aten.convolution(*args)
    one = Call(args, {}, out)
    assert FORMULAS["convolution"][1](one).macs == 2 * 25 * prod(w.shape)
    by_output = ALTERNATIVES["transposed-by-output"]["convolution"](one)
    assert by_output.macs == 2 * 100 * prod(w.shape)


def test_batch_norm_as_eval() -> None:
    args = (meta(2, 3, 4, 4), meta(3), meta(3), meta(3), meta(3))
    out = meta(2, 3, 4, 4)
    training, evaluating = (Call((*args, mode, 0.1, 1e-5), {}, out) for mode in (True, False))
    formula, as_eval = FORMULAS["native_batch_norm"][1], ALTERNATIVES["batch-norm-as-eval"]
    assert as_eval["native_batch_norm"](training) == formula(evaluating)
    assert formula(training) != formula(evaluating)


def test_alternatives_are_of_known_operators() -> None:
    for table in ALTERNATIVES.values():
        assert set(table) <= set(FORMULAS)
