"""A settlement as an object: it prints as the command does, and is exact as HTML and as a table."""

from __future__ import annotations

import copy
from html.parser import HTMLParser
from typing import Any

import pandas as pd
import pytest
from flopaudit.reports import settlement_report
from flopaudit.reports.settlement_object import SettledModel
from flopaudit.reports.terminal import Screen

from tests.support.stored_settlements import committed_settlements, settlement_of

HUGE = 10**20
HINTS = ("--details shows the causes.", "text(details=True) shows the causes.")


class Cells(HTMLParser):
    """The tags of a page, and the text of its paragraphs and cells."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, _attributes: object) -> None:
        self.tags.append(tag)
        self.texts.append("")

    def handle_data(self, data: str) -> None:
        self.texts[-1] += data


def shown(found: Any) -> Cells:
    cells = Cells()
    cells.feed(SettledModel(found)._repr_html_())
    return cells


def hostile(found: Any) -> Any:
    """The settlement of a model that is named to break a page, with a tool that failed."""
    changed = copy.deepcopy(found)
    changed["model"] = "<script>alert(1)</script>"
    changed["tools"][0] |= {"status": "errored", "error": "<img src=x>", "reported": None}
    return changed


@pytest.mark.parametrize("width", [None, 80])
def test_prints_as_the_command_does(width: int | None) -> None:
    for found in committed_settlements()[:40]:
        for details in (False, True):
            lines = settlement_report.lines(found, Screen(), details=details)
            command = " ".join("\n".join(line.plain for line in lines).split())
            text = SettledModel(found).text(details=details, width=width)
            assert max(map(len, text.splitlines())) <= 80 or width is None
            if width is None:
                assert " ".join(text.split()).replace(HINTS[1], HINTS[0]) == command


def test_printing_is_plain_when_piped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    settled = SettledModel(settlement_of("resnet50"))
    assert str(settled) == repr(settled) == settled.text()
    assert "--details" not in str(settled)
    monkeypatch.setenv("COLUMNS", "80")
    assert str(settled) == settled.text(width=80)


def test_a_notebook_shows_every_number_exactly() -> None:
    found = settlement_of("resnet50")
    cells = shown(found)
    for tool in found["tools"]:
        assert f"{tool['reported']:,}" in cells.texts
    assert any("4,089,184,256 MACs = 8,178,368,512 FLOPs" in text for text in cells.texts)
    assert any(
        "+22,228" not in text and "+22,227,968 normalisation" in text for text in cells.texts
    )


def test_what_a_notebook_shows_is_escaped() -> None:
    cells = shown(hostile(settlement_of("resnet50")))
    assert set(cells.tags) == {"div", "style", "p", "table", "thead", "tbody", "tr", "th", "td"}
    assert "<img src=x>" in cells.texts
    assert any("<script>alert(1)</script>" in text for text in cells.texts)


def test_something_unexplained_is_seen_first_in_a_notebook() -> None:
    found = copy.deepcopy(settlement_of("resnet50"))
    found["tools"][0] |= {"unexplained": 7, "unexplained_evidence": "look there"}
    cells = shown(found)
    (place,) = (n for n, text in enumerate(cells.texts) if text.startswith("UNEXPLAINED: +7"))
    assert cells.tags[:place] == ["div", "style", "p"]


def test_a_data_frame_has_a_line_for_each_tool_with_exact_integers() -> None:
    found = settlement_of("resnet50")
    frame = SettledModel(found).to_pandas()
    assert list(frame["tool"]) == [tool["tool"] for tool in found["tools"]]
    assert list(frame["reported"]) == [tool["reported"] for tool in found["tools"]]
    assert (frame["reported"] - frame["reference"] == frame["difference"]).all()
    assert str(frame["reported"].dtype) == "Int64"
    assert frame["explained"].all()


def test_a_data_frame_keeps_counts_that_no_column_of_numpy_holds() -> None:
    found = hostile(settlement_of("resnet50"))
    found["tools"][1]["reported"] = HUGE
    frame = SettledModel(found).to_pandas()
    assert frame["reported"][1] == HUGE
    assert frame["difference"][1] == HUGE - found["tools"][1]["reference"]
    assert frame["reported"][0] is pd.NA
    assert frame["explained"][0] is pd.NA
    assert frame["error"][0] == "<img src=x>"


def test_plain_data_is_a_copy_of_what_the_command_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    found = settlement_of("resnet50")
    before, settled = copy.deepcopy(found), SettledModel(found)
    data = settled.to_dict()
    assert data == before
    data["reference"]["macs"] = 0
    data["tools"].clear()
    assert settled.to_dict() == before
    assert settled.reference["macs"] == before["reference"]["macs"]
    assert settled.quote["FLOPs"] == "flop_counter"
    assert settled.verdict in str(settled)
    assert settled.citation in str(settled)
