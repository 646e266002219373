"""`flopaudit settle`: output for people and programs, from stored and new measurements."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from flopaudit.cli.app import app
from flopaudit.core.checksum import State, add, check
from flopaudit.explain.settlement import FILE
from flopaudit.pipeline import settle_model
from flopaudit.reports import settlement_report

from tests.support.command_line import Done, flopaudit, modules_imported_by
from tests.support.paths import HOSTILE_MODELS, SMALL_MODELS
from tests.support.stored_settlements import settlement_of

USERS = SMALL_MODELS
MODEL = ("small_models.py:reused", "--input", "1x4x16x16")
RESULTS = Path("results") / "settled" / FILE

TOP = {"model", "reference", "tools"}
TOOL = {"tool", "version", "variant", "status", "reported", "unit", "causes", "unexplained"}
CAUSE = {"cause", "delta", "evidence"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of a user with a model of theirs."""
    directory = tmp_path_factory.mktemp("home")
    (directory / "small_models.py").write_text(USERS.read_text())
    return directory


@pytest.fixture(scope="module")
def measured(home: Path) -> Done:
    """The first settlement of the model, which is not stored."""
    assert not (home / RESULTS).exists()
    return flopaudit("settle", *MODEL, "--json", cwd=home)


@pytest.fixture
def found(measured: Done) -> dict[str, Any]:
    found = json.loads(measured.stdout)
    assert isinstance(found, dict)
    return found


def test_a_model_that_is_not_stored_is_measured_and_kept(measured: Done, home: Path) -> None:
    assert measured.returncode == 0, measured.stderr
    (stored,) = (home / RESULTS).read_text().splitlines()
    text, state = check(stored)
    assert state is State.INTACT
    assert json.loads(text) == json.loads(measured.stdout)


def test_a_machine_gets_what_was_promised(found: dict[str, Any]) -> None:
    assert set(found) >= TOP
    assert found["model"].endswith(MODEL[0])
    assert {"macs", "flops", "params"} <= set(found["reference"])
    assert {(tool["tool"], tool["variant"]) for tool in found["tools"]} >= {
        ("thop", None), ("torchstat", None), ("fvcore", None), ("ptflops", "pytorch"),
        ("ptflops", "aten"), ("flop_counter", None),
    }  # fmt: skip
    for tool in found["tools"]:
        assert set(tool) >= TOOL
        assert isinstance(tool["version"], str)
        for cause in tool["causes"]:
            assert set(cause) >= CAUSE
            assert isinstance(cause["cause"], str)
            assert isinstance(cause["delta"], int)
            assert isinstance(cause["evidence"], str)


def test_every_number_adds_up_and_is_explained(found: dict[str, Any]) -> None:
    macs = found["reference"]["macs"]
    assert macs == 4 * 4 * 9 * (16 * 16 + 8 * 8 + 4 * 4)
    assert found["reference"]["flops"] == 2 * macs
    units = {"MAC": macs, "FLOP": 2 * macs}
    for tool in found["tools"]:
        assert tool["status"] == "counted"
        deltas = sum(cause["delta"] for cause in tool["causes"])
        assert tool["reported"] == units[tool["unit"]] + deltas + tool["unexplained"]
        assert tool["unexplained"] == 0
    assert any(tool["causes"] for tool in found["tools"])
    assert {tool["unit"] for tool in found["tools"]} == set(units)


def test_what_is_stored_is_the_same(measured: Done, home: Path) -> None:
    again = flopaudit("settle", *MODEL, "--json", cwd=home)
    assert (again.returncode, again.stdout) == (0, measured.stdout)
    one = json.loads(
        flopaudit("settle", *MODEL, "--tools", "ptflops:aten", "--json", cwd=home).stdout
    )
    every = json.loads(measured.stdout)
    assert one["tools"] == [tool for tool in every["tools"] if tool["variant"] == "aten"]
    assert {**one, "tools": every["tools"]} == every


@pytest.mark.usefixtures("measured")
def test_what_is_stored_from_another_torch_is_not_taken(home: Path, tmp_path: Path) -> None:
    (tmp_path / "small_models.py").write_text(USERS.read_text())
    (tmp_path / RESULTS).parent.mkdir(parents=True)
    old = {**json.loads((home / RESULTS).read_text()), "torch": "1.0"}
    (tmp_path / RESULTS).write_text(json.dumps(old) + "\n")
    done = flopaudit("settle", *MODEL, "--tools", "fvcore", "--json", cwd=tmp_path)
    new = json.loads(done.stdout)
    assert new["torch"] != "1.0"
    assert [tool["tool"] for tool in new["tools"]] == ["fvcore"]


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize("columns", [80, 100])
def test_no_line_is_wider_than_the_terminal(home: Path, columns: int) -> None:
    done = flopaudit("settle", *MODEL, cwd=home, columns=columns)
    assert done.returncode == 0, done.stderr
    wide = [line for line in done.stdout.splitlines() if len(line) > columns]
    assert wide == []


def test_piped_is_plain(found: dict[str, Any], home: Path) -> None:
    text = flopaudit("settle", *MODEL, cwd=home).stdout
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", text)
    lines = text.splitlines()
    assert any(line.startswith("Every difference is explained exactly, in 6") for line in lines)
    for tool in found["tools"]:
        (row,) = (line for line in lines if f"{tool['reported']:,} {tool['unit']}s" in line and
                  f" {tool['tool']} {tool['variant'] or ''}".rstrip() in line)  # fmt: skip
        for cause in {cause["cause"] for cause in tool["causes"]}:
            total = sum(c["delta"] for c in tool["causes"] if c["cause"] == cause)
            assert re.search(rf"{re.escape(f'{total:+,}')} (products \()?{cause}", row)


def test_details_name_every_cause_with_its_evidence(found: Any) -> None:
    lines = [line.plain for line in settlement_report.lines(found, details=True)]
    for tool in found["tools"]:
        numbers = [f"{tool['reported']:,}", *(f"{abs(c['delta']):,}" for c in tool["causes"])]
        assert all(any(number in line for line in lines) for number in numbers)
        for cause in tool["causes"]:
            assert any(cause["cause"] in line and cause["evidence"] in line for line in lines)


def test_markdown_is_the_whole_settlement(tmp_path: Path) -> None:
    done = flopaudit("settle", "resnet18", "--markdown", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    stored = json.loads(flopaudit("settle", "resnet18", "--json", cwd=tmp_path).stdout)
    assert done.stdout == settlement_report.markdown(stored)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("resnet5O",), "no torchvision model 'resnet5O'"),
        (("nowhere.py:net", "--input", "1x3"), "no file 'nowhere.py'"),
        (("resnet18", "--tools", "thopp"), "no tool 'thopp'"),
        (("resnet18", "--colour"), "No such option"),
        (("resnet18", "thop"), "unexpected extra argument"),
    ],
)
def test_bad_usage_is_one_line(args: tuple[str, ...], message: str, tmp_path: Path) -> None:
    done = flopaudit("settle", *args, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert message in line


@pytest.mark.parametrize(("options", "details"), [(["--details"], True), ([], False)])
def test_details_reach_the_report(
    options: list[str], details: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[object] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        settlement_report, "show", lambda *_settlement, details: shown.append(details)
    )
    app(["settle", "resnet18", *options], standalone_mode=False)
    assert shown == [details]


def test_measured_records_are_kept_where_out_says(home: Path, tmp_path: Path) -> None:
    (tmp_path / "small_models.py").write_text((home / "small_models.py").read_text())
    args = ("settle", *MODEL, "--tools", "flop_counter", "--out", "kept", "--memory", "8G")
    first = flopaudit(*args, "--json", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    text, _ = check((tmp_path / "kept" / FILE).read_text().strip())
    assert json.loads(text) == json.loads(first.stdout)
    assert not (tmp_path / "results").exists()
    again = flopaudit(*args, cwd=tmp_path)
    assert again.stdout.endswith("\nFrom kept; --again measures it again.\n")


def test_out_is_looked_in_first(tmp_path: Path) -> None:
    stored = json.dumps(settlement_of("resnet18"), ensure_ascii=False)
    for directory, mark in (("results/a", "1.0"), ("other", "2.0")):
        (tmp_path / directory).mkdir(parents=True)
        marked = stored.replace('"flopaudit": "0.1.0"', f'"flopaudit": "{mark}"')
        (tmp_path / directory / FILE).write_text(add(marked) + "\n")
    for options, mark in (((), "1.0"), (("--out", "other"), "2.0"), (("--out", "absent"), "1.0")):
        done = flopaudit("settle", "resnet18", *options, "--json", cwd=tmp_path)
        assert json.loads(done.stdout)["flopaudit"] == mark


def test_a_stored_settlement_of_the_package_is_read_without_torch(tmp_path: Path) -> None:
    options: tuple[tuple[str, ...], ...] = ((), ("--json",), ("--tools", "thop,fvcore"))
    imported = modules_imported_by(*(["settle", "resnet18", *o] for o in options), cwd=tmp_path)
    assert not {"torch", "torchvision", "numpy", "pandas"} & imported
    assert "flopaudit.isolation.scheduler" not in imported


def test_a_model_that_cannot_be_built_ends_with_1(tmp_path: Path) -> None:
    model = (f"{HOSTILE_MODELS}:fail", "--input", "1x8")
    for options in ((), ("--json",)):  # measured, and then what is stored of it
        done = flopaudit("settle", *model, "--tools", "flop_counter", *options, cwd=tmp_path)
        assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)
    assert found["reference"]["macs"] is None
    assert "broken" in found["reference"]["error"]


def test_a_settlement_has_failed_where_a_run_has(tmp_path: Path) -> None:
    stored: Any = json.loads(flopaudit("settle", "resnet18", "--json", cwd=tmp_path).stdout)
    assert not settle_model.has_failed(stored)
    tools = stored["tools"]
    for status in ("crashed", "timed_out", "unavailable"):
        stored["tools"] = [*tools[1:], {**tools[0], "status": status}]
        assert settle_model.has_failed(stored)
    stored["tools"] = [{**tools[0], "status": "errored"}]
    assert not settle_model.has_failed(stored)
    stored["reference"]["macs"] = None
    assert settle_model.has_failed(stored)


def test_claims_of_a_model_that_ends_the_process(tmp_path: Path) -> None:
    args = (f"{HOSTILE_MODELS}:runs_abort", "--input", "1x8", "--claim", "64 MACs", "--json")
    done = flopaudit("settle", *args, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert "was ended by signal 6 (SIGABRT) while running the model" in line
