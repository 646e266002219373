"""Activation functions, each by the formula of its definition; softmax; their derivatives.

Where a definition has several branches, all are computed and one is selected, which is free.
"""

from __future__ import annotations

from flopaudit.reference.cost import NOTHING, Work
from flopaudit.reference.formulas.call import Call, along, numel, per_input, per_output
from flopaudit.reference.formulas.scalar_functions import GELU_ERF, GELU_TANH
from flopaudit.reference.formulas.tables import Table, entries, table
from flopaudit.reference.kinds import Kind

# -- softmax ---------------------------------------------------------------------------------------


def softmax_work(elements: int, rows: int) -> Work:
    """exp(x - max) / Σ: the maximum, a subtraction, exp, the sum and a division."""
    return Work(
        comparisons=elements - rows,
        adds=elements + elements - rows,
        elementary=elements,
        divs=elements,
    )


def softmax(call: Call) -> Work:
    """Over one dimension: exp(x - max) / Σ exp(x - max)."""
    return softmax_work(*along(call, call.arg(1, "dim")))


def masked_softmax(call: Call) -> Work:
    """The same; masking selects by index, which is free."""
    dim = call.arg(2, "dim")
    return softmax_work(*along(call, -1 if dim is None else dim))


def log_softmax(call: Call) -> Work:
    """Over one dimension: x - max - log(Σ exp(x - max))."""
    elements, rows = along(call, call.arg(1, "dim"))
    return Work(
        comparisons=elements - rows,
        adds=3 * elements - rows,
        elementary=elements + rows,
    )


def softmax_backward(call: Call) -> Work:
    """Over one dimension: y·(g - Σ g·y)."""
    elements, rows = along(call, call.arg(2, "dim"))
    return Work(muls=2 * elements, adds=2 * elements - rows)


def log_softmax_backward(call: Call) -> Work:
    """Over one dimension: g - exp(y)·Σ g."""
    elements, rows = along(call, call.arg(2, "dim"))
    return Work(muls=elements, adds=2 * elements - rows, elementary=elements)


# -- activations with options ----------------------------------------------------------------------


def gelu(call: Call) -> Work:
    """x/2·(1 + erf(x/√2)), or with tanh(√(2/π)·(x + 0.044715·x³)); arXiv:1606.08415."""
    approximate = call.arg(1, "approximate", "none")
    return (GELU_TANH if approximate == "tanh" else GELU_ERF) * numel(call.first_out)


def elu(call: Call) -> Work:
    """X, or α·(exp(x) - 1); SELU and CELU scale the result or the input too; arXiv:1511.07289."""
    scale, input_scale = call.arg(2, "scale", 1), call.arg(3, "input_scale", 1)
    each = Work(comparisons=1, elementary=1, adds=1, muls=1 + (scale != 1) + (input_scale != 1))
    return each * numel(call.first_out)


def celu(call: Call) -> Work:
    """X, or α·(exp(x/α) - 1): as torch, by a factor 1/α that is 1 where α is; arXiv:1704.07483."""
    alpha = call.arg(1, "alpha", 1)
    each = Work(comparisons=1, elementary=1, adds=1, muls=1 + (alpha != 1))
    return each * numel(call.first_out)


def softplus(call: Call) -> Work:
    """1/β·log(1 + exp(β·x)), or x above a threshold."""
    each = Work(adds=1, elementary=2, comparisons=1)
    if call.arg(1, "beta", 1) != 1:
        each = each + Work(muls=1, divs=1)
    return each * numel(call.first_out)


def logit(call: Call) -> Work:
    """log(x / (1 - x)), x clamped to [eps, 1 - eps] where eps is given."""
    clamp = Work(comparisons=2) if call.arg(1, "eps") is not None else NOTHING
    return (clamp + Work(adds=1, divs=1, elementary=1)) * numel(call.first_out)


def rrelu(call: Call) -> Work:
    """X, or x times a slope: a drawn one in training, the middle of the range otherwise."""
    return Work(comparisons=1, muls=1) * numel(call.first_out)


# -- derivatives -----------------------------------------------------------------------------------


def gelu_backward(call: Call) -> Work:
    """The product g·(Φ(x) + x·φ(x)), or the derivative of the tanh approximation."""
    tanh = call.arg(2, "approximate", "none") == "tanh"
    each = Work(muls=12, adds=5, elementary=1) if tanh else Work(muls=7, adds=2, elementary=2)
    return each * numel(call.first_out)


def elu_backward(call: Call) -> Work:
    """Where x > 0 g, else g·α·exp(x), or g·(y + α) of the result y; and both scales."""
    scale, input_scale = call.arg(2, "scale", 1), call.arg(3, "input_scale", 1)
    scales = Work(muls=(scale != 1) + (input_scale != 1))
    inner = Work(adds=1, muls=1) if call.arg(4, "is_result") else Work(elementary=1, muls=2)
    if not call.arg(4, "is_result") and input_scale != 1:
        scales = scales + Work(muls=1)
    return (Work(comparisons=1) + inner + scales) * numel(call.first_out)


def softplus_backward(call: Call) -> Work:
    """A quotient g·exp(β·x) / (exp(β·x) + 1), or g above the threshold."""
    scaled = call.arg(2, "beta", 1) != 1
    each = Work(elementary=1, muls=1 + scaled, divs=1, adds=1, comparisons=1)
    return each * numel(call.first_out)


def logit_backward(call: Call) -> Work:
    """A quotient g / (x·(1 - x)), zero outside of eps and 1 - eps where eps is given."""
    held = 2 if call.arg(2, "eps") is not None else 0
    return Work(comparisons=held, adds=1, muls=1, divs=1) * numel(call.first_out)


TABLE: Table = table(
    __name__,
    entries(Kind.ACTIVATION, per_output(comparisons=1), "relu threshold threshold_backward"),
    entries(
        Kind.ACTIVATION,
        per_output(comparisons=1, muls=1),
        "leaky_relu _prelu_kernel leaky_relu_backward",
    ),
    entries(Kind.ACTIVATION, rrelu, "rrelu_with_noise"),
    entries(Kind.ACTIVATION, rrelu, "rrelu_with_noise_functional"),
    entries(Kind.ACTIVATION, per_output(muls=1), "rrelu_with_noise_backward"),
    entries(Kind.ACTIVATION, elu, "elu"),
    entries(Kind.ACTIVATION, celu, "celu"),
    entries(Kind.ACTIVATION, per_output(comparisons=2), "hardtanh hardtanh_backward"),
    entries(Kind.ACTIVATION, per_output(adds=1, comparisons=2, divs=1), "hardsigmoid"),
    entries(Kind.ACTIVATION, per_output(adds=1, comparisons=2, divs=1, muls=1), "hardswish"),
    # |x| > λ keeps x; softshrink moves it by λ towards zero.
    entries(Kind.ACTIVATION, per_output(comparisons=2), "hardshrink"),
    entries(Kind.ACTIVATION, per_output(comparisons=2, adds=2), "softshrink"),
    entries(Kind.ACTIVATION, per_output(comparisons=2), "hardshrink_backward softshrink_backward"),
    entries(Kind.ACTIVATION, per_output(adds=2, elementary=1, divs=1), "sigmoid"),
    entries(Kind.ACTIVATION, per_output(adds=2, elementary=1, divs=1, muls=1), "silu"),
    entries(Kind.ACTIVATION, per_output(adds=1, elementary=3, muls=1), "mish"),
    entries(Kind.ACTIVATION, softplus, "softplus"),
    entries(Kind.ACTIVATION, per_output(adds=2, elementary=2, divs=1), "log_sigmoid_forward"),
    entries(Kind.ACTIVATION, per_output(elementary=1), "tanh"),
    entries(Kind.ACTIVATION, logit, "logit"),
    entries(Kind.ACTIVATION, gelu, "gelu"),
    entries(Kind.ACTIVATION, per_output(adds=2, elementary=1, divs=1, muls=1), "glu"),
    entries(Kind.ACTIVATION, softmax, "_softmax _safe_softmax softmax"),
    entries(Kind.ACTIVATION, masked_softmax, "_masked_softmax"),
    entries(Kind.ACTIVATION, log_softmax, "_log_softmax log_softmax"),
    entries(Kind.ACTIVATION, softmax_backward, "_softmax_backward_data"),
    entries(Kind.ACTIVATION, log_softmax_backward, "_log_softmax_backward_data"),
    entries(Kind.ACTIVATION, softmax_backward, "_masked_softmax_backward"),
    entries(Kind.ACTIVATION, per_output(comparisons=1, muls=2), "_prelu_kernel_backward"),
    entries(Kind.ACTIVATION, elu_backward, "elu_backward"),
    entries(Kind.ACTIVATION, per_output(comparisons=2, divs=1), "hardsigmoid_backward"),
    entries(
        Kind.ACTIVATION, per_output(comparisons=2, divs=1, adds=1, muls=1), "hardswish_backward"
    ),
    entries(Kind.ACTIVATION, per_output(muls=2, adds=1), "sigmoid_backward"),
    entries(Kind.ACTIVATION, per_output(muls=2, adds=1), "tanh_backward"),
    entries(Kind.ACTIVATION, per_output(adds=4, muls=3, elementary=1, divs=1), "silu_backward"),
    # of s = log(1 + exp(x)): g·(tanh(s) + x·(1 - tanh²(s))·sigmoid(x))
    entries(Kind.ACTIVATION, per_output(adds=5, muls=4, elementary=4, divs=1), "mish_backward"),
    entries(Kind.ACTIVATION, softplus_backward, "softplus_backward"),
    # the sigmoid of -x, its sign spared: g over 1 + exp(x)
    entries(Kind.ACTIVATION, per_output(adds=1, divs=1, elementary=1), "log_sigmoid_backward"),
    entries(Kind.ACTIVATION, logit_backward, "logit_backward"),
    entries(Kind.ACTIVATION, gelu_backward, "gelu_backward"),
    # of each pair: g·s with s = sigmoid(b), and that times a·(1 - s)
    entries(Kind.ACTIVATION, per_input(adds=3, elementary=1, divs=1, muls=3), "glu_backward"),
)
