"""Text of models, tools and users on a terminal: nothing in it acts, and columns stay columns."""

from __future__ import annotations

import sys
import unicodedata
from pathlib import Path

import pytest
from flopaudit.cli.output import print_error, print_json
from flopaudit.core.text import encodable, plain, visible, visible_json
from flopaudit.records.schema import ModuleParams, load
from flopaudit.reports import cause_text
from flopaudit.reports.terminal import (
    Screen,
    columns_of,
    print_line,
    print_message,
    print_table,
    print_wrapped,
    shortened,
    table,
    wrap,
)
from rich.cells import cell_len

from tests.support.pseudo_terminal import in_terminal

HOSTILE = "\x1b[2J\x1b]8;;http://x.y\x07a\x1b]0;t\x07\x9b31m\x00\x7f\r\u202eb\u200bc\u2028d\ufeff\U000e0041"
SHOWN = r"\x1b[2J\x1b]8;;http://x.y\x07a\x1b]0;t\x07\x9b31m\x00\x7f\r\u202eb\u200bc\u2028d\ufeff\U000e0041"


def test_all_that_acts_or_is_hidden_becomes_visible() -> None:
    kinds = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        if unicodedata.category(character) in kinds and not unicodedata.name(
            character, ""
        ).startswith(("ARABIC", "SYRIAC", "KAITHI", "EGYPTIAN")):  # signs that are seen
            assert visible(character).isascii(), f"{code:x}"
            assert visible(character).startswith("\\")
    assert visible(HOSTILE) == SHOWN
    assert visible("a\nb\tc") == r"a\nb\tc"
    assert visible("a\nb\r\n", lines=True) == "a\nb\\r\n"
    assert visible("模型 × é … 😀") == "模型 × é … 😀"


def test_names_of_files_that_are_not_utf_8_are_read_as_bytes() -> None:
    name = b"caf\xe9\xff.py".decode(errors="surrogateescape")
    assert plain(name) == visible(name) == r"caf\xe9\xff.py"
    assert plain("\ud83d") == r"\ud83d"
    assert plain("\x1b\n") == "\x1b\n"


def test_every_way_of_printing_shows_it(capsys: pytest.CaptureFixture[str]) -> None:
    for show in (print_line, print_wrapped, print_message, print_error):
        show(f"[red]{HOSTILE}[/red]")
    print_table(["a", HOSTILE], [[HOSTILE, "[link=http://x.y]1[/link]"]])
    print_json({HOSTILE: HOSTILE})
    out, err = capsys.readouterr()
    assert visible(out, lines=True) == out
    assert visible(err, lines=True) == err
    assert err == f"[red]{SHOWN}[/red]\n" * 2
    assert "[link=http://x.y]1[/link]" in out
    assert out.startswith(f"[red]{SHOWN}[/red]\n")


def test_a_json_document_is_the_same_with_escapes() -> None:
    assert visible_json('{"\x7f": "\u202e\x9b"}\n') == '{"\\u007f": "\\u202e\\u009b"}\n'
    line = ModuleParams(path=HOSTILE, type="模").line()
    assert visible(line) == line
    assert load(ModuleParams, line) == ModuleParams(path=HOSTILE, type="模")


def test_only_addresses_of_threads_become_links_of_a_terminal() -> None:
    issue = "https://x.y/\x1b]8;; (note)"
    shown = cause_text.thread(issue, Screen(links=True))
    assert not shown.spans
    (line,) = wrap(shown, Screen(links=True))
    assert line.plain == r"https://x.y/\x1b]8;; (note)"


def test_a_bar_of_progress_shows_names_as_they_are() -> None:
    code = (
        "import sys; sys.stderr = sys.stdout\n"
        "from types import SimpleNamespace as N\n"
        "from flopaudit.reports.progress import Bar\n"
        f"model = N(location={HOSTILE + '[red]x[/red]'!r}, factory='')\n"
        "with Bar() as notice:\n"
        "    notice(N(job=N(model=model), cell=None, outcome=None), 1, 2)\n"
    )
    written = in_terminal([sys.executable, "-c", code], 200)
    assert f"{SHOWN}[red]x[/red]: building" in written
    assert "\x1b[2J" not in written
    assert "\x1b]" not in written


def test_wide_characters_take_two_columns() -> None:
    names = ["模型", "resnet", "e\u0301t\u00e9", "😀", "\x1b"]
    lines = [line.plain for line in table(["n", "c"], [[name, "1"] for name in names], Screen())]
    assert len({cell_len(line) for line in lines[:-1]}) == 1
    parts = list(table(["模型模型", "count"], [["模型", "1"]], Screen(15)))
    assert all(line.cell_len <= 15 for line in parts)
    for room in (1, 2, 3, 7, 8):
        text = shortened("模型模型x", Screen(80), room)
        assert columns_of(text) <= room
        assert text.endswith("…")


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("ascii", r"x - ... 10^9 +- \u6a21 \xe9 \U0001f600 -> |-"),
        ("latin-1", r"× · ... 10^9 ± \u6a21 é \U0001f600 -> |-"),
        ("cp1252", r"× · … 10^9 ± \u6a21 é \U0001f600 -> |-"),
        ("utf-8", "× · … 10⁹ ± 模 é 😀 → ├─"),
    ],
)
def test_what_an_encoding_lacks_is_written_in_other_words(encoding: str, shown: str) -> None:
    text = "× · … 10⁹ ± 模 é 😀 → ├─"
    assert encodable(text, encoding) == shown
    assert Screen(encoding=encoding).fit(text) == shown


def test_a_traceback_of_hostile_text_is_shown_as_it_is(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.support.command_line import flopaudit_here

    monkeypatch.chdir(tmp_path)
    for args in ((), ("--traceback",)):
        done = flopaudit_here(*args, "count", HOSTILE.replace("\x00", ""), capsys=capsys)
        assert done.returncode == (1 if args else 2)
        assert visible(done.stderr, lines=True) == done.stderr
        assert SHOWN.replace("\\x00", "") in done.stderr
