"""Products of matrices: dense, batched, sparse, scaled, quantized; each MAC once."""

from __future__ import annotations

from math import prod
from typing import Any

from flopaudit.reference.cost import NOTHING, Work
from flopaudit.reference.formulas.call import Call, Parts, numel, shapes
from flopaudit.reference.formulas.scalar_functions import GELU_ERF
from flopaudit.reference.formulas.tables import FunctionTable, Table, entries, table
from flopaudit.reference.kinds import Kind

REQUANTIZE = Work(muls=1, elementary=1)  # a product of integers is rescaled and rounded


def stored(tensor: Any) -> int:
    """Return the elements that a tensor stores; a sparse one stores its explicit values."""
    if "sparse" not in str(getattr(tensor, "layout", "")):
        return numel(tensor)
    coordinates = "coo" in str(tensor.layout)
    return numel(tensor._values() if coordinates else tensor.values())  # noqa: SLF001 - `values` needs a coalesced one


def _product(left: Any, right: Any) -> int:
    """Return the MACs of (…×n×k)·(…×k×m): n·k·m each; only stored values of a sparse factor."""
    if stored(right) != numel(right):
        return stored(right) * int(left.shape[-2])
    return stored(left) * int(right.shape[-1])


def scaling(call: Call, out: int) -> Work:
    """Return the cost of alpha times the product and beta times the addend, if they are not 1."""
    alpha, beta = call.kwargs.get("alpha", 1), call.kwargs.get("beta", 1)
    return Work(muls=out * ((alpha != 1) + (beta not in (0, 1))))


def mm(call: Call) -> Work:
    """(n×k)·(k×m): n·k·m MACs, for each of a batch; nnz·m where the first is sparse."""
    return Work(macs=_product(*call.args[:2]))


def matmul(call: Call) -> Work:
    """Of matrices, vectors or batches, also of nested samples: a dot product for each result."""
    pairs = zip(shapes(call.first_out), shapes(call.args[0]), strict=True)
    return Work(macs=sum(prod(out) * left[-1] for out, left in pairs))


def addmm(call: Call) -> Work:
    """Beta·first + alpha·product of the other two: n·k·m MACs, n·m additions of the bias."""
    out = numel(call.first_out)
    bias = out if call.kwargs.get("beta", 1) else 0
    return Work(macs=_product(*call.args[1:3]), bias_adds=bias) + scaling(call, out)


def addmm_activation(call: Call) -> Work:
    """Product, bias and ReLU or GELU."""
    gelu = call.kwargs.get("use_gelu", False)
    activation = GELU_ERF if gelu else Work(comparisons=1)
    return addmm(call) + activation * numel(call.first_out)


def addbmm(call: Call) -> Work:
    """First + Σ over the batch of the products: b·n·k·m MACs in one accumulator."""
    return addmm(call)


def mv(call: Call) -> Work:
    """(n×k)·(k): n·k MACs; nnz where the matrix is sparse."""
    return Work(macs=stored(call.args[0]))


def addmv(call: Call) -> Work:
    """Product of the last two plus the first."""
    out = numel(call.first_out)
    bias = out if call.kwargs.get("beta", 1) else 0
    return Work(macs=stored(call.args[1]), bias_adds=bias) + scaling(call, out)


def addr(call: Call) -> Work:
    """First + the outer product of two vectors: a MAC an output, as `addmm` with k = 1."""
    out = numel(call.first_out)
    bias = out if call.kwargs.get("beta", 1) else 0
    return Work(macs=out, bias_adds=bias) + scaling(call, out)


def dot(call: Call) -> Work:
    """K MACs."""
    return Work(macs=numel(call.args[0]))


def linear(call: Call) -> Work:
    """x·Wᵀ + b on the last dimension: numel(x)·out MACs."""
    width, out = shapes(call.args[0])[0][-1], numel(call.first_out)
    has_bias = call.arg(2, "bias") is not None
    return Work(macs=out * width, bias_adds=out if has_bias else 0)


def trilinear(call: Call) -> Work:
    """Σ x_i·W_kij·y_j, as `nn.Bilinear` needs it: a multiplication and a MAC for each term."""
    sizes = []
    for index, expanded in ((0, 3), (1, 4), (2, 5)):
        size = list(call.args[index].shape)
        for dim in sorted(call.args[expanded]):
            size.insert(dim, 1)
        sizes.append(size)
    terms = prod(max(dims) for dims in zip(*sizes, strict=True))
    return Work(macs=terms, muls=terms)


def integer_mm(call: Call) -> Work:
    """A product of integers: its MACs; integers are free in every other operator."""
    return mm(call)


def scaled_mm(call: Call) -> Work:
    """scale_a·scale_b·(A·B) + bias, of 8-bit floats: the product and two scales an output."""
    out = numel(call.first_out)
    has_bias = call.arg(4, "bias") is not None
    return mm(call) + Work(muls=2 * out, bias_adds=out if has_bias else 0)


def weight_int8pack_mm(call: Call) -> Work:
    """x·Wᵀ·scale with W in 8-bit integers: a scale for each output."""
    inputs, out = call.args[0], numel(call.first_out)
    return Work(macs=out * inputs.shape[-1], muls=out)


def weight_int4pack_mm(call: Call) -> Work:
    """x·(W·scale + zero)ᵀ with W in 4-bit integers: each weight is dequantized once."""
    inputs, out = call.args[0], call.first_out
    weights = int(inputs.shape[-1] * out.shape[-1])
    return Work(macs=numel(out) * inputs.shape[-1], muls=weights, adds=weights)


def grouped_mm(call: Call) -> Work:
    """One product for each group of rows or columns, as mixtures of experts run them."""
    left, right = call.args[:2]
    if len(left.shape) > len(right.shape):
        return Work(macs=numel(right) * left.shape[-2])
    return Work(macs=numel(left) * right.shape[-1])


def quantized_linear(call: Call) -> Work:
    """A linear layer of integers with packed weights: its MACs, bias, and rescaled results."""
    weight, bias = call.args[1].unpack()
    out = numel(call.first_out)
    has_bias = bias is not None
    return Work(macs=out * weight.shape[-1], bias_adds=out if has_bias else 0) + REQUANTIZE * out


def dynamic_linear(call: Call) -> Work:
    """The input is quantized, the result dequantized: each by one scale; the range is searched."""
    weight, bias = call.args[1].unpack()
    inputs, out = numel(call.args[0]), numel(call.first_out)
    search = Work(comparisons=2 * (inputs - 1)) if inputs else NOTHING
    quantize = Work(divs=1, elementary=1) * inputs
    has_bias = bias is not None
    product = Work(macs=out * weight.shape[-1], bias_adds=out if has_bias else 0, muls=out)
    return search + quantize + product


# -- the same as functions -------------------------------------------------------------------------


def linear_function(call: Call) -> Parts:
    """The function torch.nn.functional.linear, run as addmm, or as mm and add, by the strides."""
    has_bias = call.arg(2, "bias") is not None
    weight, out = call.arg(1, "weight"), numel(call.first_out)
    return [(Kind.LINEAR, Work(macs=out * weight.shape[-1], bias_adds=out if has_bias else 0))]


def bilinear_function(call: Call) -> Parts:
    """The function torch.nn.functional.bilinear: Σ x_i·W_kij·y_j + b."""
    weight, out = call.arg(2, "weight"), numel(call.first_out)
    terms = out * int(prod(weight.shape[1:]))
    has_bias = call.arg(3, "bias") is not None
    return [(Kind.LINEAR, Work(macs=terms, muls=terms, bias_adds=out if has_bias else 0))]


# -- backward --------------------------------------------------------------------------------------


def linear_backward(call: Call) -> Work:
    """Of Y = X·Wᵀ: dX = dY·W and dW = dYᵀ·X, as many MACs each; db = Σ dY over the rows."""
    inputs, grad, weight = call.args[:3]
    mask = call.arg(3, "output_mask", (True, True, True))
    macs = numel(grad) * int(inputs.shape[-1])
    bias = numel(grad) - int(weight.shape[0])
    return Work(macs=macs * (bool(mask[0]) + bool(mask[1])), adds=bias if mask[2] else 0)


def mkldnn_linear_backward_input(call: Call) -> Work:
    """Of Y = X·Wᵀ: dX = dY·W."""
    return Work(macs=numel(call.args[1]) * int(call.args[2].shape[-1]))


def mkldnn_linear_backward_weights(call: Call) -> Work:
    """Of Y = X·Wᵀ: dW = dYᵀ·X, and db as a sum over the rows."""
    grad, inputs, weight = call.args[:3]
    bias = numel(grad) - int(weight.shape[0]) if call.arg(3, "bias_defined") else 0
    return Work(macs=numel(grad) * int(inputs.shape[-1]), adds=bias)


def matmul_backward(call: Call) -> Work:
    """Of Y = A·B: dA = dY·Bᵀ and dB = Aᵀ·dY: the forward's MACs for each that is requested."""
    grad, left = call.args[:2]
    mask = call.arg(3, "mask", (True, True))
    each = numel(grad) * int(left.shape[-1])
    return Work(macs=each * (bool(mask[0]) + bool(mask[1])))


FUNCTIONS: FunctionTable = {
    "torch.nn.functional.linear": linear_function,
    "torch.nn.functional.bilinear": bilinear_function,
}

TABLE: Table = table(
    __name__,
    entries(Kind.LINEAR, linear, "linear"),
    entries(Kind.LINEAR, linear, "mkldnn_linear"),
    entries(Kind.LINEAR, addmm, "addmm"),
    entries(Kind.LINEAR, addmm, "_sparse_addmm"),
    entries(Kind.LINEAR, addmm_activation, "_addmm_activation"),
    entries(Kind.LINEAR, addmv, "addmv"),
    entries(Kind.LINEAR, trilinear, "_trilinear"),
    entries(Kind.LINEAR, weight_int8pack_mm, "_weight_int8pack_mm"),
    entries(Kind.LINEAR, weight_int4pack_mm, "_weight_int4pack_mm _weight_int4pack_mm_for_cpu"),
    entries(Kind.LINEAR, dynamic_linear, "quantized::linear_dynamic"),
    entries(Kind.LINEAR, quantized_linear, "quantized::linear quantized::linear_relu"),
    entries(Kind.MATMUL, mm, "mm bmm _sparse_mm"),
    entries(Kind.MATMUL, matmul, "matmul"),
    entries(Kind.MATMUL, addmm, "baddbmm"),
    entries(Kind.MATMUL, addbmm, "addbmm"),
    entries(Kind.MATMUL, mv, "mv"),
    entries(Kind.MATMUL, addr, "addr"),
    entries(Kind.MATMUL, dot, "dot vdot"),
    entries(Kind.MATMUL, integer_mm, "_int_mm"),
    entries(Kind.MATMUL, scaled_mm, "_scaled_mm"),
    entries(Kind.MATMUL, grouped_mm, "_grouped_mm"),
    entries(Kind.LINEAR, linear_backward, "linear_backward"),
    entries(Kind.LINEAR, mkldnn_linear_backward_input, "mkldnn_linear_backward_input"),
    entries(Kind.LINEAR, mkldnn_linear_backward_weights, "mkldnn_linear_backward_weights"),
    entries(Kind.MATMUL, matmul_backward, "matmul_backward"),
)
