"""Recurrent layers and cells."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flopaudit.probes.definition import (
    Make,
    Probe,
    cut,
    layer,
)

# Batch, steps, features in, hidden features.
_SIZES = ((2, 3, 4, 5), (1, 5, 3, 2), (3, 2, 5, 4), (2, 7, 2, 3), (4, 4, 3, 7), (3, 5, 6, 4),
          (1, 6, 7, 3))  # fmt: skip
_STEPS_FIRST = [cut((t, b, i), sizes=(i, h)) for b, t, i, h in _SIZES]
_BATCH_FIRST = [cut((b, t, i), sizes=(i, h)) for b, t, i, h in _SIZES]
_UNBATCHED = [cut((t, i), sizes=(i, h)) for _, t, i, h in _SIZES]
_ONE_STEP = [cut((b * t, i), sizes=(i, h)) for b, t, i, h in _SIZES]

_OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "one_layer": ("of one layer", {}),
    "no_bias": ("without bias", {"bias": False}),
    "two_layers": ("of two layers", {"num_layers": 2}),
    "three_layers_no_bias": ("of three layers, without bias", {"num_layers": 3, "bias": False}),
    "bidirectional": ("in both directions", {"bidirectional": True}),
    "bidirectional_two_layers": (
        "of two layers in both directions",
        {"bidirectional": True, "num_layers": 2},
    ),
}
_KINDS = {"rnn": "RNN", "gru": "GRU", "lstm": "LSTM"}


def _maker(kind: str, options: dict[str, Any]) -> Make:
    return lambda torch, ins, hidden: getattr(torch.nn, kind)(ins, hidden, **options)


def _outputs(torch: Any, recurrent: Any, x: Any) -> Any:
    del torch
    return recurrent(x)[0]


def _state(torch: Any, cell: Any, x: Any) -> Any:
    """Return the hidden state; an LSTM cell returns it with the cell's state."""
    del torch
    state = cell(x)
    return state[0] if isinstance(state, tuple) else state


def _layers() -> Iterator[Probe]:
    for key, kind in _KINDS.items():
        for variant, (words, options) in _OPTIONS.items():
            yield layer(
                f"recurrent/{key}_{variant}",
                f"{kind} {words}",
                _maker(kind, options),
                _STEPS_FIRST,
                _outputs,
            )
        yield layer(
            f"recurrent/{key}_batch_first",
            f"{kind}, batch first",
            _maker(kind, {"batch_first": True}),
            _BATCH_FIRST,
            _outputs,
        )
        yield layer(
            f"recurrent/{key}_unbatched",
            f"{kind} of an unbatched sequence",
            _maker(kind, {}),
            _UNBATCHED,
            _outputs,
        )
        for variant, bias in (("", True), ("_no_bias", False)):
            yield layer(
                f"recurrent/{key}_cell{variant}",
                f"{kind}Cell {'with' if bias else 'without'} bias",
                _maker(f"{kind}Cell", {"bias": bias}),
                _ONE_STEP,
                _state,
            )


PROBES: tuple[Probe, ...] = (
    *_layers(),
    layer(
        "recurrent/rnn_relu",
        "RNN with ReLU",
        _maker("RNN", {"nonlinearity": "relu"}),
        _STEPS_FIRST,
        _outputs,
    ),
    layer(
        "recurrent/rnn_cell_relu",
        "RNNCell with ReLU",
        _maker("RNNCell", {"nonlinearity": "relu"}),
        _ONE_STEP,
        _state,
    ),
    layer(
        "recurrent/lstm_projected",
        "LSTM whose outputs are projected",
        lambda torch, ins, hidden: torch.nn.LSTM(ins, hidden, proj_size=hidden - 1),
        _STEPS_FIRST,
        _outputs,
    ),
    layer(
        "recurrent/lstm_with_state",
        "LSTM that is given its first state",
        lambda torch, ins, hidden: torch.nn.LSTM(ins, hidden),
        [cut((t, b, i), (1, b, h), (1, b, h), sizes=(i, h)) for b, t, i, h in _SIZES],
        lambda torch, lstm, x, hidden, cell: lstm(x, (hidden, cell))[0],
    ),
    layer(
        "recurrent/lstm_cell_over_steps",
        "LSTMCell called once for each step",
        lambda torch, ins, hidden: torch.nn.LSTMCell(ins, hidden),
        _STEPS_FIRST,
        lambda torch, cell, x: _steps(cell, x),
    ),
)


def _steps(cell: Any, x: Any) -> Any:
    state = None
    for step in x.unbind(0):
        state = cell(step, state)
    assert state is not None  # noqa: S101 - there are two steps or more
    return state[0]
