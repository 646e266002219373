"""Proofs of elementwise formulas: activations, arithmetic, and their gradients."""

# ruff: noqa: PLR0913, PLR0917, FBT003 - a definition takes what its operator takes

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from tests.support.oracle.scalar import (
    Array,
    Case,
    Draw,
    Pair,
    atan2,
    case,
    each,
    elementary,
    erf,
    exp,
    floor,
    log,
    maximum,
    minimum,
    power,
    rounded,
    sqrt,
    summed,
    tanh,
    where,
)

ROOT2PI = math.sqrt(2 / math.pi)


def one(draw: Draw) -> tuple[Any, ...]:
    return (draw.s(draw.a, draw.b),)


def positive(draw: Draw) -> tuple[Any, ...]:
    return (draw.x(draw.a, draw.b),)


def two(draw: Draw) -> tuple[Any, ...]:
    return (draw.s(draw.a, draw.b), draw.s(draw.b))


def pair(draw: Draw) -> tuple[Any, ...]:
    return (draw.s(draw.a, draw.b), draw.s(draw.a, draw.b))


def likely(draw: Draw) -> tuple[Any, ...]:
    return (draw.x(draw.a, draw.b), draw.x(draw.a, draw.b))


def with_(*more: Any, of: Callable[[Draw], tuple[Any, ...]] = one) -> Callable[[Draw], Any]:
    """Return the arguments of another case, followed by these."""
    return lambda draw: (*of(draw), *more)


# -- activations -----------------------------------------------------------------------------------


def sigmoid(x: Array) -> Array:
    return 1 / (1 + exp(-x))


def relu6(x: Array) -> Array:
    return minimum(maximum(x, 0.0), 6.0)


def gelu(x: Array, approximate: str = "none") -> Array:
    if approximate == "tanh":
        return 0.5 * x * (1 + tanh(ROOT2PI * (x + 0.044715 * (x * x * x))))
    return 0.5 * x * (1 + erf(x * math.sqrt(0.5)))


def elu(x: Array, alpha: float = 1.0, scale: float = 1.0, inner: float = 1.0) -> Array:
    scaled = x if inner == 1 else x * inner
    out = where(x > 0, x, alpha * (exp(scaled) - 1))
    return out if scale == 1 else out * scale


def celu(x: Array, alpha: float = 1.0) -> Array:
    return where(x > 0, x, alpha * (exp(x if alpha == 1 else x * (1 / alpha)) - 1))


def softplus(x: Array, beta: float = 1.0, threshold: float = 20.0) -> Array:
    if beta == 1:
        return where(x > threshold, x, log(1 + exp(x)))
    return where(x > threshold / beta, x, log(1 + exp(beta * x)) / beta)


def logit(x: Array, eps: float | None = None) -> Array:
    held = x if eps is None else minimum(maximum(x, eps), 1 - eps)
    return log(held / (1 - held))


def glu(x: Array) -> Array:
    left, right = np.split(x, 2, axis=-1)
    return left * sigmoid(right)


def mish(x: Array) -> Array:
    return x * tanh(log(1 + exp(x)))


def leaky(x: Array, slope: Any = 0.01) -> Array:
    return where(x > 0, x, x * slope)


ACTIVATIONS = [
    case("relu", one, lambda x: maximum(x, 0.0)),
    case("threshold", with_(0.5, 0.2), lambda x, t, v: where(x > t, x, v)),
    case("leaky_relu", one, leaky),
    case("_prelu_kernel", two, leaky),
    case("rrelu_with_noise", pair, lambda x, _n: leaky(x, (0.125 + 1 / 3) / 2)),
    case("rrelu_with_noise_functional", pair, lambda x, _n: leaky(x, (0.125 + 1 / 3) / 2)),
    case("elu", one, elu),
    case("elu", with_(1.5, 1.2, 0.7), elu),
    case("celu", one, celu),
    case("celu", with_(1.5), celu),
    case("hardtanh", one, lambda x: minimum(maximum(x, -1.0), 1.0)),
    case("hardsigmoid", one, lambda x: relu6(x + 3) / 6),
    case("hardswish", one, lambda x: x * relu6(x + 3) / 6),
    case("hardshrink", one, lambda x: where(abs(x) > 0.5, x, 0.0)),
    case("softshrink", one, lambda x: where(x > 0.5, x - 0.5, where(x < -0.5, x + 0.5, 0.0))),
    case("sigmoid", one, sigmoid),
    case("silu", one, lambda x: x * sigmoid(x)),
    case("mish", one, mish),
    case("softplus", one, softplus),
    case("softplus", with_(2.0), softplus),
    case("log_sigmoid_forward", one, lambda x: log(sigmoid(x))),
    case("tanh", one, tanh),
    case("logit", positive, logit),
    case("logit", with_(0.3, of=positive), logit),
    case("gelu", one, gelu),
    case("gelu", one, gelu, approximate="tanh"),
    case("glu", lambda d: (d.s(d.a, 2 * d.b),), glu),
]


# -- their gradients -------------------------------------------------------------------------------


def gelu_backward(g: Array, x: Array, approximate: str = "none") -> Array:
    if approximate == "tanh":
        square = x * x
        t = tanh(ROOT2PI * (x + 0.044715 * (square * x)))
        left, right = 0.5 * x, 1 + t
        steep = ROOT2PI * (1 + 3 * 0.044715 * square)
        return g * (0.5 * right + left * (1 - t * t) * steep)
    below = 0.5 * (1 + erf(x * math.sqrt(0.5)))
    density = exp(x * x * -0.5) * (1 / math.sqrt(2 * math.pi))
    return g * (below + x * density)


def elu_backward(
    g: Array, alpha: float, scale: float, inner: float, result: object, x: Array
) -> Array:
    up = g if scale == 1 else g * scale
    if result:
        down = g * (x + alpha * scale)
        return where(x > 0, up, down if inner == 1 else down * inner)
    grown = exp(x) if inner == 1 else exp(x * inner) * inner
    return where(x > 0, up, g * (alpha * scale * grown))


def softplus_backward(g: Array, x: Array, beta: float, threshold: float) -> Array:
    grown = exp(x if beta == 1 else x * beta)
    return where(x > threshold / beta, g, g * grown / (grown + 1))


def silu_backward(g: Array, x: Array) -> Array:
    s = sigmoid(x)
    return g * s * (1 + x * (1 - s))


def mish_backward(g: Array, x: Array) -> Array:
    t = tanh(log(1 + exp(x)))
    return g * (t + x * (1 - t * t) * sigmoid(x))


def glu_backward(g: Array, x: Array, dim: int) -> Array:
    left, right = np.split(x, 2, axis=dim)
    s = sigmoid(right)
    first = g * s
    return np.concatenate([first, first * (left * (1 - s))], axis=dim)


def logit_backward(g: Array, x: Array, eps: float | None = None) -> Array:
    out = g / (x * (1 - x))
    if eps is None:
        return out
    return where(each(lambda a, b: a and b, x > eps, x < 1 - eps), out, 0.0)


def prelu_backward(g: Array, x: Array, w: Array) -> tuple[Array, Array]:
    positive_ = x > 0
    return where(positive_, g, w * g), where(positive_, 0.0, x * g)


def _logs(draw: Draw) -> tuple[Any, ...]:
    grad, x = pair(draw)
    return grad, x, torch.ops.aten.log_sigmoid_forward(x)[1]


def inside(x: Array, low: float, high: float) -> Array:
    return each(lambda a, b: a and b, x > low, x < high)


GRADIENTS = [
    case("threshold_backward", with_(0.5, of=pair), lambda g, x, t: where(x > t, g, 0.0)),
    case(
        "leaky_relu_backward",
        with_(0.1, False, of=pair),
        lambda g, x, s, _r: where(x > 0, g, g * s),
    ),
    case("_prelu_kernel_backward", lambda d: (*pair(d), d.x(1)), prelu_backward, part=2),
    case(
        "rrelu_with_noise_backward",
        lambda d: (*pair(d), d.x(d.a, d.b), 0.125, 0.3, True, False),
        lambda g, _x, n, *_o: g * n,
    ),
    case(
        "hardtanh_backward",
        with_(-1.0, 1.0, of=pair),
        lambda g, x, a, b: where(inside(x, a, b), g, 0.0),
    ),
    case("hardshrink_backward", with_(0.5, of=pair), lambda g, x, t: where(abs(x) > t, g, 0.0)),
    case(
        "softshrink_backward",
        with_(0.5, of=pair),
        lambda g, x, t: where(inside(x, -t, t), 0.0, g),
    ),
    case("hardsigmoid_backward", pair, lambda g, x: where(inside(x, -3, 3), g / 6, 0.0)),
    case(
        "hardswish_backward",
        pair,
        lambda g, x: where(x < -3, 0.0, where(x > 3, g, g * (x / 3 + 0.5))),
    ),
    case("sigmoid_backward", pair, lambda g, y: g * y * (1 - y)),
    case("tanh_backward", pair, lambda g, y: g * (1 - y * y)),
    case("silu_backward", pair, silu_backward),
    case("mish_backward", pair, mish_backward),
    case("gelu_backward", pair, gelu_backward),
    case("gelu_backward", pair, gelu_backward, approximate="tanh"),
    case("elu_backward", lambda d: (d.s(d.a), 1.5, 1.0, 1.0, False, d.s(d.a)), elu_backward),
    case("elu_backward", lambda d: (d.s(d.a), 1.5, 1.2, 0.7, False, d.s(d.a)), elu_backward),
    case("elu_backward", lambda d: (d.s(d.a), 1.5, 1.2, 0.7, True, d.x(d.a)), elu_backward),
    case("softplus_backward", with_(1.0, 20.0, of=pair), softplus_backward),
    case("softplus_backward", with_(2.0, 20.0, of=pair), softplus_backward),
    case("log_sigmoid_backward", _logs, lambda g, x, _b: g / (1 + exp(x))),
    case("logit_backward", likely, logit_backward),
    case("logit_backward", with_(0.3, of=likely), logit_backward),
    case("glu_backward", lambda d: (d.s(d.a, d.b), d.s(d.a, 2 * d.b), 1), glu_backward),
]


def _finite(x: Array) -> Array:
    least, most = torch.finfo(torch.float64).min, torch.finfo(torch.float64).max
    bounded = where(x == math.inf, most, where(x == -math.inf, least, x))
    return where(x != x, 0.0, bounded)  # noqa: PLR0124 - what NaN is


# -- arithmetic ------------------------------------------------------------------------------------


def scaled_add(x: Array, y: Array, alpha: float = 1) -> Array:
    return x + (y if alpha == 1 else y * alpha)


def clamp(x: Array, low: float | None = None, high: float | None = None) -> Array:
    held = x if low is None else maximum(x, low)
    return held if high is None else minimum(held, high)


def integer_power(x: Array, exponent: float) -> Array:
    out = x
    for _ in range(int(abs(exponent)) - 1):
        out = out * x
    return 1 / out if exponent < 0 else out


def logaddexp(a: Array, b: Array, base: float = math.e) -> Array:
    back = elementary(lambda d: base**d)(-abs(a - b))
    top = maximum(a, b)
    return top + elementary(lambda v: math.log1p(v) / math.log(base))(back)


def size(z: Array) -> Array:
    return each(lambda n: sqrt(n.re * n.re + n.im * n.im).item(), z)


def sign(x: Array) -> Array:
    return each(lambda v: float(v > 0) - float(v < 0), x)


def remainder(a: Array, b: Array, to_whole: Callable[..., Array] = floor) -> Array:
    return a - b * to_whole(a / b)


def cross(a: Array, b: Array) -> Array:
    turned = [
        a[..., (i + 1) % 3] * b[..., (i + 2) % 3] - a[..., (i + 2) % 3] * b[..., (i + 1) % 3]
        for i in range(3)
    ]
    return np.stack(turned, axis=-1)


def fake_quantized(x: Array, scale: Any, zero: Any, low: int, high: int) -> Array:
    whole = rounded(x / scale) + zero
    return (minimum(maximum(whole, low), high) - zero) * scale


def dropped(x: Array, p: float, train: object) -> Array:
    """Dropout as if every element were kept."""
    if not train or p == 0:
        return x
    kept = each(lambda v: type(v)(1.0), x)
    return x * (kept / (1 - p))


def simple(name: str, function: Callable[..., float], *, above: float = 0.0) -> Case:
    """Define an operator that is one elementary function."""
    return case(name, lambda d: (d.x(d.a, d.b) + above,), elementary(function))


def of_torch(name: str, *, above: float = 0.0, count: int = 1) -> Case:
    """Define an elementary function whose value only torch provides."""
    function = torch.ops.aten
    overload = getattr(function, name).default

    def value(*numbers: float) -> float:
        result: float = overload(*(torch.tensor(n, dtype=torch.float64) for n in numbers)).item()
        return result

    def arguments(draw: Draw) -> tuple[Any, ...]:
        return tuple(draw.x(draw.a, draw.b) + above for _ in range(count))

    return case(name, arguments, elementary(value))


_OF_TORCH = """
    digamma erfinv i0 special_erfcx special_i0e special_i1 special_i1e special_log_ndtr
    special_ndtri
""".split()  # noqa: SIM905 - names read best as words
_OF_MATH = """
    acos asin asinh atan atanh cos cosh erf erfc exp exp2 expm1 lgamma log log10 log1p log2 sin sinh
    sqrt tan ceil floor trunc
""".split()  # noqa: SIM905 - names read best as words
_RELATIONS = ["eq", "ne", "lt", "le", "gt", "ge"]

ARITHMETIC = [
    *(simple(name, getattr(math, name, lambda x: 2.0**x)) for name in _OF_MATH),
    simple("acosh", math.acosh, above=1.0),
    *(of_torch(name) for name in _OF_TORCH),
    *(of_torch(name, count=2) for name in ("igamma", "igammac")),
    of_torch("special_zeta", above=1.0, count=2),
    case("atan2", pair, atan2),
    case(
        "polygamma",
        lambda d: (1, d.x(d.a)),
        lambda n, x: elementary(
            lambda v: torch.polygamma(n, torch.tensor(v, dtype=torch.float64)).item()
        )(x),
    ),
    *(
        case(f"{name}.Tensor", two, lambda x, y, r=name: each(lambda a, b: a.compared(b, r), x, y))
        for name in _RELATIONS
    ),
    case("isnan", one, lambda x: x != x),  # noqa: PLR0124 - the definition
    *(case(name, one, lambda x: x == math.inf) for name in ("isposinf", "isneginf")),
    case("isinf", one, lambda x: x == math.inf),
    case("signbit", one, lambda x: x < 0),
    case("clamp_min", with_(0.3), maximum),
    case("clamp_max", with_(0.3), minimum),
    *(case(name, pair, maximum) for name in ("maximum", "fmax")),
    *(case(name, pair, minimum) for name in ("minimum", "fmin")),
    case("sign", one, sign),
    case("heaviside", pair, lambda x, v: where(x == 0, v, each(float, x > 0))),
    case(
        "nan_to_num",
        one,
        _finite,
    ),
    case("neg", one, lambda x: -x),
    case("reciprocal", one, lambda x: 1 / x),
    case("rsqrt", positive, lambda x: 1 / sqrt(x)),
    case("deg2rad", one, lambda x: x * (math.pi / 180)),
    case("rad2deg", one, lambda x: x * (180 / math.pi)),
    case("ldexp.Tensor", pair, lambda x, e: x * power(2.0, e)),
    case("addcmul", lambda d: (*pair(d), d.s(d.b)), lambda x, a, b: x + a * b),
    case(
        "addcmul",
        lambda d: (*pair(d), d.s(d.b)),
        lambda x, a, b, value: x + value * a * b,
        value=2.0,
    ),
    case("addcdiv", lambda d: (*pair(d), d.s(d.b)), lambda x, a, b: x + a / b),
    case(
        "addcdiv",
        lambda d: (*pair(d), d.s(d.b)),
        lambda x, a, b, value: x + value * a / b,
        value=2.0,
    ),
    case("lerp.Scalar", with_(0.3, of=pair), lambda x, y, w: x + w * (y - x)),
    case("round", one, rounded),
    case(
        "round.decimals",
        one,
        lambda x, decimals: rounded(x * 10**decimals) / 10**decimals,
        decimals=1,
    ),
    case("frac", one, lambda x: x - elementary(math.trunc)(x)),
    case("floor_divide", pair, lambda a, b: floor(a / b)),
    case("remainder.Tensor", pair, remainder),
    case("fmod.Tensor", pair, lambda a, b: remainder(a, b, elementary(math.trunc))),
    case("hypot", pair, lambda a, b: sqrt(a * a + b * b)),
    case("sinc", one, lambda x: _sinc(x * math.pi)),
    case("xlogy.Tensor", likely, lambda x, y: x * log(y)),
    case("special_xlog1py", likely, lambda x, y: x * elementary(math.log1p)(y)),
    case("special_entr", positive, lambda x: -(x * log(x))),
    case("logaddexp", pair, logaddexp),
    case("logaddexp2", pair, lambda a, b: logaddexp(a, b, 2.0)),
    case(
        "_add_relu.Tensor",
        lambda d: (d.x(d.a).float(), d.x(d.a).float()),
        lambda a, b: maximum(a + b, 0.0),
    ),
    *(case("pow.Tensor_Scalar", with_(p), integer_power) for p in (1, 2, 3, 4, -1, -2)),
    *(case("pow.Tensor_Scalar", with_(p, of=positive), power) for p in (0.5, 7, -1.5)),
    case("pow.Tensor_Tensor", likely, power),
    case("clamp", with_(-0.5, 0.5), clamp),
    case("clamp", with_(None, 0.5), clamp),
    case("linalg_cross", lambda d: (d.s(d.a, 3), d.s(d.a, 3)), cross),
    case("native_dropout", with_(0.25, True), dropped, exact=False),
    case("native_dropout", with_(0.25, False), dropped),
    case(
        "native_dropout_backward",
        lambda d: (d.s(d.a), d.i(2, d.a).bool(), 2.0),
        lambda g, m, s: where(m, g * s, 0.0),
    ),
    case("add.Tensor", two, scaled_add),
    case("add.Tensor", two, scaled_add, alpha=2),
    case("sub.Tensor", two, lambda x, y: x - y),
    case("rsub.Tensor", two, lambda x, y: y - x),
    case("mul.Tensor", two, lambda x, y: x * y),
    case("div.Tensor", two, lambda x, y: x / y),
    case("div.Tensor_mode", two, lambda x, y, rounding_mode: floor(x / y), rounding_mode="floor"),  # noqa: ARG005 - the operator's own
    case("abs", one, abs),
    case("sgn", one, sign),
    case("angle", one, lambda x: where(x < 0, math.pi, 0.0)),
    case(
        "polar",
        pair,
        lambda r, t: each(Pair, r * elementary(math.cos)(t), r * elementary(math.sin)(t)),
    ),
    case("complex", pair, lambda r, i: each(Pair, r, i)),
]


def _sinc(x: Array) -> Array:
    return elementary(math.sin)(x) / x


# -- complex numbers -------------------------------------------------------------------------------


def zz(draw: Draw) -> tuple[Any, ...]:
    return (draw.z(draw.a, draw.b), draw.z(draw.b))


def zx(draw: Draw) -> tuple[Any, ...]:
    return (draw.z(draw.a, draw.b), draw.s(draw.b))


def z(draw: Draw) -> tuple[Any, ...]:
    return (draw.z(draw.a, draw.b),)


COMPLEX = [
    case("add.Tensor", zz, lambda x, y: x + y),
    case("add.Tensor", zx, lambda x, y: x + y),
    case("add.Tensor", zz, lambda x, y, alpha: x + y * alpha, alpha=2.0),
    case("sub.Tensor", zz, lambda x, y: x - y),
    case("mul.Tensor", zz, lambda x, y: x * y),
    case("mul.Tensor", zx, lambda x, y: x * y),
    case("div.Tensor", zz, lambda x, y: x / y),
    case("div.Tensor", zx, lambda x, y: x / y),
    case("neg", z, lambda x: -x),
    case("abs", z, size),
    case("sgn", z, lambda x: each(lambda n, s: n / s, x, size(x))),
    case("angle", z, lambda x: each(lambda n: atan2(n.im, n.re).item(), x)),
    case("conj_physical", z, lambda x: each(lambda n: Pair(n.re, -n.im), x)),
    case("_conj_physical", z, lambda x: each(lambda n: Pair(n.re, -n.im), x)),
    case("sum.dim_IntList", lambda d: (d.z(d.a, d.b), [0]), lambda x, _d: summed(x, 0)),
    case("addcmul", lambda d: (d.z(d.a), d.z(d.a), d.z(d.a)), lambda x, a, b: x + a * b),
]

QUANTIZERS = [
    case(
        "fake_quantize_per_tensor_affine_cachemask",
        lambda d: (d.s(d.a).float(), 0.5, 3, 0, 255),
        fake_quantized,
    ),
    case(
        "quantize_per_tensor",
        lambda d: (d.s(d.a).float(), 0.5, 3, torch.qint8),
        lambda x, s, *_o: rounded(x / s),
        exact=False,
    ),
    case(
        "dequantize.self",
        lambda d: (torch.quantize_per_tensor(d.s(d.a).float(), 0.5, 3, torch.qint8),),
        lambda q: q * 0.5,
        exact=False,
    ),
]


CASES: list[Case] = [*ACTIVATIONS, *GRADIENTS, *ARITHMETIC, *COMPLEX, *QUANTIZERS]
