"""Small models, each with a property that some tools change or fail on.

`other_model` builds one more model, which no tool was called on, to see whether the process still
works as before.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch
from flopaudit_adapters.contract import LoadedModel
from torch import nn
from torch.nn import functional

WATCHERS: list[Callable[[], object]] = []
"""Functions that a `Watched` model calls when it runs."""


class StoppedError(RuntimeError):
    """The exception of the models that raise."""


class Plain(nn.Module):
    """A convolutional network with batch norm and dropout, which depend on training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.act = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(32, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map an image to four numbers."""
        x = self.pool(self.act(self.norm(self.conv(x))))
        out: torch.Tensor = self.head(self.drop(x.flatten(1)))
        return out


class Shared(nn.Module):
    """One convolution in two places, called in both."""

    def __init__(self) -> None:
        super().__init__()
        conv = nn.Conv2d(3, 3, 3)
        self.first = nn.Sequential(conv, nn.ReLU())
        self.second = nn.Sequential(conv, nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map an image to a smaller one."""
        out: torch.Tensor = self.second(self.first(x))
        return out


class Reused(nn.Module):
    """One convolution and its norm, called on three sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map an image to a number."""
        first = self.norm(self.conv(x)).mean()
        second = self.norm(self.conv(x[..., ::2, ::2])).mean()
        out: torch.Tensor = first + second + self.norm(self.conv(x[..., ::4, ::4])).mean()
        return out


class Buffers(nn.Module):
    """A model with buffers, one of them not in the state_dict."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.register_buffer("scale", torch.tensor(2.0))
        self.register_buffer("shift", torch.ones(4, 1, 1), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map an image to a smaller one."""
        out: torch.Tensor = self.conv(x) * self.scale + self.shift
        return out


class Uncopyable(Plain):
    """A model that holds a lock, which can be neither pickled nor deep-copied."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


class Watched(Plain):
    """A model that calls the watchers while it runs, as another thread could do."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map an image to four numbers."""
        for watcher in WATCHERS:
            watcher()
        return super().forward(x)


class RaisesBetweenModules(Plain):
    """A model that raises after calling some of its modules and before calling the others."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Raise."""
        x = self.act(self.norm(self.conv(x)))
        raise StoppedError(f"in the middle, at {tuple(x.shape)}")


class RaisesBetweenFunctions(nn.Module):
    """A model that raises in a nested module, after calling some functions."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(3, 4, 3), Stops())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Raise."""
        x = functional.relu(functional.max_pool2d(torch.matmul(x, x.mT), 2))
        out: torch.Tensor = self.inner(x)
        return out


class Stops(nn.Module):
    """A module that raises when it is called."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Raise."""
        raise StoppedError(f"in the middle, at {tuple(functional.softmax(x, dim=-1).shape)}")


class Attention(nn.Module):
    """Attention, called directly and inside an encoder's layer."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)
        self.encoder = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map a sequence to a sequence."""
        out: torch.Tensor = self.encoder(self.attention(x, x, x)[0])
        return out


def plain() -> nn.Module:
    """Build a model that works with every tool."""
    return Plain()


def shared() -> nn.Module:
    """Build a model with one module in two places."""
    return Shared()


def reused() -> nn.Module:
    """Build a model with modules that are called more than once."""
    return Reused()


def attention() -> nn.Module:
    """Build a model with attention."""
    return Attention()


def linears() -> nn.Module:
    """Build a model of fully connected layers."""
    return nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 8))


def frozen() -> nn.Module:
    """Build a model with some frozen parameters, and others with gradients."""
    model = Plain()
    model.conv.requires_grad_(False)  # noqa: FBT003 - torch's own
    model.norm.weight.requires_grad_(False)  # noqa: FBT003 - torch's own
    for parameter in model.head.parameters():
        parameter.grad = torch.ones_like(parameter)
    return model


def buffers() -> nn.Module:
    """Build a model with buffers."""
    return Buffers()


def hooked() -> nn.Module:
    """Build a model with a user's hooks of every kind."""
    model = Plain()
    model.conv.register_forward_pre_hook(_nothing)
    model.conv.register_forward_hook(_nothing)
    model.norm.register_full_backward_hook(_nothing)
    model.head.register_full_backward_pre_hook(_nothing)
    model.head.weight.register_hook(_nothing)  # type: ignore[no-untyped-call] # torch's own
    model.register_state_dict_post_hook(_nothing)  # type: ignore[no-untyped-call] # torch's own
    return model


def _nothing(*_args: Any) -> None:
    """Do nothing, as a user's hook; at the top of this module so that it can be pickled."""


def uncopyable() -> nn.Module:
    """Build a model that cannot be copied."""
    return Uncopyable()


def watched() -> nn.Module:
    """Build a model that calls the watchers."""
    return Watched()


def raises_between_modules() -> nn.Module:
    """Build a model that raises between two of its modules."""
    return RaisesBetweenModules()


def raises_between_functions() -> nn.Module:
    """Build a model that raises in a nested module."""
    return RaisesBetweenFunctions()


class OtherModel(nn.Module):
    """One or more of everything that tools patch: layers, functions and operators."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, stride=2)
        self.norm = nn.BatchNorm2d(16)
        self.act = nn.ReLU()
        self.pool = nn.MaxPool2d(3)
        self.layer_norm = nn.LayerNorm(16)
        self.mix = nn.Linear(16, 16)
        self.head = nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map an image to four numbers."""
        x = self.pool(self.act(self.norm(self.conv(x)))).flatten(2).mT
        x = self.layer_norm(x)
        x = functional.relu(functional.linear(torch.matmul(x, x.mT) @ x, self.mix.weight))
        x = functional.scaled_dot_product_attention(x, x, x) + functional.gelu(self.mix(x))
        out: torch.Tensor = functional.softmax(self.head(x.mean(1)), dim=-1)
        return out


def other_model() -> LoadedModel:
    """Build another model, the same each time, with its input."""
    state = torch.get_rng_state()
    torch.manual_seed(0)
    loaded = LoadedModel(OtherModel().eval(), (torch.rand(1, 3, 32, 32),))
    torch.set_rng_state(state)
    return loaded
