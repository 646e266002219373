"""Values added to existing memory: scatters, bags of embeddings, and gradients.

Each term is an addition, because the memory already holds a value.
"""

from __future__ import annotations

from math import prod
from typing import Any

from flopaudit.reference.cost import NOTHING, Work
from flopaudit.reference.formulas.call import Call, numel
from flopaudit.reference.formulas.tables import Table, entries, table
from flopaudit.reference.formulas.tensor_math.reduction import broadcast
from flopaudit.reference.kinds import Kind

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
    """Return the elements that an advanced index reaches; a boolean one reaches its True values."""
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
    """The rows of each bag reduced to one: sum, optionally of weighted rows, mean or maximum.

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
    """A product for each looked-up row with its bag's gradient."""
    rows, width = numel(call.args[2]), int(call.args[0].shape[-1])
    return Work(muls=rows * width, adds=rows * (width - 1))


def accumulated(call: Call) -> Work:
    """Each element of the gradient is added to where it came from."""
    return Work(adds=numel(call.args[0]))


def embedding_dense_backward(call: Call) -> Work:
    """Each row of the gradient is added to its row, optionally divided by that row's frequency."""
    elements = numel(call.args[0])
    by_frequency = call.arg(4, "scale_grad_by_freq", default=False)
    return Work(adds=elements, divs=elements if by_frequency else 0)


TABLE: Table = table(
    __name__,
    entries(Kind.REDUCTION, scatter_add, "scatter_add"),
    entries(Kind.REDUCTION, index_add, "index_add"),
    entries(Kind.REDUCTION, index_put, "index_put _unsafe_index_put _index_put_impl"),
    entries(Kind.REDUCTION, put, "put"),
    entries(Kind.REDUCTION, scatter, "scatter"),
    entries(Kind.REDUCTION, scatter_reduce, "scatter_reduce"),
    entries(Kind.REDUCTION, index_reduce, "index_reduce"),
    entries(Kind.REDUCTION, embedding_bag, "_embedding_bag _embedding_bag_forward_only"),
    entries(Kind.REDUCTION, embedding_bag_backward, "_embedding_bag_backward"),
    entries(Kind.REDUCTION, embedding_bag_dense_backward, "_embedding_bag_dense_backward"),
    entries(
        Kind.REDUCTION, per_sample_weights_backward, "_embedding_bag_per_sample_weights_backward"
    ),
    entries(Kind.REDUCTION, embedding_dense_backward, "embedding_dense_backward"),
    entries(
        Kind.REDUCTION,
        accumulated,
        """reflection_pad1d_backward reflection_pad2d_backward reflection_pad3d_backward
        replication_pad1d_backward replication_pad2d_backward replication_pad3d_backward
        unfold_backward col2im""",
    ),
)
