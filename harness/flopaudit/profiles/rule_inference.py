"""Cases come in, what a tool said of runs whose sites are known; rules of those sites go out.

A rule is read where just one kind of site in a case is still unknown: what the known ones leave of
the tool's number is then that site's. Each rule so found makes others readable. Where rules do not
give what the tool said they are read again, from all cases, once all else in these is known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from flopaudit.profiles.formula_fitting import value
from flopaudit.profiles.prediction import (
    LIBRARIES,
    Term,
    rule_of,
    terms,
)
from flopaudit.profiles.site_inference import Evidence, rules_from, samples
from flopaudit.profiles.tool_profile import (
    NO_FORMULA,
    SUBCLASS,
    Habits,
    Rule,
)
from flopaudit.tracing.sites import MODULE, Trace


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


Rules = dict[str, list[Rule]]
"""By site."""


def rules_of(
    observations: Sequence[Observation],
    habits: Habits,
    known: Rules | None = None,
    *,
    once: bool = False,
) -> Rules:
    """The rules by which the sites of the probes count, for a tool of such habits.

    Args:
        observations: from which rules are read.
        habits: of the tool.
        known: rules that are held until the observations speak against them.
        once: whether none is read again.
    """
    reader = _Reader(observations, habits, known or {})
    reader.read()
    if not once:
        reader.read_again()
    return reader.rules


@dataclass
class _Case:
    """A case, the sites in it whose rule is not known yet, and what is left for them.

    Attributes:
        probe: its name.
        reported: what the tool said.
        terms: the sites, outer ones first, each with the name that its rules go by.
        unknown: those without rules, as far as they can be seen.
        known: those with rules.
        said_of: what rules say of each known site.
        rest: what is left of the tool's number.
        open: sites that are known to have no formula: with others the case tells nothing more.
    """

    probe: str
    reported: Fraction
    terms: Sequence[Term]
    unknown: dict[str, list[Term]] = field(default_factory=dict)
    known: dict[str, list[Term]] = field(default_factory=dict)
    said_of: dict[str, Fraction] = field(default_factory=dict)
    rest: Fraction = Fraction(0)
    open: set[str] = field(default_factory=set)

    @property
    def exact(self) -> bool:
        """Whether its rules give what the tool said."""
        return not self.open and not self.unknown and int(self.rest) == 0

    def settle(self, rules: Mapping[str, Sequence[Rule]], *, hides: bool) -> None:
        """Work out what rules leave; what a counted module hides is not there."""
        self.unknown, self.known, self.said_of, self.open = {}, {}, {}, set()
        hiding: list[str] = []
        for term in self.terms:
            name = term.names[0]
            if term.level == MODULE and any(term.path.startswith(path) for path in hiding):
                continue
            if name not in rules:
                self.unknown.setdefault(name, []).append(term)
                continue
            self.known.setdefault(name, []).append(term)
            rule = rule_of(rules, term)
            if rule is None or rule.outcome == NO_FORMULA:
                self.open.add(name)
                continue
            amount = term.weight * value(rule.formula, term.amounts)
            self.said_of[name] = self.said_of.get(name, Fraction(0)) + amount
            if hides and rule.formula and term.level == MODULE:
                hiding.append(_prefix(term))
        self.rest = self.reported - sum(self.said_of.values(), start=Fraction(0))

    def inside(self, found: Sequence[Term], rules: Mapping[str, Sequence[Rule]]) -> Fraction:
        """What is counted for modules inside some, which a rule of these would hide."""
        around = [_prefix(term) for term in found if term.level == MODULE]
        held = (
            term
            for name in self.known
            for term in self.known[name]
            if term.level == MODULE and any(term.path.startswith(path) for path in around)
        )
        pairs = ((term, rule_of(rules, term)) for term in held if term not in found)
        return sum(
            (term.weight * value(rule.formula, term.amounts) for term, rule in pairs if rule),
            start=Fraction(0),
        )


def _prefix(term: Term) -> str:
    return f"{term.path}." if term.path else ""


class _Reader:
    """Reads one site's rules after the other off the cases."""

    def __init__(
        self, observations: Sequence[Observation], habits: Habits, known: Mapping[str, list[Rule]]
    ) -> None:
        self.rules: Rules = dict(known)
        self._hides = habits.hides_inside
        self._cases = [_case(each, habits) for each in observations]
        self._with: dict[str, list[_Case]] = {}
        self._fits: dict[tuple[str, int], list[Rule]] = {}
        for case in self._cases:
            case.settle(self.rules, hides=self._hides)
            for name in dict.fromkeys(term.names[0] for term in case.terms):
                self._with.setdefault(name, []).append(case)

    def read(self) -> None:
        """Read the rules of all sites."""
        while self._step():
            pass

    def read_again(self) -> None:
        """Read those rules again that do not give what the tool said, as long as that helps."""
        better = True
        while better:
            wrong = Counter(n for case in self._cases if not case.exact for n in case.known)
            revised = [self._revise(name) for name, _ in wrong.most_common()]
            better = any(revised)

    def _step(self) -> bool:
        """Read the rules of the sites that can be read now; whether there were any.

        Best are sites that stand alone, or add nothing, wherever they stand; then those that do so
        in some cases; last those that only ever come with others. That a site has no formula is
        concluded only where nothing else can be.
        """
        waiting = [name for name in self._with if name not in self.rules]
        ready = [name for name in waiting if all(map(self._tells(name), self._with[name]))]
        if ready:
            for name in ready:
                self._put(name, self._rules(name, self._telling(name)))
        elif waiting:
            self._put(*self._clearest(waiting))
        return bool(waiting)

    def _clearest(self, waiting: Sequence[str]) -> tuple[str, list[Rule]]:
        """Of sites that not all of their cases tell of: one that has a formula, and its rules."""
        candidates = [(name, self._telling(name)) for name in self._in_part(waiting)]
        candidates += self._outermost(waiting)
        for name, telling in candidates:
            rules = self._rules(name, telling)
            if rules[-1].outcome != NO_FORMULA:
                return name, rules
        name, telling = candidates[0]
        return name, self._rules(name, telling)

    def _tells(self, name: str) -> Callable[[_Case], bool]:
        def tells(case: _Case) -> bool:
            hidden = name not in case.unknown
            return hidden or bool(case.open) or case.rest == 0 or list(case.unknown) == [name]

        return tells

    def _telling(self, name: str) -> list[_Case]:
        tells = self._tells(name)
        return [c for c in self._with[name] if name in c.unknown and tells(c) and not c.open]

    def _in_part(self, waiting: Sequence[str]) -> list[str]:
        """The sites that some of their cases tell of, those first of which the largest part do."""
        share = {
            name: Fraction(len(self._telling(name)), len(self._with[name])) for name in waiting
        }
        return sorted((name for name in waiting if share[name]), key=lambda name: -share[name])

    def _outermost(self, waiting: Sequence[str]) -> list[tuple[str, list[_Case]]]:
        """Of sites that only ever come together: the outer one of the fewest, and where they do.

        It takes what is left, and the others will be found to add nothing: they come together
        elsewhere as well.
        """
        several = [case for case in self._cases if not case.open and len(case.unknown) > 1]
        if not several:
            return [(waiting[0], [])]
        few = min(several, key=lambda case: len(case.unknown))
        together = [case for case in several if set(case.unknown) == set(few.unknown)]
        return [(next(iter(few.unknown)), together)]

    def _rules(self, name: str, telling: Sequence[_Case]) -> list[Rule]:
        """What cases say of a site; the same is not read from as many of them twice."""
        key = (name, len(telling))
        if key not in self._fits:
            found = [each for case in telling for each in self._evidence(case, name, case.unknown)]
            self._fits[key] = list(rules_from(name, found))
        return self._fits[key]

    def _evidence(
        self, case: _Case, name: str, among: Mapping[str, list[Term]]
    ) -> Iterator[Evidence]:
        """What a case says of a site: all that is left, with what is said of it already."""
        rest = case.rest + case.said_of.get(name, Fraction(0))
        counts = any((rule := rule_of(self.rules, t)) and rule.formula for t in among[name])
        if rest and self._hides and not counts:
            rest += case.inside(among[name], self.rules)
        for sample, traits in samples(among[name], rest):
            yield Evidence(sample, traits, case.probe)

    def _revise(self, name: str) -> bool:
        """Whether rules read from all cases of a site give more of them than those it has."""
        cases = [case for case in self._with[name] if name in case.known]
        telling = [case for case in cases if not case.unknown and not case.open - {name}]
        found = [each for case in telling for each in self._evidence(case, name, case.known)]
        old, before = self.rules[name], self._exact(name)
        if not found or before == len(self._with[name]):
            return False
        for usual in (None, old[-1].formula):
            self._put(name, list(rules_from(name, found, usual)))
            if self._exact(name) > before:
                return True
        self._put(name, old)
        return False

    def _exact(self, name: str) -> int:
        return sum(case.exact for case in self._with[name])

    def _put(self, name: str, rules: list[Rule]) -> None:
        self.rules[name] = rules
        for case in self._with[name]:
            case.settle(self.rules, hides=self._hides)


def _case(observation: Observation, habits: Habits) -> _Case:
    found = []
    for term in terms(observation.trace, habits):
        name = key_of(term.names, term.level)
        if name is not None:
            found.append(replace(term, names=(name,)))
    return _Case(observation.probe, Fraction(observation.reported or 0), found)


def key_of(names: Sequence[str], level: str = MODULE) -> str | None:
    """The name by which a rule goes: a library's class, or the first such that it is derived from.

    The probes' own classes have no rules of their own: no tool can know them.
    """
    if level != MODULE:
        return names[0]
    libraries = (n for n in names if n.removeprefix(SUBCLASS).partition(".")[0] in LIBRARIES)
    return next(libraries, None)


def flat(rules: Rules) -> tuple[Rule, ...]:
    """All rules, in the order of their sites."""
    return tuple(rule for name in sorted(rules) for rule in rules[name])
