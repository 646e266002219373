"""The inference of a tool's rules from its numbers for cases whose sites are known.

A rule is inferred from the cases in which only one kind of site is still unknown: what the known
sites leave of the tool's number is then that site's. Each rule found makes others determinable.
Rules that do not fit the tool's numbers are revised, from all cases in which all else is known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from flopaudit.profiles.formula_fitting import value
from flopaudit.profiles.prediction import (
    NAMED_PACKAGES,
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
class CaseResult:
    """The numbers that a tool reported for one case of a probe.

    Attributes:
        probe: its name.
        trace: of the case.
        reported: in the tool's unit; None if the tool did not count the case.
        params: the number of parameters; None if the tool reported none.
        note: why it did not count.
    """

    probe: str
    trace: Trace
    reported: int | None
    params: int | None = None
    note: str = ""


Rules = dict[str, list[Rule]]
"""The rules of each site."""


def infer_rules(
    results: Sequence[CaseResult],
    habits: Habits,
    known: Rules | None = None,
    *,
    once: bool = False,
) -> Rules:
    """Infer the rules of the sites of the probes, for a tool with some habits.

    Args:
        results: from which the rules are inferred.
        habits: of the tool.
        known: rules that are kept unless the results contradict them.
        once: whether to leave out the revision of rules that do not fit.
    """
    inference = _Inference(results, habits, known or {})
    inference.infer()
    if not once:
        inference.revise()
    return inference.rules


@dataclass
class _Case:
    """A case, the sites in it whose rule is not known yet, and the rest that is left for them.

    Attributes:
        probe: its name.
        reported: the tool's number.
        terms: the sites, outer ones first, each with the name that its rules go by.
        unknown: the sites without rules, as far as the tool can see them.
        known: the sites with rules.
        amounts: what the rules count for each known site.
        rest: the tool's number without these amounts.
        open: sites that are known to have no formula; the case then says nothing of other sites.
    """

    probe: str
    reported: Fraction
    terms: Sequence[Term]
    unknown: dict[str, list[Term]] = field(default_factory=dict)
    known: dict[str, list[Term]] = field(default_factory=dict)
    amounts: dict[str, Fraction] = field(default_factory=dict)
    rest: Fraction = Fraction(0)
    open: set[str] = field(default_factory=set)

    @property
    def exact(self) -> bool:
        """Whether the rules fit the tool's number."""
        return not self.open and not self.unknown and int(self.rest) == 0

    def apply(self, rules: Mapping[str, Sequence[Rule]], *, hides: bool) -> None:
        """Apply rules to the sites, without those that a counted module hides."""
        self.unknown, self.known, self.amounts, self.open = {}, {}, {}, set()
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
            self.amounts[name] = self.amounts.get(name, Fraction(0)) + amount
            if hides and rule.formula and term.level == MODULE:
                hiding.append(_prefix(term))
        self.rest = self.reported - sum(self.amounts.values(), start=Fraction(0))

    def inside(self, found: Sequence[Term], rules: Mapping[str, Sequence[Rule]]) -> Fraction:
        """Return what is counted for modules inside some, which a rule of these would hide."""
        around = [_prefix(term) for term in found if term.level == MODULE]
        hidden = (
            term
            for name in self.known
            for term in self.known[name]
            if term.level == MODULE and any(term.path.startswith(path) for path in around)
        )
        pairs = ((term, rule_of(rules, term)) for term in hidden if term not in found)
        return sum(
            (term.weight * value(rule.formula, term.amounts) for term, rule in pairs if rule),
            start=Fraction(0),
        )


def _prefix(term: Term) -> str:
    return f"{term.path}." if term.path else ""


class _Inference:
    """The inference of one site's rules after the other."""

    def __init__(
        self, results: Sequence[CaseResult], habits: Habits, known: Mapping[str, list[Rule]]
    ) -> None:
        self.rules: Rules = dict(known)
        self._hides = habits.hides_inside
        self._cases = [_case(each, habits) for each in results]
        self._with: dict[str, list[_Case]] = {}
        self._fits: dict[tuple[str, int], list[Rule]] = {}
        for case in self._cases:
            case.apply(self.rules, hides=self._hides)
            for name in dict.fromkeys(term.names[0] for term in case.terms):
                self._with.setdefault(name, []).append(case)

    def infer(self) -> None:
        """Infer the rules of all sites."""
        while self._step():
            pass

    def revise(self) -> None:
        """Revise the rules that do not fit the tool's numbers, as long as that helps."""
        better = True
        while better:
            wrong = Counter(n for case in self._cases if not case.exact for n in case.known)
            revised = [self._revise(name) for name, _ in wrong.most_common()]
            better = any(revised)

    def _step(self) -> bool:
        """Infer the rules of the sites that are determined now.

        Sites that stand alone or add nothing in all their cases come first, then those that do so
        in some cases, and last those that only come with others. That a site has no formula is the
        last conclusion.

        Returns:
            Whether there were any sites without rules.
        """
        waiting = [name for name in self._with if name not in self.rules]
        ready = [name for name in waiting if all(map(self._determines(name), self._with[name]))]
        if ready:
            for name in ready:
                self._put(name, self._rules(name, self._determining(name)))
        elif waiting:
            self._put(*self._clearest(waiting))
        return bool(waiting)

    def _clearest(self, waiting: Sequence[str]) -> tuple[str, list[Rule]]:
        """Return a site that some cases determine, with a formula if possible, and its rules."""
        candidates = [(name, self._determining(name)) for name in self._in_part(waiting)]
        candidates += self._outermost(waiting)
        for name, cases in candidates:
            rules = self._rules(name, cases)
            if rules[-1].outcome != NO_FORMULA:
                return name, rules
        name, cases = candidates[0]
        return name, self._rules(name, cases)

    def _determines(self, name: str) -> Callable[[_Case], bool]:
        """Return the test whether a case determines what a site counts, or does not need to."""

        def determines(case: _Case) -> bool:
            hidden = name not in case.unknown
            return hidden or bool(case.open) or case.rest == 0 or list(case.unknown) == [name]

        return determines

    def _determining(self, name: str) -> list[_Case]:
        """Return the cases that determine what a site counts."""
        determines = self._determines(name)
        return [c for c in self._with[name] if name in c.unknown and determines(c) and not c.open]

    def _in_part(self, waiting: Sequence[str]) -> list[str]:
        """Return the sites that some of their cases determine, the largest shares first."""
        share = {
            name: Fraction(len(self._determining(name)), len(self._with[name])) for name in waiting
        }
        return sorted((name for name in waiting if share[name]), key=lambda name: -share[name])

    def _outermost(self, waiting: Sequence[str]) -> list[tuple[str, list[_Case]]]:
        """Return, of the fewest sites that only come together, the outer one and its cases.

        It takes all of the rest, and the others then turn out to add nothing, because they come
        together in other cases as well.
        """
        several = [case for case in self._cases if not case.open and len(case.unknown) > 1]
        if not several:
            return [(waiting[0], [])]
        few = min(several, key=lambda case: len(case.unknown))
        together = [case for case in several if set(case.unknown) == set(few.unknown)]
        return [(next(iter(few.unknown)), together)]

    def _rules(self, name: str, cases: Sequence[_Case]) -> list[Rule]:
        """Infer a site's rules from cases, only once from the same number of them."""
        key = (name, len(cases))
        if key not in self._fits:
            found = [each for case in cases for each in self._evidence(case, name, case.unknown)]
            self._fits[key] = list(rules_from(name, found))
        return self._fits[key]

    def _evidence(
        self, case: _Case, name: str, among: Mapping[str, list[Term]]
    ) -> Iterator[Evidence]:
        """Yield a case's samples of a site: the rest, with what its rules count already."""
        rest = case.rest + case.amounts.get(name, Fraction(0))
        counts = any((rule := rule_of(self.rules, t)) and rule.formula for t in among[name])
        if rest and self._hides and not counts:
            rest += case.inside(among[name], self.rules)
        for sample, traits in samples(among[name], rest):
            yield Evidence(sample, traits, case.probe)

    def _revise(self, name: str) -> bool:
        """Replace a site's rules if rules from all its cases fit more of them; whether they do."""
        cases = [case for case in self._with[name] if name in case.known]
        complete = [case for case in cases if not case.unknown and not case.open - {name}]
        found = [each for case in complete for each in self._evidence(case, name, case.known)]
        old, before = self.rules[name], self._exact(name)
        if not found or before == len(self._with[name]):
            return False
        for general in (None, old[-1].formula):
            self._put(name, list(rules_from(name, found, general)))
            if self._exact(name) > before:
                return True
        self._put(name, old)
        return False

    def _exact(self, name: str) -> int:
        return sum(case.exact for case in self._with[name])

    def _put(self, name: str, rules: list[Rule]) -> None:
        self.rules[name] = rules
        for case in self._with[name]:
            case.apply(self.rules, hides=self._hides)


def _case(result: CaseResult, habits: Habits) -> _Case:
    found = []
    for term in terms(result.trace, habits):
        name = key_of(term.names, term.level)
        if name is not None:
            found.append(replace(term, names=(name,)))
    return _Case(result.probe, Fraction(result.reported or 0), found)


def key_of(names: Sequence[str], level: str = MODULE) -> str | None:
    """Return the name that a rule goes by: a library's class, or the first such base class.

    The probes' own classes have no rules, because no tool can know them.
    """
    if level != MODULE:
        return names[0]
    known = (n for n in names if n.removeprefix(SUBCLASS).partition(".")[0] in NAMED_PACKAGES)
    return next(known, None)


def flat(rules: Rules) -> tuple[Rule, ...]:
    """Return all rules, in the order of their sites' names."""
    return tuple(rule for name in sorted(rules) for rule in rules[name])
