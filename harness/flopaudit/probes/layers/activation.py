"""Activations, called as a module, a function and a method."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from flopaudit.probes.definition import (
    IMAGES,
    ROWS,
    SEQUENCES,
    Case,
    Make,
    Probe,
    cut,
    function,
    layer,
    sized,
)


@dataclass(frozen=True)
class _Activation:
    """An activation on each element, and the call syntaxes that torch has for it.

    Attributes:
        module: its class in torch.nn.
        function: its name in torch.nn.functional, "" where it has none.
        torch: its name in torch, "" where it has none.
        method: its name as a method of tensors, "" where it has none.
        in_place: its name as a method that works in place, "" where it has none.
        inplace: whether the class is probed with `inplace=True`.
        arguments: that all of these calls take after the tensor.
        options: what only its class and its function take.
    """

    module: str
    function: str = ""
    torch: str = ""
    method: str = ""
    in_place: str = ""
    inplace: bool = False
    arguments: tuple[float, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)


_ACTIVATIONS: dict[str, _Activation] = {
    "relu": _Activation("ReLU", "relu", "relu", "relu", "relu_", inplace=True),
    "relu6": _Activation("ReLU6", "relu6", inplace=True),
    "leaky_relu": _Activation("LeakyReLU", "leaky_relu", inplace=True),
    "rrelu": _Activation("RReLU", "rrelu"),
    "elu": _Activation("ELU", "elu"),
    "selu": _Activation("SELU", "selu", "selu"),
    "celu": _Activation("CELU", "celu"),
    "gelu": _Activation("GELU", "gelu"),
    "gelu_tanh": _Activation("GELU", "gelu", options={"approximate": "tanh"}),
    "silu": _Activation("SiLU", "silu", inplace=True),
    "mish": _Activation("Mish", "mish"),
    "sigmoid": _Activation("Sigmoid", "sigmoid", "sigmoid", "sigmoid", "sigmoid_"),
    "log_sigmoid": _Activation("LogSigmoid", "logsigmoid"),
    "hardsigmoid": _Activation("Hardsigmoid", "hardsigmoid"),
    "hardswish": _Activation("Hardswish", "hardswish", inplace=True),
    "hardtanh": _Activation("Hardtanh", "hardtanh", inplace=True),
    "hardshrink": _Activation("Hardshrink", "hardshrink"),
    "softshrink": _Activation("Softshrink", "softshrink"),
    "softplus": _Activation("Softplus", "softplus"),
    "softsign": _Activation("Softsign", "softsign"),
    "tanh": _Activation("Tanh", "tanh", "tanh", "tanh", "tanh_"),
    "tanhshrink": _Activation("Tanhshrink", "tanhshrink"),
    "threshold": _Activation("Threshold", "threshold", arguments=(0.5, 0.0)),
}  # fmt: skip

_CASES = sized(IMAGES)


def _of(key: str, each: _Activation) -> Iterator[Probe]:
    yield layer(f"activation/{key}_module", each.module, _maker(each, {}), _CASES)
    if each.inplace:
        yield layer(
            f"activation/{key}_module_inplace",
            f"{each.module} in place",
            _maker(each, {"inplace": True}),
            _CASES,
            root="copied",
        )
    if each.function:
        about = f"functional.{each.function}"
        yield function(f"activation/{key}_function", about, _functional(each, {}), _CASES)
        if each.inplace:
            yield function(
                f"activation/{key}_function_inplace",
                f"{about} in place",
                _functional(each, {"inplace": True}),
                _CASES,
            )
    if each.torch:
        yield function(f"activation/{key}_torch", f"torch.{each.torch}", _torchs(each), _CASES)
    for syntax, name in (("method", each.method), ("method_inplace", each.in_place)):
        if name:
            yield function(f"activation/{key}_{syntax}", f"Tensor.{name}", _method(name), _CASES)


# Names are looked up at each call, because tools replace torch's functions.
def _maker(each: _Activation, more: dict[str, Any]) -> Make:
    return lambda torch: getattr(torch.nn, each.module)(*each.arguments, **each.options, **more)


def _functional(each: _Activation, more: dict[str, Any]) -> Make:
    def call(torch: Any, x: Any) -> Any:
        x = x.clone() if more else x
        found = getattr(torch.nn.functional, each.function)
        return found(x, *each.arguments, **each.options, **more)

    return call


def _torchs(each: _Activation) -> Make:
    return lambda torch, x: getattr(torch, each.torch)(x, *each.arguments)


def _method(name: str) -> Make:
    if name.endswith("_"):
        return lambda torch, x: getattr(x.clone(), name)()
    return lambda torch, x: getattr(x, name)()


_SOFTMAXES = {"softmax": "Softmax", "log_softmax": "LogSoftmax", "softmin": "Softmin"}
_DIMS: dict[str, tuple[str, int, tuple[Case, ...]]] = {
    "rows": ("over rows", -1, sized(ROWS)),
    "last": ("over the last side of sequences", -1, sized(SEQUENCES)),
    "channels": ("over the channels of images", 1, sized(IMAGES)),
}


def _softmaxes() -> Iterator[Probe]:
    for key, module in _SOFTMAXES.items():
        for where, (words, dim, cases) in _DIMS.items():
            if key != "softmax" and where != "last":
                continue
            yield from _softmax(key, module, where, words, dim, cases)


def _softmax(  # noqa: PLR0913, PLR0917 - one entry of each of two tables
    key: str, module: str, where: str, words: str, dim: int, cases: tuple[Case, ...]
) -> Iterator[Probe]:
    yield layer(
        f"activation/{key}_module_{where}",
        f"{module} {words}",
        lambda torch: getattr(torch.nn, module)(dim=dim),
        cases,
    )
    yield function(
        f"activation/{key}_function_{where}",
        f"functional.{key} {words}",
        lambda torch, x: getattr(torch.nn.functional, key)(x, dim=dim),
        cases,
    )
    if key == "softmin":  # functional alone
        return
    yield function(
        f"activation/{key}_torch_{where}",
        f"torch.{key} {words}",
        lambda torch, x: getattr(torch, key)(x, dim=dim),
        cases,
    )
    yield function(
        f"activation/{key}_method_{where}",
        f"Tensor.{key} {words}",
        lambda torch, x: getattr(x, key)(dim=dim),
        cases,
    )


_PER_CHANNEL = tuple(cut(shape, sizes=(shape[1],)) for shape in IMAGES)
_EVEN = sized(((1, 2, 6, 8), (1, 4, 5, 6), (1, 6, 7, 4), (1, 8, 3, 10), (1, 10, 9, 2)))

PROBES: tuple[Probe, ...] = (
    *(probe for key, each in _ACTIVATIONS.items() for probe in _of(key, each)),
    *_softmaxes(),
    layer("activation/softmax2d_module", "Softmax2d", lambda torch: torch.nn.Softmax2d(), _CASES),
    layer(
        "activation/prelu_module_shared",
        "PReLU with one slope",
        lambda torch: torch.nn.PReLU(),
        _CASES,
    ),
    layer(
        "activation/prelu_module_own",
        "PReLU with a slope for each channel",
        lambda torch, channels: torch.nn.PReLU(channels),
        _PER_CHANNEL,
    ),
    function(
        "activation/prelu_function",
        "functional.prelu with a slope for each channel",
        lambda torch, x, slope: torch.nn.functional.prelu(x, slope),
        [cut(shape, (shape[1],)) for shape in IMAGES],
    ),
    function(
        "activation/prelu_torch",
        "torch.prelu with a slope for each channel",
        lambda torch, x, slope: torch.prelu(x, slope),
        [cut(shape, (shape[1],)) for shape in IMAGES],
    ),
    layer(
        "activation/glu_module_channels",
        "GLU over channels",
        lambda torch: torch.nn.GLU(dim=1),
        _EVEN,
    ),
    layer(
        "activation/glu_module_last", "GLU over the last side", lambda torch: torch.nn.GLU(), _EVEN
    ),
    function(
        "activation/glu_function",
        "functional.glu over the last side",
        lambda torch, x: torch.nn.functional.glu(x),
        _EVEN,
    ),
)
