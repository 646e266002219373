"""Output of reports to a terminal and to a pipe: colours, links, encodings and widths."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from flopaudit.reports import cause_text, marks
from flopaudit.reports.terminal import Screen, fit, shortened, table, wrap
from rich.color import ColorType
from rich.style import Style
from rich.text import Text

from tests.support.pseudo_terminal import in_terminal

SHOW = (
    "import sys\n"
    "from tests.support.stored_settlements import settlement_of\n"
    "from flopaudit.reports import settlement_report\n"
    "settlement_report.show(settlement_of('resnet50'), details='details' in sys.argv)\n"
)
COMMAND = [sys.executable, "-c", SHOW]
URL = "https://github.com/sovrasov/flops-counter.pytorch/issues/94"

SGR = re.compile(r"\x1b\[([\d;]*)m")
LINK = re.compile(r"\x1b\]8;[^;\x1b]*;([^\x1b]*)\x1b\\")
ESCAPE = re.compile(rf"{SGR.pattern}|{LINK.pattern}")


def piped(*options: str, **environment: str) -> bytes:
    inherited = {k: v for k, v in os.environ.items() if k not in {"COLUMNS", "NO_COLOR"}}
    return subprocess.run(
        [*COMMAND, *options], env={**inherited, **environment}, capture_output=True, check=True
    ).stdout


def colours_in(text: str) -> set[str]:
    """The SGR codes of colours; 0 is a reset and 1 is bold."""
    codes = {code for found in SGR.findall(text) for code in found.split(";")}
    return codes - {"", "0", "1"}


def test_a_terminal_gets_colours_that_end_where_they_began() -> None:
    text = in_terminal([*COMMAND, "details"], 80)
    for line in text.splitlines():
        codes = SGR.findall(line)
        assert codes[1::2] == ["0"] * (len(codes) // 2), line
        assert "0" not in codes[::2]
        assert len(codes) % 2 == 0
    assert colours_in(text) == {"32", "35"}
    assert "\x1b" not in ESCAPE.sub("", text)


def test_a_terminal_gets_links_that_are_closed() -> None:
    text = in_terminal([*COMMAND, "details"], 80)
    for line in text.splitlines():
        targets = LINK.findall(line)
        assert all(targets[::2])
        assert not any(targets[1::2])
        assert len(targets) % 2 == 0
    assert URL in LINK.findall(text)
    shown = ESCAPE.sub("", text)
    assert "sovrasov/flops-counter.pytorch#94" in " ".join(shown.split())
    assert "https://" not in shown


@pytest.mark.parametrize("columns", [80, 120, 200])
def test_what_a_terminal_shows_fits_it_and_is_the_text(columns: int) -> None:
    shown = ESCAPE.sub("", in_terminal(COMMAND, columns)).splitlines()
    assert max(map(len, shown)) <= columns
    assert shown == piped(COLUMNS=str(columns)).decode().splitlines()


def test_without_colours_the_text_is_the_same() -> None:
    coloured = in_terminal(COMMAND, 80)
    plain = in_terminal(COMMAND, 80, {"NO_COLOR": "1"})
    assert colours_in(coloured)
    assert not colours_in(plain)
    assert ESCAPE.sub("", coloured) == ESCAPE.sub("", plain)


def test_a_dumb_terminal_gets_no_escape_codes() -> None:
    text = in_terminal([*COMMAND, "details"], 80, {"TERM": "dumb"})
    assert "\x1b" not in text
    assert URL in text


@pytest.mark.parametrize("environment", [{}, {"FORCE_COLOR": "1"}, {"COLUMNS": "80"}])
def test_a_pipe_gets_no_escape_codes(environment: dict[str, str]) -> None:
    text = piped("details", **environment).decode()
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", text)
    assert URL in text


@pytest.mark.parametrize("environment", [{}, {"COLUMNS": "80"}])
def test_an_output_in_ascii_gets_ascii(environment: dict[str, str]) -> None:
    text = piped("details", PYTHONIOENCODING="ascii", **environment).decode("ascii")
    assert "1x3x224x224 - eval" in text
    assert ("#" in text) == ("COLUMNS" in environment)


def test_symbols_of_reports_have_an_ascii_form() -> None:
    text = "2M† · 1×3 → 10⁹ ± 5 … −1"
    assert Screen(encoding="ascii").fit(text) == "2M~ - 1x3 -> 10^9 +- 5 ... -1"


def test_a_terminal_in_ascii_gets_ascii() -> None:
    text = in_terminal(COMMAND, 80, {"PYTHONIOENCODING": "ascii"})
    assert text.isascii()
    assert "1x3x224x224 - eval" in ESCAPE.sub("", text)


def test_colours_can_be_read_on_dark_and_on_light() -> None:
    hard_to_read = {"black", "white", "yellow", "bright_yellow", "bright_white", "bright_black"}
    for style in map(Style.parse, filter(None, marks.STYLES.values())):
        assert style.color is not None
        assert style.color.type is ColorType.STANDARD
        assert style.color.name not in hard_to_read
        assert not style.dim


# -- lines -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [2, 5, 17, 40])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_wrapped_lines_fit_and_lose_nothing(width: int, encoding: str) -> None:
    text = "  10×3 … conv1·weight  and a_rather_long_word_that_fits_nowhere │ 模型"
    lines = wrap(Text(text), Screen(width, encoding), 0)
    assert all(line.cell_len <= width for line in lines)
    fitted = Screen(width, encoding).fit(text)
    assert "".join("".join(line.plain for line in lines).split()) == "".join(fitted.split())
    assert fitted.encode(encoding)


def test_wrapping_keeps_styles_also_where_characters_are_replaced() -> None:
    text = Text.assemble("see ", ("…/file", "link https://x.y"), " × ", ("red", "bold red"))
    for encoding, shown in (("utf-8", "…/file"), ("ascii", ".../file")):
        (line,) = wrap(text, Screen(80, encoding))
        styled = {line.plain[span.start : span.end]: str(span.style) for span in line.spans}
        assert styled[shown] == "link https://x.y"
        assert styled["red"] == "bold red"


def test_control_characters_of_a_tool_do_not_reach_the_screen() -> None:
    text = "\x1b[31mred\x07\x9b0m"
    (line,) = wrap(Text.assemble("error: ", (text, "bold")), Screen())
    assert line.plain == r"error: \x1b[31mred\x9b0m"
    assert [row.plain for row in table(["a"], [[text]], Screen())][1] == r"\x1b[31mred\x07\x9b0m"


@pytest.mark.parametrize("room", [3, 10, 80])
def test_a_shortened_text_is_one_line(room: int) -> None:
    for encoding, mark in (("utf-8", "…"), ("ascii", "...")):
        text = shortened("AssertionError:\n  it × failed", Screen(80, encoding), room)
        assert len(text) <= room
        assert "\n" not in text
        assert text.endswith(mark) == (room < 27)


def test_a_link_is_short_only_where_it_can_be_followed() -> None:
    issue = f"{URL} (bug: counted again)"
    linked = cause_text.thread(issue, Screen(links=True))
    assert linked.plain == "sovrasov/flops-counter.pytorch#94 (bug: counted again)"
    assert [span.style for span in linked.spans] == [f"link {URL}"]
    assert cause_text.thread(issue, Screen()).plain == issue
    assert cause_text.thread_name("https://example.org/1") == "https://example.org/1"


# -- tables ----------------------------------------------------------------------------------------


def test_a_wide_table_is_split_with_its_first_column_repeated() -> None:
    headers = ["model", *(f"tool{i}" for i in range(9))]
    rows = [["resnet", *("1" * 6 for _ in range(9))] for _ in range(2)]
    for width in (20, 40, 80):
        lines = [line.plain for line in table(headers, rows, Screen(width))]
        assert max(map(len, lines)) <= width
        heads = [line for line in lines if line.startswith("model")]
        assert " ".join(heads).replace("model", "").split() == headers[1:]
        assert lines.count("") == len(heads)
    assert len(list(table(headers, rows, Screen()))) == 4


def test_columns_fit_in_parts() -> None:
    assert fit([5, 5, 5], None, 1) == [[0, 1, 2]]
    assert fit([5, 5, 5], 12, 1) == [[0, 1], [0, 2]]
    assert fit([5, 50], 12, 1) == [[0, 1]]
    assert fit([5], 12, 1) == [[0]]


def test_a_row_with_something_unexplained_is_red_and_says_so() -> None:
    _, good, bad, _ = table(["model", "thop"], [["a", "1 ="], ["b", "1 ?"]], Screen())
    assert (good.style, bad.style) == ("", "red")
    assert bad.plain.endswith(" ?")
