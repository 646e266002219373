"""The inference of a tool's profile from its numbers for the probes, and their traces.

The tool's habits are chosen, and its rules inferred (`flopaudit.profiles.rule_inference`), so that
as many probes as possible are predicted exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

from flopaudit.profiles.prediction import predict, predict_params
from flopaudit.profiles.probe_formulas import probe_formula
from flopaudit.profiles.rule_inference import (
    CaseResult,
    flat,
    infer_rules,
    key_of,
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
"""The choices of `per_sample` and `of_one_input`."""

POWERS = (0, 1, 2)
"""The choices of `each_parent`."""

CLOSE = 0.05
"""Share of cases by which habits may be behind the best at first and still be compared further."""


@dataclass(frozen=True)
class ToolIdentity:
    """The tool that a profile is of, its unit, and the torch that the probes are run with."""

    tool: str
    version: str
    variant: str | None
    unit: str
    torch: str


def infer_profile(identity: ToolIdentity, results: Sequence[CaseResult]) -> Profile:
    """Infer the simplest profile under which the most cases are predicted exactly.

    Args:
        identity: of the tool.
        results: what the tool reported for each case of the probes.
    """
    counted = [each for each in results if each.reported is not None]
    habits = _infer_habits(counted)
    rules = flat(infer_rules(counted, habits, infer_rules(_plain(counted), habits)))
    profile = Profile(
        identity.tool, identity.version, identity.variant, identity.unit, identity.torch,
        habits, ParamHabits(), tuple(rules),
    )  # fmt: skip
    profile = replace(profile, params=_infer_param_habits(profile, counted))
    return replace(profile, probes=tuple(outcomes(profile, results)))


def _infer_habits(counted: Sequence[CaseResult]) -> Habits:
    """Infer first what the tool looks at, by plain cases; then how it treats the other cases."""
    plain = _plain(counted)
    candidates = [
        Habits(view=view, hides_inside=hides)
        for view in VIEWS
        for hides in ((False, True) if view == HOOKS else (False,))
    ]
    first = {
        each: _exact(plain, each, flat(infer_rules(plain, each, once=True))) for each in candidates
    }
    close = [each for each in candidates if first[each] >= max(first.values()) - CLOSE * len(plain)]
    rules = {habits: flat(infer_rules(plain, habits)) for habits in close}
    best = max(close, key=lambda each: (_exact(plain, each, rules[each]), -_size(rules[each])))
    if best.view != HOOKS:
        return best
    others = [each for each in counted if not _is_plain(each.trace)]
    choices = [
        replace(best, per_sample=batch, of_one_input=one, last_call=last, each_parent=power)
        for (batch, one), last, power in product(BATCHES, (False, True), POWERS)
    ]
    return max(choices, key=lambda each: _exact(others, each, rules[best]))


def _size(rules: Iterable[Rule]) -> int:
    """Measure how complex rules are: of two sets that predict equally well, the smaller is kept."""
    return sum(
        1 + sum(abs(f.numerator) + f.denominator for f in rule.formula.values()) for rule in rules
    )


def _plain(results: Iterable[CaseResult]) -> list[CaseResult]:
    return [each for each in results if _is_plain(each.trace)]


def _is_plain(trace: Trace) -> bool:
    """Whether no module is called twice or shared, and the batch is 1."""
    reused = any(module.calls > 1 or module.aliases for module in trace.modules)
    return not reused and trace.batch == 1


def _exact(results: Iterable[CaseResult], habits: Habits, rules: Sequence[Rule]) -> int:
    bare = Profile("", "", None, "", "", habits, ParamHabits(), tuple(rules))
    return sum(_is_exact(bare, each) for each in results)


def _is_exact(profile: Profile, result: CaseResult) -> bool:
    prediction = predict(profile, result.trace)
    return int(prediction.total) == result.reported and not prediction.open


# -- parameters ------------------------------------------------------------------------------------


def _infer_param_habits(profile: Profile, counted: Sequence[CaseResult]) -> ParamHabits:
    """Infer which parameters the tool counts: the habits under which the most cases are exact."""
    reported = [each for each in counted if each.params is not None]
    if not reported:
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
        full = replace(habits, seen=_params_seen(habits, reported))
        exact = _params_exact(replace(profile, params=full), reported)
        if exact > best[0]:
            best = (exact, full)
    return best[1]


def _params_exact(profile: Profile, results: Sequence[CaseResult]) -> int:
    return sum(predict_params(profile, each.trace) == each.params for each in results)


def _params_seen(habits: ParamHabits, results: Sequence[CaseResult]) -> tuple[str, ...]:
    """Return the classes whose parameters are counted, by the cases where only they have any."""
    if habits.of != "by module":
        return ()
    votes: dict[str, list[bool]] = {}
    for each in results:
        holding = [module for module in each.trace.modules if _holds(module, habits)]
        # The probes' own classes are left out: no tool can know them.
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


def outcomes(profile: Profile, results: Sequence[CaseResult]) -> Iterator[ProbeOutcome]:
    """Yield the outcome of each probe under a profile."""
    by_probe: dict[str, list[CaseResult]] = {}
    for each in results:
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
