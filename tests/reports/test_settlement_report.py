"""The first screen of a settlement, its details and its Markdown, on every committed settlement."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
from flopaudit.explain.settlement import is_explained
from flopaudit.reports import settlement_report, settlement_text
from flopaudit.reports.settlement_rows import mark_of, parts, percent
from flopaudit.reports.settlement_text import name_of, unit_of
from flopaudit.reports.terminal import Screen

from tests.support.stored_settlements import amounts_in, committed_settlements, settlement_of

GOLDEN = Path(__file__).parent / "golden"
WIDTHS = (80, 100, 120, 160, 200)
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def lines(found: Any, to: Screen | None = None, *, details: bool = False) -> list[str]:
    return [line.plain for line in settlement_report.lines(found, to, details=details)]


def counted(found: Any) -> list[Any]:
    if found["reference"]["macs"] is None:
        return []
    return [tool for tool in found["tools"] if tool["status"] == "counted"]


def row_of(tool: Any, printed: list[str]) -> str:
    start = re.compile(rf"[=*!? ] {re.escape(name_of(tool))}  ")
    (row,) = (line for line in printed if start.match(line))
    return row


# -- invariants, on all that is committed ----------------------------------------------------------


def test_the_parts_of_each_tool_add_up_to_its_difference() -> None:
    checked = 0
    for found in committed_settlements():
        for tool in counted(found):
            difference = tool["reported"] - tool["reference"]
            assert sum(amount for _, amount in parts(tool)) == difference
            checked += 1
    assert checked > 1000


def test_the_amounts_that_are_printed_add_up_to_the_difference() -> None:
    checked = 0
    for found in committed_settlements():
        printed = lines(found)
        for tool in counted(found):
            row = row_of(tool, printed)
            assert f"{tool['reported']:,} {unit_of(tool)}" in row
            assert sum(amounts_in(row)) == tool["reported"] - tool["reference"]
            checked += 1
    assert checked > 1000


def test_there_is_one_row_for_each_tool_with_the_mark_of_its_number() -> None:
    for found in committed_settlements():
        printed = lines(found, Screen(80))
        for tool in found["tools"]:
            mark = row_of(tool, printed)[0]
            if tool["status"] != "counted" or found["reference"]["macs"] is None:
                assert mark == " "
            elif not is_explained(tool):
                assert mark == "?"
            elif tool["reported"] == tool["reference"]:
                assert mark == "="
            else:
                far = 100 * abs(tool["reported"] - tool["reference"]) > tool["reference"]
                assert mark == ("!" if far else "*")


def test_a_tool_that_did_not_count_has_its_status_and_reason() -> None:
    checked = 0
    for found in committed_settlements():
        printed = lines(found)
        for tool in found["tools"]:
            if tool["status"] != "counted":
                row = row_of(tool, printed)
                assert tool["status"].replace("_", " ") in row
                assert " ".join(tool["error"].split()) in row
                checked += 1
    assert checked > 50


@pytest.mark.parametrize("details", [False, True])
@pytest.mark.parametrize("width", WIDTHS)
def test_no_line_is_wider_than_the_screen(width: int, details: bool) -> None:  # noqa: FBT001 - a parameter
    for to in (Screen(width), Screen(width, links=True), Screen(width, "ascii")):
        wide = {
            (found["model"], line)
            for found in committed_settlements()
            for line in lines(found, to, details=details)
            if len(line) > width
        }
        assert wide == set()


def test_the_first_screen_fits_a_terminal_of_usual_size() -> None:
    heights = {
        found["model"]: len(lines(found, Screen(80)))
        - 6 * bool(found["reference"]["data_dependent"])  # lines of code that decide take some more
        for found in committed_settlements()
    }
    assert max(heights.values()) <= 30
    assert sorted(heights.values())[len(heights) // 2] <= 25


def test_text_has_no_control_characters_and_ascii_where_that_is_all_there_is() -> None:
    for found in committed_settlements():
        for to in (Screen(), Screen(80), Screen(80, "ascii"), Screen(encoding="ascii")):
            for line in lines(found, to, details=True):
                assert not CONTROL.search(line)
                assert to.encoding != "ascii" or line.isascii()


def test_details_hold_every_cause_with_all_that_is_known_of_it() -> None:
    for found in committed_settlements():
        printed = lines(found, details=True)
        everything = "\n".join(printed)
        for tool in counted(found):
            for cause in (*tool["causes"], *tool["params_causes"]):
                known = (cause["cause"], f"{abs(cause['delta']):,}", cause["evidence"],
                         cause["probe"] or "", cause["issue"] or "")  # fmt: skip
                assert any(all(text in line for text in known) for line in printed), known
        assert found["tools"] == [] or "unexplained" in everything


def test_markdown_holds_every_cause_and_has_whole_tables() -> None:
    for found in committed_settlements():
        text = settlement_report.markdown(found)
        rows = [line for line in text.splitlines() if line.startswith("|")]
        assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} <= {7, 8}
        plain = text.replace("\\", "")
        for tool in counted(found):
            for cause in (*tool["causes"], *tool["params_causes"]):
                assert f"| {cause['cause']} | {cause['delta']:+,} | {cause['evidence']} |" in plain


# -- golden texts ----------------------------------------------------------------------------------


@pytest.mark.parametrize("details", [False, True])
@pytest.mark.parametrize("width", [80, 160])
def test_a_settlement_is_printed_as_before(width: int, details: bool, regenerate: bool) -> None:  # noqa: FBT001 - parameters
    text = "\n".join(lines(settlement_of("resnet50"), Screen(width), details=details)) + "\n"
    path = GOLDEN / f"settle_resnet50_{width}{'_details' if details else ''}.txt"
    if regenerate:
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8"), "--regenerate writes it again"


# -- what is unexplained, and what cannot be compared ----------------------------------------------


def with_rest(amount: int) -> Any:
    """A settlement in which a part of thop's number is unexplained."""
    found = copy.deepcopy(settlement_of("resnet50"))
    (tool,) = (tool for tool in found["tools"] if tool["tool"] == "thop")
    tool["reported"] += amount
    tool["unexplained"] = amount
    tool["unexplained_evidence"] = "no cause is known"
    return found


@pytest.mark.parametrize("amount", [12_345, -987_654_321])
def test_anything_unexplained_comes_first(amount: int) -> None:
    found = with_rest(amount)
    printed = lines(found)
    assert printed[1].startswith(f"UNEXPLAINED: {amount:+,} MACs of thop ")
    assert "5 of 6 counts are explained exactly." in printed[2]
    (tool,) = (tool for tool in found["tools"] if tool["tool"] == "thop")
    assert mark_of(tool) == "?"
    assert parts(tool)[0] == ("UNEXPLAINED", amount)
    row = row_of(tool, printed)
    assert sum(amounts_in(row)) == tool["reported"] - tool["reference"]
    assert "UNEXPLAINED" in settlement_report.markdown(found).splitlines()[2]


def test_modules_that_differ_although_the_sum_is_right_are_unexplained() -> None:
    found = copy.deepcopy(settlement_of("resnet50"))
    tool = found["tools"][0]
    tool["rows_that_differ"], tool["unexplained_evidence"] = 2, "conv1: 1, not 2"
    printed = lines(found)
    assert printed[1] == f"UNEXPLAINED: how FLOPs add up of {name_of(tool)}: conv1: 1, not 2."
    assert row_of(tool, printed).startswith("? ")
    assert "flop_counter" not in "".join(who for _, who in settlement_text.quote(found))


def without_reference() -> Any:
    found = copy.deepcopy(settlement_of("resnet50"))
    found["reference"] |= {"macs": None, "flops": None, "params": None, "error": "it failed"}
    for tool in found["tools"]:
        tool["reference"] = tool["unexplained"] = tool["params_unexplained"] = None
        tool["causes"] = tool["params_causes"] = []
    return found


def test_without_a_reference_nothing_reads_as_success() -> None:
    found = without_reference()
    for details in (False, True):
        printed = lines(found, details=details)
        text = "\n".join(printed)
        assert "No number could be compared, because the reference count failed: it failed" in text
        assert "Cite: nothing, because the reference count failed" in text
        assert "explained" not in text.replace("--details shows the causes", "")
        assert not any(line.startswith("Quote") for line in printed)
    assert [mark_of(tool) for tool in found["tools"]] == [" "] * 6
    assert "No number could be compared" in settlement_report.markdown(found)


def test_without_a_tool_that_counted_nothing_reads_as_success() -> None:
    found = copy.deepcopy(settlement_of("resnet50"))
    found["tools"] = [
        {**tool, "status": "errored", "error": "it\nfailed | here", "reported": None}
        for tool in found["tools"][:1]
    ]
    assert "None of these tools gave a number to compare." in lines(found)[1]
    assert "it failed \\| here" in settlement_report.markdown(found)


# -- small things ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reported", "reference", "text"),
    [
        (100, 100, "0 %"),
        (101, 100, "+1.00 %"),
        (99, 100, "-1.00 %"),
        (1_000_001, 1_000_000, "<0.01 %"),
        (999_999, 1_000_000, "<0.01 %"),
        (20_001, 20_000, "+0.01 %"),
        (0, 100, "-100.00 %"),
        (3_000, 1, "+299,900.00 %"),
        (5, 0, ""),
    ],
)
def test_percent(reported: int, reference: int, text: str) -> None:
    tool: Any = {
        "status": "counted",
        "reported": reported,
        "reference": reference,
        "lower_bound": False,
    }
    assert percent(tool) == text


def test_a_version_is_named_where_there_are_several() -> None:
    found = copy.deepcopy(settlement_of("resnet50"))
    older = {**found["tools"][-2], "version": "0.1.0-2206102148"}
    assert older["tool"] == "thop"
    found["tools"].append(older)
    (who,) = (who for what, who in settlement_text.quote(found) if what == "parameters")
    assert "thop 0.1.1.post2209072238" in who
    assert "thop 0.1.0.post2206102148" in who
    assert "fvcore," in who
