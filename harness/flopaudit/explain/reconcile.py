"""A tool's number comes in, with the reference, the trace and the tool's profile; causes go out.

The profile and the trace say what the tool is to count at every site. Set against the products that
the reference counts, that is a list of causes with exact amounts: products not seen or counted
again, and what else was counted. What the tool said beyond that is unexplained.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

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

UNIT = "unit"
BIAS = "bias"
UNSEEN_MODULE = "unseen module type"
UNSEEN_FUNCTION = "unseen function"
UNSEEN_OPERATOR = "unseen operator"
PARTLY = "partly seen"
MORE = "products counted again"
BY_OUTPUT = "transposed convolution counted by output"
ROUNDED = "rounded"
BY_WEIGHTS = "weights counted for products"
DEAD_CODE = "dead code not traced"
PER_SAMPLE = "per sample"
COUNTED_AGAIN = "shared module counted again"
COUNTED_ONCE = "reused module counted once"
FRACTION = "fraction dropped"

PRODUCTS = {
    "macs": MORE,
    "macs_by_output": BY_OUTPUT,
    "macs_to_4_digits": ROUNDED,
    "macs_of_first": PARTLY,
    "own_macs": PARTLY,
    "weights": BY_WEIGHTS,
    "weights_by_sample": BY_WEIGHTS,
}
"""Quantities that stand for products, and what it is called where they are not the reference's."""


def products_in(counted: SiteCount) -> Formula:
    """The part of a formula that stands for products; none at a site that has none."""
    if not counted.term.amounts.get("macs"):
        return {}
    return {name: factor for name, factor in counted.rule.formula.items() if name in PRODUCTS}


_INSIDE = {
    "bias_adds": BIAS,
    "biases": BIAS,
    "biases_by_sample": BIAS,
    "scores": "activation",
    "states": "elementwise",
}
"""What other quantities of a layer of products are."""


@dataclass(frozen=True)
class Cause:
    """One part of a difference, at one place.

    Attributes:
        cause: what it is called.
        amount: in the tool's unit, or in parameters.
        label: what stands behind it, a class or a function.
        formula: in words, where there is one.
        path: the module.
        probes: those that show it.
    """

    cause: str
    amount: Fraction
    label: str
    formula: str = ""
    path: str = ""
    probes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReportedCount:
    """What a tool said of a model.

    Attributes:
        total: in its unit.
        factor: what a multiply-accumulate counts in it, 1 or 2.
        rows: what it attributed to single modules, by path.
    """

    total: int
    factor: int
    rows: Mapping[str, int]


@dataclass(frozen=True)
class Account:
    """Where a tool's number comes from.

    Attributes:
        causes: together, what the tool differs from the reference by, as predicted.
        unexplained: what it differs by beyond that.
        note: where to look for what is unexplained.
        rows: the modules for which the tool says something else than predicted.
    """

    causes: tuple[Cause, ...]
    unexplained: int
    note: str
    rows: tuple[str, ...] = ()


def account(said: ReportedCount, reference_macs: int, trace: Trace, profile: Profile) -> Account:
    """Account for a tool's number.

    Args:
        said: by the tool.
        reference_macs: the reference's count.
        trace: of the same model and inputs.
        profile: of the tool.
    """
    prediction = predict(profile, trace)
    causes = [*_unit(said.factor, trace), *_differences(prediction, trace, profile, said.factor)]
    total = prediction.total
    if total.denominator != 1:
        causes.append(Cause(FRACTION, Fraction(int(total)) - total, "the total"))
    rest = said.total - reference_macs - sum((c.amount for c in causes), start=Fraction(0))
    rows = tuple(rows_that_differ(said.rows, prediction, trace, profile))
    whole = int(rest)
    note = "; ".join(_notes(whole, prediction, rows, trace.macs - reference_macs))
    return Account(tuple(causes), whole, note, rows)


def _unit(factor: int, trace: Trace) -> Iterator[Cause]:
    if factor != 1:
        words = "two FLOPs for each multiply-accumulate"
        yield Cause(UNIT, Fraction((factor - 1) * trace.macs), "the tool counts FLOPs", words)


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
) -> Iterator[Cause]:
    """What is counted beside products, and how the products counted differ from the reference."""
    seen: dict[int, list[tuple[SiteCount, Fraction]]] = {}
    for counted in prediction.counted:
        yield from _habits(counted, trace, profile)
        plain = _plain(counted, trace)
        yield from _beside_products(plain, trace)
        for index, amount in _shares(plain, trace):
            seen.setdefault(index, []).append((plain, amount))
    for number, item in enumerate(trace.work):
        yield from _products(item, seen.get(number, ()), trace, profile, factor)


def _plain(counted: SiteCount, trace: Trace) -> SiteCount:
    """The site with all its calls, once, and not divided."""
    if counted.term.level != MODULE:
        return counted
    amounts = trace.modules[counted.term.index].amounts
    return SiteCount(replace(counted.term, amounts=amounts, weight=Fraction(1)), counted.rule)


def _habits(counted: SiteCount, trace: Trace, profile: Profile) -> Iterator[Cause]:
    """What a module's count changes by, because of calls, names and the batch, in this order."""
    if counted.term.level != MODULE:
        return
    module = trace.modules[counted.term.index]
    label, path, formula = short(module.name), module.path, counted.rule.formula
    every, said = value(formula, module.amounts), value(formula, counted.term.amounts)
    times = counted.term.weight * divisor(profile.habits, trace)
    steps = (
        (COUNTED_ONCE, said - every, f"the last of {module.calls} calls of"),
        (COUNTED_AGAIN, said * (times - 1), f"{times} times, as it has several parents:"),
        (PER_SAMPLE, counted.amount - said * times, f"1/{trace.batch} of"),
    )
    for cause, amount, words in steps:
        if amount:
            yield Cause(cause, amount, label, words, path, counted.rule.probes)


def _beside_products(counted: SiteCount, trace: Trace) -> Iterator[Cause]:
    term, products = counted.term, products_in(counted)
    others = {n: f for n, f in counted.rule.formula.items() if n not in products}
    layer = bool(products)
    groups: dict[str, dict[str, Fraction]] = {}
    for name, coefficient in others.items():
        cause = _INSIDE.get(name) or ("elementwise" if layer else _kind(counted, trace))
        if layer and term.amounts.get(name) == term.amounts.get("bias_adds"):
            cause = BIAS  # as many outputs as biases are added to: it is these that are counted
        groups.setdefault(cause, {})[name] = coefficient
    for cause, formula in groups.items():
        amount = value(formula, term.amounts)
        if amount:
            yield Cause(
                cause,
                amount,
                label_of(counted, trace),
                in_words(_together(formula, term.amounts)),
                term.path,
                counted.rule.probes,
            )


def _together(formula: Formula, amounts: Amounts) -> dict[str, Fraction]:
    """The same with quantities that are equal here put together: 2 + 2 per output as 4."""
    found: dict[str, Fraction] = {}
    for name, factor in formula.items():
        same = next((n for n in found if amounts.get(n) == amounts.get(name)), name)
        found[same] = found.get(same, Fraction(0)) + factor
    return {name: factor for name, factor in found.items() if amounts.get(name)}


def _kind(counted: SiteCount, trace: Trace) -> str:
    table = trace.modules if counted.term.level == MODULE else trace.sites
    return table[counted.term.index].kind


def label_of(counted: SiteCount, trace: Trace) -> str:
    """A module's class; a function or operator by its short name, with the class it ran in."""
    term = counted.term
    if term.level == MODULE:
        return short(trace.modules[term.index].name)
    return f"{short(term.names[0])} in {class_at(term.path, trace)}"


def _shares(counted: SiteCount, trace: Trace) -> Iterator[tuple[int, Fraction]]:
    """The products that a site counts, shared out to the reference's they are of."""
    amount = value(products_in(counted), counted.term.amounts)
    if not amount:
        return
    items = list(_items_at(counted, trace))
    whole = sum(trace.work[index].macs for index in items)
    for index in items:
        yield index, amount * trace.work[index].macs / whole


def _items_at(counted: SiteCount, trace: Trace) -> Iterator[int]:
    """The reference's products that ran at a site, inside it, or around it as a whole."""
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
    """Of the products of a function counted whole: those of the kind of what it calls here."""
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
) -> Iterator[Cause]:
    wanted = Fraction(factor * item.macs)
    told = sum((amount for _, amount in seen), start=Fraction(0))
    label = _label_of_work(item, trace)
    if not told:
        probes = _probes_of_unseen(item, trace, profile)
        yield Cause(_unseen(item, trace, profile), -wanted, label, "", item.path, probes)
    elif told != wanted:
        yield Cause(
            _changed(seen, told, wanted), told - wanted, label, _in_detail(seen), item.path,
            seen[0][0].rule.probes,
        )  # fmt: skip


def _label_of_work(item: WorkItem, trace: Trace) -> str:
    return f"{item.kind} by {short(trace.sites[item.site].name)} in {class_at(item.path, trace)}"


def _unseen(item: WorkItem, trace: Trace, profile: Profile) -> str:
    """Why products are missed: of an operator, of a layer's type, or of a function."""
    if profile.habits.view == DISPATCHED:
        return UNSEEN_OPERATOR
    if profile.habits.view == TRACED and DEAD in trace.sites[item.site].traits:
        return DEAD_CODE
    module = trace.at(item.path)
    is_layer = module is not None and any(name.startswith("torch.nn.") for name in _names(module))
    return UNSEEN_MODULE if profile.habits.view == HOOKS and is_layer else UNSEEN_FUNCTION


def _probes_of_unseen(item: WorkItem, trace: Trace, profile: Profile) -> tuple[str, ...]:
    """The probes that show of what ran there, or of the layer it ran in, that it is not seen."""
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


def _changed(seen: Sequence[tuple[SiteCount, Fraction]], told: Fraction, wanted: Fraction) -> str:
    for counted, _ in seen:
        for name, cause in PRODUCTS.items():
            if name != "macs" and name in counted.rule.formula:
                return cause
    return MORE if told > wanted else PARTLY


def _in_detail(seen: Sequence[tuple[SiteCount, Fraction]]) -> str:
    words = []
    for counted, _ in seen:
        words.append(f"{in_words(products_in(counted))} at {short(counted.term.names[0])}")
    return " and ".join(dict.fromkeys(words)) + " for"
