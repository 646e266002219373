"""`flopaudit run`: files, JSON, and the same again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from flopaudit.cli.app import app
from flopaudit.pipeline import run as run_module
from flopaudit.pipeline.model_requests import ModelRequest
from flopaudit.pipeline.results import Results
from flopaudit.reports import run_report

from tests.support.command_line import flopaudit


@pytest.mark.slow
def test_run_gives_files_and_the_same_again(tmp_path: Path) -> None:
    args = ["run", "--models", "squeezenet1_1,mobilenet_v2", "--tools", "thop,ptflops"]
    texts = []
    for name, jobs in (("one", "1"), ("two", "3")):
        done = flopaudit(*args, "--out", name, "--jobs", jobs, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "Unexplained: nothing" in done.stdout
        texts.append({path.name: path.read_text() for path in (tmp_path / name).iterdir()})
    first, second = texts
    assert set(first) == set(second) == {
        "measurements.jsonl", "models.jsonl", "references.jsonl", "traces.jsonl", "findings.jsonl",
        "settlements.jsonl", "table.csv", "table.md",
    }  # fmt: skip
    for name in first:
        assert _timeless(first[name]) == _timeless(second[name]), name
    for line in first["measurements.jsonl"].splitlines():
        assert set(json.loads(line)) >= {
            "schema_version", "tool", "tool_version", "variant", "model", "inputs", "conditions",
            "status", "raw", "unit", "macs", "params", "modules", "seconds", "peak_rss_bytes",
            "output_excerpt", "error", "environment", "fingerprint", "adapter", "limits",
            "checksum",
        }  # fmt: skip


def _timeless(text: str) -> list[object]:
    """The lines without time and memory, which differ from run to run, and checksums of them."""
    lines: list[object] = []
    for line in text.splitlines():
        if line.startswith("{"):
            record = json.loads(line)
            changing = {"seconds", "peak_rss_bytes", "records", "checksum"}
            lines.append({k: v for k, v in record.items() if k not in changing})
        else:
            lines.append(line)
    return lines


def test_run_for_a_machine(tmp_path: Path) -> None:
    done = flopaudit(
        "run", "--models", "squeezenet1_1", "--tools", "flop_counter", "--out", "o", "--json",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["measurements"][0]["macs"] == result["references"][0]["macs"]
    assert {finding["cause"] for finding in result["findings"]} == {"unexplained", "unit"}


@pytest.mark.parametrize(("options", "details"), [(["--details"], True), ([], False)])
def test_details_reach_the_report(
    options: list[str], details: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[object] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_module, "run_all", lambda *_args: Results((), (), ()))
    monkeypatch.setattr(run_report, "show", lambda *_args, details: shown.append(details))
    app(["run", "--models", "resnet18", *options], standalone_mode=False)
    assert shown == [details]


@pytest.mark.parametrize(
    ("options", "folder"),
    [
        (["--preset", "quick"], "results/quick"),
        (["--models", "resnet18"], "results/models"),
        (["--sample", "probe:3:4"], "results/probe-3-4"),
        (["--sample", "probe:3:4", "--out", "there"], "there"),
    ],
)
def test_the_folder_of_a_run(
    options: list[str], folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Path] = []

    def run_all(*args: object) -> Results:
        given.extend(each for each in args if isinstance(each, Path))
        return Results((), (), ())

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_module, "run_all", run_all)
    assert app(["run", "--json", *options], standalone_mode=False) == 0
    assert given == [Path(folder)]


def test_a_sample_is_the_same_for_the_same_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampled: list[list[str]] = []

    def run_all(requests: list[ModelRequest], *_args: object) -> Results:
        sampled.append([str(request.spec) for request in requests])
        return Results((), (), ())

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_module, "run_all", run_all)
    for sample in ("probe:5:1", "probe:5:1", "probe:5:2"):
        app(["run", "--json", "--sample", sample], standalone_mode=False)
    assert sampled[0] == sampled[1] != sampled[2]
    assert [len(set(names)) for names in sampled] == [5, 5, 5]
