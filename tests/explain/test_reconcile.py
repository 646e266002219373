"""Laws of the explanation, on drawn traces and profiles: parts add up, and nothing is hidden."""

from __future__ import annotations

from fractions import Fraction

from flopaudit.core.causes import Cause
from flopaudit.explain.findings import Known, explain
from flopaudit.explain.reconcile import ReportedCount, account
from flopaudit.profiles.prediction import predict, predict_params
from flopaudit.profiles.tool_profile import (
    COUNTED,
    HOOKS,
    Habits,
    ParamHabits,
    Profile,
    Rule,
)
from flopaudit.records.schema import (
    Conditions,
    Environment,
    Finding,
    Measurement,
    Reference,
    Status,
    Unit,
)
from flopaudit.tracing.sites import (
    OPERATOR,
    ModuleSite,
    Site,
    Trace,
    WorkItem,
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.support.drawn_traces import profiles, traces

SOMEWHERE = Environment(
    flopaudit="0", python="3", torch="2", torchvision=None, tool=None, processor="p"
)
totals = st.integers(0, 10**7)


def measurement(unit: Unit, reported: int, params: int | None = None) -> Measurement:
    return Measurement(
        tool="tool", tool_version="1", model="m", inputs=("1x1",), conditions=Conditions(),
        status=Status.COUNTED, unit=unit, reported=reported, params=params, environment=SOMEWHERE,
    )  # fmt: skip


def reference(macs: int, params: int) -> Reference:
    return Reference(
        model="m", inputs=("1x1",), device="meta", macs=macs, params=params, environment=SOMEWHERE
    )


def params_of(trace: Trace) -> int:
    return sum(module.params for module in trace.modules)


def amounts(findings: list[Finding], *, params: bool = False) -> list[int]:
    return [f.amount for f in findings if (f.quantity == "params") == params]


# -- laws ------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(traces(), profiles(exact=False), totals, totals, st.sampled_from([1, 2]))
def test_contributions_and_the_rest_add_up_to_the_difference(
    trace: Trace, profile: Profile, reported: int, macs: int, factor: int
) -> None:
    found = account(ReportedCount(reported, factor, {}), macs, trace, profile)
    parts = sum((part.amount for part in found.contributions), start=Fraction(0))
    assert parts + found.unexplained == reported - macs


@settings(max_examples=80, deadline=None)
@given(traces(), profiles(), st.sampled_from([1, 2]))
def test_a_number_as_predicted_is_explained(trace: Trace, profile: Profile, factor: int) -> None:
    reported = int(predict(profile, trace).total)
    found = account(ReportedCount(reported, factor, {}), trace.macs, trace, profile)
    assert found.unexplained == 0
    assert not found.note
    off = account(ReportedCount(reported + 1, factor, {}), trace.macs, trace, profile)
    assert off.unexplained == 1


@settings(max_examples=60, deadline=None)
@given(
    traces(), st.sampled_from(list(Unit)), profiles(exact=False), totals, totals, st.none() | totals
)
def test_findings_add_up(  # noqa: PLR0913, PLR0917 - what is drawn
    trace: Trace, unit: Unit, profile: Profile, reported: int, macs: int, params: int | None
) -> None:
    known = Known(reference(macs, params_of(trace)), trace, profile)
    found = explain(measurement(unit, reported, params), known)
    assert sum(amounts(found)) == reported - macs
    assert found[0].cause == Cause.UNEXPLAINED
    if params is None:
        assert not amounts(found, params=True)
    else:
        assert sum(amounts(found, params=True)) == params - params_of(trace)


@settings(max_examples=80, deadline=None)
@given(traces(), st.sampled_from(list(Unit)), profiles())
def test_findings_of_a_number_as_predicted_leave_nothing_unexplained(
    trace: Trace, unit: Unit, profile: Profile
) -> None:
    reported, params = int(predict(profile, trace).total), predict_params(profile, trace)
    assume(reported >= 0)
    known = Known(reference(trace.macs, params_of(trace)), trace, profile)
    found = explain(measurement(unit, reported, params), known)
    unexplained = {f.quantity: f.amount for f in found if f.cause == Cause.UNEXPLAINED}
    assert set(unexplained.values()) == {0}
    assert ("params" in unexplained) == (params is not None)


@given(totals, totals)
def test_without_a_profile_all_but_the_unit_is_unexplained(reported: int, macs: int) -> None:
    trace = Trace(1, (), (), ())
    for known in (Known(reference(macs, 0)), Known(reference(macs, 0), trace)):
        found = explain(measurement(Unit.FLOP, reported, 5), known)
        by_cause = {f.cause: f.amount for f in found if f.quantity == "flops"}
        assert by_cause == {
            Cause.UNEXPLAINED: reported - 2 * macs,
            **({Cause.UNIT: macs} if macs else {}),
        }
        assert amounts(found, params=True) == [5]


# -- one by one ------------------------------------------------------------------------------------


def module(path: str, name: str, kind: str, **amounts: int) -> ModuleSite:
    return ModuleSite(path, name, (), (), bool(path), 1, {}, amounts, {}, 0, 0, 0, 0, kind)


def two_layers() -> Trace:
    """A convolution of 100 products, and an activation of 100 outputs."""
    return Trace(
        batch=1,
        modules=(
            module("", "mine.Net", "conv", macs=100),
            module("a", "torch.nn.Conv2d", "conv", macs=100, outputs=10),
            module("d", "torch.nn.ReLU", "activation", outputs=100),
        ),
        sites=(Site(OPERATOR, "aten.convolution", "a", -1, {}, {"macs": 100}, "conv"),),
        work=(WorkItem("a", 0, "conv", 100),),
    )


def tool_with(*rules: Rule, habits: Habits | None = None) -> Profile:
    return Profile("tool", "1", None, "MAC", "2", habits or Habits(HOOKS), ParamHabits(), rules)


def one(site: str, **formula: int) -> Rule:
    return Rule(site, COUNTED, {name: Fraction(n) for name, n in formula.items()}, {}, ("p",))


def test_two_errors_that_cancel_are_two_causes() -> None:
    found = account(
        ReportedCount(100, 1, {}), 100, two_layers(), tool_with(one("torch.nn.ReLU", outputs=1))
    )
    by_cause = {cause.cause: cause.amount for cause in found.contributions}
    assert by_cause == {"activation": 100, "unseen module type": -100}
    assert found.unexplained == 0


def test_rows_that_differ_are_shown_although_the_sum_is_right() -> None:
    profile = tool_with(one("torch.nn.Conv2d", macs=1), one("torch.nn.ReLU", outputs=1))
    right = account(ReportedCount(200, 1, {"a": 100, "d": 100}), 100, two_layers(), profile)
    assert right.rows == ()
    wrong = account(ReportedCount(200, 1, {"a": 150, "d": 50}), 100, two_layers(), profile)
    assert wrong.unexplained == 0
    assert wrong.rows == (
        "first module that disagrees: a (Conv2d), 150 said and 100 predicted",
        "first module that disagrees: d (ReLU), 50 said and 100 predicted",
    )
    findings = explain(
        measurement(Unit.MAC, 200).model_copy(
            update={"modules": tuple(_row(path, n) for path, n in (("a", 150), ("d", 50)))}
        ),
        Known(reference(100, 0), two_layers(), profile),
    )
    assert (findings[0].cause, findings[0].amount, findings[0].rows_that_differ) == (
        Cause.UNEXPLAINED, 0, 2,
    )  # fmt: skip


def _row(path: str, count: int) -> object:
    from flopaudit.records.schema import ModuleRow

    return ModuleRow(path=path, type="T", count=count)


def test_a_fraction_that_a_tool_drops_is_a_cause() -> None:
    rule = Rule("torch.nn.ReLU", COUNTED, {"outputs": Fraction(1, 8)}, {}, ("p",))
    found = account(
        ReportedCount(112, 1, {}),
        100,
        two_layers(),
        tool_with(one("torch.nn.Conv2d", macs=1), rule),
    )
    assert found.unexplained == 0
    assert {c.cause: c.amount for c in found.contributions} == {
        "activation": Fraction(25, 2), "fraction dropped": Fraction(-1, 2),
    }  # fmt: skip
