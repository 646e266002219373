"""Laws of the findings about rows of single modules, and cells without findings."""

from __future__ import annotations

import pytest
from flopaudit.core.causes import Cause
from flopaudit.explain.findings import Known, explain
from flopaudit.profiles.formula_fitting import Formula
from flopaudit.profiles.prediction import predict
from flopaudit.profiles.tool_profile import (
    COUNTED,
    DISPATCHED,
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
    ModuleRow,
    Reference,
    Status,
    Unit,
)
from flopaudit.tracing.sites import OPERATOR, Trace
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.support.drawn_traces import CALLS, PATHS, formulas, profiles, traces

SOMEWHERE = Environment(
    flopaudit="0", python="3", torch="2", torchvision=None, tool=None, processor="p"
)
amounts = st.integers(0, 10**6)
unshared = traces().filter(lambda trace: not any(module.aliases for module in trace.modules))
"""Traces in which it is certain to which module everything belongs."""

rows = st.lists(
    st.builds(
        ModuleRow,
        path=st.sampled_from([*PATHS, "other", "of no module"]),
        type=st.just("T"),
        count=amounts,
        params=st.none() | amounts,
        operator=st.sampled_from(["", "op", "relu"]),
    ),
    max_size=5,
)


def measurement(unit: Unit, reported: int, *module_rows: ModuleRow) -> Measurement:
    return Measurement(
        tool="tool", tool_version="1", model="m", inputs=("1x1",), conditions=Conditions(),
        status=Status.COUNTED, unit=unit, reported=reported, params=7, modules=module_rows,
        environment=SOMEWHERE,
    )  # fmt: skip


def reference(macs: int | None) -> Reference:
    return Reference(
        model="m", inputs=("1x1",), device="meta", macs=macs, params=5, environment=SOMEWHERE
    )


def without_notes(findings: list[Finding]) -> list[Finding]:
    """Return the findings without notes about modules."""
    return [
        each.model_copy(update={"evidence": "", "rows_that_differ": 0})
        if each.cause == Cause.UNEXPLAINED
        else each
        for each in findings
    ]


@settings(max_examples=60, deadline=None)
@given(traces(), profiles(exact=False), st.sampled_from(list(Unit)), amounts, rows)
def test_rows_of_modules_change_no_amount(
    trace: Trace, profile: Profile, unit: Unit, reported: int, module_rows: list[ModuleRow]
) -> None:
    known = Known(reference(trace.macs), trace, profile)
    plain = explain(measurement(unit, reported), known)
    assert without_notes(
        explain(measurement(unit, reported, *module_rows), known)
    ) == without_notes(plain)


@settings(max_examples=60, deadline=None)
@given(unshared, formulas, st.sampled_from(CALLS[OPERATOR]), st.data())
def test_rows_as_predicted_agree_and_one_that_is_off_is_shown(
    trace: Trace, formula: Formula, name: str, data: st.DataObject
) -> None:
    """A tool with whole coefficients that attributes to each module its own operators."""
    whole = {quantity: abs(factor) * 4 for quantity, factor in formula.items()}
    rule = Rule(name, COUNTED, whole, {}, ("p",))
    profile = Profile("tool", "1", None, "MAC", "2", Habits(DISPATCHED), ParamHabits(), (rule,))
    counted = predict(profile, trace)
    counts = {module.path: 0 for module in trace.modules}
    for each in counted.counted:
        counts[each.term.path] += int(each.amount)
    known = Known(reference(trace.macs), trace, profile)
    right = [ModuleRow(path=path, type="T", count=count) for path, count in counts.items()]
    exact = measurement(Unit.MAC, int(counted.total), *right)
    assert explain(exact, known)[0].rows_that_differ == 0
    index = data.draw(st.integers(0, len(right) - 1))
    right[index] = right[index].model_copy(update={"count": right[index].count + 1})
    wrong = explain(measurement(Unit.MAC, int(counted.total), *right), known)[0]
    place = right[index].path or "the root"
    assert (wrong.cause, wrong.amount, wrong.rows_that_differ) == (Cause.UNEXPLAINED, 0, 1)
    assert f"first module that disagrees: {place} (" in wrong.evidence


@settings(max_examples=30, deadline=None)
@given(unshared, rows)
def test_rows_of_one_module_are_added_up(trace: Trace, module_rows: list[ModuleRow]) -> None:
    assume(module_rows)
    empty = Profile("tool", "1", None, "MAC", "2", Habits(), ParamHabits(), ())
    known = Known(reference(0), trace, empty)
    by_path: dict[str, int] = {}
    for row in module_rows:
        by_path[row.path] = by_path.get(row.path, 0) + row.count
    found = explain(measurement(Unit.MAC, trace.macs, *module_rows), known)
    (unexplained,) = (f for f in found if f.cause == Cause.UNEXPLAINED and f.quantity == "macs")
    differ = sum(map(bool, by_path.values()))
    assert unexplained.rows_that_differ == (0 if unexplained.amount else differ)


@pytest.mark.parametrize("status", [each for each in Status if each is not Status.COUNTED])
def test_a_cell_that_was_not_counted_has_no_findings(status: Status) -> None:
    failed = measurement(Unit.MAC, 1).model_copy(
        update={"status": status, "reported": None, "params": None, "error": "why"}
    )
    assert explain(failed, Known(reference(1))) == []


def test_without_a_reference_there_are_no_findings() -> None:
    assert explain(measurement(Unit.MAC, 1), Known(reference(None))) == []
