"""What a person or a machine gets from the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from flopaudit.cli import app

from tests.support.command_line import flopaudit

COMMANDS = [each.callback.__name__ for each in app.app.registered_commands if each.callback]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_something_and_imports_no_torch(command: str, tmp_path: Path) -> None:
    done = flopaudit(command, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "Usage" in done.stdout
    code = (
        "import sys; sys.argv = ['flopaudit', '--help']\n"
        "from flopaudit.cli.app import app\n"
        "try: app()\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'pandas', 'pydantic'} & set(sys.modules), 'slow imports'\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)


def test_models_and_tools_import_no_torch(tmp_path: Path) -> None:
    for command in ("models", "tools"):
        code = (
            f"import sys; sys.argv = ['flopaudit', '{command}']\n"
            "from flopaudit.cli.app import app\n"
            "try: app()\n"
            "except SystemExit: pass\n"
            "assert not {'torch', 'torchvision'} & set(sys.modules), 'slow imports'\n"
        )
        subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)


def test_tools_are_named_as_promised(tmp_path: Path) -> None:
    listed = json.loads(flopaudit("tools", "--json", cwd=tmp_path).stdout)
    assert [line["tool"] for line in listed] == [
        "thop", "torchstat", "fvcore", "ptflops", "flop_counter",
    ]  # fmt: skip
    assert all(line["version"] for line in listed)


def test_install_says_what_pip_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOPAUDIT_TOOLS", str(tmp_path / "kept"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    done = flopaudit("install", "thop==0.0.1", cwd=tmp_path)
    assert done.returncode == 1
    assert "No matching distribution found for thop==0.0.1" in done.stderr
    assert done.stderr.endswith("flopaudit: pip could not install thop==0.0.1.\n")
    assert not done.stdout


def test_kept_versions_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "thop-0.1.0.post22" / "thop-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Name: thop\nVersion: 0.1.0-22\n")
    monkeypatch.setenv("FLOPAUDIT_TOOLS", str(tmp_path))
    listed = json.loads(flopaudit("tools", "--json", cwd=tmp_path).stdout)
    assert {line["tool"]: line["kept"] for line in listed if line["kept"]} == {
        "thop": ["0.1.0.post22"]
    }
    assert "thop==0.1.0.post22" in flopaudit("tools", cwd=tmp_path).stdout
    line = flopaudit("install", "--list", cwd=tmp_path).stdout
    assert line == f"thop==0.1.0.post22  {tmp_path / 'thop-0.1.0.post22'}\n"
    again = flopaudit("install", "thop==0.1.0.post22", cwd=tmp_path)
    assert again.stdout == f"thop==0.1.0.post22 is already in {tmp_path / 'thop-0.1.0.post22'}.\n"


def test_count_gives_a_machine_what_was_promised(tmp_path: Path) -> None:
    done = flopaudit("count", "resnet18", "--json", cwd=tmp_path)
    counted = json.loads(done.stdout)
    assert counted["model"] == "torchvision:resnet18"
    assert counted["inputs"] == ["1x3x224x224"]
    assert counted["params"] == 11_689_512
    assert counted["macs"] == 1_814_073_344
    assert counted["flops"] == 2 * counted["macs"]
    assert counted["uncounted_ops"] == {}


@pytest.mark.parametrize("by", ["module", "op", "kind"])
def test_count_by(by: str, tmp_path: Path) -> None:
    done = flopaudit("count", "squeezenet1_1", "--by", by, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "squeezenet1_1 · 1×3×224×224" in done.stdout
    assert "bias adds" in done.stdout


@pytest.mark.parametrize(
    ("args", "message", "remedy"),
    [
        (["count", "resnet5O"], "no torchvision model 'resnet5O'", "resnet50"),
        (["count", "xyzzy"], "no torchvision model 'xyzzy'", "flopaudit models"),
        (["count", "timm:xyzzy"], "no timm model 'xyzzy'", "models --source timm"),
        (["count", "transformers:lama"], "no transformers model 'lama'", "llama"),
        (["models", "--source", "keras"], "no source 'keras'", "torchvision, timm, transformers"),
        (["count", "resnet"], "no torchvision model 'resnet'", "Did you mean"),
        (["count", "nowhere.py:net", "--input", "1x3"], "no file 'nowhere.py'", "Check the path"),
        (["count", "no.such:net", "--input", "1x3"], "no module 'no'", "file.py:factory"),
        (["count", "json:loads"], "without an input", "--input"),
        (["count", "json:nothing", "--input", "1"], "no 'nothing'", "Name a function"),
        (["count", "resnet18", "--input", "3by4"], "'3by4' is not an input", "1x3x224x224"),
        (["count", "resnet18", "--input", "complex:1x3"], "not a dtype", "float32"),
        (["count", "resnet18", "--input", "1x4x64x64"], "does not run on", "--input"),
        (["count", "resnet18", "--by", "colour"], "Cannot list by", "module, op, kind"),
        (["models", "xyzzy"], "No model fits", "lists all"),
        (["run"], "needs models", "--preset quick"),
        (["run", "--preset", "slow"], "unknown preset", "quick"),
        (["run", "--models", "resnet18", "--tools", "thopp"], "no tool 'thopp'", "flopaudit tools"),
        (["run", "--models", "resnet18", "--memory", "lots"], "not an amount", "8G"),
        (["run", "--models", "resnet18", "--jobs", "0"], "--jobs", "--help"),
        (["run", "--preset", "quick", "--models", "resnet18"], "Both", "Give"),
        (["run", "--models", "resnet18", "--tools", "thop==0.0.1"], "no thop 0.0.1", "install"),
        (["run", "--models", "resnet18", "--tools", "thop@no"], "no folder 'no'", "--target"),
        (["install"], "takes versions", "flopaudit install thop=="),
        (["install", "thop"], "'thop' is not a version", "thop==0.1.1"),
        (["explode"], "explode", "--help"),
    ],
)
def test_bad_usage_is_one_sentence_and_a_remedy(
    args: list[str], message: str, remedy: str, tmp_path: Path
) -> None:
    done = flopaudit(*args, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert remedy in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout
    assert len(done.stderr.splitlines()) <= 2
    assert not list(tmp_path.iterdir()), "nothing is written"


def test_out_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = flopaudit("run", "--models", "resnet18", "--out", "file/below", cwd=tmp_path)
    assert done.returncode == 2
    assert "Cannot write to file/below" in done.stderr


@pytest.mark.parametrize("columns", [80, 160])
def test_tables_fit_the_terminal(columns: int, tmp_path: Path) -> None:
    for args in (["models"], ["tools"], ["count", "resnet18", "--by", "module"]):
        done = flopaudit(*args, cwd=tmp_path, columns=columns)
        assert done.returncode == 0, done.stderr
        assert max(map(len, done.stdout.splitlines())) <= columns, args


def test_reader_that_leaves_early(tmp_path: Path) -> None:
    command = f"{sys.executable} -m flopaudit models | head -n 2"
    done = subprocess.run(
        ["/bin/bash", "-o", "pipefail", "-c", command],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert not done.stderr


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
        "measurements.jsonl", "references.jsonl", "traces.jsonl", "findings.jsonl",
        "settlements.jsonl", "table.csv", "table.md",
    }  # fmt: skip
    for name in first:
        assert _timeless(first[name]) == _timeless(second[name]), name
    for line in first["measurements.jsonl"].splitlines():
        assert set(json.loads(line)) >= {
            "schema_version", "tool", "tool_version", "variant", "model", "inputs", "conditions",
            "status", "raw", "unit", "macs", "params", "modules", "seconds", "peak_rss_bytes",
            "output_excerpt", "error", "environment",
        }  # fmt: skip


def _timeless(text: str) -> list[object]:
    """The lines without time and memory, which differ from run to run."""
    lines: list[object] = []
    for line in text.splitlines():
        if line.startswith("{"):
            record = json.loads(line)
            lines.append(
                {k: v for k, v in record.items() if k not in {"seconds", "peak_rss_bytes"}}
            )
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
