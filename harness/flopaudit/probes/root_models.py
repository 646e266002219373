"""The models around what is probed: a probe and a case come in, a module of torch goes out."""

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
    """Tensors of these shapes, one after the other out of one tensor; all are views of it."""
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
"""How the names of probes of models without parameters begin."""


class Probed(torch.nn.Module):
    """Cuts its input, and hands it to what is probed.

    What is called is looked up by the probe's name, so that the model can be pickled. Some tools
    ask the first parameter for the device, and so there is one, but where that is what is probed.
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
    """Holds the layer as `layer`."""

    def __init__(self, probe: Probe, case: Case) -> None:
        super().__init__(probe, case)
        self.layer = bare(probe, case)

    def forward(self, x: torch.Tensor) -> Any:
        """Call the layer, in the way of the probe if it has one."""
        call = self._call()
        tensors = cut(x, self.shapes)
        return call(torch, self.layer, *tensors) if call else self.layer(*tensors)


class LayerInTraining(Layer):
    """Keeps its layer in training mode, whatever is asked of the model."""

    def train(self, mode: bool = True) -> LayerInTraining:  # noqa: FBT001, FBT002 - torch's own
        """Change the mode of the root alone."""
        super().train(mode)
        self.layer.train()
        return self


class LayerOnCopy(Layer):
    """Gives its layer a copy, so that one that works in place leaves the input as it was."""

    def forward(self, x: torch.Tensor) -> Any:
        """Call the layer on a copy."""
        return super().forward(x.clone())


class Function(Probed):
    """Calls a function, and has no modules in it."""

    def __init__(self, probe: Probe, case: Case) -> None:
        super().__init__(probe, case)
        self.sizes = case.sizes

    def forward(self, x: torch.Tensor) -> Any:
        """Call the function with the tensors and sizes of the case."""
        call = self._call()
        assert call is not None  # noqa: S101 - a function's probe has one
        return call(torch, *cut(x, self.shapes), *self.sizes)


def bare(probe: Probe, case: Case) -> torch.nn.Module:
    """The layer itself."""
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
