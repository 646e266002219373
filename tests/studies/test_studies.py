"""The studies: what they measure, and the tables that they write."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from flopaudit.core.errors import UsageError
from flopaudit.studies import agreement, bench, llama, speed
from flopaudit.studies.table_files import write_csv, write_markdown


def rows_of(path: Path) -> list[list[str]]:
    """The cells of a table in Markdown, headers first."""
    lines = [line for line in path.read_text().splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [cells[0], *cells[2:]]


def test_tables_are_written_into_a_new_directory(tmp_path: Path) -> None:
    headers, rows = ["name", "count"], [["a, b", "1"], ["c", ""]]
    write_csv(tmp_path / "new" / "table.csv", headers, rows)
    write_markdown(tmp_path / "new" / "table.md", "Title", "Note", headers, rows)
    assert (tmp_path / "new" / "table.csv").read_text() == 'name,count\n"a, b",1\nc,\n'
    assert (tmp_path / "new" / "table.md").read_text().startswith("# Title\n\nNote\n\n| name")
    assert rows_of(tmp_path / "new" / "table.md") == [headers, *rows]


def test_agreement_of_one_model(tmp_path: Path) -> None:
    (found,) = agreement.main(tmp_path, "alexnet")
    assert isinstance(found, agreement.Compared)
    assert (found.static_macs, found.agree, found.per_module) == (714_188_480, True, True)
    with (tmp_path / "agreement.csv").open(newline="") as file:
        headers, row = csv.reader(file)
    assert (tuple(headers), row) == (agreement.HEADERS, agreement.cells(found))
    assert rows_of(tmp_path / "agreement.md")[1][1] == "714,188,480"


def test_agreement_of_an_unknown_model_is_bad_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no torchvision model 'alexnot'"):
        agreement.main(tmp_path, "alexnot")
    assert not list(tmp_path.iterdir())


def test_speed_writes_what_it_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "MODELS", ("alexnet",))
    monkeypatch.setattr(speed, "DEPTHS", (1, 2))
    monkeypatch.setattr(speed, "REPEATS", 1)
    monkeypatch.setattr(speed, "_llama_rows", lambda: [["params", "405853388800"]])
    tables = speed.main(tmp_path)
    assert [row["model"] for row in tables["speed"]] == ["alexnet", "median"]
    assert [row["layers"] for row in tables["depth"]] == ["1", "2"]
    assert tables["scale"] == [{"quantity": "params", "value": "405853388800"}]
    for name, table in tables.items():
        headers, *rows = rows_of(tmp_path / f"{name}.md")
        assert table == [dict(zip(headers, row, strict=True)) for row in rows]
        assert "`flopaudit study speed`" in (tmp_path / f"{name}.md").read_text()


def test_llama_is_counted_as_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llama, "LAYERS", 2)
    found = llama.measure()
    assert found["macs"] == found["macs by params x tokens + attention"]
    assert found["operators"] > 2 * 15


def test_bench_runs_both_ways_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[str] = []

    def timed(command: list[str]) -> tuple[float, float]:
        commands.append("plain script" if "flopaudit.studies.plain_script" in command else "run")
        return (2.0, 3.0) if commands[-1] == "run" else (4.0, 4.0)

    monkeypatch.setattr(bench, "_timed", timed)
    notices: list[str] = []
    headers, *rows = bench.bench("quick", 2, 1, tmp_path, notices.append)
    assert commands == ["run", "plain script"] * 2
    assert notices[0] == "isolated, 1 of 2"
    assert rows == [
        ["isolated", "2.000", "2.000", "2.000", "3.000", "0.500"],
        ["plain script", "4.000", "4.000", "4.000", "4.000", "1.000"],
    ]
    assert rows_of(tmp_path / "bench.md") == [headers, *rows]
    with (tmp_path / "bench.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [headers, *rows]
