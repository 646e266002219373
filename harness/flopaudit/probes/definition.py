"""The definition of a probe, and the functions that write one in a table; imports no torch.

A probe isolates one thing that a tool may or may not count. Its cases are the same thing at several
sizes, chosen so that the quantities that a tool could count by (elements in and out, products, bias
adds, parameters, calls) can be distinguished. Nearly every probe takes one image of 1xCxHxW,
because torchstat accepts nothing else; the tensors for the layer or function are views cut from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import prod
from typing import Any, Literal

Shape = tuple[int, ...]
Make = Callable[..., Any]

_IMAGE_RANK = 3  # channels, height, width


@dataclass(frozen=True)
class Case:
    """One size of a probe.

    Attributes:
        inputs: of the model, in the notation of the command line.
        shapes: of the tensors for the layer or function, cut from the input in this order; if there
            are none, it takes the inputs as they are.
        sizes: arguments of the layer's constructor, or of the function after the tensors.
    """

    inputs: tuple[str, ...]
    shapes: tuple[Shape, ...] = ()
    sizes: tuple[Any, ...] = ()


Root = Literal["layer", "layer in training", "copied", "function", "itself"]
"""The model of a probe: a module around a layer or a function, or the layer itself."""


@dataclass(frozen=True)
class Probe:
    """One thing that a tool may or may not count.

    Attributes:
        name: `group/what_it_is`.
        about: a description of it.
        cases: five or more.
        root: the model around it.
        make: builds the layer, given torch and the case's sizes; None for a function.
        call: runs the layer, given torch, the layer and the tensors, or the function, given torch,
            the tensors and the case's sizes; None for a layer that takes the tensors alone.
    """

    name: str
    about: str
    cases: tuple[Case, ...]
    root: Root
    make: Make | None = field(default=None, repr=False)
    call: Make | None = field(default=None, repr=False)


def layer(  # noqa: PLR0913 - the columns of a table
    name: str,
    about: str,
    make: Make,
    cases: Iterable[Case],
    call: Make | None = None,
    *,
    root: Root = "layer",
) -> Probe:
    """Define a probe of a layer, which is the model's attribute `layer`."""
    return Probe(name, about, tuple(cases), root, make, call)


def function(name: str, about: str, call: Make, cases: Iterable[Case]) -> Probe:
    """Define a probe of a function; its model has no modules."""
    return Probe(name, about, tuple(cases), "function", None, call)


def cut(*shapes: Shape, sizes: tuple[Any, ...] = ()) -> Case:
    """Define a case whose tensors are cut from one image."""
    return Case((image(shapes),), shapes, sizes)


def given(text: str, *sizes: Any) -> Case:
    """Define a case with one input that is passed on as it is, such as `int64:2x3`."""
    return Case((text,), (), sizes)


def sized(shapes: Iterable[Shape], *sizes: Any) -> tuple[Case, ...]:
    """Define a case for each shape, all with the same sizes."""
    return tuple(cut(shape, sizes=sizes) for shape in shapes)


def image(shapes: tuple[Shape, ...]) -> str:
    """Return the image of 1xCxHxW from which tensors of these shapes are cut."""
    sides = shapes[0] if len(shapes) == 1 else (sum(map(prod, shapes)),)
    while len(sides) > _IMAGE_RANK:
        sides = (sides[0] * sides[1], *sides[2:])
    sides = (1,) * (_IMAGE_RANK - len(sides)) + sides
    return "x".join(map(str, (1, *sides)))


# Shapes that most modules share: primes, and a height other than the width.
IMAGES: tuple[Shape, ...] = ((1, 2, 6, 9), (1, 3, 8, 7), (1, 5, 7, 11), (1, 4, 10, 6), (1, 7, 9, 8))
ROWS: tuple[Shape, ...] = ((2, 3), (5, 4), (3, 11), (7, 6), (13, 2))
SEQUENCES: tuple[Shape, ...] = ((2, 3, 4), (3, 5, 6), (5, 2, 7), (4, 7, 3), (2, 11, 5))
