"""The inference of the rules of one site from its samples: a general rule, and exceptions.

A sample is what a tool reported for the site in one case. If no formula fits all samples, the one
that fits most is the general rule, and traits of the site distinguish the exceptions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

from flopaudit.profiles.formula_fitting import (
    Formula,
    Sample,
    fit,
    value,
)
from flopaudit.profiles.prediction import Term
from flopaudit.profiles.tool_profile import (
    COUNTED,
    NO_FORMULA,
    NOT_SEEN,
    Rule,
)


class Evidence(NamedTuple):
    """A sample of a site, the site's traits, and the probe that it comes from."""

    sample: Sample
    traits: Mapping[str, str]
    probe: str


def samples(found: Sequence[Term], rest: Fraction) -> Iterator[tuple[Sample, Mapping[str, str]]]:
    """Yield the sites of one name in a case as one sample, or each if nothing is counted.

    Args:
        found: the sites.
        rest: what the tool counts for all of them together.

    Yields:
        Samples, each with the traits that its sites have in common.
    """
    if rest == 0:
        for term in found:
            yield Sample(term.amounts, Fraction(0)), term.traits
        return
    weights = {term.weight for term in found}
    if len(weights) != 1:
        return
    amounts: dict[str, int] = {}
    for term in found:
        for name, amount in term.amounts.items():
            amounts[name] = amounts.get(name, 0) + amount
    same = dict(found[0].traits)
    for term in found[1:]:
        same = {key: text for key, text in same.items() if term.traits.get(key) == text}
    yield Sample(amounts, rest / weights.pop()), same


def rules_from(
    name: str, found: Sequence[Evidence], general: Formula | None = None
) -> Iterator[Rule]:
    """Yield the exceptions of a site, which depend on a trait, and then its general rule.

    If no trait distinguishes some samples, their probes later show up as not predicted.

    Args:
        name: of the site.
        found: samples of the site.
        general: the formula of the general rule; by default it is inferred.
    """
    general = general or _general(found)
    if general is None:
        yield Rule(name, NO_FORMULA, {}, {}, _probes(found))
        return
    exceptions = [each for each in found if not _fits(general, each)]
    regular = [each for each in found if _fits(general, each)]
    while exceptions:
        distinct = [
            (trait, text) for trait, text in _values(exceptions) if not _has(regular, trait, text)
        ]
        if not distinct:
            break
        trait, text = max(distinct, key=lambda pair: len(_with(exceptions, *pair)))
        yield _group(name, {trait: text}, _with(exceptions, trait, text))
        exceptions = [each for each in exceptions if each.traits.get(trait, "") != text]
    yield _rule(name, general, {}, regular)


def _general(found: Sequence[Evidence]) -> Formula | None:
    """Return the formula of all samples or, if there is none, the one that fits most of them.

    The candidates are the formulas of single probes, and of all samples without some trait.
    """
    pooled = _fit(found)
    if pooled is not None:
        return pooled
    by_probe: dict[str, list[Evidence]] = {}
    for each in found:
        by_probe.setdefault(each.probe, []).append(each)
    groups = [*by_probe.values(), *(_without(found, *pair) for pair in _values(found))]
    formulas = [formula for group in groups if (formula := _fit(group)) is not None]
    best = max(
        formulas,
        # Of two that fit equally many, prefer one that counts: a tool may see a name or not.
        key=lambda f: (sum(_fits(f, each) for each in found), bool(f), -len(f)),
        default=None,
    )
    return best and _widened(best, found)


def _widened(formula: Formula, found: Sequence[Evidence]) -> Formula:
    """Return a formula that also fits the samples with some trait, if there is one."""
    regular = [each for each in found if _fits(formula, each)]
    exceptions = [each for each in found if not _fits(formula, each)]
    for trait, text in _values(exceptions):
        wider = (
            _fit([*regular, *_with(exceptions, trait, text)])
            if not _has(regular, trait, text)
            else None
        )
        if wider:
            return _widened(wider, found)
    return formula


def _fits(formula: Formula, each: Evidence) -> bool:
    return value(formula, each.sample.amounts) == each.sample.reported


def _values(found: Iterable[Evidence]) -> list[tuple[str, str]]:
    return sorted({pair for each in found for pair in each.traits.items()})


def _with(found: Iterable[Evidence], trait: str, text: str) -> list[Evidence]:
    return [each for each in found if each.traits.get(trait, "") == text]


def _without(found: Iterable[Evidence], trait: str, text: str) -> list[Evidence]:
    return [each for each in found if each.traits.get(trait, "") != text]


def _has(found: Iterable[Evidence], trait: str, text: str) -> bool:
    return any(each.traits.get(trait, "") == text for each in found)


def _group(name: str, traits: Mapping[str, str], group: Sequence[Evidence]) -> Rule:
    formula = _fit(group)
    formula = _of_all_but_one(group) if formula is None else formula
    if formula is None:
        return Rule(name, NO_FORMULA, {}, traits, _probes(group))
    return _rule(name, formula, traits, group)


FEWEST = 5
"""The number of samples from which on one may be left out."""


def _of_all_but_one(group: Sequence[Evidence]) -> Formula | None:
    """Return the formula of all samples but one, which then shows up as not predicted.

    Some tools compute in floating point, and a number that they cut off can be one too small.
    """
    if len(group) < FEWEST:
        return None
    rests = ([*group[:index], *group[index + 1 :]] for index in range(len(group)))
    return next((formula for rest in rests if (formula := _fit(rest))), None)


def _fit(found: Sequence[Evidence]) -> Formula | None:
    if not found:
        return None
    unique = {(tuple(sorted(e.sample.amounts.items())), e.sample.reported): e.sample for e in found}
    return fit(list(unique.values()))


def _rule(
    name: str, formula: Formula, traits: Mapping[str, str], found: Sequence[Evidence]
) -> Rule:
    outcome = COUNTED if formula else NOT_SEEN
    return Rule(name, outcome, dict(formula), dict(traits), _probes(found))


def _probes(found: Sequence[Evidence]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(each.probe for each in found))
