"""Sums, products, extrema, norms, distances, running sums, and scatters that accumulate.

A sum of n terms is n - 1 additions. What is added to memory that is there already, as `index_add`
does, is an addition for each term.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest
from math import inf, prod
from typing import Any

from harness.formulas.activation import along
from harness.formulas.call import (
    REDUCTION,
    Call,
    Formula,
    Table,
    entries,
    is_complex,
    numel,
)
from harness.work import NOTHING, Work


def terms(call: Call) -> tuple[int, int, int]:
    """Elements that go in, results, and the steps between them: elements less one for each."""
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
    """The formula of a running result: so much for each element after the first of a row."""
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
    """The shape that several stretch to: sizes of 1 give way, from the last dimension on."""
    columns = zip_longest(*(reversed(shape) for shape in shapes), fillvalue=1)
    return [next((size for size in sizes if size != 1), 1) for sizes in columns][::-1]


def pairwise(order: Any, pairs: int, width: int) -> Work:
    """So many distances between points of that width."""
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
    """The same for each row that is looked up, those that come again counted again."""
    rows, width = numel(call.args[1]), int(call.args[0].shape[-1])
    scale = Work(comparisons=rows, adds=rows, divs=rows, muls=rows * width)
    return norm_work(call.args[3], rows * width, rows) + scale


# -- scatters --------------------------------------------------------------------------------------

_REDUCERS = {
    "sum": Work(adds=1),
    "add": Work(adds=1),
    "mean": Work(adds=1),
    "prod": Work(muls=1),
    "multiply": Work(muls=1),
    "amax": Work(comparisons=1),
    "amin": Work(comparisons=1),
}


def scatter_add(call: Call) -> Work:
    """An addition for each element of the index."""
    return Work(adds=numel(call.args[2]))


def index_add(call: Call) -> Work:
    """An addition for each element of the source, and a multiplication where alpha is not 1."""
    source = numel(call.args[3])
    return Work(adds=source, muls=source if call.kwargs.get("alpha", 1) != 1 else 0)


def index_put(call: Call) -> Work:
    """A write, which is free; an addition for each element where it accumulates."""
    if not call.arg(3, "accumulate", default=False):
        return NOTHING
    return Work(adds=_indexed(call.args[0], call.args[1]))


def _indexed(target: Any, indices: Any) -> int:
    """Elements that an advanced index reaches; a boolean one as many as it has places that hold."""
    places = [index for index in indices if index is not None]
    masks = [index for index in places if "bool" in str(index.dtype)]
    shapes = [
        (int(index.sum()),) if any(index is mask for mask in masks) else tuple(index.shape)
        for index in places
    ]
    kept = [size for size, index in zip(target.shape, indices, strict=False) if index is None]
    used = len(places) - len(masks) + sum(len(mask.shape) for mask in masks) + len(kept)
    return int(prod(broadcast(shapes)) * prod(kept) * prod(target.shape[used:]))


def put(call: Call) -> Work:
    """A write, or an addition for each element of the source."""
    adds = numel(call.args[2]) if call.arg(3, "accumulate", default=False) else 0
    return Work(adds=adds)


def scatter(call: Call) -> Work:
    """A write; with a reduction one operation for each element of the index."""
    reducer = call.kwargs.get("reduce")
    return _REDUCERS[reducer] * numel(call.args[2]) if reducer else NOTHING


def scatter_reduce(call: Call) -> Work:
    """One operation for each element of the index, and a division of each result for a mean."""
    reducer = call.arg(4, "reduce")
    divided = Work(divs=numel(call.first_out)) if reducer == "mean" else NOTHING
    return _REDUCERS[reducer] * numel(call.args[2]) + divided


def index_reduce(call: Call) -> Work:
    """One operation for each element of the source, and a division of each result for a mean."""
    reducer = call.arg(4, "reduce")
    divided = Work(divs=numel(call.first_out)) if reducer == "mean" else NOTHING
    return _REDUCERS[reducer] * numel(call.args[3]) + divided


# -- bags of embeddings ----------------------------------------------------------------------------

_SUM, _MEAN, _MAX = range(3)


def embedding_bag(call: Call) -> Work:
    """The rows of each bag reduced to one: sum, of weighted rows if so asked, mean or maximum.

    Counted as if no bag were empty.
    """
    mode, weights = call.arg(4, "mode", 0), call.arg(6, "per_sample_weights")
    out = numel(call.first_out)
    elements = numel(call.args[1]) * int(call.args[0].shape[-1])
    steps = max(elements - out, 0)
    if mode == _MAX:
        return Work(comparisons=steps)
    weighted = elements if weights is not None else 0
    return Work(adds=steps, muls=weighted, divs=out if mode == _MEAN else 0)


def embedding_bag_backward(call: Call) -> Work:
    """The gradient of each bag added to each of its rows, weighted or divided as it was."""
    return _bags_backward(call, call.arg(8, "mode", 0), call.arg(10, "per_sample_weights"))


def embedding_bag_dense_backward(call: Call) -> Work:
    """The same, of the operator that gives a dense gradient."""
    return _bags_backward(call, call.arg(7, "mode", 0), call.arg(8, "per_sample_weights"))


def _bags_backward(call: Call, mode: int, weights: Any) -> Work:
    grad, indices = call.args[:2]
    if mode == _MAX:
        return Work(adds=numel(grad))
    elements = numel(indices) * int(grad.shape[-1])
    return Work(
        adds=elements,
        muls=elements if weights is not None else 0,
        divs=numel(grad) if mode == _MEAN else 0,
    )


def per_sample_weights_backward(call: Call) -> Work:
    """For each looked-up row the product with its bag's gradient."""
    rows, width = numel(call.args[2]), int(call.args[0].shape[-1])
    return Work(muls=rows * width, adds=rows * (width - 1))


def accumulated(call: Call) -> Work:
    """Each element of the gradient is added to where it came from."""
    return Work(adds=numel(call.args[0]))


def embedding_dense_backward(call: Call) -> Work:
    """Each row of the gradient is added to the row it came from, divided by how often that came."""
    elements = numel(call.args[0])
    by_frequency = call.arg(4, "scale_grad_by_freq", default=False)
    return Work(adds=elements, divs=elements if by_frequency else 0)


TABLE: Table = {
    **entries(REDUCTION, total, "sum _sparse_csr_sum"),
    "prod": (REDUCTION, product),
    "mean": (REDUCTION, mean),
    "nansum": (REDUCTION, sum_of_numbers),
    **entries(REDUCTION, variance, "var var_mean"),
    **entries(REDUCTION, deviation, "std std_mean"),
    **entries(REDUCTION, extremum, "max min amax amin argmax argmin"),
    **entries(REDUCTION, extrema, "aminmax _aminmax"),
    "logsumexp": (REDUCTION, logsumexp),
    "trace": (REDUCTION, trace),
    "cumsum": (REDUCTION, cumulative(adds=1)),
    "cumprod": (REDUCTION, cumulative(muls=1)),
    **entries(REDUCTION, cumulative(comparisons=1), "cummax cummin _cummax_helper _cummin_helper"),
    # max(a, b) + log1p(exp(-|a - b|)) with what has run up
    **entries(
        REDUCTION,
        cumulative(comparisons=2, adds=3, elementary=2),
        "logcumsumexp _logcumsumexp",
    ),
    "_cdist_forward": (REDUCTION, cdist),
    "_euclidean_dist": (REDUCTION, euclidean_dist),
    "_pdist_forward": (REDUCTION, pdist),
    "dist": (REDUCTION, distance),
    "renorm": (REDUCTION, renorm),
    "embedding_renorm": (REDUCTION, embedding_renorm),
    "scatter_add": (REDUCTION, scatter_add),
    "index_add": (REDUCTION, index_add),
    **entries(REDUCTION, index_put, "index_put _unsafe_index_put _index_put_impl"),
    "put": (REDUCTION, put),
    "scatter": (REDUCTION, scatter),
    "scatter_reduce": (REDUCTION, scatter_reduce),
    "index_reduce": (REDUCTION, index_reduce),
    **entries(REDUCTION, embedding_bag, "_embedding_bag _embedding_bag_forward_only"),
    "_embedding_bag_backward": (REDUCTION, embedding_bag_backward),
    "_embedding_bag_dense_backward": (REDUCTION, embedding_bag_dense_backward),
    "_embedding_bag_per_sample_weights_backward": (REDUCTION, per_sample_weights_backward),
    "embedding_dense_backward": (REDUCTION, embedding_dense_backward),
    **entries(
        REDUCTION,
        accumulated,
        """reflection_pad1d_backward reflection_pad2d_backward reflection_pad3d_backward
        replication_pad1d_backward replication_pad2d_backward replication_pad3d_backward
        unfold_backward col2im""",
    ),
}

# They tell complex operands from real ones themselves.
OWN_COMPLEX: Table = {
    **entries(REDUCTION, vector_norm, "linalg_vector_norm norm native_norm"),
    **entries(REDUCTION, power_sum, "linalg__powsum"),
}
