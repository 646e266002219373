"""Which operator is of which kind and has which formula; data, with the rules to look it up.

An operator is known by its base name: `add` for aten::add, aten::add_ and all their overloads; one
of another namespace that means something else there by its full name, `quantized::add`. What is in
none of these tables is reported as uncounted, never taken as zero; what is left so on purpose
stands in `UNCOUNTED` with its reason.
"""

from __future__ import annotations

from collections.abc import Callable

from flopaudit.reference.cost import Work
from flopaudit.reference.formulas.call import (
    ATTENTION,
    Call,
    Formula,
    Table,
    foreach,
    over_complex,
)
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
from flopaudit.reference.formulas.tensor_math import (
    accumulation,
    elementwise,
    fourier,
    products,
    reduction,
    solver,
)
from flopaudit.reference.formulas.uncounted import UNCOUNTED

# Their formulas are of real operations whatever the operands.
_OWN: Table = {**elementwise.OWN_COMPLEX, **reduction.OWN_COMPLEX, **fourier.TABLE}
_EITHER: Table = {
    **convolution.TABLE,
    **products.TABLE,
    **attention.TABLE,
    **multihead.TABLE,
    **recurrent.TABLE,
    **normalisation.TABLE,
    **activation.TABLE,
    **pooling.TABLE,
    **elementwise.OPERATORS,
    **elementwise.QUANTIZED,
    **reduction.TABLE,
    **accumulation.TABLE,
    **loss.TABLE,
    **sampling.TABLE,
    **solver.TABLE,
}
_ONE_BY_ONE: Table = {
    **_OWN,
    **{name: (kind, over_complex(formula)) for name, (kind, formula) in _EITHER.items()},
}

_FOREACH = names(
    """
    abs acos add addcdiv addcmul asin atan ceil clamp_max clamp_min cos cosh div erf erfc exp expm1
    floor frac lerp lgamma log log10 log1p log2 max maximum minimum mm mul neg norm pow reciprocal
    round rsqrt sigmoid sign sin sinh sqrt sub tan tanh trunc
    """
)

FORMULAS: Table = {
    **_ONE_BY_ONE,
    **{
        f"_foreach_{name}": (kind, foreach(formula))
        for name in sorted(_FOREACH)
        for kind, formula in [_ONE_BY_ONE[name]]
    },
    "_foreach_powsum": (_OWN["linalg__powsum"][0], foreach(_OWN["linalg__powsum"][1])),
}

# Where the field has two customs: the one that is not the default, by its name.
CUSTOMS: dict[str, dict[str, Formula]] = {
    "causal-half": dict(attention.CAUSAL_HALF),
    "transposed-by-output": {
        name: over_complex(formula) for name, formula in convolution.BY_OUTPUT.items()
    },
    "batch-norm-as-eval": {
        name: over_complex(formula) for name, formula in normalisation.AS_EVAL.items()
    },
}

# Functions that are counted as wholes, whatever operators they run: work by kind.
FUNCTIONS_WHOLE: dict[str, Callable[[Call], list[tuple[str, Work]]]] = {
    **attention.WHOLE,
    **multihead.WHOLE,
    **recurrent.WHOLE,
    **products.WHOLE,
}

# The customs of those, as of operators: work by the same kinds.
CUSTOMS_WHOLE: dict[str, dict[str, Callable[[Call], list[tuple[str, Work]]]]] = {
    "causal-half": {**attention.WHOLE_CAUSAL_HALF, **multihead.WHOLE_CAUSAL_HALF},
}

# Operators that are given a function; what that does to each score is not seen in a run.
HIGHER_ORDER: Table = {"flex_attention": (ATTENTION, attention.flex_attention)}

# Counted for numbers of any type: products of integers are MACs too.
ANY_DTYPE = frozenset(["_int_mm", *(name for name in FORMULAS if "::" in name)])

__all__ = [
    "ANY_DTYPE",
    "CUSTOMS",
    "CUSTOMS_WHOLE",
    "DATA_MOVEMENT",
    "FORMULAS",
    "FUNCTIONS_WHOLE",
    "HIGHER_ORDER",
    "UNCOUNTED",
    "VIEWS",
    "known",
    "listed",
]


def known(name: str, table: Table) -> tuple[str, Formula] | None:
    """The entry of an operator's full or base name, or of the same without the in-place mark.

    A full name, such as `quantized::add`, takes the entry that is its own, then that of its base.
    """
    base = name.rpartition("::")[2]
    for candidate in (name, base, base.rstrip("_")):
        if candidate in table:
            return table[candidate]
    return None


def listed(base: str, table: frozenset[str]) -> bool:
    """Whether a base name is in a table, as it is or without the in-place underscore."""
    return base in table or base.rstrip("_") in table
