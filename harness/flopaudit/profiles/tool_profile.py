"""A profile: what one version of a tool counts, as it was measured on probes; pure data.

`flopaudit.profiles.profile_inference` reads it off the probes, `flopaudit.profiles.prediction`
applies it to a trace. It says at which sites the tool counts, by which formula over the site's
quantities, and how it deals with batches, with modules that are called again and with parameters.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

from flopaudit.core.errors import UsageError
from flopaudit.profiles.formula_fitting import Formula

PROFILE_VERSION = 1
"""History of the format: 1 — the first."""

HOOKS, TRACED, DISPATCHED = "modules and functions", "traced functions", "executed operators"
VIEWS = (HOOKS, TRACED, DISPATCHED)
"""What a tool can look at: see `flopaudit.profiles.prediction.terms`."""

COUNTED, NOT_SEEN, NO_FORMULA = "counted", "not seen", "no simple formula"

SUBCLASS = "subclass of "
"""Before the name of a class: for the classes derived from it that have no rule of their own."""


@dataclass(frozen=True)
class Rule:
    """What a tool counts for one kind of site.

    Attributes:
        site: name of a class, a function or an operator, a class possibly after `SUBCLASS`.
        outcome: `COUNTED`, `NOT_SEEN` or `NO_FORMULA`.
        formula: in the tool's unit; empty where it is not counted.
        traits: what must hold of the site for the rule to apply.
        probes: those that show it.
    """

    site: str
    outcome: str
    formula: Formula = field(default_factory=dict)
    traits: Mapping[str, str] = field(default_factory=dict)
    probes: tuple[str, ...] = ()

    def applies(self, traits: Mapping[str, str]) -> bool:
        """Whether a site with such traits is one of those that this rule is for."""
        return all(traits.get(name, "") == value for name, value in self.traits.items())


@dataclass(frozen=True)
class Habits:
    """How a tool deals with what is not about single sites.

    Attributes:
        view: which sites it sees at all, one of `VIEWS`.
        per_sample: whether it divides what it counts for modules by the batch.
        of_one_input: whether it does so only for models that are given one input, by position.
        last_call: whether of a module that is called again only the last call counts.
        each_parent: by which power of the number of its parents a module counts: 0 where it counts
            once, 1 where it is read for each, 2 where it is also hooked for each.
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
    """Which parameters a tool counts.

    Attributes:
        of: `all`, `trainable`, `none`, `leaves`: those of the modules that hold no others, or
            `by module`: those of the modules it knows.
        seen: for `by module`: names of sites whose parameters it counts.
        inside: whether with the parameters of the modules inside.
        root: whether the root's own are counted.
        each_parent: as in `Habits`.
        uncalled: whether those of modules that are never called count too.
    """

    of: str = "none"
    seen: tuple[str, ...] = ()
    inside: bool = False
    root: bool = True
    each_parent: int = 0
    uncalled: bool = False


@dataclass(frozen=True)
class ProbeOutcome:
    """What became of one probe.

    Attributes:
        probe: its name.
        cases: how many sizes it has.
        counted: at how many the tool gave a number.
        exact: how many of these the profile predicts.
        params_exact: the same of parameters.
        says: the formula that the tool's numbers follow, fitted to this probe alone; empty where
            they are 0, None where there is none.
        note: why it gave none at the others.
    """

    probe: str
    cases: int
    counted: int
    exact: int
    params_exact: int
    says: Formula | None = None
    note: str = ""


@dataclass(frozen=True)
class Profile:
    """What one version of a tool counts.

    Attributes:
        tool: its name, as in records.
        version: of its distribution.
        variant: of the tool, if it has several.
        unit: MAC or FLOP.
        torch: the version the probes were run with.
        habits: how it deals with what is not about single sites.
        params: which parameters it counts.
        rules: by site.
        probes: what became of each.
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
        """Plain data; coefficients are text, as `1/2`."""
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
    says = None if outcome.says is None else _formula_to_json(outcome.says)
    return {**vars(outcome), "says": says}


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


def from_json(data: Mapping[str, Any]) -> Profile:
    """The profile of its plain data.

    Raises:
        UsageError: it is of a version this program does not know.
    """
    version = data.get("profile_version")
    if version != PROFILE_VERSION:
        raise UsageError(
            f"This profile is of version {version}, and this program reads {PROFILE_VERSION}.",
            "Measure it anew by `flopaudit probe`.",
        )
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
    says = data["says"]
    return ProbeOutcome(**{**data, "says": None if says is None else _formula(says)})


def _rule(data: Mapping[str, Any]) -> Rule:
    probes, traits = tuple(data["probes"]), dict(data["traits"])
    return Rule(data["site"], data["outcome"], _formula(data["formula"]), traits, probes)


def from_text(text: str, name: str) -> Profile:
    """The profile in a file.

    Args:
        text: what the file holds.
        name: what the file is called in an error.

    Raises:
        UsageError: it is no profile, or one of a version this program does not know.
    """
    try:
        return from_json(json.loads(text))
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"'{name}' is not a profile: {error}.", "Measure it anew by `flopaudit probe`."
        ) from error
