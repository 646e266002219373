"""Kinds of work are one enumeration; tables of formulas have one entry for each operator."""

from __future__ import annotations

import json
import re

import pytest
import torch
from flopaudit.reference import operators
from flopaudit.reference.conventions import Convention
from flopaudit.reference.formulas.call import nothing, per_output
from flopaudit.reference.formulas.tables import entries, merged, table
from flopaudit.reference.kinds import LAYER_KINDS, PRODUCT_KINDS, Kind
from flopaudit.reference.ledger_entries import plan

RELU = entries(Kind.ACTIVATION, per_output(comparisons=1), "relu threshold")
MOVED = entries(Kind.DATA_MOVEMENT, nothing, "roll relu")


def test_every_kind_is_emitted_and_every_formulas_kind_is_one() -> None:
    kinds = [kind for kind, _ in (*operators.FORMULAS.values(), *operators.HIGHER_ORDER.values())]
    aten = torch.ops.aten
    for operator in (aten.roll.default, aten.special_bessel_j0.default):
        planned = plan(operator)
        assert planned is not None
        kinds.append(planned[0])
    assert {type(kind) for kind in kinds} == {Kind}
    assert set(kinds) == set(Kind)


def test_groups_of_kinds_are_derived_from_the_enumeration() -> None:
    assert PRODUCT_KINDS == (Kind.CONVOLUTION, Kind.LINEAR, Kind.MATMUL, Kind.ATTENTION)
    assert LAYER_KINDS == (Kind.CONVOLUTION, Kind.LINEAR)
    assert Convention("x", "x").products == PRODUCT_KINDS
    assert {kind for kind in Kind if kind.is_product} == set(PRODUCT_KINDS)


def test_kind_is_its_string() -> None:
    """A kind acts as a string: stored in JSON, sorted, formatted, and looked up in a dict."""
    kind = Kind.DATA_MOVEMENT
    assert kind == "data movement"
    assert (str(kind), f"{kind}", f"{kind:>15}", f"{kind}_ops") == (
        "data movement", "data movement", "  data movement", "data movement_ops",
    )  # fmt: skip
    assert json.dumps({kind: [kind]}) == '{"data movement": ["data movement"]}'
    by_kind: dict[str, int] = {kind: 1}
    assert {"data movement": 1}[kind] == by_kind["data movement"] == 1
    assert sorted(Kind) == sorted(kind.value for kind in Kind)
    assert Kind("data movement") is kind


def test_two_formulas_for_one_operator_are_refused() -> None:
    message = "'relu' is registered twice, in first.py and in second.py."
    with pytest.raises(ValueError, match=re.escape(message)):
        merged([("first.py", RELU), ("second.py", MOVED)])
    message = "'relu' is registered twice, in mine.py and in mine.py."
    with pytest.raises(ValueError, match=re.escape(message)):
        table("mine.py", RELU, MOVED)


def test_two_alternatives_of_one_name_are_refused() -> None:
    alternatives = {"causal-half": {"relu": nothing}}
    with pytest.raises(ValueError, match="'causal-half' is registered twice, in one and in two"):
        merged([("one", alternatives), ("two", alternatives)])


def test_tables_without_a_common_name_are_put_together() -> None:
    moved = entries(Kind.DATA_MOVEMENT, nothing, "roll")
    assert table("mine.py", RELU, moved) == {**RELU, **moved}
    assert list(table("mine.py", moved, RELU)) == ["roll", "relu", "threshold"]
