"""Arithmetic element by element, real and complex."""

from __future__ import annotations

from typing import Any

from flopaudit.reference.cost import NOTHING, Work
from flopaudit.reference.formulas.call import (
    Call,
    Formula,
    complex_work,
    is_complex,
    nothing,
    numel,
    per_output,
)
from flopaudit.reference.formulas.tables import Table, entries, table
from flopaudit.reference.kinds import Kind


def _complex_operands(call: Call) -> int:
    return sum(is_complex(operand) for operand in call.args[:2])


def add(call: Call) -> Work:
    """A sum or difference: one addition, and alpha times the other operand where it is not 1.

    Of two complex numbers 2 additions, of a complex and a real one 1.
    """
    return _sum(call, call.args[1])


def rsub(call: Call) -> Work:
    """The same the other way round: the first operand is scaled."""
    return _sum(call, call.args[0])


def _sum(call: Call, scaled: Any) -> Work:
    """A scaled number, other than a tensor, is a constant."""
    adds = max(_complex_operands(call), 1) * numel(call.first_out)
    if call.arg(2, "alpha", 1) in (None, 1) or not hasattr(scaled, "shape"):
        return Work(adds=adds)
    return Work(adds=adds, muls=numel(scaled) * (2 if is_complex(scaled) else 1))


def mul(call: Call) -> Work:
    """One multiplication; of two complex numbers 4 and 2 additions, of a complex and a real 2."""
    out, parts = numel(call.first_out), _complex_operands(call)
    each = (Work(muls=1), Work(muls=2), complex_work(Work(muls=1)))[parts]
    return each * out


def div(call: Call) -> Work:
    """One division, and one rounding where a rounding mode is given.

    A complex number by a real one is 2 divisions; by a complex one see `complex_work`.
    """
    out = numel(call.first_out)
    rounded = Work(elementary=1) if call.kwargs.get("rounding_mode") else NOTHING
    if is_complex(call.args[1]):
        return complex_work(Work(divs=1)) * out
    return (Work(divs=2 if is_complex(call.args[0]) else 1) + rounded) * out


def absolute(call: Call) -> Work:
    """One comparison; of a complex number √(re² + im²)."""
    each = Work(muls=2, adds=1, elementary=1) if is_complex(call.args[0]) else Work(comparisons=1)
    return each * numel(call.first_out)


def conjugate(call: Call) -> Work:
    """The imaginary part's sign, which is nothing for a real number."""
    return Work(adds=numel(call.first_out)) if is_complex(call.args[0]) else NOTHING


def sgn(call: Call) -> Work:
    """The sign of a real number; z / |z| of a complex one."""
    unit = Work(muls=2, adds=1, elementary=1, divs=2)
    each = unit if is_complex(call.args[0]) else Work(comparisons=2)
    return each * numel(call.first_out)


def angle(call: Call) -> Work:
    """atan2 of a complex number, a comparison of a real one."""
    each = Work(elementary=1) if is_complex(call.args[0]) else Work(comparisons=1)
    return each * numel(call.first_out)


_LARGEST_PRODUCT = 4  # up to this power a product is shorter than exp(y·log(x))


def power(call: Call) -> Work:
    """xⁿ for whole |n| ≤ 4: |n| - 1 multiplications, and a division below 0; else elementary."""
    exponent, out = call.arg(1, "exponent"), numel(call.first_out)
    whole = isinstance(exponent, (int, float)) and exponent == int(exponent)
    if not whole or abs(exponent) > _LARGEST_PRODUCT:
        return Work(elementary=out)
    return Work(muls=max(abs(int(exponent)) - 1, 0) * out, divs=out if exponent < 0 else 0)


def clamp(call: Call) -> Work:
    """One comparison for each bound that is given."""
    bounds = sum(call.arg(i, name) is not None for i, name in ((1, "min"), (2, "max")))
    return Work(comparisons=bounds * numel(call.first_out))


def rounding(call: Call) -> Work:
    """One elementary operation; to a number of decimals also a multiplication and a division."""
    decimals = call.kwargs.get("decimals", 0)
    each = Work(elementary=1, muls=1, divs=1) if decimals else Work(elementary=1)
    return each * numel(call.first_out)


def addcmul(call: Call) -> Work:
    """A sum x + value·a·b, the value free where it is 1."""
    scaled = call.kwargs.get("value", 1) != 1
    return Work(adds=1, muls=1 + scaled) * numel(call.first_out)


def addcdiv(call: Call) -> Work:
    """A sum x + value·a/b, the value free where it is 1."""
    scaled = call.kwargs.get("value", 1) != 1
    return Work(adds=1, muls=int(scaled), divs=1) * numel(call.first_out)


def dropout(call: Call) -> Work:
    """In training x·(m / (1 - p)): a division and a multiplication; nothing otherwise.

    (Srivastava et al. 2014; torch's composite form divides the drawn mask, so this does.)
    """
    training, probability = call.arg(2, "train"), call.arg(1, "p", 0.5)
    drops = training is not False and 0 < probability < 1
    return Work(muls=1, divs=1) * numel(call.first_out) if drops else NOTHING


def cross(call: Call) -> Work:
    """The product of 3-vectors: two multiplications and a subtraction for each component."""
    return Work(muls=2, adds=1) * numel(call.first_out)


def dequantized(call: Call) -> Work:
    """One multiplication by the scale; the zero point is subtracted in integers."""
    return Work(muls=numel(call.first_out))


def between_quantized(work: Work) -> Formula:
    """Return the formula of an operator on dequantized operands whose result is quantized."""
    return per_output(muls=2 + work.muls, adds=work.adds, divs=1, elementary=1)


FUNCTIONS = """
    acos acosh asin asinh atan atan2 atanh cos cosh digamma erf erfc erfinv exp exp2 expm1 i0 igamma
    igammac lgamma log log10 log1p log2 polygamma sin sinh sqrt special_erfcx special_i0e special_i1
    special_i1e special_log_ndtr special_ndtri special_zeta tan ceil floor trunc
"""

_OPERATORS: Table = table(
    __name__,
    entries(Kind.ELEMENTWISE, per_output(elementary=1), FUNCTIONS),
    entries(
        Kind.ELEMENTWISE,
        per_output(comparisons=1),
        """eq ne lt le gt ge isnan isinf isposinf isneginf clamp_min clamp_max maximum minimum
        fmax fmin signbit""",
    ),
    # (x > 0) - (x < 0), in integers; heaviside likewise; the nearest of NaN, +∞, -∞
    entries(Kind.ELEMENTWISE, per_output(comparisons=2), "sign heaviside"),
    entries(Kind.ELEMENTWISE, per_output(comparisons=3), "nan_to_num"),
    entries(Kind.ELEMENTWISE, per_output(adds=1), "neg"),
    entries(Kind.ELEMENTWISE, per_output(divs=1), "reciprocal"),
    entries(Kind.ELEMENTWISE, per_output(elementary=1, divs=1), "rsqrt"),
    entries(Kind.ELEMENTWISE, per_output(muls=1), "deg2rad rad2deg"),
    entries(Kind.ELEMENTWISE, per_output(muls=1, elementary=1), "ldexp"),
    entries(Kind.ELEMENTWISE, addcmul, "addcmul"),
    entries(Kind.ELEMENTWISE, addcdiv, "addcdiv"),
    entries(Kind.ELEMENTWISE, per_output(adds=2, muls=1), "lerp"),
    entries(Kind.ELEMENTWISE, rounding, "round"),
    entries(Kind.ELEMENTWISE, per_output(elementary=1, adds=1), "frac"),
    entries(Kind.ELEMENTWISE, per_output(divs=1, elementary=1), "floor_divide"),
    # a - b·⌊a/b⌋, or with truncation
    entries(Kind.ELEMENTWISE, per_output(divs=1, elementary=1, muls=1, adds=1), "remainder fmod"),
    entries(Kind.ELEMENTWISE, per_output(muls=2, adds=1, elementary=1), "hypot"),
    entries(Kind.ELEMENTWISE, per_output(muls=1, elementary=1, divs=1), "sinc"),
    entries(Kind.ELEMENTWISE, per_output(muls=1, elementary=1), "xlogy"),
    entries(Kind.ELEMENTWISE, per_output(muls=1, elementary=1), "special_xlog1py"),
    entries(Kind.ELEMENTWISE, per_output(muls=1, elementary=1, adds=1), "special_entr"),
    # max(a, b) + log1p(exp(-|a - b|)), in base 2 likewise
    entries(Kind.ELEMENTWISE, per_output(comparisons=2, adds=3, elementary=2), "logaddexp"),
    entries(Kind.ELEMENTWISE, per_output(comparisons=2, adds=3, elementary=2), "logaddexp2"),
    entries(Kind.ELEMENTWISE, per_output(adds=1, comparisons=1), "_add_relu"),
    entries(Kind.ELEMENTWISE, power, "pow"),
    entries(Kind.ELEMENTWISE, clamp, "clamp"),
    entries(Kind.ELEMENTWISE, cross, "linalg_cross"),
    entries(Kind.ELEMENTWISE, dropout, "native_dropout"),
    entries(Kind.ELEMENTWISE, per_output(muls=1, divs=1), "_fused_dropout"),
    entries(Kind.ELEMENTWISE, per_output(muls=1), "native_dropout_backward"),
    entries(Kind.ELEMENTWISE, per_output(muls=1), "_masked_scale"),
)

# These formulas tell complex operands from real ones themselves.
OWN_COMPLEX: Table = table(
    __name__,
    entries(Kind.ELEMENTWISE, add, "add sub"),
    entries(Kind.ELEMENTWISE, rsub, "rsub"),
    entries(Kind.ELEMENTWISE, mul, "mul"),
    entries(Kind.ELEMENTWISE, div, "div"),
    entries(Kind.ELEMENTWISE, absolute, "abs"),
    entries(Kind.ELEMENTWISE, sgn, "sgn"),
    entries(Kind.ELEMENTWISE, conjugate, "_conj_physical"),
    entries(Kind.ELEMENTWISE, conjugate, "conj_physical"),
    entries(Kind.ELEMENTWISE, angle, "angle"),
    entries(Kind.ELEMENTWISE, per_output(elementary=2, muls=2), "polar"),
    entries(Kind.ELEMENTWISE, nothing, "complex"),
)


_TO_INTEGER = per_output(divs=1, elementary=1)
_FAKE_QUANTIZED = per_output(divs=1, elementary=1, adds=2, comparisons=2, muls=1)

_QUANTIZED: Table = table(
    __name__,
    # x / scale, rounded; the zero point is added in integers
    entries(
        Kind.ELEMENTWISE,
        _TO_INTEGER,
        "quantize_per_tensor quantize_per_channel",
    ),
    entries(Kind.ELEMENTWISE, dequantized, "dequantize"),
    # clamp(round(x / scale) + zero) - zero, times scale
    entries(
        Kind.ELEMENTWISE,
        _FAKE_QUANTIZED,
        """fake_quantize_per_tensor_affine_cachemask fake_quantize_per_channel_affine_cachemask
        _fake_quantize_per_tensor_affine_cachemask_tensor_qparams""",
    ),
    entries(
        Kind.ELEMENTWISE, between_quantized(Work(adds=1)), "quantized::add quantized::add_relu"
    ),
    entries(
        Kind.ELEMENTWISE, between_quantized(Work(muls=1)), "quantized::mul quantized::mul_relu"
    ),
)

TABLE: Table = table(__name__, _OPERATORS, _QUANTIZED)
