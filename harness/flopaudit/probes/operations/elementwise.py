"""Arithmetic on each element: operators, methods, functions; with a tensor, a number, a row."""

from __future__ import annotations

from collections.abc import Iterator
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

_ONE = sized(IMAGES)
_PAIRS = [cut(shape, shape) for shape in IMAGES]
_CHANNELS = [cut(shape, (shape[1], 1, 1)) for shape in IMAGES]
_OUTER = [cut((1, c, h, 1), (1, c, 1, w)) for _, c, h, w in IMAGES]
_TRIPLES = [cut(shape, shape, shape) for shape in IMAGES]


def _iadd(x: Any, y: Any) -> Any:
    x += y
    return x


def _isub(x: Any, y: Any) -> Any:
    x -= y
    return x


def _imul(x: Any, y: Any) -> Any:
    x *= y
    return x


def _itruediv(x: Any, y: Any) -> Any:
    x /= y
    return x


# Written out, because calls of the module `operator` appear in a trace as methods.
_ARITHMETIC: dict[str, tuple[Make, Make]] = {
    "add": (lambda x, y: x + y, _iadd),
    "sub": (lambda x, y: x - y, _isub),
    "mul": (lambda x, y: x * y, _imul),
    "div": (lambda x, y: x / y, _itruediv),
}
_OF_ALL = ("operator", "operator_scalar", "operator_channels", "method", "torch")
"""Calls probed for subtraction and division too; the others only for sums and products."""

_SYMBOLS = {"add": "+", "sub": "-", "mul": "*", "div": "/"}


def _arithmetic() -> Iterator[Probe]:
    for name, (plain, in_place) in _ARITHMETIC.items():
        sign = _SYMBOLS[name]
        for key, words, call, cases in (
            ("operator", f"x {sign} y", _operator(plain), _PAIRS),
            ("operator_in_place", f"x {sign}= y", _copied(in_place), _PAIRS),
            ("operator_scalar", f"x {sign} 2.0", _with_scalar(plain), _ONE),
            ("operator_scalar_left", f"2.0 {sign} x", _scalar_first(plain), _ONE),
            (
                "operator_channels",
                f"x {sign} a value for each channel",
                _operator(plain),
                _CHANNELS,
            ),
            ("operator_outer", f"column {sign} row", _operator(plain), _OUTER),
            ("method", f"x.{name}(y)", _method(name), _PAIRS),
            ("method_in_place", f"x.{name}_(y)", _copied_method(f"{name}_"), _PAIRS),
            ("method_scalar", f"x.{name}(2.0)", _method(name, 2.0), _ONE),
            ("method_channels", f"x.{name}(a value for each channel)", _method(name), _CHANNELS),
            ("torch", f"torch.{name}(x, y)", _torchs(name), _PAIRS),
            ("torch_scalar", f"torch.{name}(x, 2.0)", _torchs(name, 2.0), _ONE),
            (
                "torch_channels",
                f"torch.{name}(x, a value for each channel)",
                _torchs(name),
                _CHANNELS,
            ),
            ("torch_outer", f"torch.{name}(column, row)", _torchs(name), _OUTER),
        ):
            if name in {"add", "mul"} or key in _OF_ALL:
                yield function(f"elementwise/{name}_{key}", words, call, cases)


def _operator(plain: Make) -> Make:
    return lambda torch, x, y: plain(x, y)


def _copied(in_place: Make) -> Make:
    return lambda torch, x, y: in_place(x.clone(), y)


def _with_scalar(plain: Make) -> Make:
    return lambda torch, x: plain(x, 2.0)


def _scalar_first(plain: Make) -> Make:
    return lambda torch, x: plain(2.0, x)


# Names are looked up at each call, because tools replace torch's functions.
def _method(name: str, *numbers: Any) -> Make:
    return lambda torch, x, *others: getattr(x, name)(*others, *numbers)


def _copied_method(name: str) -> Make:
    return lambda torch, x, *others: getattr(x.clone(), name)(*others)


def _torchs(name: str, *numbers: Any) -> Make:
    return lambda torch, x, *others: getattr(torch, name)(x, *others, *numbers)


_UNARY = ("exp", "log", "sqrt", "rsqrt", "sin", "abs", "neg", "square", "reciprocal", "erf",
          "floor")  # fmt: skip


def _unary() -> Iterator[Probe]:
    for name in _UNARY:
        yield function(f"elementwise/{name}_torch", f"torch.{name}", _torchs(name), _ONE)
    for name in ("exp", "sqrt"):
        yield function(f"elementwise/{name}_method", f"Tensor.{name}", _method(name), _ONE)


_OTHERS: dict[str, tuple[str, Make, tuple[Case, ...] | list[Case]]] = {
    "pow_operator_2": ("x ** 2", lambda torch, x: x**2, _ONE),
    "pow_operator_3": ("x ** 3", lambda torch, x: x**3, _ONE),
    "pow_torch": ("torch.pow(x, 1.5)", lambda torch, x: torch.pow(x, 1.5), _ONE),
    "pow_method": ("x.pow(2)", lambda torch, x: x.pow(2), _ONE),
    "neg_operator": ("-x", lambda torch, x: -x, _ONE),
    "clamp_torch": ("torch.clamp", lambda torch, x: torch.clamp(x, 0.1, 0.9), _ONE),
    "clamp_method": ("x.clamp(min)", lambda torch, x: x.clamp(min=0.1), _ONE),
    "maximum": ("torch.maximum", lambda torch, x, y: torch.maximum(x, y), _PAIRS),
    "minimum": ("torch.minimum", lambda torch, x, y: torch.minimum(x, y), _PAIRS),
    "where": ("torch.where", lambda torch, x, y: torch.where(x > y, x, y), _PAIRS),
    "greater": ("x > y", lambda torch, x, y: x > y, _PAIRS),
    "lerp": ("torch.lerp", lambda torch, x, y: torch.lerp(x, y, 0.3), _PAIRS),
    "addcmul": ("torch.addcmul", lambda torch, x, y, z: torch.addcmul(x, y, z), _TRIPLES),
    "addcdiv": ("torch.addcdiv", lambda torch, x, y, z: torch.addcdiv(x, y, z + 1), _TRIPLES),
    "add_alpha": ("torch.add(x, y, alpha=2)", lambda torch, x, y: torch.add(x, y, alpha=2), _PAIRS),
}


def _dropouts() -> Iterator[Probe]:
    for kind, key in (
        ("Dropout", "dropout"),
        ("Dropout2d", "dropout2d"),
        ("AlphaDropout", "alpha_dropout"),
        ("FeatureAlphaDropout", "feature_alpha_dropout"),
        ("Identity", "identity"),
        ("Flatten", "flatten"),
    ):
        yield layer(f"elementwise/{key}_module", f"{kind}, in evaluation", _module(kind), _ONE)


def _module(kind: str) -> Make:
    return lambda torch: getattr(torch.nn, kind)()


PROBES: tuple[Probe, ...] = (
    *_arithmetic(),
    *_unary(),
    *(
        function(f"elementwise/{key}", about, call, cases)
        for key, (about, call, cases) in _OTHERS.items()
    ),
    *_dropouts(),
    function(
        "elementwise/dropout_function",
        "functional.dropout, in evaluation",
        lambda torch, x: torch.nn.functional.dropout(x, training=False),
        _ONE,
    ),
)
