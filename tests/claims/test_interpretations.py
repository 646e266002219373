"""Interpretations of a ledger, and variants of a model: general transformations, exact numbers."""

from __future__ import annotations

from typing import Any

import flopaudit
import pytest
import torch
import torchvision
from flopaudit.claims.interpretations import MOST_COST, CountedVariant, interpretations_of
from flopaudit.claims.model_variants import VariantCounter, move_strides, other_shapes
from flopaudit.core.specs import parse_inputs
from flopaudit.pipeline.model_requests import model_request
from flopaudit.reference.ledger import Ledger
from torch import nn


@pytest.fixture(scope="module")
def resnet50() -> Ledger:
    with torch.device("meta"):
        model = torchvision.models.resnet50().eval()
        return flopaudit.count(model, torch.rand(1, 3, 224, 224))


def named(ledger: Ledger, cost: float = 0, name: str = "") -> dict[str, int]:
    return {
        interpretation.name: interpretation.value
        for interpretation in interpretations_of(CountedVariant(name, cost, ledger, "here"))
    }


CONVENTIONS = [
    "macs", "flops", "macs-layers", "flops-layers", "flops-all", "macs+bias", "flops+norm",
    "macs+bias+norm", "flops+bias+norm+activation", "macs+bias+norm+activation+pooling+elementwise",
]  # fmt: skip


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_interpretations_are_those_of_the_conventions(convention: str, resnet50: Ledger) -> None:
    if convention == "flops-layers":  # not a convention, but twice one
        assert named(resnet50)[convention] == 2 * resnet50.read("macs-layers")
    else:
        assert named(resnet50)[convention] == resnet50.read(convention)


def test_batch_norm_by_the_conventions_of_the_tools(resnet50: Ledger) -> None:
    elements = 11_113_984
    found = named(resnet50)
    assert found["macs+norm at 2 per element"] == resnet50.macs + 2 * elements
    assert found["macs+norm at 4 per element"] == resnet50.macs + 4 * elements


def test_what_follows_without_another_count(resnet50: Ledger) -> None:
    found, last = named(resnet50), 2048 * 1000
    assert found["macs, without 'fc'"] == resnet50.macs - last
    assert found["macs, with 1001 classes"] == resnet50.macs + 2048
    assert found["flops, of a batch of 2"] == 4 * resnet50.macs
    assert found["macs, three times forward"] == 3 * resnet50.macs
    assert found["params, without 'fc'"] == resnet50.params - last - 1000
    assert found["params, with 10 classes"] == resnet50.params - 990 * 2049


def test_hooks_on_layers_miss_products() -> None:
    class Attends(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.MultiheadAttention(8, 2, batch_first=True)
            self.head = nn.Linear(8, 4)

        def forward(self, x: Any) -> Any:
            return self.head(self.inner(x, x, x)[0])

    found = named(flopaudit.count(Attends(), torch.rand(1, 5, 8)))
    assert found["macs in modules of layers only"] == 5 * 8 * 4
    assert found["macs-layers"] == 5 * 8 * 4 + 4 * 5 * 8 * 8
    assert found["macs"] == found["macs-layers"] + 2 * 5 * 5 * 8


def test_attention_by_half() -> None:
    class Causal(nn.Module):
        def forward(self, q: Any) -> Any:
            return nn.functional.scaled_dot_product_attention(q, q, q, is_causal=True)

    ledger = flopaudit.count(Causal(), torch.rand(1, 2, 8, 4))
    found = named(ledger)
    assert found["macs"] == 2 * 2 * 8 * 8 * 4
    assert found["macs, attention products counted by half"] == found["macs"] // 2


def test_costs_add_up_and_have_a_limit(resnet50: Ledger) -> None:
    plain = {r.name: r.cost for r in interpretations_of(CountedVariant("", 0, resnet50, "here"))}
    moved = {
        r.name: r.cost for r in interpretations_of(CountedVariant("moved", 3, resnet50, "here"))
    }
    assert plain["macs"] == 0
    assert plain["macs+bias+norm"] == 3
    assert moved["macs+bias+norm, moved"] == 6
    assert max(moved.values()) <= MOST_COST
    assert len(moved) < len(plain)


@pytest.mark.parametrize(
    ("name", "moved"),
    [
        ("resnet50", "stride in the 1×1"),
        ("resnext50_32x4d", "stride in the 1×1"),
        ("resnet18", ""),
        ("mobilenet_v2", ""),
        ("densenet121", ""),
    ],
)
def test_strides_move_in_bottlenecks_alone(name: str, moved: str) -> None:
    with torch.device("meta"):
        model = torchvision.models.get_model(name).eval()
        before = flopaudit.count(model, torch.rand(1, 3, 224, 224))
        assert move_strides(model) == moved
        after = flopaudit.count(model, torch.rand(1, 3, 224, 224))
    assert (after.macs < before.macs) == bool(moved)
    assert after.params == before.params
    assert before.rows[-1].outputs == after.rows[-1].outputs


def test_strides_move_back() -> None:
    with torch.device("meta"):
        model = torchvision.models.resnet50().eval()
        move_strides(model)
        assert move_strides(model) == "stride in the larger convolution after the 1×1"
        assert flopaudit.count(model, torch.rand(1, 3, 224, 224)).macs == 4_089_184_256


def test_models_for_one_size_are_built_for_another() -> None:
    variants = VariantCounter(model_request("vit_b_32"))
    counted = variants.at(parse_inputs(["1x3x384x384"]), 2)
    assert counted is not None
    assert counted.ledger.params > variants.as_it_is().ledger.params
    assert counted.name == "at 1x3x384x384"
    assert not variants.skipped


def test_a_variant_that_cannot_be_counted_is_reported() -> None:
    variants = VariantCounter(model_request("alexnet"))
    assert variants.at(parse_inputs(["1x3x32x32"]), 2) is None
    assert list(variants.skipped) == ["at 1x3x32x32"]


def test_auxiliary_heads_of_training_and_of_the_builder() -> None:
    for name in ("googlenet", "fcn_resnet50"):
        variants = VariantCounter(model_request(name))
        counted = variants.with_auxiliary_heads()
        assert counted is not None
        assert counted.ledger.macs > variants.as_it_is().ledger.macs
    assert VariantCounter(model_request("resnet18")).with_auxiliary_heads() is None


def test_a_training_step_is_about_three_times_forward() -> None:
    variants = VariantCounter(model_request("resnet18"))
    counted = variants.training_step()
    assert counted is not None
    assert 2.8 < counted.ledger.macs / variants.as_it_is().ledger.macs < 3


def test_other_inputs_are_of_the_same_kind() -> None:
    of_images = dict(other_shapes(model_request("vit_b_16")))
    assert of_images[parse_inputs(["1x3x384x384"])] < of_images[parse_inputs(["1x3x512x512"])]
    clips = [shapes[0].shape for shapes, _ in other_shapes(model_request("r3d_18"))]
    assert (1, 3, 16, 224, 224) in clips
    of_tokens = model_request("torchvision:resnet18", ["int64:2x128"])
    lengths = {shapes[0].shape for shapes, _ in other_shapes(of_tokens)}
    assert {(1, 128), (2, 512)} <= lengths
