"""Counts against closed forms: textbook networks by hand, and laws that every count obeys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import flopaudit
import pytest
import torch
from flopaudit.reference.cost import Work
from flopaudit.reference.formulas.call import Call
from flopaudit.reference.ledger import Ledger
from flopaudit.reference.operators import FORMULAS
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
    """Every component grows, except for batch norm's root, once a channel."""
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
