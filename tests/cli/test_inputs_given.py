"""Inputs beyond tensors, through the command line: each tool takes them as it can."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from tests.support.command_line import flopaudit
from tests.support.paths import ROOT

HOME = ROOT / "tests" / "support" / "models" / "nested_inputs.py"
LLAMA = (
    "transformers:llama?hidden_size=64&intermediate_size=96&num_hidden_layers=2&vocab_size=128"
    "&num_attention_heads=4&num_key_value_heads=2"
)


def run_as_json(cwd: Path, *args: str) -> dict[str, Any]:
    done = flopaudit("run", "--json", "--out", "out", *args, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def statuses(found: dict[str, Any]) -> dict[str, str]:
    return {
        " ".join(filter(None, (each["tool"], each["variant"]))): each["status"]
        for each in found["measurements"]
    }


def test_a_decode_step_is_run_by_tools(tmp_path: Path) -> None:
    found = run_as_json(
        tmp_path, "--models", LLAMA, "--phase", "decode", "--context", "100",
        "--tools", "thop,ptflops,flop_counter",
    )  # fmt: skip
    (reference,) = found["references"]
    assert reference["inputs"] == ["input_ids=int64:1x1", "cache=cache:1x100"]
    products = 2 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 96)
    assert reference["macs"] == products + 2 * 2 * 64 * 101
    assert statuses(found) == {
        "thop": "unsupported",  # it gives inputs by position
        "ptflops pytorch": "counted",
        "ptflops aten": "counted",
        "flop_counter": "counted",
    }
    counted = {each["tool"]: each["reported"] for each in found["measurements"]}
    assert counted["flop_counter"] == 2 * products, "without the attention that it does not see"


def test_a_nested_input_is_run_by_all_tools(tmp_path: Path) -> None:
    torch.save(({"image": torch.rand(1, 3, 8, 8), "sizes": [None, 0.5]},), tmp_path / "batch.pt")
    found = run_as_json(
        tmp_path, "--models", f"{HOME}:TakesBatch", "--input-file", "batch.pt",
        "--dtype", "fp32", "--tools", "thop,fvcore,ptflops,flop_counter,torchstat",
    )  # fmt: skip
    assert statuses(found).pop("torchstat") == "unsupported"
    assert {each["macs"] for each in found["measurements"] if each["status"] == "counted"} == {
        6 * 6 * 4 * 3 * 9
    }
    (reference,) = found["references"]
    assert reference["inputs"] == ["file:batch.pt"]
    assert reference["model"] == f"{HOME}:TakesBatch@float32"


def test_a_model_that_does_not_match_its_inputs_has_no_reference(tmp_path: Path) -> None:
    done = flopaudit(
        "run", "--models", f"{HOME}:half", "--input", "1x8", "--tools", "flop_counter",
        "--out", "out", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1
    assert "The weights are float16, and an input is float32." in done.stdout
