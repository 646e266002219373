"""A run of models and tools with hostile names and words, in a folder that is not UTF-8."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from flopaudit.core.text import visible

FOLDER = b"caf\xe9"
MODELS = r"""
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.add_module("a\x1b[31m\u202e|<b>", torch.nn.Linear(8, 8))

    def forward(self, x):
        print("\x1b]0;title\x07\x9b31m")
        return next(self.children())(x)

Net.__name__ = "N\x1b[2Jet[red]模"

def make():
    return Net()

def broken():
    raise ValueError("=cmd|' /C calc'!A0 \x1b[31m<script>`x`[a](http://b.c)\u202e[red]x[/red]")
"""
TOOLS = r"""
from flopaudit_adapters.contract import ModuleCount, Tool, ToolResult

def good(loaded, variant):
    print("\x1b[31mtool\u202e")
    return ToolResult({"t\x1b": 7}, 7, rows=(ModuleCount("\x1b|p", "T<b>", 7),))

def bad(loaded, variant):
    raise ValueError("=1+1|<img src=x>\x1b[31m\u202e[red]x[/red]")

COMMON = {"distribution": "torch", "package": "torch", "unit": "MAC", "url": "u"}
GOOD = Tool(name="g\x1b[31m|[red]模\udce9", measure=good, summary="s\x1b[2J", **COMMON)
BAD = Tool(name="=bad()", measure=bad, summary="s", **COMMON)
"""


def flopaudit(*args: bytes, cwd: Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "flopaudit", *args],
        cwd=cwd, capture_output=True, check=False, timeout=300,
    )  # fmt: skip


def assert_nothing_is_hidden(content: bytes) -> str:
    text = content.decode("utf-8")
    assert visible(text, lines=True) == text
    return text


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with a model file and an adapter file whose name is not UTF-8."""
    cwd = tmp_path_factory.mktemp("hostile")
    made = cwd / os.fsdecode(FOLDER)
    try:
        made.mkdir()
    except OSError:
        pytest.skip("names of files are UTF-8 here")
    for name, text in (("net.py", MODELS), ("tools.py", TOOLS)):
        (made / name).write_text(text, encoding="utf-8")
    return cwd


RUN = (
    b"run", b"--models", FOLDER + b"/net.py:make," + FOLDER + b"/net.py:broken", b"--input", b"1x8",
    b"--tools", FOLDER + b"/tools.py:GOOD," + FOLDER + b"/tools.py:BAD,flop_counter",
    b"--out", FOLDER,
)  # fmt: skip


def test_a_run_shows_and_stores_nothing_raw(folder: Path) -> None:
    done = flopaudit(*RUN, cwd=folder)
    assert done.returncode == 1, done.stderr
    out, errors = map(assert_nothing_is_hidden, (done.stdout, done.stderr))
    assert r"caf\xe9/net.py:make" in out
    assert r"g\x1b[31m|[red]模\xe9" in out
    assert r"=1+1|<img src=x>\x1b[31m\u202e[red]x[/red]" in errors
    results = folder / os.fsdecode(FOLDER)
    written = {
        file.name: assert_nothing_is_hidden(file.read_bytes())
        for file in results.iterdir()
        if file.suffix != ".py" and file.is_file()
    }
    assert {"table.csv", "table.md", "measurements.jsonl", "settlements.jsonl"} <= set(written)
    for name, text in written.items():
        for line in text.splitlines() if name.endswith(".jsonl") else ():
            json.loads(line)
    _, *rows = csv.reader(io.StringIO(written["table.csv"]))
    assert {row[0] for row in rows} == {r"caf\xe9/net.py:make", r"caf\xe9/net.py:broken"}
    assert {row[2] for row in rows} == {"'=bad()", "flop_counter", r"g\x1b[31m|[red]模\xe9"}
    assert not [cell for row in rows for cell in row if cell[:1] in set("=@")]
    table = written["table.md"]
    assert r"g\\x1b\[31m\|\[red]模\\xe9" in table
    assert r"=1+1\|\<img src=x>" not in table.replace(r"\|\<img", "|<img")


def test_the_same_run_as_json_has_the_same_names(folder: Path) -> None:
    done = flopaudit(*RUN, b"--json", cwd=folder)
    assert done.returncode == 1
    result: Any = json.loads(assert_nothing_is_hidden(done.stdout))
    statuses = {(m["model"], m["tool"]): m["status"] for m in result["measurements"]}
    made = r"caf\xe9/net.py:make"
    assert statuses[made, "flop_counter"] == statuses[made, r"g\x1b[31m|[red]模\xe9"] == "counted"
    assert statuses[made, "=bad()"] == "errored"
    reported = [measurement["raw"] for measurement in result["measurements"]]
    assert {"t\x1b": 7} in reported, "programs get what the tool said"


def test_a_settlement_in_markdown_is_text_only(folder: Path) -> None:
    model = FOLDER + b"/net.py:make"
    tools = FOLDER + b"/tools.py:GOOD,flop_counter"
    options = (b"--input", b"1x8", b"--tools", tools, b"--out", FOLDER, b"--markdown")
    text = assert_nothing_is_hidden(flopaudit(b"settle", model, *options, cwd=folder).stdout)
    assert r"# caf\\xe9/net.py:make" in text
    assert r"g\\x1b\[31m\|\[red]模\\xe9" in text
    assert "[red]" not in text.replace(r"\[red]", "")
