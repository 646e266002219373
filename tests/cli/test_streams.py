"""Standard output and error of any kind: another encoding, closed, full, or without a reader."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

FLOPAUDIT = f"{sys.executable} -m flopaudit"
Done = subprocess.CompletedProcess[bytes]

POSIX = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def in_shell(command: str, cwd: Path, variables: Mapping[str, str] | None = None) -> Done:
    """Run a command of bash, in which `flopaudit` stands for the program."""
    environment = {n: t for n, t in os.environ.items() if n not in {"COLUMNS", "PYTHONIOENCODING"}}
    script = f'set -o pipefail; flopaudit() {{ {FLOPAUDIT} "$@"; }}; {command}'
    return subprocess.run(
        ["/bin/bash", "-c", script],
        cwd=cwd, env={**environment, **(variables or {})}, capture_output=True, check=False,
        timeout=120,
    )  # fmt: skip


FULL = b"flopaudit: Cannot write to standard output: No space left on device.\n"
CLOSED = b"flopaudit: Cannot write to standard output: it is closed.\n"


@pytest.mark.parametrize(
    ("command", "code", "error"),
    [
        ("flopaudit --version >/dev/full", 1, FULL),
        ("flopaudit --help >/dev/full", 1, FULL),
        ("flopaudit models >/dev/full", 1, FULL),
        ("flopaudit settle resnet18 --json >/dev/full", 1, FULL),
        ("flopaudit --version >&-", 1, CLOSED),
        ("flopaudit settle resnet18 >&-", 1, CLOSED),
        ("flopaudit models >&- 2>&-", 1, b""),
        ("flopaudit models >/dev/full 2>/dev/full", 1, b""),
        ("flopaudit models >/dev/null 2>&-", 0, b""),
        ("flopaudit count xyzzy 2>&-", 2, b""),
        ("flopaudit count xyzzy 2>/dev/full", 2, b""),
        ("flopaudit models | head -n 1 >/dev/null", 0, b""),
        ("flopaudit --help | true", 0, b""),
        ("flopaudit matrix conv --json | head -c 1 >/dev/null", 0, b""),
        ("flopaudit models <&- >/dev/null", 0, b""),
    ],
)
def test_output_that_nobody_reads(command: str, code: int, error: bytes, tmp_path: Path) -> None:
    if "/dev/full" in command and not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    done = in_shell(command, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (code, b"", error)


@pytest.mark.parametrize(
    ("encoding", "variables"),
    [
        ("ascii", {"PYTHONIOENCODING": "ascii:strict"}),
        ("ascii", POSIX),
        ("latin-1", {"PYTHONIOENCODING": "latin-1"}),
        ("cp1252", {"PYTHONIOENCODING": "cp1252:strict", "COLUMNS": "80"}),
    ],
)
def test_other_encodings_get_other_words(
    encoding: str, variables: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "ours.toml").write_text('name = "模×"\nmeaning = "é"\nmac = "×"', encoding="utf-8")
    commands = (
        "settle resnet18 --details", "settle resnet18 --markdown", "matrix conv", "run --help",
        "settle resnet18 --json", "--traceback count xyzzy…模",
        "count resnet18 --convention ours.toml",
    )  # fmt: skip
    done = in_shell("; ".join(f"flopaudit {each}" for each in commands), tmp_path, variables)
    out, errors = done.stdout.decode(encoding), done.stderr.decode(encoding)
    assert "UnicodeEncodeError" not in out + errors
    assert "UnicodeDecodeError" not in out + errors
    times = "x" if encoding == "ascii" else "×"
    assert f"1{times}3{times}224{times}224" in out
    assert "UsageError: 'xyzzy" in errors
    assert "ours.toml has the invalid line 'mac = " in errors
    assert out.isascii() == (encoding == "ascii")


def test_a_model_prints_in_any_locale(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "import sys, torch\n"
        "class Net(torch.nn.Linear):\n"
        "    def forward(self, x):\n"
        "        print('3×4 … 模')\n"
        "        print('3×4 … 模', file=sys.stderr)\n"
        "        return super().forward(x)\n"
        "def make(): return Net(8, 8)\n",
        encoding="utf-8",
    )
    command = "flopaudit run --models net.py:make --input 1x8 --tools flop_counter --out out"
    done = in_shell(command, tmp_path, POSIX)
    assert done.returncode == 0, done.stderr
    (record,) = (tmp_path / "out" / "measurements.jsonl").read_text(encoding="utf-8").splitlines()
    assert '"status":"counted"' in record
    assert "3×4 … 模\\n3×4 … 模" in record
