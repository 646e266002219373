"""Models whose numbers are disputed in public threads, each as in its thread."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional


class Net(nn.Module):
    """One Linear, in a module of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(10, 10)

    def forward(self, x: Any) -> Any:
        return self.linear(x)


def separate_linears() -> nn.Module:
    """Lyken17/pytorch-OpCounter#98, not shared: 200."""
    return nn.Sequential(Net(), Net())


def shared_linear() -> nn.Module:
    """Lyken17/pytorch-OpCounter#98, shared: 800."""
    model = nn.Sequential(Net(), Net())
    model[1].linear = model[0].linear
    return model


class Block(nn.Module):
    """A block with a layer that another module holds too."""

    def __init__(self, linear_layer: nn.Linear) -> None:
        super().__init__()
        self.linear_layer = linear_layer

    def forward(self, x: Any) -> Any:
        return self.linear_layer(x)


class Passed(nn.Module):
    """sovrasov/flops-counter.pytorch#106: a Linear that is passed on, and called by both."""

    def __init__(self) -> None:
        super().__init__()
        self.linear_layer = nn.Linear(1000, 1000)
        self.block = Block(self.linear_layer)

    def forward(self, x: Any) -> Any:
        return self.block(self.linear_layer(x))


class Attention(nn.Module):
    """pytorch/pytorch#195460: scaled_dot_product_attention of a tensor with itself."""

    def forward(self, x: Any) -> Any:
        return functional.scaled_dot_product_attention(x, x, x)


class CausalAttention(nn.Module):
    """The same with a causal mask: each query is multiplied by the keys up to its own."""

    def forward(self, x: Any) -> Any:
        return functional.scaled_dot_product_attention(x, x, x, is_causal=True)


def transposed() -> nn.Module:
    """sovrasov/flops-counter.pytorch#149: 208 or 52."""
    return nn.ConvTranspose2d(3, 1, (2, 2), stride=(2, 2))


def convolution() -> nn.Module:
    """Lyken17/pytorch-OpCounter#37: 38,612,737 or 20,321,280."""
    return nn.Conv2d(1, 128, (3, 3))


class Scores(nn.Module):
    """A layer with a matmul of its own, as in sovrasov/flops-counter.pytorch#139."""

    def forward(self, x: Any) -> Any:
        return torch.matmul(x, x.transpose(1, 2))


def scores() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 8, bias=False), Scores())


def relu_as_module() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 16, bias=False), nn.ReLU())


class ReluAsFunction(nn.Module):
    """The same with the activation called as a function."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 16, bias=False)

    def forward(self, x: Any) -> Any:
        return functional.relu(self.linear(x))


class Decoder(nn.Module):
    """pytorch/torchtitan#280: a language model of linear layers and causal attention only.

    The formula in the thread is 6·N + 12·l·h·q·t for each token, without the embedding in N.
    """

    LAYERS, HEADS, SIZE, WORDS = 2, 4, 8, 50

    def __init__(self) -> None:
        super().__init__()
        width = self.HEADS * self.SIZE
        self.embedding = nn.Embedding(self.WORDS, width)
        self.inward = nn.ModuleList(
            nn.Linear(width, 3 * width, bias=False) for _ in range(self.LAYERS)
        )
        self.outward = nn.ModuleList(
            nn.Linear(width, width, bias=False) for _ in range(self.LAYERS)
        )
        self.head = nn.Linear(width, self.WORDS, bias=False)

    def forward(self, words: Any) -> Any:
        x = self.embedding(words)
        for inward, outward in zip(self.inward, self.outward, strict=True):
            split = (*x.shape[:2], 3, self.HEADS, self.SIZE)
            q, k, v = inward(x).view(split).permute(2, 0, 3, 1, 4)
            mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = outward(mixed.transpose(1, 2).flatten(2))
        return self.head(x)


def multihead() -> nn.Module:
    """Lyken17/pytorch-OpCounter#197: nothing counted of an nn.MultiheadAttention."""
    return nn.MultiheadAttention(100, 1, batch_first=True)


class KaimingInitConv2d(nn.Conv2d):
    """Lyken17/pytorch-OpCounter#63: a layer that inherits from Conv2d."""


class Odds(nn.Module):
    """Layers from several threads in one model, on an image of 1x3x8x8."""

    def __init__(self) -> None:
        super().__init__()
        self.own = KaimingInitConv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.relu = nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.larger = nn.Upsample(scale_factor=2)
        self.layer_norm = nn.LayerNorm(8)
        self.lstm = nn.LSTM(8, 8, batch_first=True)
        self.frozen = nn.Linear(8, 8).requires_grad_(requires_grad=False)
        self.weight = nn.Parameter(torch.randn(8, 8))
        self.unused = nn.Conv2d(6, 6, 3)

    def forward(self, x: Any) -> Any:
        x = self.larger(self.pool(self.relu(self.norm(self.own(x)))))
        x = self.layer_norm(x.mean(1))
        x = functional.linear(self.frozen(self.lstm(x)[0]), self.weight)
        x = torch.einsum("bij,jk->bik", x, self.weight)
        return torch.baddbmm(x, torch.matmul(x, x), x)
