"""Reports of an audit: the table, the sentences, and the records that they are made from."""

from __future__ import annotations

import json

import pytest
from flopaudit.audit import audit_report
from flopaudit.records.schema import SideEffect, load


def record(check: str, amount: int, when: str = "success") -> SideEffect:
    line = {
        "tool": "a",
        "tool_version": "1",
        "model": "m:net",
        "condition": "eval",
        "when": when,
        "check": check,
        "before": "0",
        "after": str(amount),
        "changed": bool(amount),
        "amount": amount,
        "detail": "+key" if amount else "",
    }
    effect: SideEffect = load(SideEffect, json.dumps(line))
    return effect


def test_a_table_holds_the_most_and_says_when() -> None:
    records = [record("state_dict", 1), record("state_dict", 18), record("pickle", 0)]
    assert audit_report.grid(records) == (["effect", "a"], [["state_dict", "18 keys"]])
    raised = [
        record("hooks", 1, "raise"),
        record("hooks", 0),
        record("train", 1),
        record("train", 0),
    ]
    rows = [["train", "1 of 2"], ["hooks", "1 hook (raise)"]]
    assert audit_report.grid(raised) == (["effect", "a"], rows)


def test_versions_of_a_tool_have_columns_of_their_own() -> None:
    newer = record("state_dict", 2).model_copy(update={"tool_version": "2"})
    headers, rows = audit_report.grid([record("state_dict", 1), newer])
    assert headers == ["effect", "a 1", "a 2"]
    assert rows == [["state_dict", "1 key", "2 keys"]]
    assert [
        line for line in audit_report.sentences([newer, record("hooks", 1)]) if line[0] != " "
    ] == [
        "a 2:",
        "a 1:",
    ]


def test_sentences_come_gravest_first() -> None:
    records = [record("state_dict", 18), record("state_dict", 0), record("forward", 1)]
    assert list(audit_report.sentences(records)) == [
        "a 1:",
        "  the model no longer gives the same output on net: +key",
        "  changes 18 keys of the state_dict on net, in 1 of 2 calls: +key",
    ]


def test_an_effect_without_an_amount_is_refused() -> None:
    line = record("hooks", 3).model_dump() | {"changed": False}
    with pytest.raises(ValueError, match="amount"):
        load(SideEffect, json.dumps(line))
