"""`flopaudit count`: what a person and a machine get."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from flopaudit.pipeline import in_worker

from tests.support.command_line import flopaudit, flopaudit_here
from tests.support.paths import HOSTILE_MODELS


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


def test_a_machine_gets_the_rows_whatever_the_model_prints(tmp_path: Path) -> None:
    args = ("count", f"{HOSTILE_MODELS}:prints", "--input", "1x8", "--by", "module", "--json")
    done = flopaudit(*args, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    counted = json.loads(done.stdout)
    assert (counted["by"], counted["depth"]) == ("module", 0)
    counts = {"macs": 64, "flops": 128, "bias_adds": 8, "flops_all": 136, "params": 72}
    assert counted["rows"] == [
        {"module": "", "type": "Runs", **counts},
        {"module": "layer", "type": "Linear", **counts},
    ]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("exit_0", "the model's factory called sys.exit(0)"),
        ("runs_segfault", "was ended by signal 11 (SIGSEGV) while running the model"),
    ],
)
def test_a_model_that_ends_the_process_is_one_sentence(
    name: str, sentence: str, tmp_path: Path
) -> None:
    done = flopaudit("count", f"{HOSTILE_MODELS}:{name}", "--input", "1x8", "--json", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert sentence in line


def test_a_traceback_shows_where_the_model_failed(tmp_path: Path) -> None:
    args = ("--traceback", "count", f"{HOSTILE_MODELS}:fail", "--input", "1x8")
    done = flopaudit(*args, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert 'raise ValueError("broken.")' in done.stderr
    assert "RunError: " in done.stderr.splitlines()[-1]


def test_an_interrupt_ends_all_processes(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "import pathlib, time\n"
        "def net():\n"
        "    pathlib.Path('building').touch()\n"
        "    time.sleep(600)\n"
    )
    command = [sys.executable, "-m", "flopaudit", "count", "net.py:net", "--input", "1x8"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 120
        while not (tmp_path / "building").exists():
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
        below = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=60)
    assert len(below) == 3
    assert (process.returncode, out, errors) == (130, "", "\nStopped.\n")
    assert psutil.wait_procs(below, timeout=10)[1] == []


@pytest.mark.parametrize(
    "args",
    [("--convention", "nowhere.toml"), ("--convention", "macs+colour"), ("--memory", "lots")],
)
def test_wrong_options_are_refused_before_anything_starts(
    args: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    started: list[object] = []
    monkeypatch.setattr(in_worker, "open_scheduler", started.append)
    done = flopaudit_here("count", "resnet18", *args, capsys=capsys)
    assert (done.returncode, done.stdout, started) == (2, "", [])
