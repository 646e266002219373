"""Modules of the structure probes: subclasses and combinations of classes of torch.nn.

This module imports torch, so it is imported only when one of them is built.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.functional import relu

SUBCLASSED = (
    "Conv1d", "Conv2d", "Conv3d", "ConvTranspose2d", "Linear", "BatchNorm2d", "LayerNorm",
    "GroupNorm", "ReLU", "GELU", "SiLU", "Sigmoid", "PReLU", "MaxPool2d", "AvgPool2d",
    "AdaptiveAvgPool2d", "Upsample", "Softmax", "LSTM", "GRU", "MultiheadAttention", "Sequential",
    "Embedding", "Dropout", "Identity", "Flatten",
)  # fmt: skip


def _subclass(name: str) -> type[nn.Module]:
    """Return a subclass of a class of torch.nn that adds nothing but its own type."""
    return type(f"Sub{name}", (getattr(nn, name),), {"__module__": __name__})


# As names in this module, so that they can be pickled.
globals().update({f"Sub{name}": _subclass(name) for name in SUBCLASSED})


class Times(nn.Module):
    """A module that calls another several times, each time on the last result."""

    def __init__(self, inside: nn.Module, times: int) -> None:
        super().__init__()
        self.inside = inside
        self.times = times

    def forward(self, x: Tensor) -> Tensor:
        """Call it."""
        for _ in range(self.times):
            x = self.inside(x)
        return x


class Parent(nn.Module):
    """A module that calls its child."""

    def __init__(self, child: nn.Module) -> None:
        super().__init__()
        self.child = child

    def forward(self, x: Tensor) -> Any:
        """Call it."""
        return self.child(x)


class TwoNames(nn.Module):
    """A module that has another under two names, and calls it by both, or only by the second."""

    def __init__(self, shared: nn.Module, *, both: bool = True) -> None:
        super().__init__()
        self.first = shared
        self.second = shared
        self.both = both

    def forward(self, x: Tensor) -> Any:
        """Call it."""
        return self.second(self.first(x) if self.both else x)


class Pair(nn.Module):
    """A module that returns a tuple: a convolution's result, and its sum over the channels."""

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Call it."""
        out = self.conv(x)
        return out, out.sum(1)


class Named(Pair):
    """A module that returns the same in a dict."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:  # type: ignore[override] # is the point
        """Call it."""
        out, total = super().forward(x)
        return {"out": out, "sum": total}


class LeafPair(nn.Module):
    """A module without children that returns a tuple."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Double it in two ways."""
        return x + x, x * 2


class LeafDict(nn.Module):
    """A module without children that returns a dict."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Double it."""
        return {"out": x + x}


class LeafOfTwo(nn.Module):
    """A module without children that takes two tensors, the second by keyword too."""

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        """Multiply them."""
        return x * other


class TwoImages(nn.Module):
    """A model of two inputs."""

    def __init__(self, ins: int, outs: int) -> None:
        super().__init__()
        self.left = nn.Conv2d(ins, outs, 3, bias=False)
        self.right = nn.Conv2d(ins, outs, 1)

    def forward(self, image: Tensor, other: Tensor) -> Tensor:
        """Convolve each, and crop the second to add it."""
        left: Tensor = self.left(image)
        right: Tensor = self.right(other)
        return left + right[..., : left.shape[-2], : left.shape[-1]]


class OwnConv(nn.Module):
    """A leaf that passes its own parameters to functional.conv2d."""

    def __init__(self, ins: int, outs: int, kernel: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(outs, ins, kernel, kernel))
        self.bias = nn.Parameter(torch.rand(outs))

    def forward(self, x: Tensor) -> Tensor:
        """Convolve."""
        return functional.conv2d(x, self.weight, self.bias)


class OwnLinear(nn.Module):
    """A leaf that passes its own parameters to functional.linear."""

    def __init__(self, ins: int, outs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(outs, ins))
        self.bias = nn.Parameter(torch.rand(outs))

    def forward(self, x: Tensor) -> Tensor:
        """Apply it."""
        return functional.linear(x, self.weight, self.bias)


class OwnMatmul(nn.Module):
    """A leaf that multiplies by its own parameter with the operator `@`."""

    def __init__(self, ins: int, outs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(ins, outs))

    def forward(self, x: Tensor) -> Tensor:
        """Multiply."""
        out: Tensor = x @ self.weight
        return out


class LinearWithAct(nn.Module):
    """A module with a child and a function: a Linear, then functional.relu."""

    def __init__(self, ins: int, outs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(ins, outs)

    def forward(self, x: Tensor) -> Tensor:
        """Apply both."""
        return functional.relu(self.linear(x))


class LinearChildUnused(nn.Linear):
    """A Linear with a child, so that it is not a leaf."""

    def __init__(self, ins: int, outs: int) -> None:
        super().__init__(ins, outs)
        self.activation = nn.ReLU()

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """Apply the Linear, then the child."""
        out: Tensor = self.activation(super().forward(input))
        return out


class Tokens(nn.Module):
    """A root's own parameters: a class token in front of a sequence, and a position for each."""

    def __init__(self, length: int, features: int) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.rand(1, 1, features))
        self.position = nn.Parameter(torch.rand(1, length + 1, features))
        self.norm = nn.LayerNorm(features)

    def forward(self, x: Tensor) -> Tensor:
        """Join and add."""
        x = torch.cat((self.token.expand(x.shape[0], -1, -1), x), 1)
        out: Tensor = self.norm(x + self.position)
        return out


class Scaled(nn.Module):
    """A leaf that multiplies by a parameter for each channel, as layer scale does."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.rand(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Multiply."""
        return x * self.gamma


class Residual(nn.Module):
    """A module that adds its input to the result of another."""

    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside = inside

    def forward(self, x: Tensor) -> Tensor:
        """Add them."""
        out: Tensor = self.inside(x) + x
        return out


class Squeezed(nn.Module):
    """Squeeze and excite: each channel times a number from the mean of all."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(channels, inner, 1)
        self.up = nn.Conv2d(inner, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Scale."""
        means = x.mean((2, 3), keepdim=True)
        scale: Tensor = self.up(self.down(means).relu()).sigmoid()
        return x * scale


class ByFactor(nn.Module):
    """DropPath as some models run it in evaluation: a mask of ones, scaled."""

    def forward(self, x: Tensor) -> Tensor:
        """Multiply by ones."""
        return x.div(0.5) * torch.ones(x.shape[0], 1, 1, 1, device=x.device) * 0.5


class Branching(nn.Module):
    """A module with two branches, of which one is never taken in evaluation."""

    def __init__(self, ins: int, outs: int) -> None:
        super().__init__()
        self.taken = nn.Linear(ins, outs)
        self.other = nn.Linear(ins, ins)

    def forward(self, x: Tensor) -> Tensor:
        """Take one."""
        out: Tensor = self.other(x) if self.training else self.taken(x)
        return out


class Held(nn.Module):
    """A module that keeps a function and calls it, as layers keep their activation."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        """Call it."""
        return self.function(x)


class HeldOfTwo(Held):
    """A module that calls a kept function of two tensors on one and its transpose."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__(function)

    def forward(self, x: Tensor) -> Tensor:
        """Call it on squares, because a sum needs equal shapes."""
        square = x[..., : min(x.shape[-2:]), : min(x.shape[-2:])]
        return self.function(square, square.transpose(-1, -2))


class Imported(nn.Module):
    """A module that calls a function imported by name into this file."""

    def forward(self, x: Tensor) -> Tensor:
        """Call it."""
        return relu(x)


class Wasteful(nn.Module):
    """A module that computes a result and discards it."""

    def __init__(self, kept: nn.Module, thrown: nn.Module) -> None:
        super().__init__()
        self.kept = kept
        self.thrown = thrown

    def forward(self, x: Tensor) -> Any:
        """Call both, return one."""
        self.thrown(x)
        return self.kept(x)


class Holding(nn.Module):
    """A module that runs one module and has others that never run."""

    def __init__(self, used: nn.Module, **held: Any) -> None:
        super().__init__()
        self.used = used
        for name, value in held.items():
            setattr(self, name, value)

    def forward(self, x: Tensor) -> Any:
        """Call the one that runs."""
        return self.used(x)


class Buffered(nn.Module):
    """A module with buffers and no parameters."""

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.rand(channels, 1, 1))
        self.register_buffer("std", torch.rand(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise an image."""
        return (x - self.mean) / self.std


class FromList(nn.Module):
    """A module that multiplies by the parameters of a ParameterList, one after another."""

    def __init__(self, channels: int, length: int) -> None:
        super().__init__()
        self.factors = nn.ParameterList(torch.rand(channels, 1, 1) for _ in range(length))

    def forward(self, x: Tensor) -> Tensor:
        """Multiply."""
        for factor in self.factors:
            x = x * factor
        return x
