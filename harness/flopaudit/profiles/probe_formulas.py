"""What a tool said of the cases of one probe comes in, one formula over the probe goes out.

The formula is fitted (`flopaudit.profiles.formula_fitting`) to this probe alone, over the
quantities of what stands under test, so it is what was measured and owes nothing to the rules read
off other probes. Where the whole does not do, parts of it are tried: per sample, the last call,
sums by kind of work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

from flopaudit.profiles.formula_fitting import (
    NOTHING,
    Formula,
    Sample,
    fit,
    value,
)
from flopaudit.profiles.formula_text import (
    FUNCTIONS,
    LAST_CALL,
    LAYERS,
    OF_KIND,
    OPERATORS,
    PER_SAMPLE,
)
from flopaudit.profiles.rule_inference import Observation
from flopaudit.tracing.sites import (
    FUNCTION,
    OPERATOR,
    QUANTITIES,
    Amounts,
    ModuleSite,
    Site,
    Trace,
)

LAYER = "layer"
"""What a probe calls the module under test; see `flopaudit.probes.root_models`."""

MACS, BIAS = "macs", "bias_adds"
MOVE = "data movement"

BASES: tuple[Formula, ...] = (
    {MACS: Fraction(1)},
    {MACS: Fraction(1), BIAS: Fraction(1)},
    {MACS: Fraction(2)},
    {MACS: Fraction(2), BIAS: Fraction(1)},
    {MACS: Fraction(2), BIAS: Fraction(2)},
)
"""What is tried before all else, alone and with more: of a kernel of 3x3, nine per output is no
better a reading than the products."""

MOST_BESIDE = 2
"""Terms beside a base."""

FEW = (MACS, BIAS, "outputs", "inputs")
"""The quantities that are added up by kind of work, and that may count in part per sample."""

KINDS = ("linear", "conv", "matmul", "attention", "normalisation", "activation", "pooling")
"""The kinds that come first; where the sums of two are the same, one of these is named."""


class Scope(NamedTuple):
    """A way to look at a case.

    Attributes:
        amounts: of a case.
        behind: what stands behind each quantity then.
        divided: whether the tool's number is of one sample.
        applies: whether a case shows something then that the whole does not; one has to.
    """

    amounts: Callable[[Trace], Amounts]
    behind: str = ""
    divided: bool = False
    applies: Callable[[Trace], bool] = lambda _: True


def probe_formula(observations: Iterable[Observation]) -> Formula | None:
    """What a tool counts for what a probe isolates, in the tool's unit.

    Args:
        observations: of the cases of one probe under one tool.

    Returns:
        Coefficients by quantity, named as `flopaudit.profiles.formula_text` reads them; empty where
        the tool said 0 each time; None where it counted no case, or no formula gives all of those
        it did.
    """
    counted = [each for each in observations if each.reported is not None]
    if not counted:
        return None
    if not any(each.reported for each in counted):
        return NOTHING
    found: list[Formula] = []
    for formula in _readings(counted):
        if not _oddness(formula):
            return formula
        found.append(formula)
    return min(found, key=_oddness, default=None)


def _readings(counted: Sequence[Observation]) -> Iterator[Formula]:
    """Formulas that give all cases, the most likely first."""
    seen = [(scope, _samples(counted, scope)) for scope in SCOPES]
    for way in (_base, _beside_base, _fitted):
        for scope, samples in seen:
            formula = way(samples) if samples else None
            if formula:
                yield {name + scope.behind: formula[name] for name in sorted(formula, key=_order)}


def _order(name: str) -> tuple[int, int]:
    """As quantities are listed, then by kind of work: the same formula is always the same text."""
    quantity, _, behind = name.partition(" ")
    place = list(QUANTITIES).index(quantity)
    return place, _place(behind.removeprefix(OF_KIND.lstrip()).rpartition(" ")[0])


def _oddness(formula: Formula) -> int:
    """How much of a formula no programmer would write: what is taken off, and fractions."""
    return sum(2 * (factor < 0) + (factor.denominator > 1) for factor in formula.values())


def _samples(counted: Sequence[Observation], scope: Scope) -> list[Sample]:
    """The cases as a scope shows them, each once; none if it shows no more than the whole."""
    if not any(scope.applies(each.trace) for each in counted):
        return []
    found: dict[tuple[tuple[tuple[str, int], ...], Fraction], Sample] = {}
    for each in counted:
        amounts = scope.amounts(each.trace)
        said = Fraction(each.reported or 0) * (max(each.trace.batch, 1) if scope.divided else 1)
        found[tuple(sorted(amounts.items())), said] = Sample(amounts, said)
    return list(found.values())


def _base(samples: Sequence[Sample]) -> Formula | None:
    """One of the bases, if it gives all samples."""
    for base in BASES:
        if all(value(base, sample.amounts) == sample.said for sample in samples):
            return {name: factor for name, factor in base.items() if _is_in(name, samples)}
    return None


def _beside_base(samples: Sequence[Sample]) -> Formula | None:
    """One of the bases with a few things beside it that are no products."""
    for base in BASES if _is_in(MACS, samples) else ():
        rest = [
            Sample(_without(_about_products, sample), sample.said - value(base, sample.amounts))
            for sample in samples
        ]
        beside = _fit(rest) if all(sample.said >= 0 for sample in rest) else None
        if beside and len(beside) <= MOST_BESIDE and not _oddness(beside):
            return {**base, **beside}
    return None


def _about_products(name: str) -> bool:
    return MACS in name or BIAS in name


def _without(unwanted: Callable[[str], bool], sample: Sample) -> Amounts:
    return {name: amount for name, amount in sample.amounts.items() if not unwanted(name)}


def _is_in(name: str, samples: Iterable[Sample]) -> bool:
    return any(sample.amounts.get(name) for sample in samples)


def _fitted(samples: Sequence[Sample]) -> Formula | None:
    """The simplest formula; where it has fractions, one without the quantities they belong to."""
    formula = _fit(samples)
    broken = {name for name, factor in (formula or {}).items() if factor.denominator > 1}
    if not broken:
        return formula
    other = _fit([Sample(_without(broken.__contains__, each), each.said) for each in samples])
    return formula if other is None or _oddness(other) else other


def _fit(samples: Sequence[Sample]) -> Formula | None:
    """Fitting knows quantities by the names in `QUANTITIES`: other names borrow these."""
    names = list(dict.fromkeys(name for sample in samples for name in sample.amounts))
    if set(names) <= set(QUANTITIES):
        return fit(samples)
    borrowed = dict(zip(names, QUANTITIES, strict=False))
    renamed = [
        Sample({borrowed[k]: v for k, v in s.amounts.items() if k in borrowed}, s.said)
        for s in samples
    ]
    formula = fit(renamed)
    own = {lent: name for name, lent in borrowed.items()}
    return None if formula is None else {own[name]: factor for name, factor in formula.items()}


# -- what stands under test ------------------------------------------------------------------------


def under_test(trace: Trace) -> Amounts:
    """Of the layer; of a function's probe the outermost functions; of a bare model all of it."""
    layer = trace.at(LAYER)
    if layer is not None and layer.calls:
        return layer.amounts
    if not trace.modules[0].name.startswith("flopaudit.probes.root_models."):
        return trace.modules[0].amounts
    outermost = [site for site in trace.sites if site.level == FUNCTION and site.parent < 0]
    # What only makes a copy, so that something can work in place, is not under test.
    working = [site for site in outermost if site.kind != MOVE]
    return _total(s.amounts for s in working or outermost) or trace.modules[0].amounts


def _total(found: Iterable[Amounts]) -> dict[str, int]:
    total: dict[str, int] = {}
    for amounts in found:
        for name, amount in amounts.items():
            total[name] = total.get(name, 0) + amount
    return total


def _has_batch(trace: Trace) -> bool:
    return trace.batch > 1


def _in_part_per_sample(trace: Trace) -> Amounts:
    """Of the whole and of one sample, both times the batch, as the tool's number then is."""
    amounts = under_test(trace)
    whole = {name: amounts.get(name, 0) * trace.batch for name in FEW}
    return {**whole, **{name + PER_SAMPLE: amounts.get(name, 0) for name in FEW}}


def _calls_again(trace: Trace) -> bool:
    return any(module.last for module in _leaves(trace))


def _last_calls(trace: Trace) -> Amounts:
    """Of the layers inside, of each its last call."""
    return _total(module.last or module.amounts for module in _leaves(trace))


def _leaves(trace: Trace) -> list[ModuleSite]:
    return [module for module in trace.modules if module.leaf and module.calls and module.path]


def _by_kind(found: Iterable[ModuleSite | Site], behind: str) -> Amounts:
    """Quantities added up by kind of work."""
    sums: dict[str, dict[str, int]] = {}
    for each in found:
        sums[each.kind] = _total((sums.get(each.kind, {}), each.amounts))
    named = {
        name + OF_KIND + kind + behind: sums[kind].get(name, 0)
        for name in FEW
        for kind in sorted(sums, key=_place)
    }
    return {name: amount for name, amount in named.items() if amount}


def _place(kind: str) -> int:
    return KINDS.index(kind) if kind in KINDS else len(KINDS)


def _functions(trace: Trace) -> list[Site]:
    """Those in which no other function runs."""
    found = [(i, site) for i, site in enumerate(trace.sites) if site.level == FUNCTION]
    around = {site.parent for _, site in found}
    return [site for index, site in found if index not in around]


def _operators(trace: Trace) -> list[Site]:
    return [site for site in trace.sites if site.level == OPERATOR]


SCOPES = (
    Scope(under_test),
    Scope(under_test, PER_SAMPLE, divided=True, applies=_has_batch),
    Scope(_last_calls, LAST_CALL, applies=_calls_again),
    Scope(_in_part_per_sample, divided=True, applies=_has_batch),
    Scope(lambda trace: _by_kind(_leaves(trace), LAYERS)),
    Scope(lambda trace: _by_kind(_functions(trace), FUNCTIONS)),
    Scope(lambda trace: _by_kind(_operators(trace), OPERATORS)),
)
"""In the order in which they are tried."""
