"""The short notation of formulas, such as `2M + b`.

In a formula, a quantity of `flopaudit.tracing.sites.QUANTITIES` may have a suffix that limits it to
a part of the model: `macs per sample`, `outputs of the last call`, `macs of linear layers`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction

from flopaudit.profiles.formula_fitting import Formula
from flopaudit.reference.kinds import Kind
from flopaudit.tracing.sites import QUANTITIES

PER_SAMPLE, LAST_CALL, OF_KIND = " per sample", " of the last call", " of "
"""The suffixes of quantities that are not of the whole model."""

LAYERS, FUNCTIONS, OPERATORS = " layers", " functions", " operators"
"""The suffixes of a kind of work: `macs of linear layers`."""

SYMBOLS = {
    "macs": "M",
    "bias_adds": "b",
    "outputs": "n",
    "inputs": "n_in",
    "own_macs": "M_own",
    "rows": "r",
    "calls": "1",
    "affine": "n_w",
    "macs_by_output": "M_out",
    "macs_to_4_digits": "M_4",
    "macs_of_first": "M_1",
    "scores": "s",
    "states": "h",
    "taps": "t",
    "weights": "w",
    "summands": "z",
    "biases": "c",
    "weights_by_sample": "wB",
    "biases_by_sample": "cB",
    "positions": "p",
    "of_first": "n_1",
    "aligned_left": "n_left",
}
"""The symbols of quantities; a quantity without one is written by its name."""

PARTS = {
    PER_SAMPLE: ("/B", "divided by the batch"),
    LAST_CALL: ("(last)", "of the last call of each layer"),
    OF_KIND: ("(…)", "of work of that kind in layers, functions or operators"),
}
"""How each suffix is written, and what it means."""

SHORTER = {Kind.NORMALISATION: "norm", Kind.ACTIVATION: "act", Kind.ELEMENTWISE: "elem",
           Kind.DATA_MOVEMENT: "move", FUNCTIONS: "", OPERATORS: " ops"}  # fmt: skip
"""Abbreviations of long kinds and suffixes."""


def short(formula: Formula) -> str:
    """Write a formula in symbols, such as `2M + b`; `0` if nothing is counted."""
    text = ""
    for name, factor in formula.items():
        sign = "-" if factor < 0 else "+"
        term = _term(abs(factor), symbol(name))
        text += f" {sign} {term}" if text else term if factor > 0 else f"-{term}"
    return text or "0"


def _term(factor: Fraction, what: str) -> str:
    """Write one term, such as `3M/2`; a constant per call is a number alone."""
    if what == SYMBOLS["calls"]:
        return str(factor)
    times = "" if factor.numerator == 1 else str(factor.numerator)
    return times + what + ("" if factor.denominator == 1 else f"/{factor.denominator}")


def symbol(name: str) -> str:
    """Return a quantity's symbol: `M` for macs, `M/B` per sample, `M(linear)` by kind."""
    quantity, _, _ = name.partition(" ")
    known = SYMBOLS.get(quantity, quantity)
    part = _part(name)
    if part != OF_KIND:
        return known + (PARTS[part][0] if part else "")
    kind = name.partition(OF_KIND)[2]
    for word, shorter in SHORTER.items():
        kind = kind.replace(word, shorter)
    return f"{known}({kind})"


def _part(name: str) -> str:
    """Return which of `PARTS` is a quantity's suffix, "" if it has none."""
    return next((part for part in PARTS if part in name), "")


def legend(formulas: Iterable[Formula]) -> Iterator[str]:
    """Explain the symbols in some formulas: `M per multiply-accumulate`."""
    names = {name for formula in formulas for name in formula}
    used = {name.partition(" ")[0] for name in names}
    for quantity, meaning in QUANTITIES.items():
        if quantity in used and SYMBOLS.get(quantity) != SYMBOLS["calls"]:
            yield f"{SYMBOLS.get(quantity, quantity)} per {meaning}"
    for part, (text, meaning) in PARTS.items():
        if part in set(map(_part, names)):
            yield f"{text} {meaning}"
