"""Profiles: what one version of a tool counts, as inferred from probes; pure data.

`flopaudit.profiles.profile_inference` infers a profile, `flopaudit.profiles.prediction` applies it
to a trace. A profile says at which sites the tool counts, by which formula over the site's
quantities, and how it treats batches, modules that are called again, and parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

from flopaudit.core.errors import UsageError
from flopaudit.core.files import parse_json
from flopaudit.profiles.formula_fitting import Formula

PROBE_AGAIN = "Move it away, and measure it again with `flopaudit probe`."
"""What to do about a file that is not a profile."""

PROFILE_VERSION = 1
"""History of the format: 1 — the first."""

HOOKS, TRACED, DISPATCHED = "modules and functions", "traced functions", "executed operators"
VIEWS = (HOOKS, TRACED, DISPATCHED)
"""The levels at which a tool can look: see `flopaudit.profiles.prediction.terms`."""

COUNTED, NOT_SEEN, NO_FORMULA = "counted", "not seen", "no simple formula"

SUBCLASS = "subclass of "
"""The prefix of a class whose rule is for derived classes that have no rule of their own."""


@dataclass(frozen=True)
class Rule:
    """The rule by which a tool counts one kind of site.

    Attributes:
        site: the name of a class, a function or an operator; of a class possibly after `SUBCLASS`.
        outcome: `COUNTED`, `NOT_SEEN` or `NO_FORMULA`.
        formula: in the tool's unit; empty if the site is not counted.
        traits: those that a site must have for the rule to apply.
        probes: the probes that show it.
    """

    site: str
    outcome: str
    formula: Formula = field(default_factory=dict)
    traits: Mapping[str, str] = field(default_factory=dict)
    probes: tuple[str, ...] = ()

    def applies(self, traits: Mapping[str, str]) -> bool:
        """Whether the rule is for a site with these traits."""
        return all(traits.get(name, "") == value for name, value in self.traits.items())


@dataclass(frozen=True)
class Habits:
    """The behaviour of a tool that is the same everywhere.

    Attributes:
        view: which sites it sees, one of `VIEWS`.
        per_sample: whether it divides what it counts for modules by the batch.
        of_one_input: whether it does so only for models that are given one input, by position.
        last_call: whether only the last call of a module counts.
        each_parent: the power of the number of its parents by which a module's count is multiplied:
            0 if it counts once, 1 if it is read for each parent, 2 if it is also hooked for each.
        hides_inside: whether a module with a rule keeps those inside it from being counted.
    """

    view: str = HOOKS
    per_sample: bool = False
    of_one_input: bool = False
    last_call: bool = False
    each_parent: int = 0
    hides_inside: bool = False


@dataclass(frozen=True)
class ParamHabits:
    """The parameters that a tool counts.

    Attributes:
        of: `all`, `trainable`, `none`, `leaves` (those of modules that hold no others), or
            `by module` (those of the modules that the tool knows).
        seen: for `by module`, the names of classes whose parameters it counts.
        inside: whether it adds the parameters of the modules inside.
        root: whether it counts the root's own parameters.
        each_parent: as in `Habits`.
        uncalled: whether it also counts the parameters of modules that are never called.
    """

    of: str = "none"
    seen: tuple[str, ...] = ()
    inside: bool = False
    root: bool = True
    each_parent: int = 0
    uncalled: bool = False


@dataclass(frozen=True)
class ProbeOutcome:
    """The outcome of one probe.

    Attributes:
        probe: its name.
        cases: how many sizes it has.
        counted: at how many of them the tool reported a number.
        exact: how many of these numbers the profile predicts.
        params_exact: how many numbers of parameters the profile predicts.
        formula: the formula that the tool's numbers follow, fitted to this probe alone; empty if
            they are 0, None if no formula fits. Stored as `says`.
        note: why the tool reported no number for the other sizes.
    """

    probe: str
    cases: int
    counted: int
    exact: int
    params_exact: int
    formula: Formula | None = None
    note: str = ""


@dataclass(frozen=True)
class Profile:
    """A profile: how one version of a tool counts.

    Attributes:
        tool: its name, as in records.
        version: of its distribution.
        variant: of the tool, if it has several.
        unit: MAC or FLOP.
        torch: the version the probes were run with.
        habits: what the tool does everywhere alike.
        params: which parameters it counts.
        rules: how it counts each kind of site.
        probes: the outcome of each probe.
    """

    tool: str
    version: str
    variant: str | None
    unit: str
    torch: str
    habits: Habits
    params: ParamHabits
    rules: tuple[Rule, ...]
    probes: tuple[ProbeOutcome, ...] = ()

    @cached_property
    def by_site(self) -> dict[str, list[Rule]]:
        """The rules of each site."""
        found: dict[str, list[Rule]] = {}
        for rule in self.rules:
            found.setdefault(rule.site, []).append(rule)
        return found

    @cached_property
    def params_seen(self) -> frozenset[str]:
        """Sites whose parameters the tool counts."""
        return frozenset(self.params.seen)

    def with_rule(self, old: Rule, new: Rule) -> Profile:
        """The profile with one rule in place of another."""
        return replace(self, rules=tuple(new if rule is old else rule for rule in self.rules))

    @property
    def key(self) -> tuple[str, str, str | None]:
        """Tool, version and variant."""
        return (self.tool, self.version, self.variant)

    def to_json(self) -> dict[str, Any]:
        """Return plain data, in which coefficients are text, such as `1/2`."""
        return {
            "profile_version": PROFILE_VERSION,
            "tool": self.tool,
            "version": self.version,
            "variant": self.variant,
            "unit": self.unit,
            "torch": self.torch,
            "habits": vars(self.habits),
            "params": {**vars(self.params), "seen": list(self.params.seen)},
            "rules": [_rule_to_json(rule) for rule in self.rules],
            "probes": [_outcome_to_json(outcome) for outcome in self.probes],
        }


def _outcome_to_json(outcome: ProbeOutcome) -> dict[str, Any]:
    return {
        "probe": outcome.probe,
        "cases": outcome.cases,
        "counted": outcome.counted,
        "exact": outcome.exact,
        "params_exact": outcome.params_exact,
        "says": None if outcome.formula is None else _formula_to_json(outcome.formula),
        "note": outcome.note,
    }


def _formula_to_json(formula: Formula) -> dict[str, str]:
    return {name: str(factor) for name, factor in formula.items()}


def _formula(data: Mapping[str, str]) -> Formula:
    return {name: Fraction(factor) for name, factor in data.items()}


def _rule_to_json(rule: Rule) -> dict[str, Any]:
    return {
        "site": rule.site,
        "outcome": rule.outcome,
        "formula": _formula_to_json(rule.formula),
        "traits": dict(rule.traits),
        "probes": list(rule.probes),
    }


def from_json(data: Mapping[str, Any], name: str = "This profile") -> Profile:
    """Make a profile of its plain data.

    Args:
        data: as `Profile.to_json` returns it.
        name: the profile's name, for an error message.

    Raises:
        UsageError: the data is of a version that this program does not know.
        ValueError: the data is not a profile.
    """
    version = data.get("profile_version")
    if version != PROFILE_VERSION:
        raise UsageError(
            f"{name} has format {version}, but this program reads {PROFILE_VERSION}.",
            PROBE_AGAIN,
        )
    from flopaudit.profiles.profile_form import check

    check(data)
    params = data["params"]
    return Profile(
        tool=data["tool"],
        version=data["version"],
        variant=data["variant"],
        unit=data["unit"],
        torch=data["torch"],
        habits=Habits(**data["habits"]),
        params=ParamHabits(**{**params, "seen": tuple(params["seen"])}),
        rules=tuple(_rule(rule) for rule in data["rules"]),
        probes=tuple(_outcome(outcome) for outcome in data["probes"]),
    )


def _outcome(data: Mapping[str, Any]) -> ProbeOutcome:
    fields = {name: value for name, value in data.items() if name != "says"}
    formula = None if data["says"] is None else _formula(data["says"])
    return ProbeOutcome(**fields, formula=formula)


def _rule(data: Mapping[str, Any]) -> Rule:
    probes, traits = tuple(data["probes"]), dict(data["traits"])
    return Rule(data["site"], data["outcome"], _formula(data["formula"]), traits, probes)


def from_text(text: str, name: str) -> Profile:
    """Parse the text of a profile's file.

    Args:
        text: the content of the file.
        name: the name of the file, for an error message.

    Raises:
        UsageError: the text is not a profile, or one of a version that this program does not know.
    """
    try:
        return from_json(parse_json(text), f"'{name}'")
    except (ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
        problem = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise UsageError(f"'{name}' is not a profile: {problem}.", PROBE_AGAIN) from error
