"""What a tool said of the probes comes in, with their traces; its profile goes out.

A tool's habits are chosen, and its rules read off (`flopaudit.profiles.rule_inference`), so that as
many probes as possible are predicted exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

from flopaudit.profiles.prediction import predict, predict_params
from flopaudit.profiles.probe_formulas import probe_formula
from flopaudit.profiles.rule_inference import (
    Observation,
    flat,
    key_of,
    rules_of,
)
from flopaudit.profiles.tool_profile import (
    HOOKS,
    SUBCLASS,
    VIEWS,
    Habits,
    ParamHabits,
    ProbeOutcome,
    Profile,
    Rule,
)
from flopaudit.tracing.sites import ModuleSite, Trace

BATCHES = ((False, False), (True, False), (True, True))
"""Whether a tool divides by the batch, and only where there is one input."""

POWERS = (0, 1, 2)
"""Of the number of a module's parents, that are tried."""


CLOSE = 0.05
"""Share of cases by which the habits that will prove best may be behind at first."""


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
    rules = flat(rules_of(counted, habits, rules_of(_plain(counted), habits)))
    profile = Profile(
        named.tool, named.version, named.variant, named.unit, named.torch,
        habits, ParamHabits(), tuple(rules),
    )  # fmt: skip
    profile = replace(profile, params=_param_habits(profile, counted))
    return replace(profile, probes=tuple(outcomes(profile, observations)))


def _habits(counted: Sequence[Observation]) -> Habits:
    """First what the tool looks at, by plain cases; then what it does with the others."""
    plain = _plain(counted)
    candidates = [
        Habits(view=view, hides_inside=hides)
        for view in VIEWS
        for hides in ((False, True) if view == HOOKS else (False,))
    ]
    first = {
        each: _exact(plain, each, flat(rules_of(plain, each, once=True))) for each in candidates
    }
    close = [each for each in candidates if first[each] >= max(first.values()) - CLOSE * len(plain)]
    read = {habits: flat(rules_of(plain, habits)) for habits in close}
    best = max(close, key=lambda each: (_exact(plain, each, read[each]), -_size(read[each])))
    if best.view != HOOKS:
        return best
    others = [each for each in counted if not _is_plain(each.trace)]
    choices = [
        replace(best, per_sample=batch, of_one_input=one, last_call=last, each_parent=power)
        for (batch, one), last, power in product(BATCHES, (False, True), POWERS)
    ]
    return max(choices, key=lambda each: _exact(others, each, read[best]))


def _size(rules: Iterable[Rule]) -> int:
    """How much there is to say in rules: of two sets that give the same, the smaller is held."""
    return sum(
        1 + sum(abs(f.numerator) + f.denominator for f in rule.formula.values()) for rule in rules
    )


def _plain(observations: Iterable[Observation]) -> list[Observation]:
    return [each for each in observations if _is_plain(each.trace)]


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


# -- parameters ------------------------------------------------------------------------------------


def _param_habits(profile: Profile, counted: Sequence[Observation]) -> ParamHabits:
    """Which parameters the tool counts: the habits under which the most cases are exact."""
    said = [each for each in counted if each.params is not None]
    if not said:
        return ParamHabits()
    whole = [ParamHabits(of=of) for of in ("all", "trainable")]
    by_module = (
        replace(
            ParamHabits(of=of),
            inside=inside,
            root=root,
            each_parent=power,
            uncalled=uncalled,
        )
        for of in ("leaves", "by module")
        for inside, root, uncalled in product((False, True), repeat=3)
        for power in POWERS
        if of != "leaves" or not inside
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
        # A class of the probes' own no tool can know.
        names = {name for module in holding if (name := _class_key(module)) is not None}
        if len(names) == 1:
            votes.setdefault(names.pop(), []).append(bool(each.params))
    return tuple(sorted(name for name, cast in votes.items() if 2 * sum(cast) > len(cast)))


def _holds(module: ModuleSite, habits: ParamHabits) -> bool:
    called = module.calls or habits.uncalled
    return bool(module.own_params and called and (module.path or habits.root))


def _class_key(module: ModuleSite) -> str | None:
    return key_of((module.name, *(SUBCLASS + base for base in module.bases)))


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
            probe_formula(cases),
            notes[0] if notes else "",
        )
