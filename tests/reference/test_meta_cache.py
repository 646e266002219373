"""Cached calls are not run again, and the ledger does not change."""

from __future__ import annotations

from typing import Any

import flopaudit
import pytest
import torch
from flopaudit.core.specs import ModelSpec, parse_input
from flopaudit.models.build import build, make_inputs
from flopaudit.models.torchvision_zoo import torchvision_models
from flopaudit.reference import meta_cache
from flopaudit.reference.ledger import Ledger
from torch import nn

ZOO = ["resnet18", "vit_b_16", "swin_v2_t", "densenet121", "mobilenet_v3_small", "raft_small",
       "inception_v3", "deeplabv3_mobilenet_v3_large", "s3d", "mvit_v2_s"]  # fmt: skip


def refuse(_value: Any) -> Any:
    raise meta_cache.Unkeyed


def counted(model: nn.Module, *inputs: torch.Tensor, backward: bool = False) -> Ledger:
    return flopaudit.count(model, *inputs, device="meta", backward=backward)


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("name", ZOO)
def test_ledger_is_the_same_with_and_without_the_cache(
    name: str, backward: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    with torch.device("meta"):
        model = build(ModelSpec("torchvision", name))
        inputs = make_inputs(tuple(map(parse_input, torchvision_models()[name].inputs)))
    meta_cache.clear()
    first = counted(model, *inputs, backward=bool(backward))
    again = counted(model, *inputs, backward=bool(backward))
    with monkeypatch.context() as patched:
        patched.setattr(meta_cache, "key_of", refuse)
        never = counted(model, *inputs, backward=bool(backward))
    assert first.rows == never.rows
    assert again.rows == never.rows
    assert len(never.rows) > 10


def test_cached_calls_are_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.device("meta"):
        model, image = nn.BatchNorm2d(8).eval(), torch.rand(2, 8, 4, 4)
    counted(model, image)
    made: list[Any] = []
    real = meta_cache.remake

    def remake(results: Any, args: Any) -> Any:
        made.append(results)
        return real(results, args)

    monkeypatch.setattr(meta_cache, "remake", remake)
    counted(model, image)
    assert made


class Sizes(nn.Module):
    """A model that keeps the strides of its results, on which later calls depend."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))  # with one on meta, it is not copied to be run

    def forward(self, x: Any) -> Any:
        y = (x.transpose(1, 2) + 1).contiguous(memory_format=torch.contiguous_format)
        y.mul_(2)
        self.seen = [y.stride(), (x.transpose(1, 2) * 2).stride(), torch.relu_(y).stride()]
        return torch.cat([y, y]), y.view(-1), y is torch.relu_(y)


def test_results_look_the_same() -> None:
    model = Sizes().to("meta")
    meta_cache.clear()
    seen = []
    for _ in range(2):
        counted(model, torch.rand(2, 3, 4, device="meta"))
        seen.append(model.seen)
    assert seen[0] == seen[1]


def test_real_values_are_never_cached() -> None:
    class Chooses(nn.Module):
        def forward(self, x: Any) -> Any:
            return x[x > 0] * 2

    for ones in (1, 3, 2):
        x = torch.tensor([1.0] * ones + [-1.0] * (3 - ones))
        found = flopaudit.count(Chooses(), x, device="own")
        assert found.by("kind")["elementwise"].muls == ones


def test_gradients_still_have_a_graph() -> None:
    with torch.device("meta"):
        model, x = nn.Linear(4, 4), torch.rand(2, 4)
    steps = [counted(model, x, backward=True).macs for _ in range(3)]
    assert steps == [2 * 4 * 4 * 2] * 3
