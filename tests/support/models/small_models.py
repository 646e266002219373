"""Small user models, each with something that tools disagree about."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional


class Shared(nn.Module):
    """One Linear under two names, called under both."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(16, 16)
        self.second = self.first

    def forward(self, x: Any) -> Any:
        return self.second(torch.relu(self.first(x)))


class Reused(nn.Module):
    """One convolution called on three sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: Any) -> Any:
        maps = [self.norm(self.head(x[..., ::step, ::step])) for step in (1, 2, 4)]
        return sum(m.mean() for m in maps)


class Branches(nn.Module):
    """One block that two parents hold and call, with pools and a norm around it."""

    def __init__(self) -> None:
        super().__init__()
        block = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.left = nn.Sequential(block, nn.MaxPool2d(2))
        self.right = nn.Sequential(block, nn.AvgPool2d(2))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.out = nn.Linear(8, 4)

    def forward(self, x: Any) -> Any:
        x = self.stem(x)
        return self.out(self.pool(self.left(x) + self.right(x)).flatten(1))


class Unused(nn.Module):
    """A layer that is never called, and a frozen one."""

    def __init__(self) -> None:
        super().__init__()
        self.used = nn.Linear(8, 8)
        self.unused = nn.Linear(8, 100)
        self.used.weight.requires_grad = False

    def forward(self, x: Any) -> Any:
        return self.used(x)


class OwnConv(nn.Conv2d):
    """A subclass, which tools that look for exact types miss."""


class Functional(nn.Module):
    """A model that runs its own parameters through functions and operators."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 3, 3, 3))
        self.matrix = nn.Parameter(torch.randn(6, 5))

    def forward(self, x: Any) -> Any:
        x = functional.relu(functional.conv2d(x, self.weight, padding=1))
        x = functional.adaptive_avg_pool2d(functional.max_pool2d(x, 2), 1).flatten(1)
        return (x @ self.matrix).softmax(-1)


class TwoInputs(nn.Module):
    """A model of two inputs: integers for an embedding, and floats."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 8)
        self.mix = nn.Linear(16, 4)

    def forward(self, ids: Any, x: Any) -> Any:
        return self.mix(torch.cat([self.embedding(ids), x], dim=-1))


def shared() -> nn.Module:
    return Shared()


def reused() -> nn.Module:
    return Reused()


def branches() -> nn.Module:
    return Branches()


def unused() -> nn.Module:
    return Unused()


def subclassed() -> nn.Module:
    return nn.Sequential(OwnConv(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1))


def functions() -> nn.Module:
    return Functional()


def two_inputs() -> nn.Module:
    return TwoInputs()


def transposed() -> nn.Module:
    return nn.Sequential(nn.ConvTranspose2d(3, 6, 4, stride=2), nn.ReLU(), nn.Conv2d(6, 2, 3))


def encoder() -> nn.Module:
    return nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)


def attention() -> nn.Module:
    class Attends(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(16, 4, batch_first=True)

        def forward(self, x: Any) -> Any:
            return self.attention(x, x, x)[0]

    return Attends()


def recurrent() -> nn.Module:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(8, 12, batch_first=True)
            self.out = nn.Linear(12, 3)

        def forward(self, x: Any) -> Any:
            return self.out(self.lstm(x)[0][:, -1])

    return Last()


def alone() -> nn.Module:
    return nn.Linear(10, 20)


def parameterless() -> nn.Module:
    return nn.Sequential(nn.ReLU(), nn.AvgPool2d(2))
