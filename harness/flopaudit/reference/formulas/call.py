"""The call that a formula is given, and the parts that formulas are built from, without torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from flopaudit.reference.cost import NOTHING, Work
from flopaudit.reference.kinds import Kind


@dataclass(frozen=True)
class Call:
    """One execution of an operator."""

    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    out: Any

    def arg(self, index: int, name: str, default: Any = None) -> Any:
        """Return the argument at a position or of a name, or the default if it is omitted."""
        if index < len(self.args):
            return self.args[index]
        return self.kwargs.get(name, default)

    @property
    def first_out(self) -> Any:
        """The result, or the first of several."""
        return self.out[0] if isinstance(self.out, (tuple, list)) else self.out


Formula = Callable[[Call], Work]
Parts = list[tuple[Kind, Work]]
"""The work of a function that is counted whole, by kind."""


def numel(tensor: Any) -> int:
    """Return the number of elements of a tensor; for a nested one, of all its samples."""
    if is_nested(tensor):
        return sum(map(prod, shapes(tensor)))
    return prod(tensor.shape)


def is_nested(tensor: Any) -> bool:
    """Whether a tensor holds samples of different shapes."""
    return bool(getattr(tensor, "is_nested", False))


def shapes(tensor: Any) -> list[tuple[int, ...]]:
    """Return the shape of a tensor, or the shapes of the samples of a nested one."""
    return [tuple(one.shape) for one in (tensor.unbind() if is_nested(tensor) else [tensor])]


def nothing(_call: Call) -> Work:
    """Cost nothing: the operator moves data or handles integers only."""
    return NOTHING


def per_output(**operations: int) -> Formula:
    """Return a formula with a fixed number of operations for each element of the result."""
    each = Work(**operations)

    def formula(call: Call) -> Work:
        return each * numel(call.first_out)

    formula.__doc__ = ", ".join(f"{n} {name}" for name, n in operations.items()) + " an output."
    return formula


def per_input(**operations: int) -> Formula:
    """Return a formula with a fixed number of operations for each element of the first argument."""
    each = Work(**operations)

    def formula(call: Call) -> Work:
        return each * numel(call.args[0])

    formula.__doc__ = ", ".join(f"{n} {name}" for name, n in operations.items()) + " an input."
    return formula


def total(parts: Parts) -> Work:
    """Return the work of all kinds together."""
    return sum((work for _, work in parts), NOTHING)


# -- complex numbers -------------------------------------------------------------------------------


def complex_work(work: Work) -> Work:
    """Return the cost of the same operations on complex numbers, in real operations.

    A product is 4 multiplications and 2 additions, a sum 2 additions, so a MAC is 4 MACs exactly; a
    quotient (a+bi)/(c+di) = (ac+bd + (bc-ad)i) / (c²+d²) is 6 multiplications, 3 additions and 2
    divisions; an elementary function is one evaluation; a comparison is two.
    """
    return Work(
        macs=4 * work.macs,
        bias_adds=2 * work.bias_adds,
        adds=2 * work.adds + 2 * work.muls + 3 * work.divs,
        muls=4 * work.muls + 6 * work.divs,
        divs=2 * work.divs,
        comparisons=2 * work.comparisons,
        elementary=work.elementary,
    )


def is_complex(value: Any) -> bool:
    """Whether a tensor holds complex numbers, or a number is one."""
    dtype = getattr(value, "dtype", None)
    return isinstance(value, complex) or bool(getattr(dtype, "is_complex", False))


def over_complex(formula: Formula) -> Formula:
    """Widen a formula: the same in real operations if its operands are complex."""

    def formula_of_either(call: Call) -> Work:
        work = formula(call)
        return complex_work(work) if any(map(is_complex, _values(call))) else work

    formula_of_either.__doc__ = formula.__doc__
    formula_of_either.__wrapped__ = formula  # type: ignore[attr-defined] # as functools.wraps does
    return formula_of_either


def _values(call: Call) -> Iterable[Any]:
    for value in (*call.args, *call.kwargs.values()):
        if isinstance(value, (list, tuple)):
            yield from value
        else:
            yield value


def along(call: Call, dim: Any) -> tuple[int, int]:
    """Return the elements of the first argument, and the rows they form along a dimension."""
    tensor = call.args[0]
    # a nested tensor counts the batch as a dimension, but its samples have no batch
    inner = dim - 1 if is_nested(tensor) and dim > 0 else dim
    rows = (prod(shape) // (shape[inner] or 1) if shape else 1 for shape in shapes(tensor))
    return numel(tensor), sum(rows)


# -- many tensors at once --------------------------------------------------------------------------


def foreach(formula: Formula) -> Formula:
    """Widen a formula to an operator that does the same for each tensor of a list."""

    def formula_of_all(call: Call) -> Work:
        count = len(call.args[0])
        outs = call.args[0] if call.out is None else call.out
        calls = (Call(_at(call.args, i, count), call.kwargs, outs[i]) for i in range(count))
        return sum((formula(one) for one in calls), NOTHING)

    formula_of_all.__wrapped__ = formula  # type: ignore[attr-defined] # as functools.wraps does
    return formula_of_all


def _at(args: Sequence[Any], index: int, count: int) -> list[Any]:
    """Return the arguments for one of the tensors; lists with an item for each are indexed."""
    return [
        arg[index] if isinstance(arg, (list, tuple)) and len(arg) == count else arg for arg in args
    ]
