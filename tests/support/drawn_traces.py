"""Hypothesis strategies: traces that add up as real ones do, and profiles of tools for them."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from flopaudit.explain.reconcile import PRODUCT_CAUSES
from flopaudit.profiles.formula_fitting import Formula
from flopaudit.profiles.tool_profile import (
    COUNTED,
    NO_FORMULA,
    NOT_SEEN,
    SUBCLASS,
    VIEWS,
    Habits,
    ParamHabits,
    Profile,
    Rule,
)
from flopaudit.tracing.sites import (
    FUNCTION,
    OPERATOR,
    QUANTITIES,
    ModuleSite,
    Site,
    Trace,
    WorkItem,
    ancestors,
)
from hypothesis import strategies as st

PATHS = ("", "a", "a.b", "c", "c.d")
CLASSES = ("torch.nn.Conv2d", "torch.nn.ReLU", "timm.layers.Attention", "mine.Block")
CALLS = {
    FUNCTION: ("torch.nn.functional.linear", "torch.relu", "torch.Tensor.__add__"),
    OPERATOR: ("aten.mm", "aten.add", "aten.convolution"),
}
KINDS = ("conv", "linear", "normalisation", "data movement")
FLAGS = ("", "True", "False")

counts = st.integers(0, 10**5)
other_amounts = st.dictionaries(
    st.sampled_from([n for n in QUANTITIES if n not in PRODUCT_CAUSES]), counts
)


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    """A run of a few modules, functions and operators, in which products add up from inside."""
    paths = ("", *draw(st.lists(st.sampled_from(PATHS[1:]), unique=True)))
    sites = [draw(_sites(paths, index)) for index in range(draw(st.integers(0, 6)))]
    sites = [_in_its_parent(sites, index) for index in range(len(sites))]
    work = tuple(
        WorkItem(site.path, index, draw(st.sampled_from(KINDS[:2])), draw(st.integers(1, 10**5)))
        for index, site in enumerate(sites)
        if site.level == OPERATOR and draw(st.booleans())
    )
    bare = Trace(draw(st.integers(1, 4)), (), tuple(sites), work)
    filled = tuple(
        draw(_with_products(site, sum(w.macs for w in work if index in ancestors(bare, w.site))))
        for index, site in enumerate(sites)
    )
    modules = tuple(draw(_modules(path, bare)) for path in sorted(paths))
    return Trace(bare.batch, modules, filled, work)


@st.composite
def _sites(draw: st.DrawFn, paths: tuple[str, ...], index: int) -> Site:
    level = draw(st.sampled_from([FUNCTION, OPERATOR]))
    return Site(
        level=level,
        name=draw(st.sampled_from(CALLS[level])),
        path=draw(st.sampled_from(paths)),
        parent=draw(st.integers(-1, index - 1)),
        traits={"flag": draw(st.sampled_from(FLAGS))},
        amounts={},
        kind=draw(st.sampled_from(KINDS)),
    )


def _in_its_parent(sites: list[Site], index: int) -> Site:
    """Return a site with its parent, if that is a function, and then in the same module."""
    site = sites[index]
    if site.parent < 0 or sites[site.parent].level != FUNCTION:
        return Site(**{**vars(site), "parent": -1})
    sites[index] = Site(**{**vars(site), "path": sites[site.parent].path})
    return sites[index]


@st.composite
def _with_products(draw: st.DrawFn, site: Site, macs: int) -> Site:
    return Site(**{**vars(site), "amounts": draw(_amounts(macs))})


@st.composite
def _amounts(draw: st.DrawFn, macs: int) -> dict[str, int]:
    found: dict[str, int] = {**draw(other_amounts)}
    if macs:
        others = draw(st.dictionaries(st.sampled_from(list(PRODUCT_CAUSES)), st.integers(1, 10**5)))
        found.update(others, macs=macs)
    return {name: amount for name, amount in found.items() if amount}


@st.composite
def _modules(draw: st.DrawFn, path: str, trace: Trace) -> ModuleSite:
    macs = sum(trace.work[index].macs for index in trace.work_under(path))
    calls = draw(st.integers(1 if macs else 0, 3))
    own = draw(counts)
    return ModuleSite(
        path=path,
        name=draw(st.sampled_from(CLASSES)),
        bases=draw(st.sampled_from([(), ("torch.nn.Conv2d",)])),
        aliases=draw(st.sampled_from([(), (), ("other",)])) if path == "c" else (),
        leaf=draw(st.booleans()),
        calls=calls,
        traits={"flag": draw(st.sampled_from(FLAGS))},
        amounts=draw(_amounts(macs)) if calls else {},
        last=draw(_amounts(macs // calls)) if calls > 1 else {},
        params=own,
        trainable=draw(st.integers(0, own)),
        own_params=own,
        all_params=own + draw(counts),
        kind=draw(st.sampled_from(KINDS)),
    )


coefficients = st.builds(Fraction, st.integers(-9, 9).filter(bool), st.sampled_from([1, 1, 2, 4]))
formulas = st.dictionaries(st.sampled_from(list(QUANTITIES)), coefficients, min_size=1, max_size=3)
habits = st.builds(
    Habits,
    view=st.sampled_from(VIEWS),
    per_sample=st.booleans(),
    last_call=st.booleans(),
    each_parent=st.sampled_from([0, 1, 2]),
    hides_inside=st.booleans(),
)
param_habits = st.builds(
    ParamHabits,
    of=st.sampled_from(["none", "all", "trainable", "by module"]),
    seen=st.lists(st.sampled_from(CLASSES)).map(tuple),
    inside=st.booleans(),
    root=st.booleans(),
    each_parent=st.sampled_from([0, 1, 2]),
    uncalled=st.booleans(),
)


@st.composite
def rules(draw: st.DrawFn, *, exact: bool) -> Rule:
    """A rule for a class, its subclasses, a function or an operator; `exact`: with a formula."""
    names = (*CLASSES, *(SUBCLASS + name for name in CLASSES[:1]), *sum(CALLS.values(), ()))
    outcome = draw(st.sampled_from([COUNTED, COUNTED, NOT_SEEN, *([] if exact else [NO_FORMULA])]))
    formula: Formula = draw(formulas) if outcome == COUNTED else {}
    traits: Mapping[str, str] = draw(st.sampled_from([{}, {}, {"flag": "True"}]))
    return Rule(draw(st.sampled_from(names)), outcome, formula, traits, ("conv/plain",))


@st.composite
def profiles(draw: st.DrawFn, *, exact: bool = True, unit: str = "MAC") -> Profile:
    """A profile of a tool with rules for the sites of `traces`."""
    found: list[Any] = draw(st.lists(rules(exact=exact), max_size=8))
    return Profile("tool", "1", None, unit, "2", draw(habits), draw(param_habits), tuple(found), ())
