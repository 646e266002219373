"""`--json` on every command: one document, and nothing else on standard output."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from flopaudit.cli.app import app
from flopaudit.cli.output import print_json
from flopaudit.pipeline import probe_tools
from flopaudit.profiles import repository
from flopaudit.studies import bench, coverage, speed

from tests.support.command_line import flopaudit, flopaudit_here
from tests.support.paths import AUDIT_FAKES, HOSTILE_MODELS


def printed(*args: str, cwd: Path) -> Any:
    """Run a command with `--json`, and return what it printed."""
    done = flopaudit(*args, "--json", cwd=cwd)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def in_process(args: list[str], capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a command with `--json` in this process, where its work can be replaced."""
    assert not app([*args, "--json"], standalone_mode=False)
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1", "cp1252"])
def test_no_encoding_changes_what_is_printed(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = {"input": "1×3 · 10⁹ … ½", "路径": "模型/net.py", "not UTF-8": "\udc80"}
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, encoding=encoding))
    print_json(value)
    text = written.getvalue().decode("utf-8")
    assert json.loads(text) == value
    assert text.isascii()
    print_json({"input": "1×3"})
    assert ("×" in written.getvalue().decode("utf-8")) == (encoding == "utf-8")


def test_models_and_probes(tmp_path: Path) -> None:
    (line,) = printed("models", "alexnet", cwd=tmp_path)
    assert (line["model"], line["inputs"]) == ("alexnet", ["1x3x224x224"])
    lines = printed("models", "conv/conv2d_bias", "--source", "probe", cwd=tmp_path)
    assert "conv/conv2d_bias" in [line["model"] for line in lines]


def test_settle_from_stored_results_and_matrix(tmp_path: Path) -> None:
    settlement = printed("settle", "resnet18", cwd=tmp_path)
    assert settlement["reference"]["macs"] == 1_814_073_344
    matrix = printed("matrix", "conv", "--tools", "thop", cwd=tmp_path)
    assert {each["tool"] for each in matrix["tools"]} == {"thop"}


def test_claims(tmp_path: Path) -> None:
    found = printed("settle", "resnet18", "--claim", "1.81 GMACs", cwd=tmp_path)
    assert isinstance(found, dict)
    assert found


def test_run(tmp_path: Path) -> None:
    result = printed("run", "--models", "probe:conv/conv2d_bias", "--tools", "flop_counter",
                     "--out", "o", cwd=tmp_path)  # fmt: skip
    assert [each["tool"] for each in result["measurements"]] == ["flop_counter"]
    assert result["out"] == "o"


def test_what_a_tool_prints_reaches_no_report(tmp_path: Path) -> None:
    args = ("run", "--models", f"{HOSTILE_MODELS}:prints", "--tools", f"{HOSTILE_MODELS}:PRINTING",
            "--input", "1x8", "--out", "o")  # fmt: skip
    done = flopaudit(*args, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (measured,) = json.loads(done.stdout)["measurements"]
    assert measured["reported"] == 64
    assert done.stderr.count("noise") >= 10, "the adapter is imported here, and prints at exit too"
    again = flopaudit(*args, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "printing" in again.stdout
    assert "noise" not in again.stdout


@pytest.mark.parametrize("json_option", [["--json"], []])
def test_an_adapter_that_exits_is_an_error(
    json_option: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("leaving.py").write_text("import sys\nsys.exit(0)\n")
    args = ("run", "--models", "resnet18", "--tools", "leaving.py:TOOL", *json_option)
    done = flopaudit_here(*args, capsys=capsys)
    assert (done.returncode, done.stdout) == (1, "")
    assert "'leaving.py:TOOL' called sys.exit(0) when it was imported." in done.stderr


def test_audit(tmp_path: Path) -> None:
    effects = printed("audit", "--tools", f"{AUDIT_FAKES}:CLEAN", "--models", "plain",
                      "--memory", "8G", cwd=tmp_path)  # fmt: skip
    assert {each["tool"] for each in effects} == {"leaves_clean", "reference"}
    in_eval = [each["changed"] for each in effects if each["condition"] == "eval"]
    assert in_eval
    assert not any(in_eval)


def test_probe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    kept = [each for each in repository.everywhere() if each.tool == "ptflops"]
    monkeypatch.setattr(probe_tools, "probe", lambda *_args: kept)
    lines = in_process(["probe", "--tools", "ptflops", "--out", "there"], capsys)
    assert [(line["tool"], line["version"], line["variant"]) for line in lines] == [
        each.key for each in kept
    ]
    for line, profile in zip(lines, kept, strict=True):
        assert line["probes"] == len(profile.probes) > 800
        assert line["cases"] >= line["counted"] >= line["exact"] > 0
        assert Path(line["profile"]).parent == Path("there")


def test_bench(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = [["way", "wall seconds (median)", "ratio"], ["isolated", "2.500", "1.250"]]
    given: list[object] = []

    def fake(*args: object) -> list[list[str]]:
        given.extend(args[:4])
        return table

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bench, "bench", fake)
    lines = in_process(["bench", "--repeats", "2", "--jobs", "3"], capsys)
    assert lines == [{"way": "isolated", "wall seconds (median)": 2.5, "ratio": 1.25}]
    assert given == ["quick", 2, 3, Path("results/bench")]


def test_speed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(speed, "main", lambda out: {"speed": [{"model": str(out)}]})
    found = in_process(["study", "speed", "--out", "there"], capsys)
    assert found == {"speed": [{"model": "there"}]}


@pytest.mark.slow
def test_agreement(tmp_path: Path) -> None:
    (line,) = printed("study", "agreement", "--models", "alexnet", "--out", "o", cwd=tmp_path)
    assert (line["outcome"], line["model"], line["agree"]) == ("compared", "alexnet", True)
    assert line["static_macs"] == line["dynamic_macs"] == 714_188_480
    assert {path.name for path in (tmp_path / "o").iterdir()} >= {"agreement.csv", "agreement.md"}


@pytest.mark.slow
def test_coverage(tmp_path: Path) -> None:
    options = ("--source", "torchvision", "--out", "o")
    (line,) = printed("study", "coverage", "alexnet", *options, cwd=tmp_path)
    assert (line["model"], line["macs"]) == ("torchvision:alexnet", "714188480")
    assert (tmp_path / "o" / "torchvision.csv").is_file()


def test_coverage_in_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [coverage.Surveyed("timm:one", macs="1"), coverage.Surveyed("timm:two", error="not run")]
    given: list[object] = []

    def main(*args: object, again: bool) -> list[coverage.Surveyed]:
        given.extend((*args[:3], again))
        return rows

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(coverage, "main", main)
    command = ["study", "coverage", "one", "--source", "timm", "--retry"]
    assert app(command, standalone_mode=False) == 1, "one of them was not counted"
    text = capsys.readouterr().out
    assert text == "1 of 2 models are counted; the rows are in results/coverage.\n"
    assert given == ["timm", "one", Path("results/coverage"), True]
