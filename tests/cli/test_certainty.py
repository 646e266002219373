"""What is said where a count is a lower bound, made with users' formulas, or for one input only."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from flopaudit.explain.settlement import find
from flopaudit.reports import settlement_report

from tests.support.command_line import flopaudit
from tests.support.paths import ROOT

NAME = "flopaudit_custom::low_rank"
SIZES = ("--input", "4x8")
TOOLS = ("--tools", "thop,flop_counter")
FORMULAS = f"""
import flopaudit
@flopaudit.register_formula("{NAME}")
def low_rank(x, u, v, scale):
    return x[0] * x[1] * u[1] + x[0] * u[1] * v[1]
"""
EXPLAINED = ("explained exactly", "to the last operation", "matches the reference", "exact match")
DEPENDS = "The count depends on the values of the input: `if x.sum() > 0:` at net.py:"
AT_RANDOM = "It is for the random input; --input-file gives your own."


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder with a model file that has operators of its own."""
    made = tmp_path_factory.mktemp("user")
    shutil.copy(ROOT / "tests/support/models/custom_operators.py", made / "net.py")
    (made / "own.py").write_text(FORMULAS)
    (made / "wrong.py").write_text(FORMULAS.replace("return", "return -1 -"))
    return made


def test_settle_says_at_least_and_neither_quotes_nor_cites(folder: Path) -> None:
    args = ("settle", "net.py:LowRank", *SIZES, *TOOLS)
    done = flopaudit(*args, "--details", cwd=folder)
    assert done.returncode == 0, done.stderr
    settled = find([folder / "results" / "settled"], "net.py:LowRank", ["4x8"])
    assert settled
    page = settlement_report.markdown(settled)
    why = f"the model does at least 256 MACs, but there is no formula for {NAME} (1 call)"
    for text in (done.stdout, page):
        assert f"No number is explained to the end: {why}." in text
        assert "Reference: at least 256 MACs = 512 FLOPs" in text
        assert f'@flopaudit.register_formula("{NAME}")' in text
        assert "--formulas" in text
        assert f"Cite: nothing, because {why}" in text
        assert "Quote" not in text
        assert not any(words in text for words in EXPLAINED)
        assert "~ compared with a lower bound" in text
    assert settled["reference"]["lower_bound"] is True
    assert settled["reference"]["uncounted_ops"] == {"flopaudit_custom.low_rank.default": 1}
    assert {tool["lower_bound"] for tool in settled["tools"]} == {True}
    claim = flopaudit(*args[:-2], "--claim", "0.3K", cwd=folder)
    assert claim.returncode == 2
    assert f"cannot be explained: {why}" in claim.stderr


def test_settle_counts_by_a_user_s_formula_and_measures_what_it_changes(folder: Path) -> None:
    args = ("settle", "net.py:LowRank", *SIZES, "--tools", "thop", "--out", "kept")
    done = flopaudit(*args, "--formulas", "own.py", "--json", cwd=folder)
    counted = json.loads(done.stdout)
    assert counted["reference"]["macs"] == 384
    assert counted["reference"]["lower_bound"] is False
    (origin,) = counted["reference"]["user_formulas"].values()
    assert origin.startswith("own.py (sha256 ")
    assert [tool["unexplained"] for tool in counted["tools"]] == [0]
    (folder / "pyproject.toml").write_text('[tool.flopaudit]\nformulas = ["own.py"]\n')
    kept = flopaudit(*args, cwd=folder)
    (folder / "pyproject.toml").unlink()
    assert "From kept;" in kept.stdout
    assert f"Counted by a user's formula: {NAME} by own.py (sha256 " in kept.stdout
    assert "Cite: 384 MACs" in kept.stdout
    without = flopaudit(*args, cwd=folder)
    assert "From kept;" not in without.stdout, "the formula is gone, and so is what it counted"
    assert "at least 256 MACs" in without.stdout


def test_run_marks_lower_bounds_and_what_depends_on_values(folder: Path) -> None:
    models = ("--models", "net.py:LowRank,net.py:Chosen")
    done = flopaudit("run", *models, *SIZES, *TOOLS, "--out", "out", cwd=folder)
    assert done.returncode == 0, done.stderr
    table = (folder / "out" / "table.md").read_text(encoding="utf-8")
    for text in (done.stdout, table):
        assert "at least 256" in text
        assert f"LowRank: at least 256 MACs; there is no formula for {NAME} (1 call)." in text
        assert f"net.py:Chosen: {DEPENDS}" in text
        assert AT_RANDOM in text
        assert "~ compared with a lower bound" in text
        assert "256 ~" in text.replace("\\~", "~")  # Markdown escapes the mark
        assert "256 =" not in text
    assert "Unexplained: nothing, in 2 cells compared." in done.stdout
    assert "Not explained to the end: 2 cells with a lower bound." in done.stdout
    rows: list[dict[str, Any]] = list(csv.DictReader((folder / "out" / "table.csv").open()))
    assert {(row["model"], row["reference_lower_bound"]) for row in rows} == {
        ("net.py:LowRank", "yes"),
        ("net.py:Chosen", ""),
    }
    assert {row["uncounted_ops"] for row in rows} == {"flopaudit_custom.low_rank.default", ""}
    assert any("if x.sum() > 0" in row["data_dependent"] for row in rows)


def test_settle_cites_for_random_values_where_they_matter(folder: Path) -> None:
    args = ("settle", "net.py:Chosen", *SIZES, "--tools", "thop", "--out", "out")
    done = flopaudit(*args, cwd=folder)
    assert DEPENDS in done.stdout
    assert AT_RANDOM in done.stdout
    assert "input 4×8 of random values" in done.stdout


def test_count_says_so_too(folder: Path) -> None:
    low = flopaudit("count", "net.py:LowRank", *SIZES, cwd=folder)
    assert f"All totals are lower bounds: there is no formula for {NAME} (1 call)." in low.stdout
    (macs,) = (line for line in low.stdout.splitlines() if line.startswith("macs "))
    assert macs.split()[1:4] == ["at", "least", "256"]
    chosen = json.loads(flopaudit("count", "net.py:Chosen", *SIZES, "--json", cwd=folder).stdout)
    assert chosen["lower_bound"] is False
    (line,) = chosen["data_dependent"]
    assert line.startswith("`if x.sum() > 0:` at net.py:")


@pytest.mark.parametrize("command", ["count", "settle"])
def test_a_wrong_formula_is_one_sentence(folder: Path, command: str) -> None:
    out = () if command == "count" else ("--tools", "thop", "--out", f"wrong-{command}")
    args = (command, "net.py:LowRank", *SIZES, *out, "--formulas", "wrong.py")
    done = flopaudit(*args, cwd=folder)
    assert done.returncode == 2
    sentence = done.stderr.strip().splitlines()[-1]
    assert sentence.startswith(f"flopaudit: The formula of {NAME} in wrong.py returned -")
    records = folder / f"wrong-{command}" / "references.jsonl"
    assert not records.exists() or not records.read_text(), "nothing wrong is kept"


def test_an_operator_that_raises_gives_its_first_sentence(folder: Path) -> None:
    run = flopaudit("run", "--models", "net.py:Nowhere", *SIZES, *TOOLS, "--out", "x", cwd=folder)
    assert run.returncode == 1
    records = (folder / "x" / "measurements.jsonl").read_text().splitlines()
    for text in (run.stdout, *records):
        assert "flopaudit_custom::nowhere" in text
        assert "BackendSelect" not in text, "one of torch's list of backends"
