"""Findings and settlements derived from the kept records of results/quick are the stored ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from flopaudit.explain.settlement import FILE, settlements, to_line
from flopaudit.pipeline.measure import IDENTITIES
from flopaudit.pipeline.results import FINDINGS, Results, collect
from flopaudit.profiles import repository
from flopaudit.profiles.tool_profile import from_text
from flopaudit.records import store
from flopaudit.records.schema import ModelIdentity

from tests.support.paths import ROOT

QUICK = ROOT / "results" / "quick"
PROFILES = sorted((ROOT / repository.DIRECTORY).glob("*.json"))


@pytest.fixture(scope="module")
def collected() -> Results:
    return collect(QUICK)


def test_findings_are_the_stored_ones(collected: Results) -> None:
    stored = (QUICK / FINDINGS).read_text(encoding="utf-8").splitlines()
    assert len(stored) > 200
    assert [finding.line() for finding in collected.findings] == stored


def test_settlements_are_the_stored_ones(collected: Results) -> None:
    stored = (QUICK / FILE).read_text(encoding="utf-8").splitlines()
    assert len(stored) > 10
    identities = [
        record
        for record in store.read(QUICK / IDENTITIES, ModelIdentity)
        if isinstance(record, ModelIdentity)
    ]
    derived = settlements(
        collected.measurements, collected.references, collected.findings, identities
    )
    assert [to_line(each) for each in derived] == stored


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_a_stored_profile_is_written_back_the_same(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    profile = from_text(text, path.name)
    assert json.dumps(profile.to_json(), indent=1, ensure_ascii=False) == text
