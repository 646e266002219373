"""Settlement of one model: the places it is looked for, and where a measured one is kept."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from flopaudit import published
from flopaudit.core.checksum import add, check
from flopaudit.isolation.jobs import Limits
from flopaudit.pipeline import settle_model
from flopaudit.pipeline.measure import MEASUREMENTS, RunOptions
from flopaudit.pipeline.model_requests import model_request
from flopaudit.pipeline.results import measurements_in
from flopaudit.tools.registry import tool_variants
from flopaudit.tools.versions import version

from tests.support.paths import FAKES

if TYPE_CHECKING:
    from pathlib import Path

SETTLEMENTS = "settlements.jsonl"


def keep(folder: Path, torch: str | None, mark: str) -> Path:
    """Copy the shipped settlement of resnet18, with a version of torch and a mark of its own."""
    lines = (published.settlements()[0] / SETTLEMENTS).read_text().splitlines()
    (line,) = (line for line in lines if json.loads(line)["model"] == "torchvision:resnet18")
    folder.mkdir(parents=True)
    changed = {**json.loads(check(line)[0]), "torch": torch}
    changed["tools"] = [{**changed["tools"][0], "tool": mark}]
    (folder / SETTLEMENTS).write_text(add(json.dumps(changed)) + "\n")
    return folder


def test_named_directory_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    here = version("torch")
    keep(tmp_path / "results" / "settled", here, "below results")
    out = keep(tmp_path / "out", here, "named")
    old = keep(tmp_path / "old", "0.1", "of another torch")
    request = model_request("resnet18")

    def found(directory: Path | None) -> tuple[str, str]:
        stored = settle_model.stored(request, (), directory)
        assert stored.settlement is not None
        return stored.settlement["tools"][0]["tool"], stored.place

    assert found(out) == ("named", str(out))
    assert found(None) == ("below results", "results/settled")
    assert found(old) == ("below results", "results/settled")
    assert found(tmp_path / "missing") == ("below results", "results/settled")


@pytest.mark.slow
def test_measured_settlement_is_kept_in_the_named_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    out, request = tmp_path / "mine", model_request(f"{FAKES}:small", ["1x8"])
    variants = tool_variants("thop")
    options = RunOptions(1, Limits(120, 8 << 30))
    settlement, reuse = settle_model.measured(request, variants, options, out)
    assert reuse.text() == "Reused 0 results, measured 3: not measured before (3)."
    assert [tool["tool"] for tool in settlement["tools"]] == ["thop"]
    # A user's own model is built to be recognised; then its records are reused.
    assert settle_model.stored(request, variants, out) == settle_model.Stored()
    again, reuse = settle_model.measured(request, variants, options, out)
    assert again == settlement
    assert reuse.text() == "Reused 3 results, measured 0."
    assert [record.reported for record in measurements_in(out / MEASUREMENTS)] == [32]
    assert not (tmp_path / settle_model.RESULTS).exists()
