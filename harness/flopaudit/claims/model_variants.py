"""Counts of a model and of its known variants, each made only when it is needed.

A `PendingCount` is a count that has not been made yet, with the cost of its assumption, so that a
search makes only the counts that can matter for its claims. The variants are general: strides moved
within blocks, auxiliary heads, another input size, a training step.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch

from flopaudit.claims.interpretations import CountedVariant
from flopaudit.core.input_values import (
    CacheSpec,
    CallSpec,
    EncodedSpec,
    FileSpec,
    InputSpec,
    TensorSpec,
    first_tensor,
    inside,
    with_tensors,
)
from flopaudit.core.specs import ModelSpec, parse_inputs, parse_options
from flopaudit.core.text import one_line
from flopaudit.models import inputs, torchvision_zoo
from flopaudit.models.build import build
from flopaudit.pipeline.count_model import CountOptions, count_model
from flopaudit.pipeline.model_requests import ModelRequest
from flopaudit.reference.counter import count

ONE_OF_BATCH_COST = 1.0
STRIDE_COST = 1.0
AUXILIARY_COST = 2.0
PUBLISHED_SIZE_COST = 2.0
TRAINING_COST = 3.0
USUAL_SIZE_COST = 3.0
OTHER_SIZE_COST = 5.0

USUAL_SIZES = (224, 256, 299, 384, 512)
OTHER_SIZES = (
    32, 64, 96, 112, 128, 160, 192, 227, 240, 288, 300, 320, 336, 416, 448, 480, 518, 520, 600,
    640, 800, 1024,
)  # fmt: skip
LENGTHS = (64, 128, 256, 512, 1024, 2048, 4096)
AXES_OF_AN_IMAGE = 4
AXES_OF_TOKENS = 2

Shapes = tuple[InputSpec, ...]


@dataclass(frozen=True)
class PendingCount:
    """A count that can be made.

    Attributes:
        cost: the cost of assuming this variant.
        count: makes the count; returns None if the variant does not exist.
    """

    cost: float
    count: Callable[[], CountedVariant | None]


class VariantCounter:
    """A counter of a model and its variants; `skipped` has those that failed, with the reason."""

    def __init__(self, request: ModelRequest) -> None:
        self.request = request
        self.skipped: dict[str, str] = {}
        self._shapes = parse_inputs(request.inputs)
        self._usual = count_model(request, CountOptions(("macs",))).ledger

    def pending_counts(self) -> list[PendingCount]:
        """List the counts of all variants, the cheapest first, without making them.

        The list is empty for a model that cannot run on meta tensors: counting would take too long.
        """
        if self._usual.device != "meta":
            self.skipped["variants"] = f"the model runs only on {self._usual.device}"
            return []
        others = [
            PendingCount(STRIDE_COST, self.with_strides_moved),
            PendingCount(AUXILIARY_COST, self.with_auxiliary_heads),
            PendingCount(TRAINING_COST, self.training_step),
            *(self._pending(shapes, cost) for shapes, cost in other_shapes(self.request)),
        ]
        return sorted(others, key=lambda pending: pending.cost)

    def as_it_is(self) -> CountedVariant:
        """Return the count of the model as it is, in eval mode."""
        return CountedVariant("", 0, self._usual, _where(self._shapes))

    def with_strides_moved(self) -> CountedVariant | None:
        """Count with the stride of blocks in the 1×1 convolution, or after it if it is in it."""
        model = _on_meta(self.request.spec)
        name = move_strides(model)
        return self._count(name, STRIDE_COST, lambda: model) if name else None

    def with_auxiliary_heads(self) -> CountedVariant | None:
        """Count with heads that run only in training, or that the builder adds on request."""
        name, spec = "with auxiliary heads", self.request.spec
        ways: list[Callable[[], Any]] = [self._model.train]
        if spec.source == "torchvision" and "aux_loss" in _arguments(spec):
            ways.insert(0, lambda: _with_options(spec, aux_loss=True))
        for way in ways:
            counted = self._count(name, AUXILIARY_COST, way)
            self._model.eval()
            if counted and counted.ledger.params + counted.ledger.macs > (
                self._usual.params + self._usual.macs
            ):
                return counted
        return None

    def training_step(self) -> CountedVariant | None:
        """Count forward and backward, in training mode."""
        counted = self._count("training step", TRAINING_COST, self._model.train, backward=True)
        self._model.eval()
        return counted

    def at(self, shapes: Shapes, cost: float) -> CountedVariant | None:
        """Count on other inputs, with a model built for them if the usual one refuses them."""
        name = f"at {_where(shapes)}"
        counted = self._count(name, cost, lambda: self._model, shapes)
        option = _SIZE_OPTION.get(self.request.spec.source)
        first = first_tensor(shapes)
        if counted or not option or first is None or not _is_image(first):
            return counted
        size = {option: first.shape[-1]}
        return self._count(name, cost, lambda: _with_options(self.request.spec, **size), shapes)

    def _pending(self, shapes: Shapes, cost: float) -> PendingCount:
        return PendingCount(cost, lambda: self.at(shapes, cost))

    @cached_property
    def _model(self) -> torch.nn.Module:
        return _on_meta(self.request.spec)

    def _count(
        self,
        name: str,
        cost: float,
        make: Callable[[], torch.nn.Module],
        shapes: Shapes = (),
        *,
        backward: bool = False,
    ) -> CountedVariant | None:
        """Count one variant; None if it does not exist, with the reason in `skipped`."""
        shapes = shapes or self._shapes
        try:
            with torch.device("meta"):
                model = make()
                args, named = inputs.make(shapes, model)
            ledger = count(model, *args, device="meta", backward=backward, **named)
        except Exception as error:  # noqa: BLE001 - any model may refuse in any way; the reason is reported
            self.skipped[name] = one_line(error)
            return None
        self.skipped.pop(name, None)
        return CountedVariant(name, cost, ledger, _where(shapes))


_SIZE_OPTION = {"torchvision": "image_size", "timm": "img_size"}
"""The option for the image size, in builders of models for one size."""


def move_strides(model: torch.nn.Module) -> str:
    """Move each stride between a 1×1 convolution and the larger one after it, in bottlenecks.

    Returns:
        A description of the change; "" if there is no such block.
    """
    to_first, to_second = "stride in the 1×1", "stride in the larger convolution after the 1×1"
    moved = ""
    for block in model.modules():
        convs = [layer for layer in block.children() if isinstance(layer, torch.nn.Conv2d)]
        for first, second in pairwise(convs[:-1]):
            bottleneck = set(first.kernel_size) == {1} != set(second.kernel_size)
            strides = max(first.stride), max(second.stride)
            if bottleneck and first.out_channels == second.in_channels and max(strides) > 1:
                first.stride, second.stride = second.stride, first.stride
                moved = to_first if strides[0] == 1 else to_second
    return moved


def other_shapes(request: ModelRequest) -> Iterator[tuple[Shapes, float]]:
    """Yield other inputs that the model may have been counted on, with the cost of each."""
    shapes = parse_inputs(request.inputs)
    seen = {shapes}
    if any(isinstance(value, _MADE) for spec in shapes for value in inside(spec.value)):
        return  # their sizes are those of a file, a function or another run
    alone = _changed(shapes, lambda one: replace(one, shape=(1, *one.shape[1:])))
    others = [(alone, ONE_OF_BATCH_COST), *_published(request.spec), *_resized(shapes)]
    for candidate, cost in others:
        if candidate not in seen:
            seen.add(candidate)
            yield candidate, cost


def _published(spec: ModelSpec) -> Iterator[tuple[Shapes, float]]:
    """Yield the inputs that other weights of the model are published for."""
    if spec.source == "torchvision":
        for entry in torchvision_zoo.torchvision_models()[spec.location].entries:
            yield parse_inputs(entry.inputs), PUBLISHED_SIZE_COST


_MADE = (FileSpec, CallSpec, CacheSpec, EncodedSpec)


def _resized(shapes: Shapes) -> Iterator[tuple[Shapes, float]]:
    values = (value for spec in shapes for value in inside(spec.value))
    tensors = [value for value in values if isinstance(value, TensorSpec)]
    if tensors and all(map(_is_image, tensors)):
        sizes = [(size, USUAL_SIZE_COST) for size in USUAL_SIZES]
        sizes += [(size, OTHER_SIZE_COST) for size in OTHER_SIZES]
        for size, cost in sizes:
            yield _with_last_sizes(shapes, size, size), cost
    elif tensors and all(len(each.shape) == AXES_OF_TOKENS for each in tensors):
        for length in LENGTHS:
            yield _with_last_sizes(shapes, length), USUAL_SIZE_COST


def _with_last_sizes(shapes: Shapes, *sizes: int) -> Shapes:
    return _changed(shapes, lambda one: replace(one, shape=(*one.shape[: -len(sizes)], *sizes)))


def _changed(shapes: Shapes, change: Callable[[TensorSpec], TensorSpec]) -> Shapes:
    return tuple(replace(spec, value=with_tensors(spec.value, change)) for spec in shapes)


def _is_image(tensor: TensorSpec) -> bool:
    """Whether the last two axes of a tensor are those of an image, or of a clip's frames."""
    return len(tensor.shape) >= AXES_OF_AN_IMAGE and tensor.dtype.startswith(("float", "bfloat"))


def _where(shapes: Shapes) -> str:
    return " + ".join(str(shape) for shape in shapes)


def _on_meta(spec: ModelSpec) -> torch.nn.Module:
    """Build a model with its parameters on meta; built with values first if that is needed."""
    try:
        with torch.device("meta"):
            return build(spec)
    except Exception:  # noqa: BLE001 - some need values to initialise themselves
        return build(spec).to("meta")


def _with_options(spec: ModelSpec, **options: Any) -> torch.nn.Module:
    """Build a library's model with additional options."""
    given = {**parse_options(spec.options), **options}
    more = "&".join(f"{name}={_option_text(value)}" for name, value in given.items())
    return build(replace(spec, options=more))


def _option_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _arguments(spec: ModelSpec) -> set[str]:
    from torchvision import models

    return set(inspect.signature(models.get_model_builder(spec.location)).parameters)
