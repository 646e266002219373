"""The comparison of two ledgers: totals, differences by module and operator, and its tables."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from flopaudit.reference.cost import Work
from flopaudit.reference.kinds import Kind
from flopaudit.reference.ledger import Ledger, OperatorRow
from flopaudit.studies import agreement
from flopaudit.studies.agreement import Difference, Refused


def booked(path: str, **work: int) -> OperatorRow:
    return OperatorRow(
        "aten.mm.default", "", path, "Linear", 1, Kind.LINEAR, (), (), "", Work(**work)
    )


def ledger(*rows: OperatorRow) -> Ledger:
    return Ledger(rows, (), "meta")


def test_differences_are_by_module_and_quantity() -> None:
    one = ledger(booked("a", macs=3, bias_adds=1), booked("b", adds=2))
    other = ledger(booked("a", macs=3), booked("b", adds=2), booked("c", macs=1))
    assert agreement.differences(one, other) == [
        Difference("bias_adds", "a", 1, 0),
        Difference("flops_all", "a", 7, 6),
        Difference("macs", "c", 0, 1),
        Difference("flops_all", "c", 0, 2),
    ]
    assert agreement.differences(one, one) == []


def test_equal_totals_can_still_differ_by_module() -> None:
    found = agreement.compare("m", ledger(booked("a", macs=1)), ledger(booked("b", macs=1)))
    assert found.agree
    assert not found.per_module
    assert found.reason == "macs of 'a': 1 and 0; macs of 'b': 0 and 1"


def test_other_operations_are_compared_by_operator() -> None:
    found = agreement.compare("m", ledger(booked("a", adds=5)), ledger(booked("a", adds=3)))
    assert found.agree
    assert found.per_module
    assert found.flops_all == 2
    assert found.reason == "aten.mm.default +2"


def test_tables_hold_every_model(tmp_path: Path) -> None:
    same = agreement.compare("same", ledger(booked("", macs=10**6)), ledger(booked("", macs=10**6)))
    refused = Refused("refused", 7, "it a|b cannot")
    agreement.write(tmp_path / "new", [same, refused])
    table = pd.read_csv(tmp_path / "new" / "agreement.csv", dtype=str, keep_default_na=False)
    assert tuple(table.columns) == agreement.HEADERS
    assert list(table["agree"]) == ["yes", "not exportable"]
    assert list(table["static MACs"]) == ["1000000", ""]
    page = (tmp_path / "new" / "agreement.md").read_text()
    assert "1 of 2 models can be exported; of these 1 agree" in page
    assert "1,000,000" in page
    assert "a\\|b" in page
