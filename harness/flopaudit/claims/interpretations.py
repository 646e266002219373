"""The interpretations of one count of a model: every number that may be derived from its ledger.

A `CountedVariant` is one count: of the model as it is, at another input size, with another stride.
Each of its interpretations makes assumptions, for example that biases are counted, and the costs of
all assumptions add up. The number of a tool is an interpretation too. Pure data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from math import prod

from flopaudit.claims.parsing import Unit
from flopaudit.claims.search import Interpretation
from flopaudit.reference.conventions import Convention
from flopaudit.reference.kinds import LAYER_KINDS, PRODUCT_KINDS, Kind
from flopaudit.reference.ledger import (
    FORWARD,
    Ledger,
    ModuleEntry,
    OperatorRow,
)

MOST_COST = 10.0
"""Interpretations with a higher cost are left out."""
TOOL_COST = 2.5
"""The cost of assuming that a number is that of a certain tool, one of about six."""


@dataclass(frozen=True)
class CountedVariant:
    """One count of a variant of the model.

    Attributes:
        name: the difference from the usual count; "" for none.
        cost: the cost of assuming that difference.
        ledger: the reference's result.
        where: the input that was counted on.
    """

    name: str
    cost: float
    ledger: Ledger
    where: str


@dataclass(frozen=True)
class _Base:
    """The products that may be counted, and the rows that they are taken from."""

    name: str
    cost: float
    products: tuple[str, ...] = PRODUCT_KINDS
    rows: Callable[[OperatorRow], bool] = lambda _: True


_LAYERS = ("Conv", "Linear", "LSTM", "GRU", "RNN")


def _in_layer(row: OperatorRow) -> bool:
    """Whether a row ran in the module of a layer, where hooks on layers see it."""
    return row.kind not in PRODUCT_KINDS or row.type.startswith(_LAYERS)


_BASES = (
    _Base("", 0),
    _Base("-layers", 1, LAYER_KINDS),
    _Base(" of convolutions only", 2, (Kind.CONVOLUTION,)),
    _Base(" in modules of layers only", 2, rows=_in_layer),
)
_UNITS: tuple[tuple[Unit, str, int], ...] = (("MAC", "macs", 1), ("FLOP", "flops", 2))


@dataclass(frozen=True)
class _Part:
    """Operations that may be counted in addition to the products, by one convention."""

    name: str
    cost: float
    of: Callable[[OperatorRow], int]


def _of_kind(kind: str, measure: Callable[[OperatorRow], int]) -> Callable[[OperatorRow], int]:
    return lambda row: measure(row) if row.kind == kind else 0


def _others(row: OperatorRow) -> int:
    return row.work.others


def _outputs(row: OperatorRow) -> int:
    return prod(row.outputs[0]) if row.outputs else 0


def _inputs(row: OperatorRow) -> int:
    return prod(row.inputs[0]) if row.inputs else 0


# A part has cost 1, or 2 if it is not counted as the reference does; one of each group is chosen.
_PART_GROUPS: tuple[tuple[_Part, ...], ...] = (
    (_Part("bias", 1, lambda row: row.work.bias_adds if row.kind in PRODUCT_KINDS else 0),),
    (
        _Part("norm", 1, _of_kind(Kind.NORMALISATION, _others)),
        _Part(
            "norm at 2 per element", 1, _of_kind(Kind.NORMALISATION, lambda row: 2 * _outputs(row))
        ),
        _Part(
            "norm at 4 per element", 2, _of_kind(Kind.NORMALISATION, lambda row: 4 * _outputs(row))
        ),
        _Part("norm at 1 per element", 2, _of_kind(Kind.NORMALISATION, _outputs)),
    ),
    (
        _Part("activation", 1, _of_kind(Kind.ACTIVATION, _others)),
        _Part("activation at 1 per element", 2, _of_kind(Kind.ACTIVATION, _outputs)),
    ),
    (
        _Part("pooling", 1, _of_kind(Kind.POOLING, _others)),
        _Part("pooling at 1 per input", 2, _of_kind(Kind.POOLING, _inputs)),
    ),
    (_Part("elementwise", 1, _of_kind(Kind.ELEMENTWISE, _others)),),
)
FIRST_PART_COST = 1.0
"""The cost of assuming that anything is counted in addition to the products."""


def interpretations_of(counted: CountedVariant) -> Iterator[Interpretation]:
    """Yield all interpretations of one count, the cheapest first."""
    yield from _at_cost(_operations(counted.ledger), counted)
    yield from _at_cost(_params(counted.ledger), counted)


def _at_cost(
    interpretations: Iterable[Interpretation], counted: CountedVariant
) -> Iterator[Interpretation]:
    for interpretation in sorted(interpretations, key=lambda each: each.cost):
        cost = interpretation.cost + counted.cost
        if cost <= MOST_COST:
            name = ", ".join(filter(None, (interpretation.name, counted.name)))
            yield replace(interpretation, name=name, cost=cost, where=counted.where)


def reported_by(
    names: tuple[str, str, str], count: int | None, unit: str, params: int | None
) -> Iterator[Interpretation]:
    """Yield the numbers of a tool as interpretations.

    Args:
        names: tool, variant and version.
        count: the tool's count in its unit, or None.
        unit: MAC or FLOP.
        params: the tool's number of parameters, or None.
    """
    tool, variant, version = names
    tool_variant = f"{tool} {variant}".strip()
    reported: tuple[tuple[int | None, Unit], ...] = (
        (count, "FLOP" if unit == "FLOP" else "MAC"),
        (params, "param"),
    )
    for value, of in reported:
        if value:
            where = f"{tool_variant} {version}".strip()
            yield Interpretation(f"total of {tool_variant}", value, of, TOOL_COST, where, tool)


def _operations(ledger: Ledger) -> Iterator[Interpretation]:
    yield from _sums(ledger)
    everything = ledger.flops_all
    yield Interpretation("flops-all", everything, "FLOP", 2)
    yield from _other_conventions(ledger)
    yield from _derived(ledger)


def _sums(ledger: Ledger) -> Iterator[Interpretation]:
    """Yield the products of some kinds, with some of the parts added."""
    amounts = [[(part, sum(map(part.of, ledger.rows))) for part in group] for group in _PART_GROUPS]
    for base in _BASES:
        rows = [row for row in ledger.rows if base.rows(row)]
        macs = sum(row.work.macs for row in rows if row.kind in base.products)
        bias = sum(row.work.bias_adds for row in rows if row.kind in base.products)
        groups = [[(part, bias) for part, _ in amounts[0]], *amounts[1:]]
        for chosen in product(*([None, *group] for group in groups)):
            parts = [item for item in chosen if item and item[1]]
            cost = base.cost + sum(part.cost for part, _ in parts)
            cost += FIRST_PART_COST if parts else 0
            added = "".join(f"+{part.name}" for part, _ in parts)
            for unit, name, mac in _UNITS:
                value = mac * macs + sum(amount for _, amount in parts)
                yield Interpretation(f"{name}{base.name}{added}", value, unit, cost)


_CONVENTIONS = {
    "causal-half": "causal attention counted by half",
    "transposed-by-output": "transposed convolutions counted from the output",
}


def _other_conventions(ledger: Ledger) -> Iterator[Interpretation]:
    for alternative, meaning in _CONVENTIONS.items():
        for unit, name, mac in _UNITS:
            value = ledger.read(Convention(name, meaning, mac, alternatives=(alternative,)))
            yield Interpretation(f"{name}, {meaning}", value, unit, 2)


_BATCHES = (2, 4, 8, 16, 32, 64, 128, 256)
_CLASSES = ((1001, 3.0), (10, 4.0), (100, 4.0), (21841, 4.0), (21843, 4.0))


def _derived(ledger: Ledger) -> Iterator[Interpretation]:
    """Yield the numbers that follow from the products without another count."""
    macs = ledger.macs
    found: list[tuple[str, int, float]] = [("three times forward", 3 * macs, 4)]
    attention = sum(
        row.work.macs for row in ledger.rows if row.kind in {Kind.ATTENTION, Kind.MATMUL}
    )
    # As for a causal mask, which leaves about half; the convention `causal-half` is exact.
    found.append(("attention products counted by half", macs - attention // 2, 2))
    found += [(f"of a batch of {batch}", batch * macs, 5) for batch in _BATCHES]
    found += [
        (name, macs - sum(row.work.macs for row in _under(ledger.rows, path)), 2)
        for path, name in _head(ledger)
    ]
    last = _last_product(ledger) if ledger.rows == _forward(ledger) else None
    classes = _channels(last) if last else 0
    if last and classes and last.work.macs % classes == 0:
        each = last.work.macs // classes
        found += [
            (f"with {number} classes", macs + (number - classes) * each, cost)
            for number, cost in _CLASSES
        ]
    for (meaning, value, cost), (unit, name, mac) in product(found, _UNITS):
        yield Interpretation(f"{name}, {meaning}", mac * value, unit, cost)
    positions = "parameters times output positions of convolutions"
    yield Interpretation(positions, _params_times_positions(ledger), "MAC", 5)
    drawing = ledger.read("flops+bias") + _drawing_the_weights(ledger)
    yield Interpretation("flops+bias, and drawing the weights at random", drawing, "FLOP", 5)


def _last_product(ledger: Ledger) -> OperatorRow | None:
    rows = [row for row in _forward(ledger) if row.kind in LAYER_KINDS and row.work.macs]
    return rows[-1] if rows else None


def _forward(ledger: Ledger) -> tuple[OperatorRow, ...]:
    return tuple(row for row in ledger.rows if row.phase == FORWARD)


def _channels(row: OperatorRow) -> int:
    out = row.outputs[0]
    return out[-1] if row.kind == Kind.LINEAR else out[1] if len(out) > 1 else 0


def _head(ledger: Ledger) -> Iterator[tuple[str, str]]:
    """Yield the part of the model with the last product, unless all products are in it."""
    last = _last_product(ledger)
    if last is None:
        return
    head = last.path.partition(".")[0]
    parts = {row.path.partition(".")[0] for row in _forward(ledger) if row.work.macs}
    if head and len(parts) > 1:
        yield head, f"without '{head}'"


def _under(rows: Iterable[OperatorRow], path: str) -> list[OperatorRow]:
    return [row for row in rows if row.path == path or row.path.startswith(f"{path}.")]


def _params_times_positions(ledger: Ledger) -> int:
    """Add up the parameters of each layer that ran, times its output positions if it convolves."""
    paths = [module.path for module in ledger.modules]
    inner = {path.rpartition(".")[0] for path in paths if path}
    positions: Counter[str] = Counter()
    for row in ledger.rows:
        if row.kind == Kind.CONVOLUTION:
            positions[row.path] += prod((row.outputs[0][0], *row.outputs[0][2:]))
    return sum(
        module.params * positions.get(module.path, 1)
        for module in ledger.modules
        if module.calls and module.path not in inner
    )


def _drawing_the_weights(ledger: Ledger) -> int:
    """Count the operations that draw all weights from a uniform distribution.

    Each value is scaled and shifted, and the range is computed once for each tensor. The profile of
    a TensorFlow graph includes them if the graph includes its initialisers.
    """
    weights = {row.path: row.inputs[1] for row in ledger.rows if row.kind in LAYER_KINDS}
    return sum(2 * prod(shape) + 1 for shape in weights.values())


def _params(ledger: Ledger) -> Iterator[Interpretation]:
    for name, value, cost in (
        ("params", ledger.params, 0.0),
        ("trainable params", ledger.trainable_params, 1.0),
        ("params and buffers", ledger.params + ledger.buffers, 2.0),
        ("params of what ran", _params_that_ran(ledger), 2.0),
        ("params without embeddings", _without(ledger, _is_embedding), 2.0),
    ):
        yield Interpretation(name, value, "param", cost)
    for path, name in _head(ledger):
        value = _without(ledger, lambda module: _is_in(module.path, path))  # noqa: B023 - used at once
        yield Interpretation(f"params, {name}", value, "param", 2)
    last = _last_product(ledger)
    held = next((m.params for m in ledger.modules if last and m.path == last.path), 0)
    classes = _channels(last) if last else 0
    if classes and held % classes == 0:
        for number, cost in _CLASSES:
            value = ledger.params + (number - classes) * (held // classes)
            yield Interpretation(f"params, with {number} classes", value, "param", cost)


def _without(ledger: Ledger, out: Callable[[ModuleEntry], bool]) -> int:
    return sum(module.params for module in ledger.modules if not out(module))


def _is_embedding(module: ModuleEntry) -> bool:
    return "Embedding" in module.type


def _is_in(path: str, part: str) -> bool:
    return path == part or path.startswith(f"{part}.")


def _params_that_ran(ledger: Ledger) -> int:
    """Count parameters without the parts that were not called, such as auxiliary heads."""
    idle = [m.path for m in ledger.modules if m.path and "." not in m.path and not m.calls]
    return _without(ledger, lambda module: any(_is_in(module.path, path) for path in idle))
