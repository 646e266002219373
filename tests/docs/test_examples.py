"""The examples in Python run, and print what the comment behind each line shows."""

from __future__ import annotations

import contextlib
import io
import json
import re
from dataclasses import astuple, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest import mock

import flopaudit_adapters
import pytest
import torch
from flopaudit.reference.formulas import Call
from flopaudit.reference.kinds import Kind
from flopaudit.reference.user_formulas import registry
from flopaudit_adapters.contract import (
    LoadedModel,
    ModuleCount,
    Tool,
    ToolResult,
    Unsupported,
)
from torch import nn

from tests.support.command_line import flopaudit
from tests.support.documents import ENGLISH, blocks, name_of, read
from tests.support.paths import ROOT

ADAPTERS = ROOT / "docs" / "ADAPTERS.md"
COLUMNS = 80
_PRINTED = re.compile(r"^print\(.+\)  # (.+)$", re.MULTILINE)


@pytest.mark.parametrize("document", [ENGLISH, ROOT / "docs" / "USAGE.md"], ids=name_of)
def test_example_prints_what_it_says(document: Path) -> None:
    (example,) = blocks(document, "python")
    expected = _PRINTED.findall(example.text)
    assert len(expected) == example.text.count("print(") > 0
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(example.text, name_of(document), "exec"), {})  # noqa: S102 - our own page
    assert printed.getvalue().splitlines() == expected


def test_example_of_formulas_counts() -> None:
    (example,) = blocks(ROOT / "docs" / "FORMULAS.md", "python")
    namespace: dict[str, Any] = {}
    with mock.patch.dict(registry.registered(), clear=True):
        exec(compile(example.text, "FORMULAS.md", "exec"), namespace)  # noqa: S102 - our own page
        assert list(registry.registered()) == ["mylib::low_rank", "mylib::gated_attention"]
        query, low_rank = torch.rand(2, 5, 16), torch.rand(4, 8)
        call = Call((low_rank, torch.rand(8, 2), torch.rand(2, 8)), {}, low_rank)
        ((kind, work),) = registry.registered()["mylib::low_rank"].parts(call)
        assert (kind, work.macs) == ("matmul", 4 * 8 * 2 + 4 * 2 * 8)
        call = Call((query, query, query), {}, query)
        parts = dict(registry.registered()["mylib::gated_attention"].parts(call))
        assert (parts[Kind.ATTENTION].macs, parts[Kind.ACTIVATION].elementary) == (1600, 160)


def test_example_of_an_adapter_is_a_tool_that_counts(tmp_path: Path) -> None:
    (example,) = blocks(ADAPTERS, "python")
    file = tmp_path / "weights_tool.py"
    file.write_text(example.text, encoding="utf-8")
    tool = flopaudit_adapters.find(f"{file}:TOOL")
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 5)).eval()
    result = tool.measure(LoadedModel(model, (torch.rand(2, 3),)), None)
    assert result.count == 3 * 4 + 4 * 5
    assert [astuple(row)[:3] for row in result.rows] == [("0", "Linear", 12), ("2", "Linear", 20)]
    with pytest.raises(Unsupported, match="no linear layer"):
        tool.measure(LoadedModel(nn.ReLU(), (torch.rand(2, 3),)), None)


@pytest.mark.parametrize("kind", [Tool, LoadedModel, ToolResult, ModuleCount])
def test_every_field_of_the_contract_is_described(kind: type) -> None:
    _, _, after = read(ADAPTERS).partition(f"| field of `{kind.__name__}` |")
    table = after.partition("\n\n")[0]
    described = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    assert sorted(described) == sorted(field.name for field in fields(kind))


def _stored(model: str) -> dict[str, Any]:
    """Return the committed settlement of a model."""
    lines = read(ROOT / "results" / "quick" / "settlements.jsonl").splitlines()
    (found,) = [each for each in map(json.loads, lines) if each["model"] == model]
    settlement: dict[str, Any] = found
    return settlement


def test_first_screen_in_the_readme_is_the_present_one() -> None:
    stored = _stored("torchvision:resnet50")
    made_with = {
        flopaudit_adapters.find(t["tool"]).distribution: t["version"] for t in stored["tools"]
    }
    if any(version(distribution) != made for distribution, made in made_with.items()):
        pytest.skip("the stored settlement is of other versions than are installed")
    command, *screen = blocks(ENGLISH)[0].text.splitlines()
    assert command == "$ flopaudit settle resnet50"
    assert max(map(len, screen)) <= COLUMNS
    done = flopaudit("settle", "resnet50", cwd=ROOT, columns=COLUMNS)
    assert done.stdout.splitlines()[: len(screen)] == screen
