"""The listing of a count: the tree of modules, and the tables by operator and kind."""

from __future__ import annotations

import re
from functools import cache

import pytest
import torch
from flopaudit.core.specs import parse_input
from flopaudit.reference.counter import count
from flopaudit.reference.ledger import Ledger
from flopaudit.reports.count_report import COLUMNS, ModelCount, json_rows, listing, show
from flopaudit.reports.terminal import Screen
from torch import nn

from tests.support.models.small_models import Branches

BRANCH = re.compile(r"^((?:[│ ]  )*)(├─ |└─ )?(.*)$")


@cache
def ledger() -> Ledger:
    model = nn.Sequential(Branches(), nn.Sequential(nn.Linear(4, 8), nn.ReLU()), nn.Linear(8, 2))
    return count(model.eval(), torch.zeros(1, 3, 16, 16))


def level(name: str) -> int:
    found = BRANCH.match(name)
    assert found is not None
    return len(found[1]) // 3 + bool(found[2])


def number(text: str) -> int:
    return int(text.replace(",", ""))


def test_a_module_holds_what_is_inside_it() -> None:
    rows = listing(ledger(), "module")
    assert level(rows[0][0]) == 0
    assert number(rows[0][1]) == ledger().macs
    assert number(rows[0][4]) == ledger().flops_all
    for index, (name, *numbers) in enumerate(rows):
        inside = []
        for row in rows[index + 1 :]:
            if level(row[0]) <= level(name):
                break
            inside += [row] if level(row[0]) == level(name) + 1 else []
        for column in (0, 2, 3):
            within = sum(number(row[column + 1]) for row in inside)
            assert within <= number(numbers[column])
            # A Sequential does nothing itself.
            assert within == number(numbers[column]) or "Sequential" not in name


def test_the_branches_are_those_of_a_tree() -> None:
    names = [row[0] for row in listing(ledger(), "module")]
    assert names[0] == "Sequential"
    assert names[1] == "├─ 0 Branches"
    assert names[2] == "│  ├─ stem Conv2d"
    assert names[-3:] == ["│  ├─ 0 Linear", "│  └─ 1 ReLU", "└─ 2 Linear"]
    for name, after in zip(names, [*names[1:], ""], strict=True):
        if "└─ " in name:  # nothing more at this level below the same parent
            at = name.index("└─ ")
            assert after[at : at + 1] in {"", " "} or after.index("─ ") <= at
        if "├─ " in name:
            at = name.index("├─ ")
            assert after[at] in "│├└"


@pytest.mark.parametrize("depth", [1, 2, 3, 9])
def test_the_depth_cuts_the_tree(depth: int) -> None:
    every = listing(ledger(), "module")
    assert listing(ledger(), "module", depth) == [row for row in every if level(row[0]) <= depth]


@pytest.mark.parametrize("by", ["op", "kind"])
def test_by_operator_and_kind_the_rows_add_up(by: str) -> None:
    rows = listing(ledger(), by)
    assert sum(number(row[1]) for row in rows) == ledger().macs
    assert sum(number(row[4]) for row in rows) == ledger().flops_all
    assert [number(row[1]) for row in rows] == sorted((number(r[1]) for r in rows), reverse=True)


@pytest.mark.parametrize("by", ["module", "op", "kind"])
def test_the_share_is_of_all_macs(by: str) -> None:
    for row in listing(ledger(), by):
        share = float(row[2].removesuffix(" %"))
        assert abs(share - 100 * number(row[1]) / ledger().macs) <= 0.05 + 1e-9


@pytest.mark.parametrize(("by", "depth"), [("module", 0), ("module", 2), ("op", 0), ("kind", 0)])
def test_a_program_gets_the_rows_of_the_table(by: str, depth: int) -> None:
    rows = json_rows(ledger(), by, depth)
    shown = listing(ledger(), by, depth)
    assert [(row["macs"], row["bias_adds"], row["flops_all"]) for row in rows] == [
        (number(row[1]), number(row[3]), number(row[4])) for row in shown
    ]
    assert all(type(row[key]) is int for row in rows for key in ("macs", "flops", "flops_all"))
    names = [row[by] for row in rows]
    assert len(set(names)) == len(names)
    if by == "module":
        assert names[:3] == ["", "0", "0.stem"]
        assert (rows[0]["params"], rows[0]["type"]) == (ledger().params, "Sequential")
        assert rows[-1]["params"] == 8 * 2 + 2
        inside = [
            row["params"] for row in rows if row["module"].count(".") == 0 < len(row["module"])
        ]
        assert sum(inside) == ledger().params


def test_without_macs_there_is_no_share() -> None:
    rows = listing(count(nn.ReLU(), torch.zeros(1, 3)), "module")
    assert [row[2] for row in rows] == ["-"]


@pytest.mark.parametrize("width", [40, 80, 160])
def test_it_is_printed_in_columns_that_fit(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    found = ModelCount("m", ("1x3x16x16",), ("macs",), False, False, ledger(), None, "2")  # noqa: FBT003 - fields
    show(found, "module")
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    (head, *_) = heads = [line for line in lines if line.startswith("module ")]
    assert [word for line in heads for word in line.split("  ") if word.strip()][1:]
    if width >= 80:
        ends = {len(line) for line in lines[lines.index(head) :] if line}
        assert ends == {len(head)}
        assert [head.index(column) for column in COLUMNS] == sorted(map(head.index, COLUMNS))


def test_the_tree_has_an_ascii_form() -> None:
    names = [Screen(encoding="ascii").fit(row[0]) for row in listing(ledger(), "module")]
    assert names[1] == "|- 0 Branches"
    assert names[-1] == "`- 2 Linear"
    assert all(name.isascii() for name in names)


@pytest.mark.parametrize("columns", [80, 100])
def test_the_text_next_to_a_number_keeps_its_column(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    conventions = ("macs", "macs-layers", "flops")
    show(ModelCount("m", ("1x3x16x16",), conventions, False, False, ledger(), None, "2"))  # noqa: FBT003 - fields
    printed = capsys.readouterr().out.splitlines()
    (start,) = (n for n, line in enumerate(printed) if line.startswith("macs-layers "))
    column = printed[start].index("multiply-accumulates")
    below = printed[start + 1]
    assert len(below) - len(below.lstrip()) == column
    assert max(map(len, printed)) <= columns


def test_shapes_are_printed_with_a_sign_and_names_as_they_are() -> None:
    inputs = ("1x3x16x16", "x=file:3x4.pt", '{a: int64:2x3, b: [call:"5x6,7x8.py:f", "9x9"]}')
    counted = ModelCount(
        model="m", inputs=inputs, conventions=("macs",), backward=False, static=False,
        ledger=ledger(), peak_activation_bytes=None, torch="2",
    )  # fmt: skip
    first = next(counted.lines())
    shown = '1×3×16×16 + x=file:3x4.pt + {a: int64:2×3, b: [call:"5x6,7x8.py:f", "9x9"]}'
    assert first == f"m · {shown} · eval · torch 2"
    parts = shown.split(" + ")
    assert [str(parse_input(part)) for part in parts] == list(inputs), "what is printed is accepted"
