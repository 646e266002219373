"""The models of the probes: modules that run the probed layer or function on an image."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import torch

from flopaudit.probes.definition import (
    Case,
    Probe,
    Root,
    Shape,
)


def cut(tensor: torch.Tensor, shapes: tuple[Shape, ...]) -> tuple[torch.Tensor, ...]:
    """Cut tensors of these shapes out of one tensor, one after the other; all are views of it."""
    if not shapes or shapes == (tuple(tensor.shape),):
        return (tensor,)
    if len(shapes) == 1:
        return (tensor.reshape(shapes[0]),)
    flat = tensor.reshape(-1)
    pieces, start = [], 0
    for shape in shapes:
        end = start + prod(shape)
        pieces.append(flat[start:end].reshape(shape))
        start = end
    return tuple(pieces)


_WITHOUT = "parameters/none"
"""The first part of the names of probes whose model has no parameters."""


class Probed(torch.nn.Module):
    """A model that cuts its input and passes the parts to the probed layer or function.

    The call is looked up by the probe's name, so that the model can be pickled. Some tools read the
    device from the first parameter. So there is one, except in probes of models without any.
    """

    def __init__(self, probe: Probe, case: Case) -> None:
        super().__init__()
        self.probe = probe.name
        self.shapes = case.shapes
        if not probe.name.startswith(_WITHOUT):
            self.anchor = torch.nn.Parameter(torch.zeros(1))

    def _call(self) -> Callable[..., Any] | None:
        from flopaudit.probes import PROBES

        return PROBES[self.probe].call


class Layer(Probed):
    """A model that has the layer as `layer`."""

    def __init__(self, probe: Probe, case: Case) -> None:
        super().__init__(probe, case)
        self.layer = bare(probe, case)

    def forward(self, x: torch.Tensor) -> Any:
        """Call the layer, by the probe's `call` if it has one."""
        call = self._call()
        tensors = cut(x, self.shapes)
        return call(torch, self.layer, *tensors) if call else self.layer(*tensors)


class LayerInTraining(Layer):
    """A model whose layer stays in training mode, whatever the mode of the model."""

    def train(self, mode: bool = True) -> LayerInTraining:  # noqa: FBT001, FBT002 - torch's own
        """Change the mode of the root alone."""
        super().train(mode)
        self.layer.train()
        return self


class LayerOnCopy(Layer):
    """A model that passes a copy to its layer, so that an in-place layer keeps the input."""

    def forward(self, x: torch.Tensor) -> Any:
        """Call the layer on a copy."""
        return super().forward(x.clone())


class Function(Probed):
    """A model that calls a function and has no modules."""

    def __init__(self, probe: Probe, case: Case) -> None:
        super().__init__(probe, case)
        self.sizes = case.sizes

    def forward(self, x: torch.Tensor) -> Any:
        """Call the function with the tensors and sizes of the case."""
        call = self._call()
        assert call is not None  # noqa: S101 - a function's probe has one
        return call(torch, *cut(x, self.shapes), *self.sizes)


def bare(probe: Probe, case: Case) -> torch.nn.Module:
    """Build the layer itself."""
    assert probe.make is not None  # noqa: S101 - only a function's probe has none
    made: torch.nn.Module = probe.make(torch, *case.sizes)
    return made


ROOTS: dict[Root, Callable[[Probe, Case], torch.nn.Module]] = {
    "layer": Layer,
    "layer in training": LayerInTraining,
    "copied": LayerOnCopy,
    "function": Function,
    "itself": bare,
}
