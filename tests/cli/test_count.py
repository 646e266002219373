"""`flopaudit count`: what a person and a machine get."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.command_line import flopaudit


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
