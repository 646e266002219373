"""What a tool said of the probes comes in, with their traces; its profile goes out.

A tool's habits are chosen, and its rules read off, so that as many probes as possible are predicted
exactly. A rule is read where just one kind of site in a probe is still unknown: what the known ones
leave of the tool's number is then that site's. Each rule so found makes others readable.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product

from harness.fitting import Formula, Sample, fit, value
from harness.predict import LIBRARIES, Term, predict, predict_params, rule_of, terms
from harness.profile import (
    COUNTED,
    NO_FORMULA,
    NOT_SEEN,
    VIEWS,
    Habits,
    ParamHabits,
    ProbeOutcome,
    Profile,
    Rule,
)
from harness.trace import MODULE, ModuleSite, Trace


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
    plain = [each for each in counted if _is_plain(each.trace)]
    candidates = [(Habits(view=view), rules_of(plain, Habits(view=view))) for view in VIEWS]
    habits, _ = max(candidates, key=lambda pair: (_exact(counted, *pair), -len(pair[1])))
    # Rules are read with the habits known, and habits judged by the rules: twice is enough, since
    # the plain probes, which give most rules, do not depend on the habits.
    rules: list[Rule] = []
    for _ in range(2):
        habits, rules = _best_habits(plain, counted, habits)
    profile = Profile(
        named.tool, named.version, named.variant, named.unit, named.torch,
        habits, ParamHabits(), tuple(rules),
    )  # fmt: skip
    profile = replace(profile, params=_param_habits(profile, counted))
    return replace(profile, probes=tuple(outcomes(profile, observations)))


def _is_plain(trace: Trace) -> bool:
    """Whether no module is called twice or shared, and the batch is one."""
    reused = any(module.calls > 1 or module.aliases for module in trace.modules)
    return not reused and trace.batch == 1


def _best_habits(
    plain: Sequence[Observation], counted: Sequence[Observation], start: Habits
) -> tuple[Habits, list[Rule]]:
    best = (-1, start, [])  # type: tuple[int, Habits, list[Rule]]
    for per_sample, last, each, hides in product((False, True), repeat=4):
        habits = replace(
            start, per_sample=per_sample, last_call=last, each_name=each, hides_inside=hides
        )
        if habits.view != VIEWS[0] and (per_sample or last or each or hides):
            continue
        rules = rules_of(plain, habits, counted)
        exact = _exact(counted, habits, rules)
        if exact > best[0]:
            best = (exact, habits, rules)
    return best[1], best[2]


def _exact(observations: Iterable[Observation], habits: Habits, rules: Sequence[Rule]) -> int:
    bare = Profile("", "", None, "", "", habits, ParamHabits(), tuple(rules))
    return sum(_is_exact(bare, each) for each in observations)


def _is_exact(profile: Profile, observation: Observation) -> bool:
    prediction = predict(profile, observation.trace)
    return prediction.total == observation.reported and not prediction.open


# -- rules -----------------------------------------------------------------------------------------


@dataclass
class _Open:
    """A case with the sites whose rules are not known yet, and what is left for them."""

    observation: Observation
    terms: list[Term]


def rules_of(
    plain: Sequence[Observation], habits: Habits, others: Sequence[Observation] = ()
) -> list[Rule]:
    """The rules by which the sites of the probes count; first from the plain ones."""
    rules: dict[str, list[Rule]] = {}
    for observations in (plain, others):
        cases = [_Open(each, _keyed(each.trace, habits)) for each in observations]
        while True:
            found = _read(cases, rules, habits)
            if not found:
                found = _guess(cases, rules, habits)
            if not found:
                break
            for rule in found:
                rules.setdefault(rule.site, []).append(rule)
    return [rule for name in sorted(rules) for rule in rules[name]]


def _keyed(trace: Trace, habits: Habits) -> list[Term]:
    """The sites under the one name by which a rule of theirs is to go."""
    return [
        replace(term, names=(name,))
        for term in _visible(trace, habits)
        if (name := _key(term, trace)) is not None
    ]


def _visible(trace: Trace, habits: Habits) -> Iterator[Term]:
    yield from terms(trace, habits)


def _key(term: Term, trace: Trace) -> str | None:
    """A class of a library by its name, one of the probes' own as a subclass of the first such."""
    del trace
    if term.level != MODULE:
        return term.names[0]
    for name in term.names:
        if name.rpartition(" ")[2].partition(".")[0] in LIBRARIES:
            return name
    return None


def _read(
    cases: Sequence[_Open], rules: Mapping[str, Sequence[Rule]], habits: Habits
) -> list[Rule]:
    """The rules of sites that stand alone in some case, or in cases of which nothing is counted."""
    samples: dict[str, list[tuple[Sample, Mapping[str, str], str]]] = {}
    for case in cases:
        unknown, rest = _rest(case, rules, habits)
        names = {term.names[0] for term in unknown}
        if rest is None or not names:
            continue
        if len(names) == 1 or rest == 0:
            for name in names:
                for sample, traits in _samples([t for t in unknown if t.names[0] == name], rest):
                    samples.setdefault(name, []).append((sample, traits, case.observation.probe))
    return [rule for name, found in samples.items() for rule in _rules_from(name, found)]


def _rest(
    case: _Open, rules: Mapping[str, Sequence[Rule]], habits: Habits
) -> tuple[list[Term], Fraction | None]:
    """Sites without a rule, and what is left for them; None where a known one has no formula."""
    rest, unknown = Fraction(case.observation.reported or 0), []
    hiding: list[str] = []
    for term in case.terms:
        if term.level == MODULE and any(term.path.startswith(path) for path in hiding):
            continue
        if term.names[0] not in rules:
            unknown.append(term)
            continue
        rule = rule_of(rules, term)
        if rule is None or rule.outcome == NO_FORMULA:
            return unknown, None
        rest -= term.weight * value(rule.formula, term.amounts)
        if habits.hides_inside and rule.formula and term.level == MODULE:
            hiding.append(f"{term.path}." if term.path else "")
    return unknown, rest


def _samples(found: Sequence[Term], rest: Fraction) -> Iterator[tuple[Sample, Mapping[str, str]]]:
    """The sites of one name in a case as one sample, or of each where nothing is counted."""
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
    same = found[0].traits
    for term in found[1:]:
        same = {key: text for key, text in same.items() if term.traits.get(key) == text}
    yield Sample(amounts, rest / weights.pop()), same


def _rules_from(
    name: str, found: Sequence[tuple[Sample, Mapping[str, str], str]]
) -> Iterator[Rule]:
    """One rule for all samples of a site or, where none fits, one for each value of a trait."""
    formula = _fit(found)
    if formula is not None:
        yield _rule(name, formula, {}, found)
        return
    best: list[Rule] = []
    most = 0
    for trait in sorted({key for _, traits, _ in found for key in traits}):
        groups: dict[str, list[tuple[Sample, Mapping[str, str], str]]] = {}
        for entry in found:
            groups.setdefault(entry[1].get(trait, ""), []).append(entry)
        if len(groups) > 1:
            rules = [_group(name, trait, text, group) for text, group in groups.items()]
            fitted = sum(
                len(group)
                for rule, group in zip(rules, groups.values(), strict=True)
                if rule.outcome != NO_FORMULA
            )
            if fitted > most:
                best, most = rules, fitted
    yield from best or [Rule(name, NO_FORMULA, {}, {}, _probes(found))]


def _group(
    name: str, trait: str, text: str, group: Sequence[tuple[Sample, Mapping[str, str], str]]
) -> Rule:
    formula = _fit(group)
    if formula is None:
        return Rule(name, NO_FORMULA, {}, {trait: text}, _probes(group))
    return _rule(name, formula, {trait: text}, group)


def _fit(found: Sequence[tuple[Sample, Mapping[str, str], str]]) -> Formula | None:
    unique = {(tuple(sorted(s.amounts.items())), s.said): s for s, _, _ in found}
    return fit(list(unique.values()))


def _rule(
    name: str,
    formula: Formula,
    traits: Mapping[str, str],
    found: Sequence[tuple[Sample, Mapping[str, str], str]],
) -> Rule:
    outcome = COUNTED if formula else NOT_SEEN
    return Rule(name, outcome, dict(formula), dict(traits), _probes(found))


def _probes(found: Sequence[tuple[Sample, Mapping[str, str], str]]) -> tuple[str, ...]:
    return tuple(sorted({probe for _, _, probe in found}))


def _guess(
    cases: Sequence[_Open], rules: Mapping[str, Sequence[Rule]], habits: Habits
) -> list[Rule]:
    """Where sites only ever come together: the outermost one counts, the others do not.

    Which of them it is makes no difference to any model in which they come together too.
    """
    for case in cases:
        unknown, rest = _rest(case, rules, habits)
        names = list(dict.fromkeys(term.names[0] for term in unknown))
        if rest is None or len(names) < 2:  # noqa: PLR2004 - with one it would have been read
            continue
        samples = [
            (sample, traits, same.observation.probe)
            for same in cases
            for others, left in [_rest(same, rules, habits)]
            if left is not None and [*dict.fromkeys(t.names[0] for t in others)] == names
            for sample, traits in _samples([t for t in others if t.names[0] == names[0]], left)
        ]
        return list(_rules_from(names[0], samples))
    return []


# -- parameters ------------------------------------------------------------------------------------


def _param_habits(profile: Profile, counted: Sequence[Observation]) -> ParamHabits:
    """Which parameters the tool counts: the habits under which the most cases are exact."""
    said = [each for each in counted if each.params is not None]
    if not said:
        return ParamHabits()
    whole = [ParamHabits(of=of) for of in ("all", "trainable")]
    by_module = (
        replace(
            ParamHabits(of="by module"), inside=inside, root=root, each_name=each, uncalled=uncalled
        )
        for inside, root, each, uncalled in product((False, True), repeat=4)
    )
    best = (-1, ParamHabits())
    for habits in (*whole, *by_module):
        full = replace(habits, seen=_params_seen(habits, profile, said))
        exact = _params_exact(replace(profile, params=full), said)
        if exact > best[0]:
            best = (exact, full)
    return best[1]


def _params_exact(profile: Profile, said: Sequence[Observation]) -> int:
    return sum(predict_params(profile, each.trace) == each.params for each in said)


def _params_seen(
    habits: ParamHabits, profile: Profile, said: Sequence[Observation]
) -> tuple[str, ...]:
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
    term = Term(
        (module.name, *(f"subclass of {base}" for base in module.bases)), MODULE, "", 0, {}, {}
    )
    names = [name for name in term.names if name.rpartition(" ")[2].partition(".")[0] in LIBRARIES]
    return names[0] if names else module.name


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
