"""The tables of operators: the kind and the formula of each, and how to look one up.

An operator is known by its base name: `add` stands for aten::add, aten::add_ and all their
overloads. An operator of another namespace with another meaning is known by its full name, such as
`quantized::add`. An operator that is in none of the tables is reported as uncounted and never
counted as zero; `UNCOUNTED` lists those left out on purpose, each with its reason.
"""

from __future__ import annotations

from flopaudit.reference.formulas.call import Formula, foreach, over_complex
from flopaudit.reference.formulas.free import DATA_MOVEMENT, VIEWS, names
from flopaudit.reference.formulas.layers import (
    activation,
    attention,
    convolution,
    loss,
    multihead,
    normalisation,
    pooling,
    recurrent,
    sampling,
)
from flopaudit.reference.formulas.tables import FunctionTable, Table, merged
from flopaudit.reference.formulas.tensor_math import (
    accumulation,
    elementwise,
    fourier,
    products,
    reduction,
    solver,
)
from flopaudit.reference.formulas.uncounted import UNCOUNTED
from flopaudit.reference.kinds import Kind

_MODULES = (
    convolution,
    products,
    attention,
    multihead,
    recurrent,
    normalisation,
    activation,
    pooling,
    elementwise,
    reduction,
    accumulation,
    loss,
    sampling,
    solver,
)
"""Modules with formulas of real operands, which are widened to complex ones."""


def _widened(table: Table) -> Table:
    return {name: (kind, over_complex(formula)) for name, (kind, formula) in table.items()}


_SINGLE: Table = merged(
    [
        # These formulas count real operations whatever the operands.
        (elementwise.__name__, elementwise.OWN_COMPLEX),
        (reduction.__name__, reduction.OWN_COMPLEX),
        (fourier.__name__, fourier.TABLE),
        *((module.__name__, _widened(module.TABLE)) for module in _MODULES),
    ]
)

_FOREACH = names(
    """
    abs acos add addcdiv addcmul asin atan ceil clamp_max clamp_min cos cosh div erf erfc exp expm1
    floor frac lerp lgamma log log10 log1p log2 max maximum minimum mm mul neg norm pow reciprocal
    round rsqrt sigmoid sign sin sinh sqrt sub tan tanh trunc
    """
)


def _of_each(single: str) -> tuple[Kind, Formula]:
    kind, formula = _SINGLE[single]
    return kind, foreach(formula)


FORMULAS: Table = merged(
    [
        ("the tables of single tensors", _SINGLE),
        (__name__, {f"_foreach_{name}": _of_each(name) for name in sorted(_FOREACH)}),
        (__name__, {"_foreach_powsum": _of_each("linalg__powsum")}),
    ]
)

ALTERNATIVES: dict[str, dict[str, Formula]] = merged(
    (module.__name__, module.ALTERNATIVES) for module in (attention, convolution, normalisation)
)
"""Alternative conventions for counting some operators, by name; the default is in `FORMULAS`."""

FUNCTIONS_WHOLE: FunctionTable = merged(
    (module.__name__, module.FUNCTIONS) for module in (attention, multihead, recurrent, products)
)
"""Functions that are counted as a whole, whatever operators they run."""

FUNCTION_ALTERNATIVES: dict[str, FunctionTable] = {
    "causal-half": merged(
        (module.__name__, module.CAUSAL_HALF_FUNCTIONS) for module in (attention, multihead)
    ),
}
"""The alternative conventions for those functions; their work is of the same kinds."""

HIGHER_ORDER: Table = {"flex_attention": (Kind.ATTENTION, attention.flex_attention)}
"""Operators that take a function as an argument. A run does not show what that function does."""

ANY_DTYPE = frozenset(["_int_mm", *(name for name in FORMULAS if "::" in name)])
"""Operators counted for numbers of any type, because products of integers are MACs too."""

__all__ = [
    "ALTERNATIVES",
    "ANY_DTYPE",
    "DATA_MOVEMENT",
    "FORMULAS",
    "FUNCTIONS_WHOLE",
    "FUNCTION_ALTERNATIVES",
    "HIGHER_ORDER",
    "UNCOUNTED",
    "VIEWS",
    "is_of_torch",
    "known",
    "listed",
]


_OF_TORCH = names(
    """
    _quantized aten c10d fsdp mkldnn onednn prims profiler quantized static_runtime streams
    torchvision
    """
)
"""Namespaces in which an operator does what ATen's operator of the same base name does."""


def is_of_torch(name: str) -> bool:
    """Whether a name, with or without its namespace, is that of an operator of torch itself."""
    namespace, separator, _ = name.rpartition("::")
    return not separator or namespace in _OF_TORCH


def known(name: str, table: Table) -> tuple[Kind, Formula] | None:
    """Return the entry of an operator's full or base name, with or without the in-place mark.

    A full name such as `quantized::add` takes its own entry first, then that of its base name,
    unless it is an operator of somebody else: `mylib::add` may do anything.
    """
    base = name.rpartition("::")[2]
    for candidate in (name, base, base.rstrip("_")) if is_of_torch(name) else (name,):
        if candidate in table:
            return table[candidate]
    return None


def listed(base: str, table: frozenset[str]) -> bool:
    """Whether a base name is in a table, as it is or without the in-place underscore."""
    return base in table or base.rstrip("_") in table
