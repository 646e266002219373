"""A model comes in, counts of it and of its known variants go out, the simplest first, when asked.

An offer is a count not yet made, with what supposing it costs; so a search makes only those that
its claims can bear. The variants are general: strides moved within blocks, auxiliary heads, another
size of the input, a training step.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch

from flopaudit.claims.interpretations import Setting
from flopaudit.core.specs import InputSpec, ModelSpec, parse_inputs
from flopaudit.core.text import one_line
from flopaudit.models import torchvision_zoo
from flopaudit.models.build import build, make_inputs, make_kwargs
from flopaudit.pipeline.count_model import CountOptions, count_model
from flopaudit.pipeline.model_requests import ModelRequest
from flopaudit.reference.counter import count

ONE_OF_BATCH_BITS = 1.0
STRIDE_BITS = 1.0
AUXILIARY_BITS = 2.0
PUBLISHED_SIZE_BITS = 2.0
TRAINING_BITS = 3.0
USUAL_SIZE_BITS = 3.0
OTHER_SIZE_BITS = 5.0

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
class Offer:
    """A count that can be made, and what it supposes, in bits; None where it does not exist."""

    bits: float
    count: Callable[[], Setting | None]


class Variants:
    """A model and its variants, counted when asked; `skipped` says what could not be, and why."""

    def __init__(self, subject: ModelRequest) -> None:
        self.subject = subject
        self.skipped: dict[str, str] = {}
        self._shapes = parse_inputs(subject.inputs)
        self._usual = count_model(subject, CountOptions(("macs",))).ledger

    def offers(self) -> list[Offer]:
        """Counts of its variants, the simplest first; none is made yet.

        There are none of a model that has to be run for real, which would take too long.
        """
        if self._usual.device != "meta":
            self.skipped["variants"] = f"the model runs on {self._usual.device} alone"
            return []
        others = [
            Offer(STRIDE_BITS, self.with_strides_moved),
            Offer(AUXILIARY_BITS, self.with_auxiliary_heads),
            Offer(TRAINING_BITS, self.training_step),
            *(self._offer(shapes, bits) for shapes, bits in other_shapes(self.subject)),
        ]
        return sorted(others, key=lambda offer: offer.bits)

    def as_it_is(self) -> Setting:
        """As it is, in eval mode."""
        return Setting("", 0, self._usual, _where(self._shapes))

    def with_strides_moved(self) -> Setting | None:
        """With the stride of its blocks in the 1×1 convolution, or where it is there, after it."""
        model = _on_meta(self.subject.spec)
        name = move_strides(model)
        return self._count(name, STRIDE_BITS, lambda: model) if name else None

    def with_auxiliary_heads(self) -> Setting | None:
        """With heads that run in training alone, or that the builder adds when asked."""
        name, spec = "with auxiliary heads", self.subject.spec
        ways: list[Callable[[], Any]] = [self._model.train]
        if spec.source == "torchvision" and "aux_loss" in _arguments(spec):
            ways.insert(0, lambda: _with_options(spec, aux_loss=True))
        for way in ways:
            setting = self._count(name, AUXILIARY_BITS, way)
            self._model.eval()
            if setting and setting.ledger.params + setting.ledger.macs > (
                self._usual.params + self._usual.macs
            ):
                return setting
        return None

    def training_step(self) -> Setting | None:
        """Forward and backward, in training mode."""
        setting = self._count("training step", TRAINING_BITS, self._model.train, backward=True)
        self._model.eval()
        return setting

    def at(self, shapes: Shapes, bits: float) -> Setting | None:
        """On other inputs; built for them where the model as it is does not take them."""
        name = f"at {_where(shapes)}"
        setting = self._count(name, bits, lambda: self._model, shapes)
        option = _SIZE_OPTION.get(self.subject.spec.source)
        if setting or not option or not _is_image(shapes[0]):
            return setting
        size = {option: shapes[0].shape[-1]}
        return self._count(name, bits, lambda: _with_options(self.subject.spec, **size), shapes)

    def _offer(self, shapes: Shapes, bits: float) -> Offer:
        return Offer(bits, lambda: self.at(shapes, bits))

    @cached_property
    def _model(self) -> torch.nn.Module:
        return _on_meta(self.subject.spec)

    def _count(
        self,
        name: str,
        bits: float,
        make: Callable[[], torch.nn.Module],
        shapes: Shapes = (),
        *,
        backward: bool = False,
    ) -> Setting | None:
        """A setting; None where the model does not exist so, with the reason kept."""
        shapes = shapes or self._shapes
        try:
            with torch.device("meta"):
                model = make()
                inputs, named = make_inputs(shapes), make_kwargs(shapes)
            ledger = count(model, *inputs, device="meta", backward=backward, **named)
        except Exception as error:  # noqa: BLE001 - any model may refuse in any way; it is told
            self.skipped[name] = one_line(error)
            return None
        self.skipped.pop(name, None)
        return Setting(name, bits, ledger, _where(shapes))


_SIZE_OPTION = {"torchvision": "image_size", "timm": "img_size"}
"""What builders of models for one size of image call it."""


def move_strides(model: torch.nn.Module) -> str:
    """Move each stride between a 1×1 convolution and the larger one after it, in bottlenecks.

    Returns:
        What was done, "" if there is no such block.
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


def other_shapes(subject: ModelRequest) -> Iterator[tuple[Shapes, float]]:
    """Inputs that the model may have been counted on instead, with what each costs in bits."""
    shapes = parse_inputs(subject.inputs)
    seen = {shapes}
    alone = tuple(replace(shape, shape=(1, *shape.shape[1:])) for shape in shapes)
    others = [(alone, ONE_OF_BATCH_BITS), *_published(subject.spec), *_resized(shapes)]
    for candidate, bits in others:
        if candidate not in seen:
            seen.add(candidate)
            yield candidate, bits


def _published(spec: ModelSpec) -> Iterator[tuple[Shapes, float]]:
    """Those that other weights of the model are published for."""
    if spec.source == "torchvision":
        for entry in torchvision_zoo.torchvision_models()[spec.location].entries:
            yield parse_inputs(entry.inputs), PUBLISHED_SIZE_BITS


def _resized(shapes: Shapes) -> Iterator[tuple[Shapes, float]]:
    if all(_is_image(shape) for shape in shapes):
        sizes = [(size, USUAL_SIZE_BITS) for size in USUAL_SIZES]
        sizes += [(size, OTHER_SIZE_BITS) for size in OTHER_SIZES]
        for size, bits in sizes:
            yield tuple(replace(s, shape=(*s.shape[:-2], size, size)) for s in shapes), bits
    elif all(len(shape.shape) == AXES_OF_TOKENS for shape in shapes):
        for length in LENGTHS:
            yield tuple(replace(s, shape=(s.shape[0], length)) for s in shapes), USUAL_SIZE_BITS


def _is_image(shape: InputSpec) -> bool:
    """Whether the last two axes of an input are those of an image, or of a clip's frames."""
    return len(shape.shape) >= AXES_OF_AN_IMAGE and shape.dtype.startswith(("float", "bfloat"))


def _where(shapes: Shapes) -> str:
    return " + ".join(str(shape) for shape in shapes)


def _on_meta(spec: ModelSpec) -> torch.nn.Module:
    """A model with its parameters on meta; built for real first where that is needed."""
    try:
        with torch.device("meta"):
            return build(spec)
    except Exception:  # noqa: BLE001 - some initialise themselves with values; then as they must be
        return build(spec).to("meta")


def _with_options(spec: ModelSpec, **options: Any) -> torch.nn.Module:
    """A library's model, built with more options."""
    if spec.source == "torchvision":
        from torchvision import models

        given = {name: None for name in ("weights", "weights_backbone") if name in _arguments(spec)}
        model: torch.nn.Module = models.get_model(spec.location, **given, **options)
        return model.eval()
    more = "&".join(f"{name}={value}" for name, value in options.items())
    return build(replace(spec, options="&".join(filter(None, (spec.options, more)))))


def _arguments(spec: ModelSpec) -> set[str]:
    from torchvision import models

    return set(inspect.signature(models.get_model_builder(spec.location)).parameters)
