"""What tools leave behind is found: each check by a fake that leaves just that, and the known ones."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.audit import effects, report, run
from harness.audit.cases import CASES, Case
from harness.scheduler import Limits
from harness.schema import SideEffect, load

from . import audit_fakes

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.slow

FAKES = Path(__file__).with_name("audit_fakes.py")
LIMITS = Limits(120, 4 << 30)
PLAIN = Case("harness.audit.models:plain", ("1x3x32x32",))
STOPS = Case("harness.audit.models:raises_between_modules", ("1x3x32x32",))


def audited(tools: Sequence[str], *cases: Case) -> list[SideEffect]:
    return run.audit(run.tools(tools), cases, 2, LIMITS, lambda *_event: None)


def made(name: str, *conditions: str) -> Case:
    case = next(case for case in CASES if case.model.endswith(f":{name}") or case.model == name)
    return Case(case.model, case.inputs, conditions or case.conditions)


def found(records: Sequence[SideEffect]) -> dict[str, set[str]]:
    """The checks that changed, by tool."""
    checks: dict[str, set[str]] = {}
    for each in records:
        checks.setdefault(each.column, set()).update({each.check} if each.changed else ())
    return checks


def test_each_check_finds_the_fake_that_leaves_just_that() -> None:
    names = [name for name in audit_fakes.EFFECTS if name != "call"]
    records = audited([f"{FAKES}:{name.upper()}" for name in names], PLAIN)
    also = audit_fakes.ALSO
    expected = {f"leaves_{name}": {name} | also.get(name, set()) for name in names}
    assert found(records) == {**expected, "leaves_clean": set(), "reference": set()}


def test_there_is_a_fake_for_each_check() -> None:
    assert set(audit_fakes.EFFECTS) == {*effects.EFFECTS, "clean"}


def test_each_check_is_read_somewhere() -> None:
    from harness.audit import cell, trials

    assert set(cell.STATES) == set(effects.STATES)
    assert set(trials.TRIALS) == set(effects.TRIALS)


def test_what_the_model_raises_is_to_be_passed_on() -> None:
    records = audited([f"{FAKES}:CALL", f"{FAKES}:CLEAN"], STOPS)
    assert found(records) == {"leaves_call": {"call"}, "leaves_clean": set(), "reference": set()}
    when = {each.tool: each.when for each in records}
    assert when == {"leaves_call": "success", "leaves_clean": "raise", "reference": "raise"}


def test_a_tool_that_ends_its_process_is_an_outcome() -> None:
    fakes = Path(__file__).with_name("fakes.py")
    records = audited([f"{fakes}:EXITS_AT_ONCE", f"{fakes}:NOT_IMPORTABLE"], PLAIN)
    ended = {each.tool: each.after for each in records if each.when == "none"}
    assert ended["exits_at_once"] == (
        "crashed: the process exited with code 3 before the tool returned"
    )
    assert ended["not_importable"].startswith("unavailable: cannot import no_such_package")
    assert all(each.changed for each in records if each.when == "none")
