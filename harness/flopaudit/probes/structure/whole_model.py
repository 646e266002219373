"""Layers that are the whole model, models with two inputs, and inputs without a batch."""

from __future__ import annotations

from typing import Any

from flopaudit.probes.definition import (
    IMAGES,
    Case,
    Make,
    Probe,
    given,
    layer,
)
from flopaudit.probes.structure.nesting import own

# Channels in and out, height and width.
_CONVS = ((2, 3, 7, 9), (3, 5, 8, 11), (5, 2, 9, 6), (4, 7, 5, 10), (7, 4, 10, 8), (3, 11, 9, 5),
          (6, 3, 7, 12))  # fmt: skip
# Rows, features in, features out.
_LINEARS = ((2, 3, 5), (3, 5, 7), (5, 4, 3), (7, 2, 4), (4, 7, 2), (6, 5, 11), (9, 3, 4))


def _conv(torch: Any, ins: int, outs: int) -> Any:
    return torch.nn.Conv2d(ins, outs, 3, padding=1)


def _linear(torch: Any, ins: int, outs: int) -> Any:
    return torch.nn.Linear(ins, outs)


def _relu(torch: Any) -> Any:
    return torch.nn.ReLU()


def _sequential(torch: Any, ins: int, outs: int) -> Any:
    return torch.nn.Sequential(
        torch.nn.Conv2d(ins, outs, 3), torch.nn.BatchNorm2d(outs), torch.nn.ReLU()
    )


_ROOTS: dict[str, tuple[str, Make, list[Case]]] = {
    "linear": (
        "a Linear as the whole model",
        _linear,
        [given(f"{n}x{i}", i, o) for n, i, o in _LINEARS],
    ),
    "linear_of_image": (
        "a Linear as the whole model, on an image",
        _linear,
        [given(f"1x2x{n}x{i}", i, o) for n, i, o in _LINEARS],
    ),
    "conv2d": (
        "a Conv2d as the whole model",
        _conv,
        [given(f"1x{i}x{h}x{w}", i, o) for i, o, h, w in _CONVS],
    ),
    "batch_norm2d": (
        "a BatchNorm2d as the whole model",
        lambda torch, channels: torch.nn.BatchNorm2d(channels),
        [given("x".join(map(str, shape)), shape[1]) for shape in IMAGES],
    ),
    "relu": (
        "a ReLU as the whole model",
        _relu,
        [given("x".join(map(str, shape))) for shape in IMAGES],
    ),
    "sequential": (
        "a Sequential as the whole model",
        _sequential,
        [given(f"1x{i}x{h}x{w}", i, o) for i, o, h, w in _CONVS],
    ),
    "two_inputs": (
        "a model of two inputs",
        own("TwoImages"),
        [Case((f"1x{i}x{h}x{w}",) * 2, (), (i, o)) for i, o, h, w in _CONVS],
    ),
    "bilinear": (
        "a Bilinear as the whole model, of two inputs",
        lambda torch, ins, others, outs: torch.nn.Bilinear(ins, others, outs),
        [Case((f"{n}x{i}", f"{n}x{i + 1}"), (), (i, i + 1, o)) for n, i, o in _LINEARS],
    ),
    "unbatched_conv2d": (
        "a Conv2d on an unbatched image, as the whole model",
        _conv,
        [given(f"{i}x{h}x{w}", i, o) for i, o, h, w in _CONVS],
    ),
    "unbatched_linear": (
        "a Linear on a vector, as the whole model",
        _linear,
        [given(f"{i}", i, o) for _, i, o in _LINEARS],
    ),
}


def _layers_unbatched() -> list[Probe]:
    """Define probes of layers in a model whose input has no batch."""
    images = [given(f"{i}x{h}x{w}", i, o) for i, o, h, w in _CONVS]
    plain = [Case(case.inputs) for case in images]
    return [
        layer("whole/unbatched_conv2d_inside", "a Conv2d on an unbatched image", _conv, images),
        layer(
            "whole/unbatched_max_pool2d",
            "a MaxPool2d on an unbatched image",
            lambda torch: torch.nn.MaxPool2d(2),
            plain,
        ),
        layer(
            "whole/unbatched_avg_pool2d",
            "an AdaptiveAvgPool2d on an unbatched image",
            lambda torch: torch.nn.AdaptiveAvgPool2d(1),
            plain,
        ),
        layer("whole/unbatched_relu", "a ReLU on an unbatched image", _relu, plain),
        layer(
            "whole/linear_on_three_sides",
            "a Linear in a model whose input has three sides",
            _linear,
            [given(f"2x{n}x{i}", i, o) for n, i, o in _LINEARS],
        ),
    ]


PROBES: tuple[Probe, ...] = (
    *(
        layer(f"whole/{key}", about, make, cases, root="itself")
        for key, (about, make, cases) in _ROOTS.items()
    ),
    *_layers_unbatched(),
)
