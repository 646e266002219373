"""Causes: one for each kind of work, and the categories by which a tool is recommended or not."""

from __future__ import annotations

import json
from collections.abc import Iterable
from fractions import Fraction

import pytest
from flopaudit.core.causes import Category, Cause, cause_named
from flopaudit.explain.reconcile import ReportedCount, account
from flopaudit.explain.settlement import FILE, SettledCause, SettledTool, Settlement
from flopaudit.profiles.tool_profile import COUNTED, HOOKS, Habits, ParamHabits, Profile, Rule
from flopaudit.reference.kinds import PRODUCT_KINDS, Kind
from flopaudit.reports import settlement_text
from flopaudit.tracing.sites import ModuleSite, Trace

from tests.support.paths import ROOT

IS_LEAF = True


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_of_work_has_a_cause(kind: Kind) -> None:
    cause = cause_named(kind)
    assert cause.value == kind.value
    expected = Category.MISCOUNTED_PRODUCTS if kind in PRODUCT_KINDS else Category.OTHER_OPERATIONS
    assert cause.category is expected


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind not in PRODUCT_KINDS])
def test_what_a_tool_counts_for_a_kind_has_its_cause(kind: Kind) -> None:
    """A module of that kind, for which a tool counts one operation per output."""
    module = ModuleSite(
        "", "torch.nn.Layer", (), (), IS_LEAF, 1, {}, {"outputs": 7}, {}, 0, 0, 0, 0, kind
    )
    rule = Rule("torch.nn.Layer", COUNTED, {"outputs": Fraction(1)}, {}, ("p",))
    profile = Profile("tool", "1", None, "MAC", "2", Habits(HOOKS), ParamHabits(), (rule,))
    found = account(ReportedCount(7, 1, {}), 0, Trace(1, (module,), (), ()), profile)
    assert [(part.cause, part.amount) for part in found.contributions] == [
        (cause_named(kind), Fraction(7))
    ]
    assert found.unexplained == 0


def test_every_cause_has_a_meaning_of_its_own_in_one_line() -> None:
    meanings = {cause.meaning for cause in Cause}
    assert len(meanings) == len(Cause)
    assert all(meaning and "\n" not in meaning for meaning in meanings)


def test_a_cause_is_stored_and_printed_as_its_name() -> None:
    for cause in Cause:
        assert json.dumps(cause) == f'"{cause.value}"'
        assert f"{cause}" == str(cause) == cause.value
        assert cause_named(cause.value) is cause


def test_a_name_that_is_no_cause_is_refused() -> None:
    with pytest.raises(ValueError, match="'loose' is not a cause"):
        cause_named("loose")


def test_every_category_has_a_cause() -> None:
    assert {cause.category for cause in Cause} == set(Category)


def _stored() -> Iterable[Settlement]:
    for path in sorted((ROOT / "results").glob(f"*/{FILE}")):
        yield from map(json.loads, path.read_text(encoding="utf-8").splitlines())


def test_every_stored_cause_is_known_and_of_its_list() -> None:
    """Parameters have causes of their own; a unit and an unexplained rest are not in the lists."""
    lists: dict[str, set[Category]] = {"causes": set(), "params_causes": set()}
    for settlement in _stored():
        for tool in settlement["tools"]:
            for key, causes in (
                ("causes", tool["causes"]),
                ("params_causes", tool["params_causes"]),
            ):
                lists[key] |= {cause_named(cause["cause"]).category for cause in causes}
    assert lists["params_causes"] == {Category.PARAMETERS}
    assert lists["causes"] == set(Category) - {
        Category.PARAMETERS, Category.UNIT, Category.UNEXPLAINED,
    }  # fmt: skip


# -- what is recommended ---------------------------------------------------------------------------


def _settled(cause: Cause) -> Settlement:
    """A settlement of one tool, whose number differs by one cause."""
    delta: SettledCause = {
        "cause": cause.value, "delta": 5, "evidence": "e", "modules": 1, "probe": None,
        "issue": None,
    }  # fmt: skip
    tool: SettledTool = {
        "tool": "a_tool", "version": "1", "variant": None, "status": "counted", "error": None,
        "reported": 15, "unit": "MAC", "reference": 10, "lower_bound": False,
        "causes": [delta], "unexplained": 0,
        "unexplained_evidence": None, "rows_that_differ": 0, "limits": None, "params": None,
        "params_causes": [],
        "params_unexplained": None, "params_unexplained_evidence": None,
        "params_rows_that_differ": 0,
    }  # fmt: skip
    return {
        "settlement_version": 1, "model": "m", "inputs": ["1x1"], "mode": "eval", "flopaudit": "0",
        "torch": "2",
        "reference": {
            "macs": 10, "flops": 20, "params": 0, "trainable_params": 0, "components": {},
            "uncounted_ops": {}, "lower_bound": False, "user_formulas": {}, "data_dependent": [],
            "error": None,
        },
        "tools": [tool],
        "own_values": False, "identity": None, "records": "",
    }  # fmt: skip


OF_COUNTS = [cause for cause in Cause if cause.category is not Category.PARAMETERS]


@pytest.mark.parametrize("cause", OF_COUNTS, ids=lambda cause: cause.name)
def test_only_products_that_are_missed_or_miscounted_are_called_so(cause: Cause) -> None:
    """A tool that also counts a loss, a Fourier transform or a solver misses no products."""
    advice = "\n".join(settlement_text.advice(_settled(cause)))
    adds = cause.category is Category.OTHER_OPERATIONS
    assert ("Not for this model" in advice) == (not adds)
