"""The reference counter: sums of its parts, the state of the model, and what it falls back to."""

from __future__ import annotations

import copy
from functools import cache

import flopaudit
import pytest
import torch
import torchvision
from flopaudit.core.specs import ModelSpec, parse_input
from flopaudit.models.build import build, make_inputs
from flopaudit.models.torchvision_zoo import torchvision_models
from flopaudit.reference.ledger import Ledger
from torch import nn


@cache
def zoo_ledger(name: str) -> Ledger:
    """The reference on a torchvision model that is built on meta tensors."""
    specs = tuple(parse_input(text) for text in torchvision_models()[name].inputs)
    with torch.device("meta"):
        model = build(ModelSpec("torchvision", name))
        return flopaudit.count(model, *make_inputs(specs), device="meta")


@cache
def vit() -> nn.Module:
    model: nn.Module = torchvision.models.vit_b_16()
    return model.eval()


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("device", ["meta", "own"])
def test_vit_is_counted_the_same_however_it_runs(device: str, grad: object) -> None:
    image = torch.rand(1, 3, 224, 224)
    with torch.set_grad_enabled(bool(grad)):
        found = flopaudit.count(vit(), image, device=device)  # type: ignore[arg-type] # parametrized
    # What torchvision publishes to three decimals, 17.564; FlopCounterMode on meta tensors halved.
    assert found.macs == 17_563_828_224
    assert found.device == ("meta" if device == "meta" else "cpu")


def test_parts_add_up() -> None:
    for name in ("resnet18", "vit_b_16", "swin_t", "deeplabv3_mobilenet_v3_large", "s3d"):
        found = zoo_ledger(name)
        for key in ("path", "operator", "kind", "form", "type"):
            assert sum(work.macs for work in found.by(key).values()) == found.macs
        parts = found.components()
        macs = sum(count for part, count in parts.items() if part.endswith("_macs"))
        others = sum(count for part, count in parts.items() if not part.endswith("_macs"))
        assert macs == found.macs
        assert 2 * macs + others == found.work.flops_all


def test_fused_encoder_layer_equals_its_parts() -> None:
    """The fast paths of attention run as one operator; they count as what they compute."""
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True).eval()
    tokens = torch.rand(2, 7, 32)
    batch, length, embed, hidden = 2, 7, 32, 64
    expected = batch * length * (4 * embed * embed + 2 * embed * hidden)
    expected += 2 * batch * length * length * embed
    for device in ("meta", "own"):
        found = flopaudit.count(layer, tokens, device=device)
        assert found.macs == expected


def test_model_is_left_as_it_was() -> None:
    model = build(ModelSpec("torchvision", "resnet18")).train()
    before = copy.deepcopy(model.state_dict())
    modes = [module.training for module in model.modules()]
    state = torch.get_rng_state()
    flopaudit.count(model, torch.rand(2, 3, 64, 64), device="meta")
    assert [module.training for module in model.modules()] == modes
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert all(not module._forward_hooks for module in model.modules())  # noqa: SLF001 - what is checked
    torch.rand(2, 3, 64, 64)
    torch.set_rng_state(state)


def test_model_that_raises_leaves_no_hook() -> None:
    class Fails(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError(f"no use for {x.shape}")

    hooks = torch.nn.modules.module
    with pytest.raises(RuntimeError, match="no use"):
        flopaudit.count(Fails(), torch.rand(1))
    assert not hooks._global_forward_hooks  # noqa: SLF001 - what is checked
    assert not hooks._global_forward_pre_hooks  # noqa: SLF001 - what is checked


def test_data_dependent_model_falls_back_and_says_so() -> None:
    class Positive(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            chosen: torch.Tensor = self.linear(x[x.sum(-1) > 0])
            return chosen

    found = flopaudit.count(Positive(), torch.ones(3, 4))
    assert found.macs == 3 * 4 * 4
    assert found.device == "cpu"
    assert found.fallback


def test_unknown_operator_is_named() -> None:
    class Rare(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            rare: torch.Tensor = torch.special.bessel_j0(x)
            return rare

    found = flopaudit.count(Rare(), torch.rand(4), device="own")
    assert list(found.uncounted_ops) == ["aten.special_bessel_j0.default"]


def test_pandas_has_every_row() -> None:
    found = zoo_ledger("resnet18")
    frame = found.to_pandas()
    assert len(frame) == len(found.rows)
    assert int(frame["macs"].sum()) == found.macs
