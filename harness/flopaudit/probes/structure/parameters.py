"""Parameters that a count may include or miss: frozen, unused, the root's own, buffers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flopaudit.probes.definition import (
    IMAGES,
    Case,
    Make,
    Probe,
    cut,
    function,
    layer,
    sized,
)
from flopaudit.probes.structure.nesting import own

_CONVS = [cut((1, i, h, w), sizes=(i, o)) for i, o, h, w in
          ((2, 3, 7, 9), (3, 5, 8, 11), (5, 2, 9, 6), (4, 7, 5, 10), (7, 4, 10, 8), (3, 11, 9, 5),
           (6, 3, 7, 12))]  # fmt: skip
_LINEARS = [
    cut((n, i), sizes=(i, o))
    for n, i, o in ((2, 3, 5), (3, 5, 7), (5, 4, 3), (7, 2, 4), (4, 7, 2), (6, 5, 11), (9, 3, 4))
]
_CHANNELS = [cut(shape, sizes=(shape[1],)) for shape in IMAGES]


def _conv(torch: Any, ins: int, outs: int) -> Any:
    return torch.nn.Conv2d(ins, outs, 3)


def _linear(torch: Any, ins: int, outs: int) -> Any:
    return torch.nn.Linear(ins, outs)


def _frozen(inside: Make, *names: str) -> Make:
    """Return a function that builds a layer with these parameters frozen, or all."""

    def make(torch: Any, *sizes: Any) -> Any:
        built = inside(torch, *sizes)
        for name, parameter in built.named_parameters():
            parameter.requires_grad_(bool(names) and name not in names)
        return built

    return make


def _half_frozen(torch: Any, ins: int, outs: int) -> Any:
    frozen, free = torch.nn.Linear(ins, outs), torch.nn.Linear(outs, ins)
    frozen.requires_grad_(requires_grad=False)
    return torch.nn.Sequential(frozen, free)


def _holding(used: Make, **held: Callable[..., Any]) -> Make:
    """Return a function that builds a module that runs one layer and has others unused."""

    def make(torch: Any, *sizes: Any) -> Any:
        from flopaudit.probes.structure import custom_modules

        more = {name: value(torch, *sizes) for name, value in held.items()}
        return custom_modules.Holding(used(torch, *sizes), **more)

    return make


def _parameter(torch: Any, ins: int, outs: int) -> Any:
    return torch.nn.Parameter(torch.rand(ins + 1, outs + 2))


def _half(torch: Any, ins: int, outs: int) -> Any:
    return torch.nn.Linear(ins, outs, dtype=torch.float16)


_LAYERS: dict[str, tuple[str, Make, list[Case]]] = {
    "frozen_conv2d": ("a frozen Conv2d", _frozen(_conv), _CONVS),
    "frozen_linear": ("a frozen Linear", _frozen(_linear), _LINEARS),
    "frozen_bias": ("a Linear whose bias is frozen", _frozen(_linear, "bias"), _LINEARS),
    "frozen_weight": ("a Conv2d whose weight is frozen", _frozen(_conv, "weight"), _CONVS),
    "frozen_batch_norm2d": (
        "a frozen BatchNorm2d",
        _frozen(lambda torch, channels: torch.nn.BatchNorm2d(channels)),
        _CHANNELS,
    ),
    "half_frozen": ("two Linears of which one is frozen", _half_frozen, _LINEARS),
    "unused_linear": (
        "a Conv2d, and a Linear that never runs",
        _holding(_conv, unused=_linear),
        _CONVS,
    ),
    "unused_relu": (
        "a Linear, and a ReLU that never runs",
        _holding(_linear, unused=lambda torch, *_: torch.nn.ReLU()),
        _LINEARS,
    ),
    "unused_parameter": (
        "a Linear, and a parameter that is never used",
        _holding(_linear, unused=_parameter),
        _LINEARS,
    ),
    "unused_half": (
        "a Linear, and one of float16 that never runs",
        _holding(_linear, unused=_half),
        _LINEARS,
    ),
    "none": (
        "no parameters: a ReLU and a pool",
        lambda torch: torch.nn.Sequential(torch.nn.ReLU(), torch.nn.MaxPool2d(2)),
        list(sized(IMAGES)),
    ),
    "buffers": ("buffers and no parameters", own("Buffered"), _CHANNELS),
    "tokens": (
        "a class token and positions",
        own("Tokens"),
        [
            cut(shape, sizes=shape[1:])
            for shape in ((1, 3, 4), (2, 5, 3), (3, 2, 7), (1, 7, 5), (2, 4, 6), (5, 3, 2))
        ],
    ),
    "list": (
        "the parameters of a ParameterList",
        own("FromList"),
        [cut(shape, sizes=(shape[1], n)) for shape, n in zip(IMAGES, (2, 3, 1, 4, 2), strict=True)],
    ),
}

PROBES: tuple[Probe, ...] = (
    *(
        layer(f"parameters/{key}", about, make, cases)
        for key, (about, make, cases) in _LAYERS.items()
    ),
    layer(
        "parameters/tokens_of_root",
        "a class token and positions, of the root itself",
        own("Tokens"),
        [
            Case(("x".join(map(str, shape)),), (), shape[1:])
            for shape in ((1, 3, 4), (2, 5, 3), (3, 2, 7), (1, 7, 5), (2, 4, 6), (5, 3, 2))
        ],
        root="itself",
    ),
    function(
        "parameters/none_at_all",
        "neither modules nor parameters",
        lambda torch, x: torch.relu(x) + 1,
        sized(IMAGES),
    ),
)
