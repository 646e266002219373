"""The reconciliation of a tool's number with the reference, as contributions with exact amounts.

The profile and the trace predict what the tool counts at every site. Compared with the reference's
products, this gives the contributions: products that the tool misses or counts again, and other
operations that it counts. What the tool reported beyond the prediction is unexplained.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from flopaudit.core.causes import Cause, cause_named
from flopaudit.explain.module_rows import class_at, rows_that_differ, short
from flopaudit.profiles.formula_fitting import Formula, in_words, value
from flopaudit.profiles.prediction import (
    Prediction,
    SiteCount,
    divisor,
    predict,
)
from flopaudit.profiles.tool_profile import (
    DISPATCHED,
    HOOKS,
    NOT_SEEN,
    TRACED,
    Profile,
)
from flopaudit.tracing.sites import (
    DEAD,
    MODULE,
    Amounts,
    ModuleSite,
    Trace,
    WorkItem,
    ancestors,
)

PRODUCT_CAUSES: dict[str, Cause] = {
    "macs": Cause.PRODUCTS_COUNTED_AGAIN,
    "macs_by_output": Cause.BY_OUTPUT,
    "macs_to_4_digits": Cause.ROUNDED,
    "macs_of_first": Cause.PARTLY_SEEN,
    "own_macs": Cause.PARTLY_SEEN,
    "weights": Cause.BY_WEIGHTS,
    "weights_by_sample": Cause.BY_WEIGHTS,
}
"""Quantities that stand for products, and the cause where they differ from the reference's."""


def products_in(counted: SiteCount) -> Formula:
    """Return the part of a formula that stands for products; empty at a site without products."""
    if not counted.term.amounts.get("macs"):
        return {}
    return {name: factor for name, factor in counted.rule.formula.items() if name in PRODUCT_CAUSES}


_LAYER_CAUSES: dict[str, Cause] = {
    "bias_adds": Cause.BIAS,
    "biases": Cause.BIAS,
    "biases_by_sample": Cause.BIAS,
    "scores": Cause.ACTIVATION,
    "states": Cause.ELEMENTWISE,
}
"""The causes of other quantities of layers that have products."""


@dataclass(frozen=True)
class Contribution:
    """The part of a difference that one cause has at one place.

    Attributes:
        cause: why the numbers differ there.
        amount: in the tool's unit, or in parameters.
        label: the class or function that the amount comes from.
        formula: in words, where there is one.
        path: the module.
        probes: the probes that show it.
    """

    cause: Cause
    amount: Fraction
    label: str
    formula: str = ""
    path: str = ""
    probes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReportedCount:
    """The number that a tool reported for a model.

    Attributes:
        total: in the tool's unit.
        factor: what a multiply-accumulate counts in that unit, 1 or 2.
        rows: what the tool attributed to single modules, by path.
    """

    total: int
    factor: int
    rows: Mapping[str, int]


@dataclass(frozen=True)
class Account:
    """The composition of the difference between a tool's number and the reference.

    Attributes:
        contributions: the parts of the difference that the tool's profile predicts.
        unexplained: the rest of the difference.
        note: where to look for what is unexplained.
        rows: the modules for which the tool reported something other than predicted.
    """

    contributions: tuple[Contribution, ...]
    unexplained: int
    note: str
    rows: tuple[str, ...] = ()


def account(
    reported: ReportedCount, reference_macs: int, trace: Trace, profile: Profile
) -> Account:
    """Account for a tool's number.

    Args:
        reported: by the tool.
        reference_macs: the reference's count, in multiply-accumulates.
        trace: of the same model and inputs.
        profile: of the tool.

    Returns:
        Contributions and an unexplained rest, which add up to the difference exactly.
    """
    prediction = predict(profile, trace)
    factor = reported.factor
    parts = [*_unit(factor, trace), *_differences(prediction, trace, profile, factor)]
    total = prediction.total
    if total.denominator != 1:
        dropped = Fraction(int(total)) - total
        parts.append(Contribution(Cause.FRACTION_DROPPED, dropped, "the total"))
    rest = reported.total - reference_macs - sum((p.amount for p in parts), start=Fraction(0))
    rows = tuple(rows_that_differ(reported.rows, prediction, trace, profile))
    whole = int(rest)
    note = "; ".join(_notes(whole, prediction, rows, trace.macs - reference_macs))
    return Account(tuple(parts), whole, note, rows)


def _unit(factor: int, trace: Trace) -> Iterator[Contribution]:
    if factor != 1:
        words = "two FLOPs for each multiply-accumulate"
        amount = Fraction((factor - 1) * trace.macs)
        yield Contribution(Cause.UNIT, amount, "the tool counts FLOPs", words)


def _notes(rest: int, prediction: Prediction, rows: Sequence[str], other_run: int) -> Iterator[str]:
    if rest and other_run:
        yield f"the traced run has {other_run:+,} multiply-accumulates of its own"
    names = sorted({term.names[0] for term in prediction.open})
    if names and rest:
        yield f"no formula was found on probes for {', '.join(names)}"
    if rest:
        yield from rows[:1]


# -- counts ----------------------------------------------------------------------------------------


def _differences(
    prediction: Prediction, trace: Trace, profile: Profile, factor: int
) -> Iterator[Contribution]:
    """Yield the other operations that are counted, then how the products differ."""
    seen: dict[int, list[tuple[SiteCount, Fraction]]] = {}
    for counted in prediction.counted:
        yield from _habits(counted, trace, profile)
        plain = _plain(counted, trace)
        yield from _other_operations(plain, trace)
        for index, amount in _shares(plain, trace):
            seen.setdefault(index, []).append((plain, amount))
    for number, item in enumerate(trace.work):
        yield from _products(item, seen.get(number, ()), trace, profile, factor)


def _plain(counted: SiteCount, trace: Trace) -> SiteCount:
    """Return the site with all its calls, counted once, and not divided by the batch."""
    if counted.term.level != MODULE:
        return counted
    amounts = trace.modules[counted.term.index].amounts
    return SiteCount(replace(counted.term, amounts=amounts, weight=Fraction(1)), counted.rule)


def _habits(counted: SiteCount, trace: Trace, profile: Profile) -> Iterator[Contribution]:
    """Yield what a module's count changes by because of calls, names and the batch, in order."""
    if counted.term.level != MODULE:
        return
    module = trace.modules[counted.term.index]
    label, path, formula = short(module.name), module.path, counted.rule.formula
    every, some = value(formula, module.amounts), value(formula, counted.term.amounts)
    times = counted.term.weight * divisor(profile.habits, trace)
    steps = (
        (Cause.REUSED_COUNTED_ONCE, some - every, f"the last of {module.calls} calls of"),
        (
            Cause.SHARED_COUNTED_AGAIN,
            some * (times - 1),
            f"{times} times, as it has several parents:",
        ),
        (Cause.PER_SAMPLE, counted.amount - some * times, f"1/{trace.batch} of"),
    )
    for cause, amount, words in steps:
        if amount:
            yield Contribution(cause, amount, label, words, path, counted.rule.probes)


def _other_operations(counted: SiteCount, trace: Trace) -> Iterator[Contribution]:
    term, products = counted.term, products_in(counted)
    others = {n: f for n, f in counted.rule.formula.items() if n not in products}
    layer = bool(products)
    groups: dict[Cause, dict[str, Fraction]] = {}
    for name, coefficient in others.items():
        usual = Cause.ELEMENTWISE if layer else cause_named(_kind(counted, trace))
        cause = _LAYER_CAUSES.get(name, usual)
        if layer and term.amounts.get(name) == term.amounts.get("bias_adds"):
            cause = Cause.BIAS  # A bias is added to as many outputs, so these are what is counted.
        groups.setdefault(cause, {})[name] = coefficient
    for cause, formula in groups.items():
        amount = value(formula, term.amounts)
        if amount:
            yield Contribution(
                cause,
                amount,
                label_of(counted, trace),
                in_words(_together(formula, term.amounts)),
                term.path,
                counted.rule.probes,
            )


def _together(formula: Formula, amounts: Amounts) -> dict[str, Fraction]:
    """Add up the coefficients of quantities that are equal here: 2 + 2 per output is 4."""
    found: dict[str, Fraction] = {}
    for name, factor in formula.items():
        same = next((n for n in found if amounts.get(n) == amounts.get(name)), name)
        found[same] = found.get(same, Fraction(0)) + factor
    return {name: factor for name, factor in found.items() if amounts.get(name)}


def _kind(counted: SiteCount, trace: Trace) -> str:
    table = trace.modules if counted.term.level == MODULE else trace.sites
    return table[counted.term.index].kind


def label_of(counted: SiteCount, trace: Trace) -> str:
    """Return a module's class; of a function or operator, its name and the class it ran in."""
    term = counted.term
    if term.level == MODULE:
        return short(trace.modules[term.index].name)
    return f"{short(term.names[0])} in {class_at(term.path, trace)}"


def _shares(counted: SiteCount, trace: Trace) -> Iterator[tuple[int, Fraction]]:
    """Distribute the products counted at a site over the reference's products there."""
    amount = value(products_in(counted), counted.term.amounts)
    if not amount:
        return
    items = list(_items_at(counted, trace))
    whole = sum(trace.work[index].macs for index in items)
    for index in items:
        yield index, amount * trace.work[index].macs / whole


def _items_at(counted: SiteCount, trace: Trace) -> Iterator[int]:
    """Yield the reference's products at a site, inside it, or of a function around it."""
    term = counted.term
    if term.level == MODULE:
        own = "own_macs" in counted.rule.formula
        inside = trace.work_under(term.path)
        yield from (i for i in inside if not own or trace.work[i].path == term.path)
        return
    around = list(ancestors(trace, term.index))
    found = []
    for index in trace.work_under(term.path):
        item = trace.work[index]
        if item.site in around or term.index in ancestors(trace, item.site):
            found.append(index)
    yield from _of_its_kind(around, found, trace) or found


def _of_its_kind(around: Sequence[int], found: Iterable[int], trace: Trace) -> list[int]:
    """Return, of a function that the reference counts whole, the products of this call's kind."""
    chosen = []
    for index in found:
        item = trace.work[index]
        place = around.index(item.site) if item.site in around else 0
        if place and trace.sites[around[place - 1]].kind == item.kind:
            chosen.append(index)
    return chosen


def _products(
    item: WorkItem,
    seen: Sequence[tuple[SiteCount, Fraction]],
    trace: Trace,
    profile: Profile,
    factor: int,
) -> Iterator[Contribution]:
    wanted = Fraction(factor * item.macs)
    total = sum((amount for _, amount in seen), start=Fraction(0))
    label = _label_of_work(item, trace)
    if not total:
        probes = _probes_of_unseen(item, trace, profile)
        yield Contribution(_unseen(item, trace, profile), -wanted, label, "", item.path, probes)
    elif total != wanted:
        yield Contribution(
            _changed(seen, total, wanted), total - wanted, label, _in_detail(seen), item.path,
            seen[0][0].rule.probes,
        )  # fmt: skip


def _label_of_work(item: WorkItem, trace: Trace) -> str:
    return f"{item.kind} by {short(trace.sites[item.site].name)} in {class_at(item.path, trace)}"


def _unseen(item: WorkItem, trace: Trace, profile: Profile) -> Cause:
    """Return why products are missed: their operator, layer or function is not seen."""
    if profile.habits.view == DISPATCHED:
        return Cause.UNSEEN_OPERATOR
    if profile.habits.view == TRACED and DEAD in trace.sites[item.site].traits:
        return Cause.DEAD_CODE
    module = trace.at(item.path)
    is_layer = module is not None and any(name.startswith("torch.nn.") for name in _names(module))
    hooked = profile.habits.view == HOOKS and is_layer
    return Cause.UNSEEN_MODULE if hooked else Cause.UNSEEN_FUNCTION


def _probes_of_unseen(item: WorkItem, trace: Trace, profile: Profile) -> tuple[str, ...]:
    """Return the probes that show that what ran there, or the layer around it, is not seen."""
    ran = (trace.sites[index] for index in trace.inside(item.site))
    module = trace.at(item.path)
    names = [site.name for site in ran if site.amounts.get("macs")]
    names += [module.name] if module is not None else []
    found = (
        rule.probes
        for name in dict.fromkeys(names)
        for rule in profile.by_site.get(name, ())
        if rule.outcome == NOT_SEEN and rule.probes
    )
    return next(found, ())


def _names(module: ModuleSite) -> tuple[str, ...]:
    return (module.name, *module.bases)


def _changed(
    seen: Sequence[tuple[SiteCount, Fraction]], total: Fraction, wanted: Fraction
) -> Cause:
    """Return why products are counted, but not as many as the reference's."""
    for counted, _ in seen:
        for name, cause in PRODUCT_CAUSES.items():
            if name != "macs" and name in counted.rule.formula:
                return cause
    return Cause.PRODUCTS_COUNTED_AGAIN if total > wanted else Cause.PARTLY_SEEN


def _in_detail(seen: Sequence[tuple[SiteCount, Fraction]]) -> str:
    words = []
    for counted, _ in seen:
        words.append(f"{in_words(products_in(counted))} at {short(counted.term.names[0])}")
    return " and ".join(dict.fromkeys(words)) + " for"
