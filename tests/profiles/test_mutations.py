"""Any change of a profile, of the reference or of a tool's number shows up as unexplained.

Real measurements and traces of a few models are taken once. Each mutant of what explains them is
compared with them, and may only survive if it changes nothing for these models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cache
from math import floor
from typing import Any

import pytest
from flopaudit import probes
from flopaudit.core.specs import parse_inputs
from flopaudit.models.build import build, make_inputs, make_kwargs
from flopaudit.profiles import repository
from flopaudit.profiles.formula_fitting import Formula
from flopaudit.profiles.prediction import (
    SiteCount,
    parents,
    predict,
    predict_params,
    rule_of,
    terms,
)
from flopaudit.profiles.profile_inference import POWERS
from flopaudit.profiles.tool_profile import (
    COUNTED,
    HOOKS,
    NOT_SEEN,
    VIEWS,
    Habits,
    ParamHabits,
    Profile,
    Rule,
)
from flopaudit.tools.registry import ToolVariant
from flopaudit.tracing.sites import MODULE, Trace
from flopaudit.tracing.watcher import trace

from tests.support.mutated_cells import VARIANTS, Cell, Cells, measured_cells

BATCH = Fraction(4)
"""The largest batch here, so that a multiple of it stays whole if a tool divides by the batch."""

NOTHING_THERE = "its quantity is 0 at every site that the rule is for"
LESS_THAN_ONE = "it changes no total by a whole number"

each_tool = pytest.mark.parametrize(
    "variant",
    VARIANTS,
    ids=lambda each: "-".join(filter(None, (each.tool.name, each.variant))),
)


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Cells:
    """All counted cells of all tools on a few models."""
    return measured_cells(tmp_path_factory.mktemp("mutations"))


@pytest.fixture
def cells(everything: Cells, variant: ToolVariant) -> Cells:
    """The cells of one tool."""
    return [cell for cell in everything if cell.measurement.tool_key == variant.key]


@each_tool
def test_nothing_is_unexplained_before_anything_is_changed(cells: Cells) -> None:
    assert len(cells) >= 4
    unexplained = {
        str(cell.measurement.model).rpartition(":")[2]: cell.unexplained
        for cell in cells
        if cell.unexplained
    }
    assert unexplained == {}


# -- rules -----------------------------------------------------------------------------------------


def changed(formula: Formula) -> Iterator[tuple[str, str, Formula]]:
    """Yield each change of a coefficient: its name, the quantity and the changed formula."""
    for name, factor in formula.items():
        others = {other: f for other, f in formula.items() if other != name}
        yield "one more", name, {**formula, name: factor + 1}
        yield "one less", name, {**formula, name: factor - 1}
        yield "doubled", name, {**formula, name: 2 * factor}
        yield "left out", name, others


def at(rule: Rule, cell: Cell) -> list[SiteCount]:
    """Return the sites of a model at which a tool counts by a rule."""
    return [each for each in predict(cell.profile, cell.trace).counted if each.rule is rule]


def why_it_survives(old: Rule, new: Rule, name: str, cells: Cells) -> str:
    """Return why a changed coefficient changes no total of a tool; "" if it does."""
    sites = [(cell, each.term) for cell in cells for each in at(old, cell)]
    if not any(term.amounts.get(name, 0) for _, term in sites):
        return NOTHING_THERE
    by = new.formula.get(name, 0) - old.formula[name]
    for cell in cells:
        total = predict(cell.profile, cell.trace).total
        here = (t.weight * t.amounts.get(name, 0) for owner, t in sites if owner is cell)
        if floor(total + by * sum(here)) != floor(total):
            return ""
    return LESS_THAN_ONE


@each_tool
def test_every_coefficient_of_every_rule_matters(cells: Cells) -> None:
    profile = cells[0].profile
    rules = {id(rule): rule for rule in profile.rules if any(at(rule, cell) for cell in cells)}
    assert len(rules) >= 3
    survivors, reasons = set(), {}
    for rule in rules.values():
        mine = [cell for cell in cells if at(rule, cell)]
        for what, name, formula in changed(rule.formula):
            mutant = replace(rule, formula=formula)
            wrong = profile.with_rule(rule, mutant)
            key = (rule.site, *rule.traits.items(), name, what)
            if not any(cell.notices(cell.with_profile(wrong)) for cell in mine):
                survivors.add(key)
            if reason := why_it_survives(rule, mutant, name, mine):
                reasons[key] = reason
    assert survivors == set(reasons)


@each_tool
def test_every_rule_of_a_site_that_is_not_seen_matters(cells: Cells) -> None:
    """A count for each call at a site where nothing is counted is noticed."""
    profile = cells[0].profile
    held: dict[int, tuple[Rule, Cells]] = {}
    for cell in cells:
        for term in terms(cell.trace, profile.habits):
            rule = rule_of(profile.by_site, term)
            if rule is not None and rule.outcome == NOT_SEEN and term.amounts.get("calls"):
                held.setdefault(id(rule), (rule, []))[1].append(cell)
    assert held
    for rule, mine in held.values():
        wrong = profile.with_rule(rule, replace(rule, outcome=COUNTED, formula={"calls": BATCH}))
        assert any(cell.notices(cell.with_profile(wrong)) for cell in mine), rule.site


@each_tool
def test_every_rule_of_the_profile_matters_to_its_probes(variant: ToolVariant) -> None:
    """For a tool that reports what its profile predicts, no other coefficient is exact."""
    profile = repository.find(variant.key)
    assert profile is not None
    rules = [rule for rule in profile.rules if rule.outcome == COUNTED]
    assert rules
    survivors = [
        (rule.site, dict(rule.traits), name, what)
        for rule in rules
        for what, name, formula in changed(rule.formula)
        if not _shows(rule, profile, profile.with_rule(rule, replace(rule, formula=formula)))
    ]
    assert survivors == []


def _shows(rule: Rule, right: Profile, wrong: Profile) -> bool:
    """Whether a probe of a rule distinguishes two profiles."""
    return any(
        int(predict(right, run).total) != int(predict(wrong, run).total)
        for probe in rule.probes
        for run in _runs(probe)
    )


def _runs(probe: str) -> Iterator[Trace]:
    yield from (_run(probe, number) for number in range(len(probes.PROBES[probe].cases)))


@cache
def _run(probe: str, number: int) -> Trace:
    specs = parse_inputs(probes.PROBES[probe].cases[number].inputs)
    return trace(build(probes.spec(probe, number)), make_inputs(specs), make_kwargs(specs))


# -- habits ----------------------------------------------------------------------------------------


def counted_modules(cell: Cell) -> list[SiteCount]:
    """Return the modules at which a tool counts something."""
    found = predict(cell.profile, cell.trace).counted
    return [each for each in found if each.term.level == MODULE and each.amount]


def any_batch(cell: Cell) -> bool:
    return cell.trace.batch > 1 and bool(counted_modules(cell))


def any_called_again(cell: Cell) -> bool:
    habits = replace(cell.profile.habits, last_call=not cell.profile.habits.last_call)
    other = {term.index: term.amounts for term in terms(cell.trace, habits) if term.level == MODULE}
    return any(
        replace(each, term=replace(each.term, amounts=other[each.term.index])).amount != each.amount
        for each in counted_modules(cell)
    )


def any_with_parents(cell: Cell) -> bool:
    modules = (cell.trace.modules[each.term.index] for each in counted_modules(cell))
    return any(len(parents(module, cell.trace)) > 1 for module in modules)


def any_inside(cell: Cell) -> bool:
    paths = [each.term.path for each in counted_modules(cell)]
    return any(
        path != around and (not around or path.startswith(f"{around}."))
        for path in paths
        for around in paths
    )


def any_batch_of_several(cell: Cell) -> bool:
    """Whether a tool that divides by the batch is given more than one input here."""
    given = cell.trace.modules[0].traits
    several = bool(given["keywords"]) or "," in given["ndims"]
    return cell.profile.habits.per_sample and several and any_batch(cell)


HABITS: dict[str, tuple[Sequence[Any], Callable[[Cell], bool]]] = {
    "view": (VIEWS, lambda cell: bool(cell.measurement.reported)),
    "per_sample": ((False, True), any_batch),
    "of_one_input": ((False, True), any_batch_of_several),
    "last_call": ((False, True), any_called_again),
    "each_parent": (POWERS, any_with_parents),
    "hides_inside": ((False, True), any_inside),
}
"""The values of each habit, and the cells in which it matters."""


def test_habits_are_all_here() -> None:
    assert set(HABITS) == set(vars(Habits()))
    assert set(PARAM_HABITS) == set(vars(ParamHabits()))


@pytest.mark.parametrize("habit", HABITS)
@each_tool
def test_every_habit_matters_where_it_can(cells: Cells, habit: str) -> None:
    """Habits about modules only matter to tools that look at modules."""
    values, matters = HABITS[habit]
    profile = cells[0].profile
    can = habit == "view" or profile.habits.view == HOOKS
    wanted = can and any(map(matters, cells))
    for value in values:
        if value != getattr(profile.habits, habit):
            wrong = replace(profile, habits=replace(profile.habits, **{habit: value}))
            assert any(cell.notices(cell.with_profile(wrong)) for cell in cells) == wanted, value


PARAM_HABITS: dict[str, Sequence[Any]] = {
    "of": ("none", "all", "trainable", "leaves", "by module"),
    "seen": (),
    "inside": (False, True),
    "root": (False, True),
    "each_parent": POWERS,
    "uncalled": (False, True),
}


def other_params(habits: ParamHabits, names: Sequence[str]) -> Iterator[ParamHabits]:
    """Yield habits with one value changed, or one class seen or unseen that was not."""
    for field, values in PARAM_HABITS.items():
        for value in values:
            if value != getattr(habits, field):
                yield replace(habits, **{field: value})
    for name in names:
        yield replace(habits, seen=tuple(sorted({*habits.seen} ^ {name})))


@each_tool
def test_every_habit_of_parameters_matters_where_it_changes_a_number(cells: Cells) -> None:
    """A number that is not predicted is taken to be the reference's."""
    profile = cells[0].profile
    names = sorted({*profile.params.seen, *(m.name for c in cells for m in c.trace.modules)})
    with_params = [cell for cell in cells if cell.measurement.params is not None]
    for habits in other_params(profile.params, names):
        wrong = replace(profile, params=habits)
        differs = [
            cell
            for cell in with_params
            if predicted_params(wrong, cell) != predicted_params(profile, cell)
        ]
        assert [
            cell for cell in with_params if cell.notices(cell.with_profile(wrong))
        ] == differs, habits


def predicted_params(profile: Profile, cell: Cell) -> int | None:
    """Predict the parameters of a model by a profile, by default the reference's."""
    found = predict_params(profile, cell.trace)
    return cell.known.reference.params if found is None else found


@pytest.mark.parametrize("habit", ["view", "per_sample", "last_call", "each_parent"])
def test_no_habit_is_idle(everything: Cells, habit: str) -> None:
    """For each habit there is a tool and a model for which it matters."""
    _, matters = HABITS[habit]
    assert any(matters(cell) for cell in everything if cell.profile.habits.view == HOOKS)


# -- the reference ---------------------------------------------------------------------------------


@each_tool
def test_every_product_of_the_ledger_matters(cells: Cells) -> None:
    for cell in cells:
        for index, item in enumerate(cell.trace.work):
            for by in (-1, 1):
                work = list(cell.trace.work)
                work[index] = replace(item, macs=item.macs + by)
                assert cell.notices(cell.with_trace(work=tuple(work))), (
                    cell.measurement.model,
                    item,
                    by,
                )


@each_tool
def test_every_amount_matters_at_a_site_that_is_counted(cells: Cells) -> None:
    """Each amount is changed by as much as changes the tool's number by a whole number."""
    for cell in cells:
        for each in predict(cell.profile, cell.trace).counted:
            for name, factor in each.rule.formula.items():
                by = factor.denominator * each.term.weight.denominator
                amounts = {**each.term.amounts, name: each.term.amounts.get(name, 0) + by}
                wrong = with_amounts(cell, each, amounts)
                assert cell.notices(wrong), (
                    cell.measurement.model,
                    each.term.path,
                    each.term.names,
                    name,
                )


def with_amounts(cell: Cell, counted: SiteCount, amounts: dict[str, int]) -> Cell:
    index = counted.term.index
    if counted.term.level == MODULE:
        modules = list(cell.trace.modules)
        last = cell.profile.habits.last_call and bool(modules[index].last)
        modules[index] = (
            replace(modules[index], last=amounts)
            if last
            else replace(modules[index], amounts=amounts)
        )
        return cell.with_trace(modules=tuple(modules))
    sites = list(cell.trace.sites)
    sites[index] = replace(sites[index], amounts=amounts)
    return cell.with_trace(sites=tuple(sites))


@each_tool
@pytest.mark.parametrize("by", [-1, 1])
def test_the_totals_of_the_reference_matter(cells: Cells, by: int) -> None:
    for cell in cells:
        reference = cell.known.reference
        assert reference.macs is not None
        assert reference.params is not None
        assert cell.notices(cell.with_reference(macs=reference.macs + by))
        has_params = cell.measurement.params is not None
        assert cell.notices(cell.with_reference(params=reference.params + by)) == has_params


@each_tool
def test_the_parameters_of_every_module_matter(cells: Cells) -> None:
    """Each matters to tools that count by module or only trainable ones; others use the total."""
    read = {
        "by module": ("params",), "leaves": ("params",), "trainable": ("params", "trainable"),
    }  # fmt: skip
    fields = read.get(cells[0].profile.params.of, ())
    for cell in cells:
        for index, module in enumerate(cell.trace.modules):
            for field in ("params", "trainable"):
                modules = list(cell.trace.modules)
                modules[index] = replace(module, **{field: getattr(module, field) + 1})
                wrong = cell.with_trace(modules=tuple(modules))
                assert cell.notices(wrong) == (field in fields), module.path


def test_ledger_and_trace_agree_on_every_module(everything: Cells) -> None:
    """A wrong row of the ledger is therefore noticed, too."""
    for cell in everything:
        rows: dict[str, int] = {}
        for row in cell.known.reference.operators:
            if row.macs:
                rows[row.path] = rows.get(row.path, 0) + row.macs
        work: dict[str, int] = {}
        for item in cell.trace.work:
            work[item.path] = work.get(item.path, 0) + item.macs
        assert rows == work
        assert sum(rows.values()) == cell.known.reference.macs == cell.trace.macs


# -- the tool's numbers ----------------------------------------------------------------------------


@each_tool
@pytest.mark.parametrize("by", [-1, 1])
def test_a_number_that_was_tampered_with_is_noticed(cells: Cells, by: int) -> None:
    for cell in cells:
        assert cell.measurement.reported is not None
        assert cell.notices(cell.reporting(reported=cell.measurement.reported + by))
        if cell.measurement.params is not None:
            assert cell.notices(cell.reporting(params=cell.measurement.params + by))


@each_tool
@pytest.mark.parametrize("by", [-1, 1])
def test_every_row_of_a_module_matters(cells: Cells, by: int) -> None:
    """Modules with several names, or around them, are exceptions: only their sum is certain."""
    for cell in (cell for cell in cells if not cell.unexplained):
        names = [name for m in cell.trace.modules if m.aliases for name in (m.path, *m.aliases)]
        for index, row in enumerate(cell.measurement.modules):
            rows = list(cell.measurement.modules)
            rows[index] = row.model_copy(update={"count": row.count + by})
            certain = not any(f"{name}.".startswith(f"{row.path}.") for name in names)
            certain = certain and (bool(row.path) or not names)
            assert cell.notices(cell.reporting(modules=tuple(rows))) == certain, row.path
