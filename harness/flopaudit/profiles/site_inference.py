"""Samples of one site come in, the rules that give them go out: the usual one, and exceptions.

A sample is what a tool said of the site in one case. Of formulas that do not give all samples the
one that gives most is the rule; what it does not give is told apart by traits of the site.
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
    """A sample of a site, its traits, and the probe that it is from."""

    sample: Sample
    traits: Mapping[str, str]
    probe: str


def samples(found: Sequence[Term], rest: Fraction) -> Iterator[tuple[Sample, Mapping[str, str]]]:
    """The sites of one name in a case as one sample, or each where nothing is counted."""
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
    """The rule that gives most samples of a site, after those for traits that make an exception.

    Where samples are left that no trait tells apart, their probes will be found not to be
    predicted.
    """
    general = general or _general(found)
    if general is None:
        yield Rule(name, NO_FORMULA, {}, {}, _probes(found))
        return
    odd = [each for each in found if not _gives(general, each)]
    usual = [each for each in found if _gives(general, each)]
    while odd:
        told = [(trait, text) for trait, text in _values(odd) if not _has(usual, trait, text)]
        if not told:
            break
        trait, text = max(told, key=lambda pair: len(_with(odd, *pair)))
        yield _group(name, {trait: text}, _with(odd, trait, text))
        odd = [each for each in odd if each.traits.get(trait, "") != text]
    yield _rule(name, general, {}, usual)


def _general(found: Sequence[Evidence]) -> Formula | None:
    """The formula of all samples or, where there is none, the one that gives most of them.

    Tried are those of single probes, and of all samples but those with some trait.
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
        # Of two that give as many, one that counts: what a name is called by may be seen or not.
        key=lambda f: (sum(_gives(f, each) for each in found), bool(f), -len(f)),
        default=None,
    )
    return best and _widened(best, found)


def _widened(formula: Formula, found: Sequence[Evidence]) -> Formula:
    """The formula of what this one gives together with others that have some trait, if any."""
    usual = [each for each in found if _gives(formula, each)]
    odd = [each for each in found if not _gives(formula, each)]
    for trait, text in _values(odd):
        wider = _fit([*usual, *_with(odd, trait, text)]) if not _has(usual, trait, text) else None
        if wider:
            return _widened(wider, found)
    return formula


def _gives(formula: Formula, each: Evidence) -> bool:
    return value(formula, each.sample.amounts) == each.sample.said


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
"""Samples of which one may be left out."""


def _of_all_but_one(group: Sequence[Evidence]) -> Formula | None:
    """The formula of all samples but one, which will be found not to be predicted.

    Some tools compute in floating point, and what they then cut off is at times one too small.
    """
    if len(group) < FEWEST:
        return None
    rests = ([*group[:index], *group[index + 1 :]] for index in range(len(group)))
    return next((formula for rest in rests if (formula := _fit(rest))), None)


def _fit(found: Sequence[Evidence]) -> Formula | None:
    if not found:
        return None
    unique = {(tuple(sorted(e.sample.amounts.items())), e.sample.said): e.sample for e in found}
    return fit(list(unique.values()))


def _rule(
    name: str, formula: Formula, traits: Mapping[str, str], found: Sequence[Evidence]
) -> Rule:
    outcome = COUNTED if formula else NOT_SEEN
    return Rule(name, outcome, dict(formula), dict(traits), _probes(found))


def _probes(found: Sequence[Evidence]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(each.probe for each in found))
