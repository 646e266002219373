"""Sums, products, extrema, norms, distances, running sums, and scatters that accumulate.

A sum of n terms is n - 1 additions. A sum into existing memory, such as `index_add`, is an addition
for each term.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest
from math import inf, prod
from typing import Any

from flopaudit.reference.cost import NOTHING, Work
from flopaudit.reference.formulas.call import Call, Formula, along, is_complex, numel
from flopaudit.reference.formulas.tables import Table, entries, table
from flopaudit.reference.kinds import Kind


def terms(call: Call) -> tuple[int, int, int]:
    """Return the input elements, the results, and the steps between them: their difference."""
    elements, out = numel(call.args[0]), numel(call.first_out)
    return elements, out, max(elements - out, 0)


def total(call: Call) -> Work:
    """A sum: one addition less than there are elements, for each result."""
    return Work(adds=terms(call)[2])


def product(call: Call) -> Work:
    """A product: one multiplication less than there are elements, for each result."""
    return Work(muls=terms(call)[2])


def mean(call: Call) -> Work:
    """A sum and a division for each result."""
    return total(call) + Work(divs=numel(call.first_out))


def sum_of_numbers(call: Call) -> Work:
    """A sum that passes over NaN: a comparison for each element too."""
    return total(call) + Work(comparisons=numel(call.args[0]))


def extremum(call: Call) -> Work:
    """Of a dimension, one comparison less than elements; of two tensors, one for each result."""
    tensors = [arg for arg in call.args if hasattr(arg, "shape")]
    if len(tensors) > 1:
        return Work(comparisons=numel(call.first_out))
    return Work(comparisons=terms(call)[2])


def extrema(call: Call) -> Work:
    """Both the smallest and the largest."""
    return Work(comparisons=2 * terms(call)[2])


def variance(call: Call) -> Work:
    """Mean, centred squares, their sum and division."""
    elements, out, _ = terms(call)
    return Work(adds=3 * elements - 2 * out, muls=elements, divs=2 * out)


def deviation(call: Call) -> Work:
    """The root of the variance."""
    return variance(call) + Work(elementary=numel(call.first_out))


def logsumexp(call: Call) -> Work:
    """The largest plus log(Σ exp(x - max))."""
    elements, out, steps = terms(call)
    return Work(comparisons=steps, adds=elements + steps + out, elementary=elements + out)


def trace(call: Call) -> Work:
    """The sum of the diagonal."""
    return Work(adds=max(min(call.args[0].shape) - 1, 0))


# -- running along a dimension ---------------------------------------------------------------------


def cumulative(**step: int) -> Formula:
    """Return the formula of a running result: a fixed cost for each element after a row's first."""
    each = Work(**step)

    def formula(call: Call) -> Work:
        elements, rows = along(call, call.arg(1, "dim"))
        return each * (elements - rows)

    return formula


# -- norms -----------------------------------------------------------------------------------------


def norm_work(order: Any, elements: int, out: int, *, complex_values: bool = False) -> Work:
    """(Σ |x|ᵖ)^(1/p): squares and a root for 2, |x| alone for 1, maxima for infinite orders.

    Order 0 counts what is not zero: a comparison and an addition each.
    """
    steps = max(elements - out, 0)
    size = Work(muls=2, adds=1, elementary=1) if complex_values else Work(comparisons=1)
    if order == 2:  # noqa: PLR2004 - the square's own definition needs no |x|
        square = Work(muls=2, adds=1) if complex_values else Work(muls=1)
        return square * elements + Work(adds=steps, elementary=out)
    if order == 0:
        return Work(comparisons=elements * (2 if complex_values else 1), adds=steps)
    if abs(order) == inf:
        return size * elements + Work(comparisons=steps)
    if order == 1:
        return size * elements + Work(adds=steps)
    return size * elements + Work(elementary=elements + out, adds=steps)


def vector_norm(call: Call) -> Work:
    """Over all or some dimensions; order 2 where none is given."""
    order = call.arg(1, "ord", 2)
    elements, out, _ = terms(call)
    order = 2 if order is None else order
    return norm_work(order, elements, out, complex_values=is_complex(call.args[0]))


def power_sum(call: Call) -> Work:
    """Σ |x|ᵖ: the norm without its root."""
    order = call.arg(1, "ord", 2)
    rooted = order not in (0, 1, inf, -inf)
    root = Work(elementary=-numel(call.first_out)) if rooted else NOTHING
    return vector_norm(call) + root


def distance(call: Call) -> Work:
    """The norm of a difference."""
    elements = prod(broadcast(tensor.shape for tensor in call.args[:2]))
    return Work(adds=elements) + norm_work(call.arg(2, "p", 2), elements, 1)


def broadcast(shapes: Iterable[Sequence[int]]) -> list[int]:
    """Return the shape to which several shapes broadcast, aligned at the last dimension."""
    columns = zip_longest(*(reversed(shape) for shape in shapes), fillvalue=1)
    return [next((size for size in sizes if size != 1), 1) for sizes in columns][::-1]


def pairwise(order: Any, pairs: int, width: int) -> Work:
    """Return the cost of distances between pairs of points of that width."""
    return Work(adds=pairs * width) + norm_work(order, pairs * width, pairs)


def cdist(call: Call) -> Work:
    """The distance of each point of one set to each of the other."""
    return pairwise(call.args[2], numel(call.first_out), int(call.args[0].shape[-1]))


def euclidean_dist(call: Call) -> Work:
    """The same of order 2."""
    return pairwise(2, numel(call.first_out), int(call.args[0].shape[-1]))


def pdist(call: Call) -> Work:
    """The distance of each pair of rows."""
    order = call.arg(1, "p", 2.0)
    return pairwise(order, numel(call.first_out), int(call.args[0].shape[-1]))


def renorm(call: Call) -> Work:
    """Slices whose norm is above a bound are scaled to it: all are compared and scaled.

    The factor is maxnorm / (norm + 1e-7).
    """
    order, slices = call.args[1], int(call.args[0].shape[call.args[2]])
    elements = numel(call.args[0])
    scale = Work(comparisons=slices, adds=slices, divs=slices, muls=elements)
    return norm_work(order, elements, slices) + scale


def embedding_renorm(call: Call) -> Work:
    """The same for each row that is looked up; repeated rows are counted again."""
    rows, width = numel(call.args[1]), int(call.args[0].shape[-1])
    scale = Work(comparisons=rows, adds=rows, divs=rows, muls=rows * width)
    return norm_work(call.args[3], rows * width, rows) + scale


TABLE: Table = table(
    __name__,
    entries(Kind.REDUCTION, total, "sum _sparse_csr_sum"),
    entries(Kind.REDUCTION, product, "prod"),
    entries(Kind.REDUCTION, mean, "mean"),
    entries(Kind.REDUCTION, sum_of_numbers, "nansum"),
    entries(Kind.REDUCTION, variance, "var var_mean"),
    entries(Kind.REDUCTION, deviation, "std std_mean"),
    entries(Kind.REDUCTION, extremum, "max min amax amin argmax argmin"),
    entries(Kind.REDUCTION, extrema, "aminmax _aminmax"),
    entries(Kind.REDUCTION, logsumexp, "logsumexp"),
    entries(Kind.REDUCTION, trace, "trace"),
    entries(Kind.REDUCTION, cumulative(adds=1), "cumsum"),
    entries(Kind.REDUCTION, cumulative(muls=1), "cumprod"),
    entries(
        Kind.REDUCTION, cumulative(comparisons=1), "cummax cummin _cummax_helper _cummin_helper"
    ),
    # max(a, b) + log1p(exp(-|a - b|)) with the running result
    entries(
        Kind.REDUCTION,
        cumulative(comparisons=2, adds=3, elementary=2),
        "logcumsumexp _logcumsumexp",
    ),
    entries(Kind.REDUCTION, cdist, "_cdist_forward"),
    entries(Kind.REDUCTION, euclidean_dist, "_euclidean_dist"),
    entries(Kind.REDUCTION, pdist, "_pdist_forward"),
    entries(Kind.REDUCTION, distance, "dist"),
    entries(Kind.REDUCTION, renorm, "renorm"),
    entries(Kind.REDUCTION, embedding_renorm, "embedding_renorm"),
)

# These formulas tell complex operands from real ones themselves.
OWN_COMPLEX: Table = table(
    __name__,
    entries(Kind.REDUCTION, vector_norm, "linalg_vector_norm norm native_norm"),
    entries(Kind.REDUCTION, power_sum, "linalg__powsum"),
)
