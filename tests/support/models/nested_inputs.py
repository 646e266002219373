"""Models that take more than tensors, functions that make inputs, and factories of each form."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass
class Batch:
    """An image with what belongs to it."""

    image: torch.Tensor
    scale: float


class TakesBatch(nn.Module):
    """Takes a dict or a `Batch`, and writes into it, as some models do."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, bias=False)

    def forward(
        self, batch: Batch | dict[str, Any], *, twice: bool = False, mask: None = None
    ) -> torch.Tensor:
        """Convolve the image, once or twice."""
        if mask is not None:
            raise ValueError("there is no mask")
        if isinstance(batch, Batch):
            image = batch.image * batch.scale
        else:
            if "seen" in batch:
                raise ValueError("the batch of another run")
            batch["seen"] = True
            image = batch["image"]
        out: torch.Tensor = self.conv(image)
        return out + self.conv(image) if twice else out


class Layers(nn.Module):
    """Linear layers, as many and as wide as is asked for."""

    def __init__(self, depth: int = 2, width: int = 8) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(nn.Linear(width, width, bias=False) for _ in range(depth)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run all of them."""
        out: torch.Tensor = self.layers(x)
        return out


class Outer:
    """A namespace."""

    class Inner(Layers):
        """A class within a class."""


def with_needs(depth: int, *, width: int, name: str = "", scale: float = 1.0) -> Layers:
    """Build layers from arguments of each type."""
    if name not in {"", "wide"} or not isinstance(scale, float):
        raise ValueError("these arguments were not given")
    return Layers(depth, width)


def half() -> Layers:
    """Build a model whose weights are float16."""
    return Layers().half()


class Grown:
    """A cache that grows by each run."""

    def __init__(self) -> None:
        self.tokens = torch.zeros(1, 3, 8)


class Remembers(nn.Module):
    """Attends to all tokens in its cache, to which it adds those of each run."""

    def forward(self, x: torch.Tensor, cache: Grown) -> torch.Tensor:
        """Multiply the tokens by all tokens so far."""
        cache.tokens = torch.cat([cache.tokens, x], dim=1)
        return x @ cache.tokens.transpose(1, 2)


partial = functools.partial(Layers, depth=3)
built = Layers(depth=4)
number = 7


def batch() -> Batch:
    """Return one input, which is no tensor."""
    return Batch(torch.rand(1, 3, 8, 8), 0.5)


def one_tensor() -> torch.Tensor:
    """Return one input."""
    return torch.rand(1, 8)


def by_position() -> tuple[torch.Tensor]:
    """Return the inputs by position."""
    return (torch.rand(2, 8),)


def by_name() -> Mapping[str, Any]:
    """Return the inputs by keyword."""
    return {"x": torch.rand(3, 8)}


def both() -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return inputs by position and by keyword."""
    return ({"image": torch.rand(1, 3, 8, 8)},), {"twice": True}


def grown() -> tuple[torch.Tensor, Grown]:
    """Return tokens and a cache."""
    return torch.rand(1, 1, 8), Grown()


def raises() -> None:
    """Return nothing."""
    raise ValueError("no data\nat all")


def exits() -> None:
    """Return nothing."""
    raise SystemExit(3)
