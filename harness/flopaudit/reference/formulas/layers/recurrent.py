"""Recurrent layers: plain, LSTM and GRU; whole, one direction of a layer, or the cell's gates.

A step of a cell adds W·x + b and U·h + c, which are products with biases like a linear layer's, and
then works on the gates. (Hochreiter & Schmidhuber 1997; Cho et al. 2014, arXiv:1406.1078.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flopaudit.reference.cost import NOTHING, Work
from flopaudit.reference.formulas.call import Call, Formula, Parts, numel, total
from flopaudit.reference.formulas.scalar_functions import RELU, SIGMOID, TANH
from flopaudit.reference.formulas.tables import FunctionTable, Table, entries, table
from flopaudit.reference.kinds import Kind

# For each hidden value of a step: its number of gates, and the work on their products.
GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}
EACH = {
    # c = s(f)·c + s(i)·tanh(g) and h = s(o)·tanh(c), s the sigmoid; W·x + U·h of four gates
    "lstm": SIGMOID * 3 + TANH * 2 + Work(muls=3, adds=1 + 4),
    # n = tanh(W·x + r·U·h); h = n + z·(h - n); W·x + U·h added for r and z
    "gru": SIGMOID * 2 + TANH + Work(muls=2, adds=1 + 2 + 2),
    "rnn_tanh": TANH + Work(adds=1),
    "rnn_relu": RELU + Work(adds=1),
}
_MODES = ("rnn_relu", "rnn_tanh", "lstm", "gru")  # as cuDNN numbers them


def direction(  # noqa: PLR0913 - each is an option of the layer
    cell: str, steps: int, inputs: int, hidden: int, *, bias: bool = True, projection: int = 0
) -> Parts:
    """Return the work by kind of one direction of one layer over the steps of all samples."""
    wide, fed_back = GATES[cell] * hidden, projection or hidden
    macs = steps * (wide * (inputs + fed_back) + projection * hidden)
    product = Work(macs=macs, bias_adds=2 * steps * wide if bias else 0)
    return [(Kind.LINEAR, product), (Kind.ACTIVATION, EACH[cell] * (steps * hidden))]


def recurrent(  # noqa: PLR0913 - each is an option of the layer
    cell: str,
    steps: int,
    inputs: int,
    hidden: int,
    *,
    layers: int = 1,
    directions: int = 1,
    bias: bool = True,
    projection: int = 0,
    dropout: bool = False,
) -> Parts:
    """Return the work by kind of a stack of layers.

    From the second layer on, each one takes the results of both directions.

    Args:
        cell: lstm, gru, rnn_tanh or rnn_relu.
        steps: tokens of all samples, padding counted where it is computed.
        inputs: width of a token.
        hidden: width of the state.
        layers: number of stacked layers.
        directions: 2 if it also runs backwards.
        bias: whether both products have a bias.
        projection: width to which the LSTM's state is projected, 0 if it is not.
        dropout: whether dropout is applied between layers, as in training.
    """
    passed = directions * (projection or hidden)
    parts: Parts = []
    for layer in range(layers):
        width = passed if layer else inputs
        one = direction(cell, steps, width, hidden, bias=bias, projection=projection)
        parts += one * directions
    between = (layers - 1) * steps * passed if dropout else 0
    return by_kind([*parts, (Kind.ACTIVATION, Work(muls=between, divs=between))])


def by_kind(parts: Parts) -> Parts:
    """Add up work by kind."""
    kinds: dict[Kind, Work] = {}
    for kind, work in parts:
        kinds[kind] = kinds.get(kind, NOTHING) + work
    return list(kinds.items())


def _of_cell(cell: str) -> Callable[..., Parts]:
    def layers(steps: int, inputs: int, hidden: int, **options: Any) -> Parts:
        return recurrent(cell, steps, inputs, hidden, **options)

    layers.__doc__ = f"`recurrent` of {cell} cells."
    return layers


lstm, gru = _of_cell("lstm"), _of_cell("gru")
rnn_tanh, rnn_relu = _of_cell("rnn_tanh"), _of_cell("rnn_relu")


# -- functions -------------------------------------------------------------------------------------


def _function(cell: str) -> Callable[[Call], Parts]:
    """Return the formula of torch._VF.lstm and the like, which take weights in one flat list.

    (input, states, weights, bias, layers, dropout, training, bidirectional, batch_first), or for
    packed sequences (data, batch_sizes, states, weights, …).
    """

    def formula(call: Call) -> Parts:
        packed = not isinstance(call.args[3], bool)
        weights, bias, layers, dropout, training, both = call.args[2 + packed : 8 + packed]
        data, hidden = call.args[0], weights[1].shape[0] // GATES[cell]
        fed_back = weights[1].shape[1]
        equal = fed_back == hidden
        projection = _projected(weights, hidden, bias=bias) if equal else fed_back
        return recurrent(
            cell,
            numel(data) // data.shape[-1],
            data.shape[-1],
            hidden,
            layers=layers,
            directions=2 if both else 1,
            bias=bool(bias),
            projection=projection if cell == "lstm" else 0,
            dropout=bool(training) and dropout > 0,
        )

    return formula


def _projected(weights: Sequence[Any], hidden: int, *, bias: bool) -> int:
    """Return the width of an LSTM's projection to its own width: one more matrix per direction."""
    matrices = 4 if bias else 2
    square = len(weights) > matrices and tuple(weights[matrices].shape) == (hidden, hidden)
    return hidden if square and len(weights) % (matrices + 1) == 0 else 0


# -- operators -------------------------------------------------------------------------------------


def mkldnn_rnn_layer(call: Call) -> Work:
    """One direction of one layer."""
    data, cell, hidden = call.args[0], _MODES[call.args[9]], int(call.args[10])
    steps = numel(data) // data.shape[-1]
    return total(direction(cell, steps, data.shape[-1], hidden, bias=bool(call.args[12])))


def _stacked(call: Call, mode: int, place: int) -> Work:
    """Return the work of a stack from the positions of its mode and options, in cuDNN's order."""
    data, cell = call.args[0], _MODES[call.args[mode]]
    projected = place - mode - 2  # cuDNN has the projection's width between hidden and layers
    layers, _, dropout, train, both = call.args[place : place + 5]
    matrices = len(call.args[1]) // (layers * (2 if both else 1))
    parts = recurrent(
        cell,
        numel(data) // data.shape[-1],
        data.shape[-1],
        int(call.args[mode + 1]),
        layers=layers,
        directions=2 if both else 1,
        bias=matrices >= 4,  # noqa: PLR2004 - two weights and two biases
        projection=int(call.args[mode + 2]) if projected else 0,
        dropout=bool(train) and dropout > 0,
    )
    return total(parts)


def cudnn_rnn(call: Call) -> Work:
    """The whole stack."""
    return _stacked(call, 6, 9)


def miopen_rnn(call: Call) -> Work:
    """The whole stack."""
    return _stacked(call, 5, 7)


def lstm_mps(call: Call) -> Work:
    """The whole stack, with the arguments of torch._VF.lstm."""
    return total(_function("lstm")(call))


def fused_cell(cell: str) -> Formula:
    """Return the formula of a cell whose products are already computed."""

    def formula(call: Call) -> Work:
        gates = numel(call.args[0])
        biases = sum(call.arg(i, name) is not None for i, name in _BIASES)
        work = EACH[cell] * (gates // GATES[cell])
        return work + Work(bias_adds=biases * gates)

    return formula


_BIASES = ((3, "input_bias"), (4, "hidden_bias"))


def lstm_cell_backward(call: Call) -> Work:
    """Through h = o·t, t = tanh(c') and c' = f·c + i·g to the four gates and the last state.

    dc' = dc + dh·o·(1 - t²); do = dh·t·o·(1 - o); of i, f and g alike; dc = dc'·f. The tanh is
    taken again; the biases' gradient is the sum over the batch.
    """
    hidden = numel(call.args[2])
    width = call.args[2].shape[-1]
    gates = Work(muls=3 + 3 * 3 + 3 + 1, adds=1 + 1 + 3 + 1, elementary=1)
    sums = 4 * (hidden - width) if call.args[5] else 0
    return gates * hidden + Work(adds=sums)


def gru_cell_backward(call: Call) -> Work:
    """Through h' = n + z·(h - n) and n = tanh(a + r·u) to the gates and the last state.

    dz = dh'·(h - n)·z·(1 - z), dn = dh'·(1 - z)·(1 - n²), dr = dn·u·r·(1 - r), du = dn·r,
    dh = dh'·z; the biases' gradients are sums over the batch.
    """
    hidden, width = numel(call.args[0]), call.args[0].shape[-1]
    gates = Work(muls=3 + 3 + 3 + 1 + 1, adds=2 + 2 + 1)
    sums = 6 * (hidden - width) if call.args[2] else 0
    return gates * hidden + Work(adds=sums)


TABLE: Table = table(
    __name__,
    entries(Kind.LINEAR, mkldnn_rnn_layer, "mkldnn_rnn_layer"),
    entries(Kind.LINEAR, cudnn_rnn, "_cudnn_rnn"),
    entries(Kind.LINEAR, miopen_rnn, "miopen_rnn"),
    entries(Kind.LINEAR, lstm_mps, "_lstm_mps"),
    entries(Kind.ACTIVATION, fused_cell("lstm"), "_thnn_fused_lstm_cell"),
    entries(Kind.ACTIVATION, fused_cell("gru"), "_thnn_fused_gru_cell"),
    entries(Kind.ACTIVATION, lstm_cell_backward, "_thnn_fused_lstm_cell_backward_impl"),
    entries(Kind.ACTIVATION, gru_cell_backward, "_thnn_fused_gru_cell_backward"),
)

# torch reports torch._VF.gru, which nn.GRU calls, as torch.gru.
FUNCTIONS: FunctionTable = {
    f"{home}.{cell}": _function(cell) for cell in GATES for home in ("torch", "torch._VF")
}
