"""Numbers that count what is done to them, and the cases that formulas are proven by.

A case names an operator, draws small arguments for it, and computes its definition on arrays of
such numbers, element by element. What was tallied must be the formula's work, and the values those
of torch.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from flopaudit.reference.cost import Work

Array = Any  # a numpy array of objects: numpy's own types say nothing of what these are
TALLY: Counter[str] = Counter()


def tallied() -> Work:
    """Return the operations done since the last call of this function."""
    work = Work(**TALLY)
    TALLY.clear()
    return work


def plain(value: Any) -> Any:
    """Return the number behind a counting number."""
    return value.value if isinstance(value, Num) else value


class Num:
    """A real number that tallies each operation."""

    __slots__ = ("value",)

    def __init__(self, value: float) -> None:
        self.value = float(value)

    def _done(self, what: str, value: float) -> Num:
        TALLY[what] += 1
        return Num(value)

    def __add__(self, other: Any) -> Num:
        if isinstance(other, np.ndarray):
            return NotImplemented
        return self._done("adds", self.value + plain(other))

    def __sub__(self, other: Any) -> Num:
        if isinstance(other, np.ndarray):
            return NotImplemented
        return self._done("adds", self.value - plain(other))

    def __rsub__(self, other: Any) -> Num:
        if isinstance(other, np.ndarray):
            return NotImplemented
        return self._done("adds", plain(other) - self.value)

    def __mul__(self, other: Any) -> Num:
        if isinstance(other, np.ndarray):
            return NotImplemented
        return self._done("muls", self.value * plain(other))

    def __truediv__(self, other: Any) -> Num:
        if isinstance(other, np.ndarray):
            return NotImplemented
        return self._done("divs", self.value / plain(other))

    def __rtruediv__(self, other: Any) -> Num:
        return self._done("divs", plain(other) / self.value)

    def __neg__(self) -> Num:
        return self._done("adds", -self.value)

    __radd__, __rmul__ = __add__, __mul__

    def __abs__(self) -> Num:
        return self._done("comparisons", abs(self.value))

    def compared(self, other: Any, relation: str) -> bool:
        """Whether a relation of the operator module holds: one comparison."""
        TALLY["comparisons"] += 1
        return bool(getattr(self.value, f"__{relation}__")(float(plain(other))))

    def __lt__(self, other: Any) -> bool:
        return self.compared(other, "lt")

    def __le__(self, other: Any) -> bool:
        return self.compared(other, "le")

    def __gt__(self, other: Any) -> bool:
        return self.compared(other, "gt")

    def __ge__(self, other: Any) -> bool:
        return self.compared(other, "ge")

    def __eq__(self, other: object) -> bool:
        return self.compared(other, "eq")

    def __ne__(self, other: object) -> bool:
        return self.compared(other, "ne")

    __hash__ = None  # type: ignore[assignment] # compares with a tally


@dataclass(frozen=True)
class Pair:
    """A complex number of two counting ones."""

    re: Num
    im: Num

    def __add__(self, other: Any) -> Pair:
        if not isinstance(other, Pair):
            return Pair(self.re + other, self.im)
        return Pair(self.re + other.re, self.im + other.im)

    def __sub__(self, other: Any) -> Pair:
        if not isinstance(other, Pair):
            return Pair(self.re - other, self.im)
        return Pair(self.re - other.re, self.im - other.im)

    def __neg__(self) -> Pair:
        return Pair(-self.re, -self.im)

    def __mul__(self, other: Any) -> Pair:
        if not isinstance(other, Pair):
            return Pair(self.re * other, self.im * other)
        real = self.re * other.re - self.im * other.im
        return Pair(real, self.re * other.im + self.im * other.re)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Pair:
        if not isinstance(other, Pair):
            return Pair(self.re / other, self.im / other)
        size = other.re * other.re + other.im * other.im
        real = self.re * other.re + self.im * other.im
        return Pair(real / size, (self.im * other.re - self.re * other.im) / size)

    @property
    def value(self) -> complex:
        """Return the number itself."""
        return complex(self.re.value, self.im.value)


def mac(total: Any, left: Any, right: Any) -> Any:
    """Return total + left·right as one MAC; a complex one is four real ones."""
    if isinstance(left, Pair):
        TALLY["macs"] += 4
        value = (total.value if isinstance(total, Pair) else total) + left.value * right.value
        return Pair(Num(value.real), Num(value.imag))
    TALLY["macs"] += 1
    return Num(plain(total) + plain(left) * plain(right))


def biased(total: Any, bias: Any) -> Any:
    """Return the sum of a product and a bias."""
    if isinstance(total, Pair):
        return Pair(biased(total.re, bias.re), biased(total.im, bias.im))
    TALLY["bias_adds"] += 1
    return Num(plain(total) + plain(bias))


def evaluated(function: Callable[..., float], *numbers: Any) -> Num:
    """One evaluation of an elementary function."""
    TALLY["elementary"] += 1
    return Num(function(*map(plain, numbers)))


def counting(value: Any) -> Any:
    """Return a constant as a counting number."""
    return value if isinstance(value, (Num, Pair)) else Num(value)


def larger(left: Any, right: Any) -> Any:
    """Return the larger of two, by one comparison."""
    left, right = counting(left), counting(right)
    return max(right, left)


def smaller(left: Any, right: Any) -> Any:
    """Return the smaller of two, by one comparison."""
    left, right = counting(left), counting(right)
    return min(right, left)


def each(function: Callable[..., Any], *arrays: Any) -> Array:
    """Return a function of single numbers as one of broadcast arrays."""
    return np.asarray(np.frompyfunc(function, len(arrays), 1)(*arrays), dtype=object)


def elementary(function: Callable[..., float]) -> Callable[..., Array]:
    """An elementary function on arrays."""
    return lambda *arrays: each(lambda *numbers: evaluated(function, *numbers), *arrays)


exp, log = elementary(math.exp), elementary(lambda x: math.log(x) if x > 0 else -math.inf)
sqrt, tanh, erf = elementary(math.sqrt), elementary(math.tanh), elementary(math.erf)
floor, atan2 = elementary(math.floor), elementary(math.atan2)
rounded = elementary(round)
power = elementary(lambda x, p: x**p)


def maximum(left: Any, right: Any) -> Array:
    """Return the elementwise maximum."""
    return each(larger, left, right)


def minimum(left: Any, right: Any) -> Array:
    """Return the elementwise minimum."""
    return each(smaller, left, right)


def where(chosen: Any, yes: Any, no: Any) -> Array:
    """Select elements, which is free."""
    return each(lambda c, y, n: y if c else n, chosen, yes, no)


def folded(function: Callable[..., Any], array: Array, axis: int) -> Array:
    """Reduce along one dimension, starting with the first element."""
    rows = np.moveaxis(np.asarray(array, dtype=object), axis, 0)
    total = rows[0]
    for row in rows[1:]:
        total = each(function, total, row)
    return np.asarray(total, dtype=object)


def summed(array: Array, axis: int | Sequence[int] | None = None) -> Array:
    """Sum along some dimensions, or over all elements."""
    return folded(lambda a, b: a + b, *_merged(array, axis))


def greatest(array: Array, axis: int | Sequence[int] | None = None) -> Array:
    """Return the maximum along some dimensions, or of all elements."""
    return folded(larger, *_merged(array, axis))


def _merged(array: Array, axis: int | Sequence[int] | None) -> tuple[Array, int]:
    """Return the array with the reduced dimensions merged into one, the last."""
    array = np.asarray(array, dtype=object)
    if axis is None:
        return array.reshape(-1), -1
    gone = [a % array.ndim for a in ([axis] if isinstance(axis, int) else axis)]
    stay = [a for a in range(array.ndim) if a not in gone]
    sizes = [array.shape[a] for a in stay]
    return array.transpose([*stay, *gone]).reshape([*sizes, -1]), -1


def product(left: Array, right: Array) -> Array:
    """Return (n×k)·(k×m); each result accumulates from zero."""
    out = np.empty((left.shape[0], right.shape[1]), dtype=object)
    for i, j in np.ndindex(*out.shape):
        total: Any = 0.0
        for k in range(left.shape[1]):
            total = mac(total, left[i, k], right[k, j])
        out[i, j] = total
    return out


def with_bias(result: Array, bias: Array) -> Array:
    """Add a bias to each result."""
    return each(biased, result, np.broadcast_to(np.asarray(bias, dtype=object), result.shape))


def lift(value: Any) -> Any:
    """Return a tensor as an array of counting numbers; integers and booleans stay as they are."""
    if isinstance(value, (list, tuple)):
        return type(value)(lift(one) for one in value)
    if not isinstance(value, torch.Tensor):
        return value
    if value.is_quantized:
        value = value.int_repr().double()
    value = value if value.layout == torch.strided else value.to_dense()
    array = value.detach().resolve_conj().numpy()
    if value.is_complex():
        return np.frompyfunc(lambda z: Pair(Num(z.real), Num(z.imag)), 1, 1)(array)
    if value.is_floating_point():
        return np.asarray(np.frompyfunc(Num, 1, 1)(array), dtype=object)
    return array


def lower(array: Any) -> Any:
    """Return the plain numbers of an array of counting numbers."""
    values = [getattr(one, "value", one) for one in np.asarray(array, dtype=object).reshape(-1)]
    return np.array(values).reshape(np.shape(array))


@dataclass(frozen=True)
class Draw:
    """Random small sizes, and tensors of these sizes with numbers between 0.1 and 0.9."""

    a: int
    b: int
    c: int
    d: int

    def x(self, *shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
        """Positive numbers."""
        return torch.rand(shape, dtype=torch.float64).mul(0.8).add(0.1).to(dtype)

    def s(self, *shape: int) -> torch.Tensor:
        """Numbers of both signs."""
        return self.x(*shape) * 8 - 4

    def z(self, *shape: int) -> torch.Tensor:
        """Complex numbers."""
        return torch.complex(self.s(*shape), self.s(*shape))

    def i(self, below: int, *shape: int) -> torch.Tensor:
        """Indices."""
        return torch.randint(below, shape)


Arguments = Callable[[Draw], tuple[Any, ...]]


@dataclass(frozen=True)
class Case:
    """The proof of one formula.

    Attributes:
        name: of the operator in the table.
        operator: what torch runs; a stand-in where torch cannot run the operator here.
        arguments: draws what it is called with.
        scalar: the definition on counting numbers, called alike.
        kwargs: passed to both.
        exact: whether the values are compared: not where random numbers are drawn.
        part: how much of what the operator returns is compared.
    """

    name: str
    operator: Callable[..., Any]
    arguments: Arguments
    scalar: Callable[..., Any]
    kwargs: dict[str, Any] = field(default_factory=dict)
    exact: bool = True
    part: int = 1


def drawn(arguments: Callable[..., Any], *options: Any) -> Arguments:
    """Return a function that draws arguments with some options."""
    return lambda draw: tuple(arguments(draw, *options))


def spot(*place: Any) -> tuple[Any, ...]:
    """Return an index for parts that are counted and parts that are not."""
    return place


def aten(name: str) -> Callable[..., Any]:
    """Return an operator by its name, with its overload if that is not the default."""
    base, _, overload = name.partition(".")
    found: Callable[..., Any] = getattr(getattr(torch.ops.aten, base), overload or "default")
    return found


def case(  # noqa: PLR0913 - the fields of a case
    name: str,
    arguments: Arguments,
    scalar: Callable[..., Any],
    *,
    exact: bool = True,
    part: int = 1,
    entry: str = "",
    **kwargs: Any,
) -> Case:
    """Define a case of an operator that torch runs; `entry` is its name in the table, if other."""
    base = entry or name.partition(".")[0]
    return Case(base, aten(name), arguments, scalar, kwargs, exact, part)


def imagined(
    name: str,
    out: Callable[..., Any],
    arguments: Arguments,
    scalar: Callable[..., Any],
    **kwargs: Any,
) -> Case:
    """Define a case of an operator that cannot run on the CPU, by its result's shape only."""
    return Case(name, out, arguments, scalar, kwargs, exact=False)
