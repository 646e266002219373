"""Counts against closed forms: textbook networks by hand, and laws that every count obeys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
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
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional


def meta(*shape: int) -> torch.Tensor:
    return torch.empty(*shape, device="meta")


def counted(model: nn.Module, *inputs: torch.Tensor) -> Ledger:
    return flopaudit.count(model.eval(), *inputs, device="meta")


# -- networks by hand ------------------------------------------------------------------------------


def conv_macs(out: int, channels: int, inputs: int, kernel: int) -> int:
    return out * out * channels * inputs * kernel * kernel


def test_lenet5() -> None:
    """LeCun et al. 1998, with full connections between S2 and C3."""
    model = nn.Sequential(
        nn.Conv2d(1, 6, 5), nn.Tanh(), nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2),
        nn.Conv2d(16, 120, 5), nn.Tanh(), nn.Flatten(),
        nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10),
    )  # fmt: skip
    convs = conv_macs(28, 6, 1, 5) + conv_macs(10, 16, 6, 5) + conv_macs(1, 120, 16, 5)
    activations = 28 * 28 * 6 + 10 * 10 * 16 + 120 + 84
    pooled = 14 * 14 * 6 + 5 * 5 * 16
    assert counted(model, meta(1, 1, 32, 32)).work == Work(
        macs=convs + 120 * 84 + 84 * 10,
        bias_adds=activations + 10,
        adds=3 * pooled,
        divs=pooled,
        elementary=activations,
    )


def test_alexnet() -> None:
    """Torchvision's: Krizhevsky 2014, arXiv:1404.5997, one tower."""
    from torchvision.models import alexnet

    convs = [(55, 64, 3, 11), (27, 192, 64, 5), (13, 384, 192, 3), (13, 256, 384, 3)]
    convs.append((13, 256, 256, 3))
    linears = 9216 * 4096 + 4096 * 4096 + 4096 * 1000
    with torch.device("meta"):
        found = counted(alexnet(), meta(1, 3, 224, 224))
    assert found.macs == sum(conv_macs(*shape) for shape in convs) + linears == 714_188_480
    relus = sum(out * out * channels for out, channels, *_ in convs) + 2 * 4096
    pools = 27 * 27 * 64 + 13 * 13 * 192 + 6 * 6 * 256
    # A global pool of 6 by 6 to 6 by 6 still divides each of its windows of one.
    assert found.work.comparisons == relus + 8 * pools
    assert found.work.divs == 6 * 6 * 256


def test_vgg16() -> None:
    """Simonyan & Zisserman 2014, arXiv:1409.1556, configuration D."""
    from torchvision.models import vgg16

    widths = [(224, 64, 2), (112, 128, 2), (56, 256, 3), (28, 512, 3), (14, 512, 3)]
    total, inputs, relus = 0, 3, 2 * 4096
    for size, channels, depth in widths:
        for _ in range(depth):
            total += conv_macs(size, channels, inputs, 3)
            relus += size * size * channels
            inputs = channels
    total += 25088 * 4096 + 4096 * 4096 + 4096 * 1000
    with torch.device("meta"):
        found = counted(vgg16(), meta(1, 3, 224, 224))
    assert found.macs == total == 15_470_264_320
    assert found.work.bias_adds == relus + 1000


def test_transformer_layer() -> None:
    """12·d² weights a token, and 2·n·d for each of n scores (Kaplan et al., arXiv:2001.08361)."""
    batch, length, width = 2, 7, 32
    layer = nn.TransformerEncoderLayer(width, 4, 4 * width, batch_first=True)
    tokens = batch * length
    expected = 12 * width * width * tokens + 2 * batch * length * length * width
    assert counted(layer, meta(batch, length, width)).macs == expected


class Block(nn.Module):
    """A block of Llama: RMS norm, grouped attention, gated feed-forward."""

    def __init__(self, width: int, heads: int, shared: int, hidden: int) -> None:
        super().__init__()
        self.heads, self.shared, self.head = heads, shared, width // heads
        self.norms = nn.ModuleList([nn.RMSNorm(width) for _ in range(2)])
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, shared * self.head, bias=False)
        self.value = nn.Linear(width, shared * self.head, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.gate = nn.Linear(width, hidden, bias=False)
        self.up = nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norms[0](x)
        q = self.query(y).unflatten(-1, (self.heads, self.head)).transpose(1, 2)
        k = self.key(y).unflatten(-1, (self.shared, self.head)).transpose(1, 2)
        v = self.value(y).unflatten(-1, (self.shared, self.head)).transpose(1, 2)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        y = self.norms[1](x)
        out: torch.Tensor = x + self.down(functional.silu(self.gate(y)) * self.up(y))
        return out


def test_llama_is_two_flops_a_parameter_and_token_and_attention() -> None:
    """FLOPs = 2·N·D for N weights of matrices and D tokens, and 4·L²·d a layer for attention."""
    width, heads, shared, hidden, depth, words = 64, 8, 2, 128, 3, 100
    batch, length = 2, 16
    blocks = [Block(width, heads, shared, hidden) for _ in range(depth)]
    model = nn.Sequential(*blocks, nn.RMSNorm(width), nn.Linear(width, words, bias=False))
    weights = sum(p.numel() for p in model.parameters() if p.ndim == 2)
    found = counted(model, meta(batch, length, width))
    attention = 4 * batch * length * length * width * depth
    assert found.flops == 2 * weights * batch * length + attention


# -- laws ------------------------------------------------------------------------------------------


def call(name: str, operator: Any, *args: Any, **kwargs: Any) -> Work:
    """The work of an operator on meta tensors."""
    return FORMULAS[name][1](Call(args, kwargs, operator(*args, **kwargs)))


def convolution(x: Sequence[int], w: Sequence[int], *, groups: int = 1, bias: bool = True) -> Work:
    dims = len(x) - 2
    options = ([1] * dims, [0] * dims, [1] * dims, False, [0] * dims, groups)
    offset = meta(w[0]) if bias else None
    return call("convolution", torch.ops.aten.convolution, meta(*x), meta(*w), offset, *options)


SMALL = st.integers(1, 6)


@settings(max_examples=25, deadline=None)
@given(n=SMALL, cin=SMALL, cout=SMALL, size=st.integers(3, 8), kernel=st.integers(1, 3))
def test_convolution_is_textbook_and_unfold_times_weights(
    n: int, cin: int, cout: int, size: int, kernel: int
) -> None:
    work = convolution((n, cin, size, size), (cout, cin, kernel, kernel))
    out = (size - kernel + 1) ** 2
    assert work == Work(macs=n * out * cout * cin * kernel**2, bias_adds=n * out * cout)
    columns = functional.unfold(torch.rand(n, cin, size, size), kernel)
    matrix = meta(n, cout, cin * kernel**2), columns.to("meta")
    assert call("bmm", torch.bmm, *matrix).macs == work.macs


@settings(max_examples=25, deadline=None)
@given(groups=st.integers(1, 4), cin=SMALL, cout=SMALL, size=st.integers(3, 8))
def test_groups_divide_the_macs(groups: int, cin: int, cout: int, size: int) -> None:
    x = (1, groups * cin, size, size)
    dense = convolution(x, (groups * cout, groups * cin, 3, 3))
    grouped = convolution(x, (groups * cout, cin, 3, 3), groups=groups)
    assert grouped.macs * groups == dense.macs
    assert grouped.bias_adds == dense.bias_adds


def models() -> Iterator[tuple[str, nn.Module, tuple[int, ...]]]:
    yield "conv", nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()), (3, 9, 9)
    yield "encoder", nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), (5, 16)
    yield "attention", Block(16, 4, 2, 24), (5, 16)
    yield "lstm", nn.LSTM(6, 8, 2, batch_first=True, bidirectional=True), (5, 6)
    yield "pool", nn.Sequential(nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(2), nn.GELU()), (3, 9, 9)


@pytest.mark.parametrize(
    ("model", "shape"), [m[1:] for m in models()], ids=[m[0] for m in models()]
)
@pytest.mark.parametrize("device", ["meta", "own"])
def test_work_grows_with_the_batch(model: nn.Module, shape: tuple[int, ...], device: Any) -> None:
    """In every component, but for batch norm's root, once a channel."""
    one, four = (
        flopaudit.count(model.eval(), torch.rand(n, *shape), device=device).work for n in (1, 4)
    )
    norms = [m.num_features for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    roots = Work(adds=1, elementary=1) * sum(norms)
    assert _biases_as_adds(four + roots * 3) == _biases_as_adds(one * 4)


def _biases_as_adds(work: Work) -> Work:
    """Torch runs a linear layer as addmm or as mm and add, depending on strides."""
    return replace(work, adds=work.adds + work.bias_adds, bias_adds=0)


def test_doubling_a_sequence_more_than_doubles_attention() -> None:
    short = counted(Block(16, 4, 2, 24), meta(1, 8, 16))
    long = counted(Block(16, 4, 2, 24), meta(1, 16, 16))
    assert long.by("kind")["attention"].macs == 4 * short.by("kind")["attention"].macs
    assert long.by("kind")["linear"] == short.by("kind")["linear"] * 2


# -- functions counted as wholes -------------------------------------------------------------------


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
