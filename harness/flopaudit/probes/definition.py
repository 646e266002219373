"""What a probe is, and how a table writes one down; imports no torch.

A probe isolates one thing that a counter may or may not count. Its cases are the same thing at
several sizes, chosen so that what a counter could go by (elements in and out, products, bias adds,
parameters, calls) can be told apart. Nearly every probe takes one image of 1xCxHxW, since torchstat
can be fed nothing else; what the layer or function is given is cut from it by views.
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
        inputs: what the model is run on, in the notation of the command line.
        shapes: what the layer or function is given, cut from the input in this order; where there
            are none, it is given the inputs as they are.
        sizes: what the layer is made with, or what the function is given beside the tensors.
    """

    inputs: tuple[str, ...]
    shapes: tuple[Shape, ...] = ()
    sizes: tuple[Any, ...] = ()


Root = Literal["layer", "layer in training", "copied", "function", "itself"]
"""What the model is: something around a layer, around a function, or the layer itself."""


@dataclass(frozen=True)
class Probe:
    """One thing to be measured.

    Attributes:
        name: `group/what_it_is`.
        about: the same in words.
        cases: five or more.
        root: what stands around it.
        make: called with torch and the case's sizes, it gives the layer; None for a function.
        call: called with torch, the layer and the tensors, or for a function with torch, the
            tensors and the case's sizes; None for a layer that is called with the tensors alone.
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
    """A probe of a layer, which stands in the model under the name `layer`."""
    return Probe(name, about, tuple(cases), root, make, call)


def function(name: str, about: str, call: Make, cases: Iterable[Case]) -> Probe:
    """A probe of a function: the model has no modules in it."""
    return Probe(name, about, tuple(cases), "function", None, call)


def cut(*shapes: Shape, sizes: tuple[Any, ...] = ()) -> Case:
    """A case whose tensors are cut from one image."""
    return Case((image(shapes),), shapes, sizes)


def given(text: str, *sizes: Any) -> Case:
    """A case with one input that is passed on as it is, such as `int64:2x3`."""
    return Case((text,), (), sizes)


def sized(shapes: Iterable[Shape], *sizes: Any) -> tuple[Case, ...]:
    """A case for each shape, all with the same sizes."""
    return tuple(cut(shape, sizes=sizes) for shape in shapes)


def image(shapes: tuple[Shape, ...]) -> str:
    """The image of 1xCxHxW that tensors of these shapes are cut from."""
    sides = shapes[0] if len(shapes) == 1 else (sum(map(prod, shapes)),)
    while len(sides) > _IMAGE_RANK:
        sides = (sides[0] * sides[1], *sides[2:])
    sides = (1,) * (_IMAGE_RANK - len(sides)) + sides
    return "x".join(map(str, (1, *sides)))


# Shapes that most rooms share: primes, and height other than width.
IMAGES: tuple[Shape, ...] = ((1, 2, 6, 9), (1, 3, 8, 7), (1, 5, 7, 11), (1, 4, 10, 6), (1, 7, 9, 8))
ROWS: tuple[Shape, ...] = ((2, 3), (5, 4), (3, 11), (7, 6), (13, 2))
SEQUENCES: tuple[Shape, ...] = ((2, 3, 4), (3, 5, 6), (5, 2, 7), (4, 7, 3), (2, 11, 5))
