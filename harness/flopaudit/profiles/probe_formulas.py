"""The formula that a tool's numbers for one probe follow.

The formula is fitted (`flopaudit.profiles.formula_fitting`) to this probe alone, over the
quantities of what is under test, so it shows what was measured, independently of the rules inferred
from other probes. If the quantities of the whole do not fit, parts are tried: per sample, the last
call, sums by kind of work.
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
from flopaudit.profiles.rule_inference import CaseResult
from flopaudit.reference.kinds import Kind
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
"""The name that a probe gives the module under test; see `flopaudit.probes.root_models`."""

MACS, BIAS = "macs", "bias_adds"

BASES: tuple[Formula, ...] = (
    {MACS: Fraction(1)},
    {MACS: Fraction(1), BIAS: Fraction(1)},
    {MACS: Fraction(2)},
    {MACS: Fraction(2), BIAS: Fraction(1)},
    {MACS: Fraction(2), BIAS: Fraction(2)},
)
"""The formulas that are tried first, alone and with more terms. For a kernel of 3x3, nine per
output would fit as well as the products, but means less."""

MOST_MORE = 2
"""Terms that may be added to a base."""

FEW = (MACS, BIAS, "outputs", "inputs")
"""The quantities that are added up by kind of work, and that may count in part per sample."""

KINDS = (
    Kind.LINEAR,
    Kind.CONVOLUTION,
    Kind.MATMUL,
    Kind.ATTENTION,
    Kind.NORMALISATION,
    Kind.ACTIVATION,
    Kind.POOLING,
)
"""The kinds that come first; if the sums of two are the same, the earlier one is named."""


class Scope(NamedTuple):
    """A part of a case whose quantities a formula may be over.

    Attributes:
        amounts: the quantities of that part.
        suffix: what is added to the name of each quantity.
        divided: whether the tool's number is of one sample.
        applies: whether the part of a case differs from the whole; it has to in one case.
    """

    amounts: Callable[[Trace], Amounts]
    suffix: str = ""
    divided: bool = False
    applies: Callable[[Trace], bool] = lambda _: True


def probe_formula(results: Iterable[CaseResult]) -> Formula | None:
    """Fit a formula to what a tool counts for one probe, in the tool's unit.

    Args:
        results: of one tool on the cases of one probe.

    Returns:
        Coefficients by quantity, named as `flopaudit.profiles.formula_text` expects; empty if the
        tool reported 0 each time; None if it counted no case, or no formula fits all that it did.
    """
    counted = [each for each in results if each.reported is not None]
    if not counted:
        return None
    if not any(each.reported for each in counted):
        return NOTHING
    found: list[Formula] = []
    for formula in _candidates(counted):
        if not _oddness(formula):
            return formula
        found.append(formula)
    return min(found, key=_oddness, default=None)


def _candidates(counted: Sequence[CaseResult]) -> Iterator[Formula]:
    """Yield formulas that fit all cases, the most likely first."""
    scoped = [(scope, _samples(counted, scope)) for scope in SCOPES]
    for method in (_base, _base_and_more, _fitted):
        for scope, samples in scoped:
            formula = method(samples) if samples else None
            if formula:
                yield {name + scope.suffix: formula[name] for name in sorted(formula, key=_order)}


def _order(name: str) -> tuple[int, int]:
    """Return the place of a quantity in a formula, so that equal formulas are equal texts."""
    quantity, _, suffix = name.partition(" ")
    place = list(QUANTITIES).index(quantity)
    return place, _place(suffix.removeprefix(OF_KIND.lstrip()).rpartition(" ")[0])


def _oddness(formula: Formula) -> int:
    """Count what no programmer would write in a formula: negative terms and fractions."""
    return sum(2 * (factor < 0) + (factor.denominator > 1) for factor in formula.values())


def _samples(counted: Sequence[CaseResult], scope: Scope) -> list[Sample]:
    """Return the distinct samples of a scope; none if it shows no more than the whole."""
    if not any(scope.applies(each.trace) for each in counted):
        return []
    found: dict[tuple[tuple[tuple[str, int], ...], Fraction], Sample] = {}
    for each in counted:
        amounts = scope.amounts(each.trace)
        batch = max(each.trace.batch, 1) if scope.divided else 1
        reported = Fraction(each.reported or 0) * batch
        found[tuple(sorted(amounts.items())), reported] = Sample(amounts, reported)
    return list(found.values())


def _base(samples: Sequence[Sample]) -> Formula | None:
    """Return the first of the bases that fits all samples."""
    for base in BASES:
        if all(value(base, sample.amounts) == sample.reported for sample in samples):
            return {name: factor for name, factor in base.items() if _is_in(name, samples)}
    return None


def _base_and_more(samples: Sequence[Sample]) -> Formula | None:
    """Return one of the bases with a few more terms that are not products."""
    for base in BASES if _is_in(MACS, samples) else ():
        rest = [
            Sample(_without(_about_products, sample), sample.reported - value(base, sample.amounts))
            for sample in samples
        ]
        more = _fit(rest) if all(sample.reported >= 0 for sample in rest) else None
        if more and len(more) <= MOST_MORE and not _oddness(more):
            return {**base, **more}
    return None


def _about_products(name: str) -> bool:
    return MACS in name or BIAS in name


def _without(unwanted: Callable[[str], bool], sample: Sample) -> Amounts:
    return {name: amount for name, amount in sample.amounts.items() if not unwanted(name)}


def _is_in(name: str, samples: Iterable[Sample]) -> bool:
    return any(sample.amounts.get(name) for sample in samples)


def _fitted(samples: Sequence[Sample]) -> Formula | None:
    """Return the simplest formula; if it has fractions, rather one without their quantities."""
    formula = _fit(samples)
    broken = {name for name, factor in (formula or {}).items() if factor.denominator > 1}
    if not broken:
        return formula
    other = _fit([Sample(_without(broken.__contains__, each), each.reported) for each in samples])
    return formula if other is None or _oddness(other) else other


def _fit(samples: Sequence[Sample]) -> Formula | None:
    """Fit a formula whose quantities may have suffixes; for the fit they borrow plain names."""
    names = list(dict.fromkeys(name for sample in samples for name in sample.amounts))
    if set(names) <= set(QUANTITIES):
        return fit(samples)
    borrowed = dict(zip(names, QUANTITIES, strict=False))
    renamed = [
        Sample({borrowed[k]: v for k, v in s.amounts.items() if k in borrowed}, s.reported)
        for s in samples
    ]
    formula = fit(renamed)
    own = {lent: name for name, lent in borrowed.items()}
    return None if formula is None else {own[name]: factor for name, factor in formula.items()}


# -- what is under test ----------------------------------------------------------------------------


def under_test(trace: Trace) -> Amounts:
    """Return the quantities of the layer, of the outermost functions, or of the whole model."""
    layer = trace.at(LAYER)
    if layer is not None and layer.calls:
        return layer.amounts
    if not trace.modules[0].name.startswith("flopaudit.probes.root_models."):
        return trace.modules[0].amounts
    outermost = [site for site in trace.sites if site.level == FUNCTION and site.parent < 0]
    # A copy that is made so that something can work in place is not under test.
    working = [site for site in outermost if site.kind != Kind.DATA_MOVEMENT]
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
    """Return the quantities of the whole and of one sample, both times the batch."""
    amounts = under_test(trace)
    whole = {name: amounts.get(name, 0) * trace.batch for name in FEW}
    return {**whole, **{name + PER_SAMPLE: amounts.get(name, 0) for name in FEW}}


def _calls_again(trace: Trace) -> bool:
    return any(module.last for module in _leaves(trace))


def _last_calls(trace: Trace) -> Amounts:
    """Return the quantities of the layers inside, each of its last call alone."""
    return _total(module.last or module.amounts for module in _leaves(trace))


def _leaves(trace: Trace) -> list[ModuleSite]:
    return [module for module in trace.modules if module.leaf and module.calls and module.path]


def _by_kind(found: Iterable[ModuleSite | Site], suffix: str) -> Amounts:
    """Add up quantities by kind of work."""
    sums: dict[str, dict[str, int]] = {}
    for each in found:
        sums[each.kind] = _total((sums.get(each.kind, {}), each.amounts))
    named = {
        name + OF_KIND + kind + suffix: sums[kind].get(name, 0)
        for name in FEW
        for kind in sorted(sums, key=_place)
    }
    return {name: amount for name, amount in named.items() if amount}


def _place(kind: str) -> int:
    return KINDS.index(kind) if kind in KINDS else len(KINDS)


def _functions(trace: Trace) -> list[Site]:
    """Return the functions in which no other function runs."""
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
"""The scopes, in the order in which they are tried."""
