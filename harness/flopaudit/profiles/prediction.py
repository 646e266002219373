"""The prediction of a tool's number by its profile and a trace, site by site and exactly.

There are three steps: which sites the tool sees (`terms`), which rule holds for each (`rule_of`),
and how often each counts (`weight`). The same steps serve to infer a profile from probes
(`flopaudit.profiles.profile_inference`) and to explain a tool's number for any model
(`flopaudit.explain.reconcile`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from flopaudit.profiles.formula_fitting import Formula, value
from flopaudit.profiles.tool_profile import (
    DISPATCHED,
    HOOKS,
    NO_FORMULA,
    SUBCLASS,
    TRACED,
    Habits,
    Profile,
    Rule,
)
from flopaudit.tracing.sites import (
    FUNCTION,
    MODULE,
    OPERATOR,
    Amounts,
    ModuleSite,
    Trace,
)

NAMED_PACKAGES = ("torch", "torchvision", "timm", "transformers")
"""Packages whose classes a tool may know by name; it knows others only as their subclasses."""


@dataclass(frozen=True)
class Term:
    """A site at which a tool may count, with its quantities.

    Attributes:
        names: the names by which the tool may know it, the most exact first.
        level: module, function or operator.
        path: the module it belongs to.
        index: in the trace, of the module or of the site.
        traits: see `flopaudit.tracing.sites`.
        amounts: the quantities there.
        weight: how often it counts.
    """

    names: tuple[str, ...]
    level: str
    path: str
    index: int
    traits: Mapping[str, str]
    amounts: Amounts
    weight: Fraction = Fraction(1)


def terms(trace: Trace, habits: Habits) -> Iterator[Term]:
    """Yield the sites that a tool with these habits looks at, outer ones first."""
    if habits.view == HOOKS:
        for index, module in enumerate(trace.modules):
            if module.calls:
                yield _of_module(index, module, trace, habits)
        # A tool replaces functions by their public names.
        yield from (t for t in _of_sites(trace, FUNCTION) if t.names[0].startswith("torch."))
    elif habits.view == TRACED:
        around = {site.parent for site in trace.sites if site.level == FUNCTION}
        yield from (term for term in _of_sites(trace, FUNCTION) if term.index not in around)
    elif habits.view == DISPATCHED:
        yield from _of_sites(trace, OPERATOR)


def _of_sites(trace: Trace, level: str) -> Iterator[Term]:
    for index, site in enumerate(trace.sites):
        if site.level == level:
            yield Term((site.name,), level, site.path, index, site.traits, site.amounts)


def _of_module(index: int, module: ModuleSite, trace: Trace, habits: Habits) -> Term:
    amounts = module.last if habits.last_call and module.last else module.amounts
    weight = Fraction(len(parents(module, trace)) ** habits.each_parent)
    weight /= divisor(habits, trace)
    names = (module.name, *(SUBCLASS + base for base in module.bases))
    return Term(names, MODULE, module.path, index, module.traits, amounts, weight)


def divisor(habits: Habits, trace: Trace) -> int:
    """Return what a tool divides its counts for modules by: the batch that it sees, or 1."""
    traits = trace.modules[0].traits if trace.modules else {}
    one_input = not traits.get("keywords") and "," not in traits.get("ndims", "")
    divides = habits.per_sample and (one_input or not habits.of_one_input)
    return trace.batch if divides and trace.batch else 1


def parents(module: ModuleSite, trace: Trace) -> list[str]:
    """Return the paths of the modules that hold this one, in the order of a walk over the model."""
    first: dict[str, str] = {}
    for path in (module.path, *module.aliases):
        if not _is_later_name(path, trace):
            first.setdefault(path.rpartition(".")[0], path)
    return list(first)


def _is_later_name(path: str, trace: Trace) -> bool:
    """Whether a module around this path has an earlier name in the same parent."""
    around = path.rpartition(".")[0]
    while around:
        names = trace.names_of(around)
        home = around.rpartition(".")[0]
        siblings = [name for name in names if name.rpartition(".")[0] == home]
        if siblings and siblings[0] != around:
            return True
        around = home
    return False


def rule_of(rules: Mapping[str, Sequence[Rule]], term: Term) -> Rule | None:
    """Return the rule for a site, by its most exact name that has one; None if none is known."""
    for name in term.names:
        for rule in rules.get(name, ()):
            if rule.applies(term.traits):
                return rule
        if name in rules:
            return None  # The name is known, but not with these traits.
    return None


@dataclass(frozen=True)
class SiteCount:
    """The count of a tool at one site."""

    term: Term
    rule: Rule

    @property
    def amount(self) -> Fraction:
        """The amount in the tool's unit."""
        return self.term.weight * value(self.rule.formula, self.term.amounts)

    @property
    def formula(self) -> Formula:
        """The rule's formula times the weight of the site."""
        return {name: self.term.weight * factor for name, factor in self.rule.formula.items()}


@dataclass(frozen=True)
class Prediction:
    """The number that a tool should report for a model.

    Attributes:
        counted: the sites at which it counts something.
        open: sites at which it is unknown what it counts, because no formula was found on probes.
    """

    counted: tuple[SiteCount, ...]
    open: tuple[Term, ...]

    @property
    def total(self) -> Fraction:
        """The predicted number in the tool's unit."""
        return sum((each.amount for each in self.counted), start=Fraction(0))


def predict(profile: Profile, trace: Trace) -> Prediction:
    """Predict what a tool reports for a model.

    A site that no probe has is taken as not seen; if that is wrong, the tool's number shows it.

    Args:
        profile: of the tool.
        trace: of the model and its inputs.
    """
    counted, unknown = [], []
    hiding: list[str] = []
    for term in terms(trace, profile.habits):
        if term.level == MODULE and any(term.path.startswith(path) for path in hiding):
            continue
        rule = rule_of(profile.by_site, term)
        if rule is not None and rule.outcome == NO_FORMULA:
            unknown.append(term)
        elif rule is not None and rule.formula:
            counted.append(SiteCount(term, rule))
            if profile.habits.hides_inside and term.level == MODULE:
                hiding.append(f"{term.path}." if term.path else "")
    return Prediction(tuple(counted), tuple(unknown))


def predict_params(profile: Profile, trace: Trace) -> int | None:
    """Predict how many parameters a tool reports; None if it reports no parameters."""
    habits = profile.params
    if habits.of == "none":
        return None
    if habits.of == "all":
        return sum(module.params for module in trace.modules)
    if habits.of == "trainable":
        return sum(module.trainable for module in trace.modules)
    return sum(amount for _, amount in params_by_module(profile, trace))


def params_by_module(profile: Profile, trace: Trace) -> Iterator[tuple[ModuleSite, int]]:
    """Yield the modules whose parameters a tool counts, each with their number."""
    habits = profile.params
    for module in trace.modules:
        called = module.calls or habits.uncalled
        if not called or not (module.path or habits.root):
            continue
        if module.leaf if habits.of == "leaves" else _is_known(module, profile):
            times = len(parents(module, trace)) ** habits.each_parent
            yield module, times * (module.all_params if habits.inside else module.own_params)


def _is_known(module: ModuleSite, profile: Profile) -> bool:
    """Whether a tool counts a module's parameters; the most exact name that was probed decides."""
    names = (module.name, *(SUBCLASS + base for base in module.bases))
    known = next((name for name in names if name in profile.by_site), names[0])
    return known in profile.params_seen
