"""The matrix: formulas fit the numbers, every probe has a row, and it is read without torch."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import pytest
from flopaudit import probes
from flopaudit.core.errors import UsageError
from flopaudit.core.specs import parse_inputs
from flopaudit.models.build import build, make_inputs
from flopaudit.pipeline.measure import MEASUREMENTS
from flopaudit.pipeline.probe_tools import WORK
from flopaudit.pipeline.results import measurements_in
from flopaudit.profiles import repository
from flopaudit.profiles.formula_fitting import Formula, value
from flopaudit.profiles.formula_text import (
    SYMBOLS,
    legend,
    short,
    symbol,
)
from flopaudit.profiles.matrix import (
    UNMEASURED,
    Cell,
    Matrix,
    Row,
    collapsed,
    matrix,
    only_probes,
    only_tools,
    summary,
)
from flopaudit.profiles.probe_formulas import probe_formula
from flopaudit.profiles.rule_inference import CaseResult
from flopaudit.profiles.tool_profile import (
    Habits,
    ParamHabits,
    ProbeOutcome,
    Profile,
)
from flopaudit.records.schema import Status
from flopaudit.reports import matrix_report
from flopaudit.tracing.sites import (
    FUNCTION,
    QUANTITIES,
    Amounts,
    ModuleSite,
    Site,
    Trace,
)
from flopaudit.tracing.watcher import trace
from hypothesis import given
from hypothesis import strategies as st

from tests.support.command_line import flopaudit
from tests.support.paths import ROOT

STORED = ROOT / repository.DIRECTORY


# -- notation --------------------------------------------------------------------------------------


def formula(**factors: float | str) -> dict[str, Fraction]:
    return {name.replace("__", " "): Fraction(factor) for name, factor in factors.items()}


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (formula(), "0"),
        (formula(macs=2, bias_adds=1), "2M + b"),
        (formula(outputs=3, rows=-1), "3n - r"),
        (formula(rows=-1, outputs=3), "-r + 3n"),
        (formula(bias_adds="9/4"), "9b/4"),
        (formula(macs=1, calls=6), "M + 6"),
        (formula(macs__per__sample=1), "M/B"),
        (formula(macs__of__the__last__call=1), "M(last)"),
        (formula(macs__of__linear__functions=2), "2M(linear)"),
        (formula(outputs__of__normalisation__layers=4), "4n(norm layers)"),
        (formula(something_new=2), "2something_new"),
    ],
)
def test_a_formula_is_written_short(found: Formula, text: str) -> None:
    assert short(found) == text


def test_symbols_are_distinct() -> None:
    symbols = [symbol(name) for name in QUANTITIES]
    assert len(set(symbols)) == len(symbols)
    assert set(SYMBOLS) <= set(QUANTITIES)


def test_the_legend_explains_the_symbols_in_use_alone() -> None:
    found = [formula(macs=1, bias_adds__per__sample=1), formula(calls=3)]
    assert list(legend(found)) == [
        "M per multiply-accumulate",
        "b per bias add",
        "/B divided by the batch",
    ]


# -- the formula of a probe ------------------------------------------------------------------------

SIZES = ((2, 3, 5), (3, 5, 7), (5, 4, 3), (7, 2, 4), (4, 7, 2), (6, 5, 11))
"""Rows, features in, features out."""


def module(
    path: str, name: str, amounts: Amounts, *, kind: str = "linear", **more: object
) -> ModuleSite:
    given: dict[str, object] = {
        "bases": (), "aliases": (), "leaf": path != "", "calls": 1, "traits": {}, "last": {},
        "params": 0, "trainable": 0, "own_params": 0, "all_params": 0, **more,
    }  # fmt: skip
    return ModuleSite(path=path, name=name, amounts=amounts, kind=kind, **given)  # type: ignore[arg-type]


def linear(rows: int, ins: int, outs: int) -> dict[str, int]:
    return {
        "macs": rows * ins * outs, "bias_adds": rows * outs, "outputs": rows * outs,
        "inputs": rows * ins, "calls": 1,
    }  # fmt: skip


ROOT_OF_LAYER, ROOT_OF_FUNCTION = (
    f"flopaudit.probes.root_models.{name}" for name in ("Layer", "Function")
)


def of_layer(size: tuple[int, int, int], *, batch: int = 1, calls: int = 1) -> Trace:
    once = linear(*size)
    amounts = {name: calls * amount for name, amount in once.items()}
    last = once if calls > 1 else {}
    modules = (
        module("", ROOT_OF_LAYER, {}),
        module("layer", "torch.nn.Linear", amounts, calls=calls, last=last),
    )
    return Trace(batch, modules, (), ())


def of_functions(*amounts: tuple[str, Amounts]) -> Trace:
    sites = tuple(
        Site(FUNCTION, f"torch.{kind}", "", -1, {}, found, kind) for kind, found in amounts
    )
    return Trace(1, (module("", ROOT_OF_FUNCTION, {"outputs": 1}),), sites, ())


Numbered = tuple[Trace, int | None]
"""A case, and the number that a tool reported for it."""


def fitted(cases: Sequence[Numbered]) -> Formula | None:
    return probe_formula([CaseResult("made/up", trace, number) for trace, number in cases])


def test_zero_is_an_empty_formula_and_no_number_is_none() -> None:
    traces = [of_layer(size) for size in SIZES]
    assert fitted([(trace, 0) for trace in traces]) == {}
    assert fitted([(trace, None) for trace in traces]) is None
    assert fitted([]) is None


@pytest.mark.parametrize(
    ("macs", "bias", "text"),
    [(1, 0, "M"), (2, 0, "2M"), (1, 1, "M + b"), (2, 1, "2M + b"), (2, 2, "2M + 2b"),
     (1, 2, "M + 2n"), (3, 0, "3M")],
)  # fmt: skip
def test_products_and_bias_of_a_layer_are_inferred(macs: int, bias: int, text: str) -> None:
    cases: list[Numbered] = [
        (of_layer((rows, ins, outs)), macs * rows * ins * outs + bias * rows * outs)
        for rows, ins, outs in SIZES
    ]
    assert short(fitted(cases) or {}) == text


@given(
    st.sampled_from(("macs", "outputs", "inputs")),
    st.sampled_from(("macs", "outputs", "inputs", "calls")),
    st.integers(1, 20),
    st.integers(0, 20),
)
def test_a_formula_that_is_found_fits_all_numbers(
    one: str, other: str, times: int, more: int
) -> None:
    numbers = [times * linear(*size)[one] + more * linear(*size)[other] for size in SIZES]
    found = fitted([(of_layer(size), n) for size, n in zip(SIZES, numbers, strict=True)])
    assert found
    assert [value(found, linear(*size)) for size in SIZES] == numbers


def test_a_depthwise_kernel_is_products_though_it_is_as_many_per_output() -> None:
    cases: list[Numbered] = [
        (of_layer((rows, 9, outs)), 10 * rows * outs) for rows, _, outs in SIZES
    ]
    assert fitted(cases) == formula(macs=1, bias_adds=1)


def test_a_number_divided_by_the_batch_is_named_so() -> None:
    cases: list[Numbered] = [
        (of_layer((rows, ins, outs), batch=rows), ins * outs) for rows, ins, outs in SIZES
    ]
    assert short(fitted(cases) or {}) == "M/B"


def test_of_a_layer_called_again_the_last_call_may_be_what_counts() -> None:
    cases: list[Numbered] = [
        (of_layer(size, calls=1 + number), linear(*size)["macs"])
        for number, size in enumerate(SIZES)
    ]
    assert short(fitted(cases) or {}) == "M(last)"


def test_a_copy_that_is_made_first_is_not_under_test() -> None:
    cases: list[Numbered] = [
        (
            of_functions(
                ("data movement", {"outputs": rows, "inputs": rows}),
                ("activation", {"outputs": rows, "inputs": rows}),
            ),
            rows,
        )
        for rows, _, _ in SIZES
    ]
    assert fitted(cases) == formula(outputs=1)


def test_parts_are_distinguished_by_kind() -> None:
    cases: list[Numbered] = [
        (
            of_functions(
                ("attention", {"macs": rows * ins, "outputs": ins}),
                ("linear", {"macs": rows * outs, "outputs": outs}),
            ),
            2 * rows * outs,
        )
        for rows, ins, outs in SIZES
    ]
    assert short(fitted(cases) or {}) == "2M(linear)"


def test_numbers_that_follow_nothing_have_no_formula() -> None:
    numbers = (1009, 2003, 3001, 4007, 5003, 6007)
    cases = [(of_layer(size), n) for size, n in zip(SIZES, numbers, strict=True)]
    assert fitted(cases) is None


@pytest.mark.parametrize(
    ("probe", "text"),
    [
        ("conv/conv2d_bias", "2M"),
        ("linear/function_2d_bias", "2M"),
        ("matmul/operator", "2M"),
        ("norm/layer_norm_3d", "0"),
        ("attention/multihead_self_no_weights", "2M(linear)"),
    ],
)
def test_formulas_of_a_real_counter_on_real_probes(probe: str, text: str) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    results = []
    for number, case in enumerate(probes.PROBES[probe].cases):
        model = build(probes.spec(probe, number)).eval()
        inputs = make_inputs(parse_inputs(case.inputs))
        with FlopCounterMode(display=False) as counter:
            model(*inputs)
        reported = int(counter.get_total_flops())
        results.append(CaseResult(probe, trace(model, inputs, {}), reported))
    found = probe_formula(results)
    assert found is not None
    assert short(found) == text


# -- rows and cells --------------------------------------------------------------------------------

ZERO = Cell({}, 5, 5)
MACS = Cell(formula(macs=1), 5, 5)
RAISES = Cell(None, 0, 5, "errored: ValueError: no")
TAKES_NONE = Cell(None, 0, 5, "unsupported: images alone")


@pytest.mark.parametrize(
    ("cell", "text", "long"),
    [
        (ZERO, "0", "0"),
        (MACS, "M", "M"),
        (Cell(None, 5, 5), "?", "?"),
        (RAISES, "raises", "raises: ValueError: no"),
        (TAKES_NONE, "takes no such", "takes no such: images alone"),
        (UNMEASURED, "-", "-"),
        (
            Cell(formula(macs=1), 2, 5, "errored: E: x"),
            "M†",
            "M (2 of 5 sizes; else raises: E: x)",
        ),
        (Cell({}, 2, 5, "crashed: gone"), "0†", "0 (2 of 5 sizes; else crashes: gone)"),
    ],
)
def test_a_cell_shows_what_was_counted_or_how_it_ended(cell: Cell, text: str, long: str) -> None:
    assert (cell.text, cell.long) == (text, long)


def tool(name: str, *probes: str, variant: str | None = None, version: str = "1.0") -> Profile:
    outcomes = tuple(ProbeOutcome(probe, 5, 0, 0, 0, note="errored: E: x") for probe in probes)
    return Profile(name, version, variant, "MAC", "2.14.1", Habits(), ParamHabits(), (), outcomes)


def row(probe: str, *cells: Cell) -> Row:
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
