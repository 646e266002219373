"""What a tool said of the probes comes in, with their traces; its profile goes out.

A tool's habits are chosen, and its rules read off, so that as many probes as possible are predicted
exactly. A rule is read where just one kind of site in a probe is still unknown: what the known ones
leave of the tool's number is then that site's. Each rule so found makes others readable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import product
from typing import NamedTuple

from harness.fitting import Formula, Sample, fit, value
from harness.predict import LIBRARIES, Term, predict, predict_params, rule_of, terms
from harness.profile import (
    COUNTED,
    HOOKS,
    NO_FORMULA,
    NOT_SEEN,
    SUBCLASS,
    VIEWS,
    Habits,
    ParamHabits,
    ProbeOutcome,
    Profile,
    Rule,
)
from harness.trace import MODULE, ModuleSite, Trace

POWERS = (0, 1, 2)
"""Of the number of a module's parents, that are tried."""


@dataclass(frozen=True)
class Observation:
    """What a tool said of one case of a probe.

    Attributes:
        probe: its name.
        trace: of the case.
        reported: in the tool's unit; None where the tool did not count it.
        params: None where it said nothing.
        note: why it did not count.
    """

    probe: str
    trace: Trace
    reported: int | None
    params: int | None = None
    note: str = ""


@dataclass(frozen=True)
class Named:
    """Which tool a profile is of."""

    tool: str
    version: str
    variant: str | None
    unit: str
    torch: str


def profile_of(named: Named, observations: Sequence[Observation]) -> Profile:
    """The profile under which the most cases are predicted exactly, the simplest of them."""
    counted = [each for each in observations if each.reported is not None]
    habits = _habits(counted)
    rules = rules_of([each for each in counted if _is_plain(each.trace)], habits, counted)
    profile = Profile(
        named.tool, named.version, named.variant, named.unit, named.torch,
        habits, ParamHabits(), tuple(rules),
    )  # fmt: skip
    profile = replace(profile, params=_param_habits(profile, counted))
    return replace(profile, probes=tuple(outcomes(profile, observations)))


def _habits(counted: Sequence[Observation]) -> Habits:
    """First what the tool looks at, by plain cases; then what it does with the others."""
    plain = [each for each in counted if _is_plain(each.trace)]
    candidates = [
        Habits(view=view, hides_inside=hides)
        for view in VIEWS
        for hides in ((False, True) if view == HOOKS else (False,))
    ]
    read = {habits: rules_of(plain, habits) for habits in candidates}
    best = max(candidates, key=lambda each: (_exact(plain, each, read[each]), -_size(read[each])))
    if best.view != HOOKS:
        return best
    others = [each for each in counted if not _is_plain(each.trace)]
    choices = [
        replace(best, per_sample=per_sample, last_call=last, each_parent=power)
        for per_sample, last, power in product((False, True), (False, True), POWERS)
    ]
    return max(choices, key=lambda each: _exact(others, each, read[best]))


def _size(rules: Iterable[Rule]) -> int:
    """How much there is to say in rules: of two sets that give the same, the smaller is held."""
    return sum(
        1 + sum(abs(f.numerator) + f.denominator for f in rule.formula.values()) for rule in rules
    )


def _is_plain(trace: Trace) -> bool:
    """Whether no module is called twice or shared, and the batch is one."""
    reused = any(module.calls > 1 or module.aliases for module in trace.modules)
    return not reused and trace.batch == 1


def _exact(observations: Iterable[Observation], habits: Habits, rules: Sequence[Rule]) -> int:
    bare = Profile("", "", None, "", "", habits, ParamHabits(), tuple(rules))
    return sum(_is_exact(bare, each) for each in observations)


def _is_exact(profile: Profile, observation: Observation) -> bool:
    prediction = predict(profile, observation.trace)
    return int(prediction.total) == observation.reported and not prediction.open


# -- rules -----------------------------------------------------------------------------------------


class Evidence(NamedTuple):
    """A sample of a site, its traits, and the probe that it is from."""

    sample: Sample
    traits: Mapping[str, str]
    probe: str


@dataclass
class _Case:
    """A case, the sites in it whose rule is not known yet, and what is left for them.

    `spoiled` cases tell nothing more: one of their sites is known to have no formula.
    """

    observation: Observation
    unknown: dict[str, list[Term]]
    rest: Fraction
    spoiled: bool = False
    known: dict[str, list[Term]] = field(default_factory=dict)
    said_of: dict[str, Fraction] = field(default_factory=dict)

    def taken_off(self, name: str) -> Fraction:
        """What has been taken off the tool's number for a site."""
        return self.said_of.get(name, Fraction(0))


def rules_of(
    plain: Sequence[Observation], habits: Habits, others: Sequence[Observation] = ()
) -> list[Rule]:
    """The rules by which the sites of the probes count, for a tool of such habits.

    Args:
        plain: from which rules are read first.
        habits: of the tool.
        others: from which the rules of sites are read that the plain ones do not have, or have not
            with such traits.
    """
    reader = _Reader(plain, habits, {})
    while reader.step():
        pass
    if others:
        more = _Reader(others, habits, reader.rules)
        more.add_unseen_traits(reader.seen)
        while more.step():
            pass
        reader = more
    return [rule for name in sorted(reader.rules) for rule in reader.rules[name]]


Seen = dict[str, dict[str, set[str]]]
"""By site and trait, the values that rules have been read from."""


class _Reader:
    """Reads one site's rules after the other off the cases."""

    def __init__(
        self,
        observations: Sequence[Observation],
        habits: Habits,
        known: Mapping[str, list[Rule]],
    ) -> None:
        self.rules: dict[str, list[Rule]] = dict(known)
        self.seen: Seen = {}
        self._habits = habits
        self._cases = [_case(each, habits) for each in observations]
        self._with: dict[str, list[_Case]] = {}
        for case in self._cases:
            for name in case.unknown:
                self._with.setdefault(name, []).append(case)
        for name in known:
            for case in self._with.get(name, ()):
                self._take_off(case, name)

    def add_unseen_traits(self, seen: Seen) -> None:
        """Add rules for values of traits that known rules were not read from, where they differ.

        A case tells of a site if all else in it is known; it speaks against the site's rule if
        something is left over.
        """
        against: dict[tuple[str, str, str], list[_Case]] = {}
        for case in self._cases:
            for name, terms_of in case.known.items():
                for trait, text in _unseen(terms_of, seen.get(name, {})):
                    against.setdefault((name, trait, text), []).append(case)
        for (name, trait, text), cases in against.items():
            left = [case for case in cases if case.rest and not case.unknown and not case.spoiled]
            if left and 2 * len(left) > len(cases):
                self._except(name, {trait: text}, [case for case in cases if not case.unknown])

    def _except(self, name: str, traits: Mapping[str, str], cases: Sequence[_Case]) -> None:
        """A rule of its own for a site with such traits."""
        found = [
            Evidence(sample, own, case.observation.probe)
            for case in cases
            if not case.spoiled
            for sample, own in _samples(case.known[name], case.rest + case.taken_off(name))
        ]
        if not found:
            return
        rule = _group(name, traits, found)
        self.rules[name] = [rule, *self.rules[name]]
        for case in cases:
            case.rest += case.taken_off(name)
            if rule.outcome == NO_FORMULA:
                case.spoiled = True
            for term in case.known[name]:
                case.rest -= term.weight * value(rule.formula, term.amounts)
            case.said_of[name] = sum(
                (term.weight * value(rule.formula, term.amounts) for term in case.known[name]),
                start=Fraction(0),
            )

    def step(self) -> bool:
        """Read the rules of the sites that can be read now; whether there were any.

        Best are sites that stand alone, or add nothing, wherever they stand; then those that do so
        in some cases; last those that only ever come with others.
        """
        waiting = [name for name in self._with if name not in self.rules]
        ready = [name for name in waiting if all(map(self._tells(name), self._with[name]))]
        some = ready or self._best([n for n in waiting if any(map(self._tells(n), self._with[n]))])
        if some:
            for name in some:
                self._learn(name, self._telling(name))
        elif waiting:
            self._learn(*self._outermost())
        return bool(waiting)

    def _telling(self, name: str) -> list[_Case]:
        tells = self._tells(name)
        return [case for case in self._with[name] if tells(case) and not case.spoiled]

    def _outermost(self) -> tuple[str, list[_Case]]:
        """Of sites that only ever come together: the outer one of the fewest, and where they do.

        It takes what is left, and the others will be found to add nothing: they come together
        elsewhere as well.
        """
        open_ = [case for case in self._cases if case.unknown]
        several = [case for case in open_ if not case.spoiled and len(case.unknown) > 1]
        sound = several or [case for case in open_ if not case.spoiled] or open_
        few = min(sound, key=lambda case: len(case.unknown))
        names = set(few.unknown)
        together = [case for case in sound if set(case.unknown) == names]
        return next(iter(few.unknown)), [case for case in together if not case.spoiled]

    def _best(self, names: Sequence[str]) -> list[str]:
        """The one site whose cases tell of it in the largest part."""
        share = {
            name: Fraction(sum(map(self._tells(name), self._with[name])), len(self._with[name]))
            for name in names
        }
        return [max(names, key=lambda name: share[name])] if names else []

    def _tells(self, name: str) -> Callable[[_Case], bool]:
        return lambda case: case.spoiled or case.rest == 0 or list(case.unknown) == [name]

    def _learn(self, name: str, telling: Sequence[_Case]) -> None:
        cases = self._with[name]
        found = [
            Evidence(sample, traits, case.observation.probe)
            for case in telling
            for sample, traits in self._samples(case, name)
        ]
        rules = list(_rules_from(name, found)) if found else [Rule(name, NO_FORMULA)]
        self.rules[name] = rules
        for each in found:
            for trait, text in each.traits.items():
                self.seen.setdefault(name, {}).setdefault(trait, set()).add(text)
        for case in cases:
            self._take_off(case, name)

    def _samples(self, case: _Case, name: str) -> Iterator[tuple[Sample, Mapping[str, str]]]:
        terms = case.unknown[name]
        rest = case.rest
        if rest and self._habits.hides_inside:
            rest += sum((self._inside(term, case) for term in terms), start=Fraction(0))
        yield from _samples(terms, rest)

    def _inside(self, term: Term, case: _Case) -> Fraction:
        """What was taken off for modules inside this one, which would be hidden by its rule."""
        if term.level != MODULE:
            return Fraction(0)
        known = tuple(rule for rules in self.rules.values() for rule in rules)
        open_habits = replace(self._habits, hides_inside=False)
        bare = Profile("", "", None, "", "", open_habits, ParamHabits(), known)
        prefix = f"{term.path}." if term.path else ""
        counted = predict(bare, case.observation.trace).counted
        return sum(
            (
                each.amount
                for each in counted
                if each.term.level == MODULE
                and each.term.path.startswith(prefix)
                and each.term.path
            ),
            start=Fraction(0),
        )

    def _take_off(self, case: _Case, name: str) -> None:
        case.known[name] = case.unknown.pop(name)
        amount = Fraction(0)
        for term in case.known[name]:
            rule = rule_of(self.rules, term)
            if rule is None or rule.outcome == NO_FORMULA:
                case.spoiled = True
            else:
                amount += term.weight * value(rule.formula, term.amounts)
        case.said_of[name] = amount
        case.rest -= amount


def _unseen(found: Sequence[Term], seen: Mapping[str, set[str]]) -> Iterator[tuple[str, str]]:
    """Traits of a site with values that are new, where all its calls share them."""
    for trait, text in found[0].traits.items():
        new = seen and text not in seen.get(trait, set())
        if new and all(term.traits.get(trait) == text for term in found):
            yield trait, text


def _case(observation: Observation, habits: Habits) -> _Case:
    unknown: dict[str, list[Term]] = {}
    for term in terms(observation.trace, habits):
        name = key_of(term.names, term.level)
        if name is not None:
            unknown.setdefault(name, []).append(replace(term, names=(name,)))
    return _Case(observation, unknown, Fraction(observation.reported or 0))


def key_of(names: Sequence[str], level: str = MODULE) -> str | None:
    """The name by which a rule goes: a library's class, or the first such that it is derived from.

    The probes' own classes have no rules of their own: no tool can know them.
    """
    if level != MODULE:
        return names[0]
    libraries = (n for n in names if n.removeprefix(SUBCLASS).partition(".")[0] in LIBRARIES)
    return next(libraries, None)


def _samples(found: Sequence[Term], rest: Fraction) -> Iterator[tuple[Sample, Mapping[str, str]]]:
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


def _rules_from(name: str, found: Sequence[Evidence]) -> Iterator[Rule]:
    """The rule that gives most samples of a site, after those for traits that make an exception.

    Where samples are left that no trait tells apart, their probes will be found not to be
    predicted.
    """
    general = _general(found)
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
    return max(
        formulas,
        # Of two that give as many, one that counts: what a name is called by may be seen or not.
        key=lambda f: (sum(_gives(f, each) for each in found), bool(f), -len(f)),
        default=None,
    )


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
    if formula is None:
        return Rule(name, NO_FORMULA, {}, traits, _probes(group))
    return _rule(name, formula, traits, group)


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


# -- parameters ------------------------------------------------------------------------------------


def _param_habits(profile: Profile, counted: Sequence[Observation]) -> ParamHabits:
    """Which parameters the tool counts: the habits under which the most cases are exact."""
    said = [each for each in counted if each.params is not None]
    if not said:
        return ParamHabits()
    whole = [ParamHabits(of=of) for of in ("all", "trainable")]
    by_module = (
        replace(
            ParamHabits(of="by module"),
            inside=inside,
            root=root,
            each_parent=power,
            uncalled=uncalled,
        )
        for inside, root, uncalled in product((False, True), repeat=3)
        for power in POWERS
    )
    best = (-1, ParamHabits())
    for habits in (*whole, *by_module):
        full = replace(habits, seen=_params_seen(habits, said))
        exact = _params_exact(replace(profile, params=full), said)
        if exact > best[0]:
            best = (exact, full)
    return best[1]


def _params_exact(profile: Profile, said: Sequence[Observation]) -> int:
    return sum(predict_params(profile, each.trace) == each.params for each in said)


def _params_seen(habits: ParamHabits, said: Sequence[Observation]) -> tuple[str, ...]:
    """Kinds of modules whose parameters are counted: by the cases in which only they have any."""
    if habits.of != "by module":
        return ()
    votes: dict[str, list[bool]] = {}
    for each in said:
        holding = [module for module in each.trace.modules if _holds(module, habits)]
        names = {_class_key(module) for module in holding}
        if len(names) == 1:
            votes.setdefault(names.pop(), []).append(bool(each.params))
    return tuple(sorted(name for name, cast in votes.items() if 2 * sum(cast) > len(cast)))


def _holds(module: ModuleSite, habits: ParamHabits) -> bool:
    called = module.calls or habits.uncalled
    return bool(module.own_params and called and (module.path or habits.root))


def _class_key(module: ModuleSite) -> str:
    names = (module.name, *(SUBCLASS + base for base in module.bases))
    return key_of(names) or module.name


# -- outcomes --------------------------------------------------------------------------------------


def outcomes(profile: Profile, observations: Sequence[Observation]) -> Iterator[ProbeOutcome]:
    """What became of each probe under a profile."""
    by_probe: dict[str, list[Observation]] = {}
    for each in observations:
        by_probe.setdefault(each.probe, []).append(each)
    for probe, cases in by_probe.items():
        counted = [case for case in cases if case.reported is not None]
        notes = [case.note for case in cases if case.reported is None]
        yield ProbeOutcome(
            probe,
            len(cases),
            len(counted),
            sum(_is_exact(profile, case) for case in counted),
            sum(predict_params(profile, case.trace) == case.params for case in counted),
            notes[0] if notes else "",
        )
