"""The matrix: formulas fit the numbers, every probe has a row, and it is read without torch."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
from flopaudit import probes
from flopaudit.core.errors import UsageError
from flopaudit.pipeline.measure import MEASUREMENTS
from flopaudit.pipeline.probe_tools import WORK
from flopaudit.pipeline.results import measurements_in
from flopaudit.profiles import repository
from flopaudit.profiles.matrix import (
    UNMEASURED,
    Matrix,
    MatrixCell,
    Row,
    collapsed,
    matrix,
    only_probes,
    only_tools,
    summary,
)
from flopaudit.profiles.tool_profile import (
    Habits,
    ParamHabits,
    ProbeOutcome,
    Profile,
)
from flopaudit.records.schema import Status
from flopaudit.reports import matrix_report

from tests.support.command_line import flopaudit
from tests.support.paths import ROOT

STORED = ROOT / repository.DIRECTORY


# -- rows and cells --------------------------------------------------------------------------------

MACS_ONCE = {"macs": Fraction(1)}
ZERO = MatrixCell({}, 5, 5)
MACS = MatrixCell(MACS_ONCE, 5, 5)
RAISES = MatrixCell(None, 0, 5, "errored: ValueError: no")
TAKES_NONE = MatrixCell(None, 0, 5, "unsupported: images alone")


@pytest.mark.parametrize(
    ("cell", "text", "long"),
    [
        (ZERO, "0", "0"),
        (MACS, "M", "M"),
        (MatrixCell(None, 5, 5), "?", "?"),
        (RAISES, "raises", "raises: ValueError: no"),
        (TAKES_NONE, "takes no such", "takes no such: images alone"),
        (UNMEASURED, "-", "-"),
        (
            MatrixCell(MACS_ONCE, 2, 5, "errored: E: x"),
            "M†",
            "M (2 of 5 sizes; else raises: E: x)",
        ),
        (MatrixCell({}, 2, 5, "crashed: gone"), "0†", "0 (2 of 5 sizes; else crashes: gone)"),
    ],
)
def test_a_cell_shows_what_was_counted_or_how_it_ended(
    cell: MatrixCell, text: str, long: str
) -> None:
    assert (cell.text, cell.long) == (text, long)


def tool(name: str, *probes: str, variant: str | None = None, version: str = "1.0") -> Profile:
    outcomes = tuple(ProbeOutcome(probe, 5, 0, 0, 0, note="errored: E: x") for probe in probes)
    return Profile(name, version, variant, "MAC", "2.14.1", Habits(), ParamHabits(), (), outcomes)


def row(probe: str, *cells: MatrixCell) -> Row:
    return Row((probe,), cells)


def test_a_probe_that_one_tool_lacks_has_a_row_in_its_group() -> None:
    found = matrix([tool("b", "conv/x", "norm/y", "conv/z"), tool("a", "conv/x", "conv/new")])
    assert [each.tool for each in found.tools] == ["a", "b"]
    assert [r.probes for r in found.rows] == [
        ("conv/x",), ("conv/new",), ("conv/z",), ("norm/y",),
    ]  # fmt: skip
    assert [r.texts for r in found.rows] == [
        ("raises", "raises"), ("raises", "-"), ("-", "raises"), ("-", "raises"),
    ]  # fmt: skip


def test_rows_of_a_group_that_are_the_same_are_joined() -> None:
    rows = [
        row("conv/a", MACS, ZERO),
        row("conv/b", ZERO, ZERO),
        row("conv/c", MACS, ZERO),
        row("norm/d", MACS, ZERO),
    ]
    assert [each.probes for each in collapsed(rows)] == [
        ("conv/a", "conv/c"), ("conv/b",), ("norm/d",),
    ]  # fmt: skip


def test_a_summary_has_every_group_and_then_the_largest() -> None:
    rows = [
        Row(("conv/a", "conv/b", "conv/c"), (MACS,)),
        Row(("conv/d", "conv/e"), (ZERO,)),
        Row(("norm/f",), (ZERO,)),
        Row(("norm/g",), (MACS,)),
    ]
    assert summary(rows, 2) == [rows[0], rows[2]]
    assert summary(rows, 3) == rows[:3]
    assert summary(rows, 9) == rows


def test_tools_are_chosen_by_name_variant_and_version() -> None:
    old, new = tool("thop", version="0.1"), tool("thop", version="0.2")
    aten = tool("ptflops", variant="aten")
    both = [old, new, aten, tool("ptflops", variant="pytorch")]
    assert only_tools(both, []) == both
    assert only_tools(both, ["thop"]) == [old, new]
    assert only_tools(both, ["ptflops:aten", "thop==0.2"]) == [new, aten]
    with pytest.raises(UsageError, match=r"no profile of 'thpo'\. Did you mean thop\?"):
        only_tools(both, ["thpo"])
    with pytest.raises(UsageError, match=r"0\.3"):
        only_tools(both, ["thop==0.3"])


def test_probes_are_chosen_by_group_name_or_pattern() -> None:
    found = matrix([tool("a", "conv/x", "conv/xy", "convex/x")])

    def chosen(pattern: str) -> list[str]:
        return [each.probes[0] for each in only_probes(found, pattern).rows]

    assert chosen("conv") == ["conv/x", "conv/xy"]
    assert chosen("conv/x") == ["conv/x"]
    assert chosen("*/x") == ["conv/x", "convex/x"]
    assert chosen("xy") == ["conv/xy"]
    with pytest.raises(UsageError, match="The groups are conv, convex"):
        only_probes(found, "norm")


def test_versions_are_named_where_there_are_several() -> None:
    tools = [tool("thop", version="0.1"), tool("thop", version="0.2"), tool("x", variant="aten")]
    assert matrix_report.brief_names(tools) == ["thop 0.1", "thop 0.2", "x aten"]
    assert matrix_report.full_name(tools[2]) == "x 1.0 aten (MAC)"


# -- what is written -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stored() -> Matrix:
    return matrix(repository.in_directory(STORED))


def test_every_probe_of_the_stored_profiles_has_one_row_in_each_output(stored: Matrix) -> None:
    measured = {each.probe for profile in stored.tools for each in profile.probes}
    assert len(measured) > 800
    assert sorted(r.probes[0] for r in stored.rows) == sorted(measured)
    lines = list(csv.reader(io.StringIO(matrix_report.as_csv(stored))))
    assert [line[0] for line in lines[1:]] == [r.probes[0] for r in stored.rows]
    assert {len(line) for line in lines} == {2 + len(stored.tools)}
    text = matrix_report.markdown(stored)
    for group, rows in stored.groups.items():
        section = text.partition(f"\n## {group}\n")[2].partition("\n## ")[0]
        named = [name for line in section.splitlines() if line.startswith("|")
                 for name in line.split("|")[1].strip().split(", ")]  # fmt: skip
        assert sorted(named[2:]) == sorted(name for r in rows for name in r.names)


def test_no_stored_cell_is_left_unmeasured(stored: Matrix) -> None:
    assert not [r.probes for r in stored.rows if "-" in r.texts]


def test_a_stored_formula_is_of_numbers_that_were_given(stored: Matrix) -> None:
    cells = [cell for each in stored.rows for cell in each.cells]
    assert not [cell for cell in cells if cell.formula is not None and not cell.counted]
    assert all(cell.note for cell in cells if cell.counted < cell.cases)


def _journal(profile: Profile) -> Path:
    name = repository.file_name((profile.tool, profile.version, profile.variant or ""))
    return STORED / WORK / name.removesuffix(".json") / MEASUREMENTS


def test_a_cell_of_0_was_reported_as_0(stored: Matrix) -> None:
    journals = [_journal(profile) for profile in stored.tools]
    if not all(path.exists() for path in journals):
        pytest.skip("the numbers from which the profiles were inferred are not kept here")
    for index, journal in enumerate(journals):
        numbers: dict[str, set[int]] = {}
        for record in measurements_in(journal):
            if record.status is Status.COUNTED and record.reported is not None:
                probe = record.model.removeprefix("probe:").partition("?")[0]
                numbers.setdefault(probe, set()).add(record.reported)
        for each in stored.rows:
            is_zero = each.cells[index].formula == {}
            assert not is_zero or numbers[each.probes[0]] == {0}, each.probes


def test_files_are_written_next_to_the_profiles_and_are_no_profiles(tmp_path: Path) -> None:
    source = next(iter(sorted(STORED.glob("*.json"))))
    (tmp_path / source.name).write_text(source.read_text())
    matrix_report.write(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [source.name, "matrix.csv", "matrix.md"]
    )
    assert (tmp_path / "matrix.md").read_text().startswith("# What the tools count\n")


# -- for a person ----------------------------------------------------------------------------------


def test_long_texts_are_folded_and_nothing_of_them_is_lost() -> None:
    name, cell = "function_adaptive_avg_pool2d_overlapping +3", "M(linear) + 5n(norm layers)"
    lines = list(matrix_report.fold([name, cell, "0"]))
    assert len(lines) > 1
    assert max(len(line[0]) for line in lines) <= matrix_report.LABEL
    assert "".join(line[0].strip() for line in lines).replace(" ", "") == name.replace(" ", "")
    assert " ".join(line[1].strip() for line in lines).strip() == cell
    assert [line[2] for line in lines] == ["0", *[""] * (len(lines) - 1)]


@pytest.mark.parametrize("args", [[], ["conv"], ["attention"], ["*relu*"]])
def test_tables_fit_the_terminal(args: list[str], tmp_path: Path) -> None:
    done = flopaudit("matrix", *args, cwd=tmp_path, columns=80)
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_piped_each_row_is_one_line(tmp_path: Path) -> None:
    done = flopaudit("matrix", "conv", "--tools", "thop", cwd=tmp_path)
    lines = done.stdout.splitlines()
    group, *versions = lines[0].split()
    assert group == "conv"
    assert set(versions[::2]) == {"thop"}  # each with its version, since there are several
    names = [line.split()[0] for line in lines[1 : lines.index("")]]
    assert {f"conv/{name}" for name in names} <= set(probes.PROBES)
    assert len(names) == len(set(names)) >= 50
    assert "\x1b" not in done.stdout


def test_json_has_every_probe_and_the_formulas(tmp_path: Path) -> None:
    done = flopaudit("matrix", "--json", "--tools", "ptflops:aten,thop", cwd=tmp_path)
    data = json.loads(done.stdout)
    assert list(dict.fromkeys((t["tool"], t["variant"]) for t in data["tools"])) == [
        ("ptflops", "aten"),
        ("thop", None),
    ]
    assert len({each["probe"] for each in data["probes"]}) == len(data["probes"]) > 800
    cells = [cell for each in data["probes"] for cell in each["cells"]]
    assert all(set(cell) == {"text", "says", "counted", "cases", "note"} for cell in cells)


@pytest.mark.parametrize("args", [["nowhere"], ["--tools", "nothing"]])
def test_an_unknown_name_is_one_sentence(args: list[str], tmp_path: Path) -> None:
    done = flopaudit("matrix", *args, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("flopaudit: ")
    assert len(done.stderr.splitlines()) == 1


def test_it_is_read_without_torch_numpy_or_pandas(tmp_path: Path) -> None:
    code = (
        "import sys; sys.argv = ['flopaudit', 'matrix']\n"
        "from flopaudit.cli.app import app\n"
        "try: app()\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'torchvision', 'numpy', 'pandas'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)


@pytest.mark.parametrize("tool", ["../outside", "/absolute", "a\\b", "a\0b", "..", "plain"])
def test_the_file_of_a_profile_is_in_its_folder(tool: str, tmp_path: Path) -> None:
    path = tmp_path / repository.file_name((tool, "1.0", ""))
    path.write_text("{}")
    assert path.resolve().parent == tmp_path.resolve()
