"""A model file with operators of its own, as a user would write it."""

from __future__ import annotations

import torch
from torch import nn

_LIBRARY = torch.library.Library("flopaudit_custom", "DEF")  # type: ignore[no-untyped-call] # torch's own
_LIBRARY.define("low_rank(Tensor x, Tensor u, Tensor v, *, float scale=1.0) -> Tensor")  # type: ignore[no-untyped-call] # torch's own
_LIBRARY.define("linear(Tensor x, Tensor u) -> Tensor")  # type: ignore[no-untyped-call] # torch's own
_LIBRARY.define("of_integers(Tensor x, Tensor u) -> Tensor")  # type: ignore[no-untyped-call] # torch's own
_LIBRARY.define("composite(Tensor x, Tensor u) -> Tensor")  # type: ignore[no-untyped-call] # torch's own
_LIBRARY.define("cpu_only(Tensor x) -> Tensor")  # type: ignore[no-untyped-call] # torch's own
_LIBRARY.define("nowhere(Tensor x) -> Tensor")  # type: ignore[no-untyped-call] # torch's own
_BOTH = "CompositeExplicitAutograd"
_LIBRARY.impl("low_rank", lambda x, u, v, scale=1.0: x @ u @ v * scale, _BOTH)  # type: ignore[no-untyped-call] # torch\'s own
_LIBRARY.impl("linear", torch.matmul, _BOTH)  # type: ignore[no-untyped-call] # torch\'s own
_LIBRARY.impl("of_integers", torch.matmul, _BOTH)  # type: ignore[no-untyped-call] # torch\'s own
_LIBRARY.impl("composite", torch.matmul, "CompositeImplicitAutograd")  # type: ignore[no-untyped-call] # torch\'s own
_LIBRARY.impl("cpu_only", lambda x: x * 2, "CPU")  # type: ignore[no-untyped-call] # torch\'s own

OPS = torch.ops.flopaudit_custom


class LowRank(nn.Module):
    """A linear layer, and a low-rank one as an operator of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(8, 8, bias=False)
        self.u = nn.Parameter(torch.rand(8, 2))
        self.v = nn.Parameter(torch.rand(2, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the low-rank product of what the first layer returns."""
        made: torch.Tensor = OPS.low_rank(self.first(x), self.u, self.v, scale=2.0)
        return made


class Chosen(nn.Module):
    """A layer that runs a second time if the input is large."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return what the layer returns."""
        if x.sum() > 0:
            x = self.layer(x)
        made: torch.Tensor = self.layer(x)
        return made


class Nowhere(LowRank):
    """A model with an operator that no device here has."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Raise as torch does."""
        made: torch.Tensor = OPS.nowhere(self.first(x))
        return made
