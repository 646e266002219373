"""Totals under conventions, training steps, parameters and memory."""

from __future__ import annotations

import json
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import flopaudit
import pytest
import torch
import torchvision
from flopaudit.cli.app import main
from flopaudit.reference.conventions import BUILT_IN, ConventionError, convention
from flopaudit.reference.peak_memory import peak_activation_bytes
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


@pytest.fixture(scope="module")
def vit() -> Any:
    with torch.device("meta"):
        return flopaudit.count(torchvision.models.vit_b_32().eval(), torch.rand(1, 3, 224, 224))


def test_built_in_conventions(vit: Any) -> None:
    work, kinds = vit.work, vit.by("kind")
    assert vit.read("macs") == vit.read() == work.macs
    assert vit.read("flops") == 2 * work.macs
    assert vit.read("flops-all") == work.flops_all == vit.flops_all
    assert vit.read("macs-layers") == kinds["conv"].macs + kinds["linear"].macs < work.macs
    assert vit.read("macs+bias") == work.macs + work.bias_adds
    assert vit.read("macs+norm") == work.macs + kinds["normalisation"].others
    both = vit.read("flops+bias+norm+activation") - vit.read("flops")
    parts = [
        vit.read(f"flops+{part}") - vit.read("flops") for part in ("bias", "norm", "activation")
    ]
    assert both == sum(parts)


def test_convention_from_a_file(tmp_path: Path, vit: Any) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('mac = 1\nproducts = ["conv"]\nbias = 3\n[others]\nnormalisation = 2\n')
    kinds = vit.by("kind")
    expected = kinds["conv"].macs + 3 * kinds["conv"].bias_adds
    assert vit.read(str(path)) == expected + 2 * kinds["normalisation"].others
    assert convention(str(path)).name == "mine"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mac = 1.5", "mac = 1.5"),
        ("mac = true", "mac = True"),
        ("colour = 1", "colour"),
        ('products = ["cake"]', "cake"),
        ("mac = ", "not TOML"),
        ('[others]\nnormalisation = "two"', "normalisation"),
    ],
)
def test_bad_file_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / f"{abs(hash(text))}.toml"
    path.write_text(text)
    with pytest.raises(ConventionError, match=message):
        convention(str(path))


@pytest.mark.parametrize("name", ["mac", "macs+cake", "nowhere.toml", "+bias"])
def test_unknown_convention_is_refused(name: str) -> None:
    with pytest.raises(ConventionError):
        convention(name)


def test_alternatives_replace_the_default() -> None:
    class Attends(nn.Module):
        def forward(self, q: Any) -> Any:
            return nn.functional.conv_transpose2d(
                q, torch.ones(2, 3, 4, 4, device=q.device), stride=2
            )

    found = flopaudit.count(Attends(), torch.rand(1, 2, 5, 5))
    by_output = BUILT_IN["macs"].__class__("x", "x", alternatives=("transposed-by-output",))
    assert found.macs == 25 * 2 * 3 * 16
    assert found.read(by_output) == 12 * 12 * 2 * 3 * 16


@pytest.mark.parametrize("name", ["resnet18", "vit_b_32", "swin_t", "r3d_18"])
def test_training_step_agrees_with_torch(name: str) -> None:
    with torch.device("meta"):
        model = torchvision.models.get_model(name).train()
        shape = (2, 3, 8, 64, 64) if name == "r3d_18" else (2, 3, 224, 224)
        inputs = torch.rand(shape)
    found = flopaudit.count(model, inputs, backward=True)
    with FlopCounterMode(display=False) as counter:
        model(inputs).sum().backward()
    assert 2 * found.macs == counter.get_total_flops()
    assert not found.uncounted_ops
    phases = found.by("phase")
    assert phases["forward"].macs == flopaudit.count(model, inputs).macs
    without_module = [row for row in found.rows if not row.path and row.work.macs]
    assert not without_module, "every product of the backward pass belongs to a module"


def test_grouped_convolutions_cost_the_same_backward() -> None:
    """Torch's own mode leaves the groups out of the gradient of the weights."""
    with torch.device("meta"):
        model, image = torchvision.models.mobilenet_v2().train(), torch.rand(2, 3, 224, 224)
    found = flopaudit.count(model, image, backward=True)
    forward, first = found.by("phase")["forward"].macs, flopaudit.count(model, image).rows[0].work
    # Once more for the weights and once for the input, which the first layer has no gradient of.
    assert found.macs == 3 * forward - first.macs


def test_training_step_by_hand() -> None:
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    found = flopaudit.count(model, torch.rand(5, 8), backward=True)
    first, second = 5 * 8 * 16, 5 * 16 * 4
    # Each layer once for its weights; the second once more for its input, the first has none.
    assert found.by("path")["0"].macs == 2 * first
    assert found.by("path")["2"].macs == 3 * second
    assert found.by("phase")["backward"].macs == first + 2 * second


def test_parameters_buffers_and_sizes() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2).half())
    model[0].weight.requires_grad_(False)  # noqa: FBT003 - torch's own
    found = flopaudit.count(nn.Sequential(model[0], model[1]), torch.rand(3, 4))
    assert (found.params, found.trainable_params, found.buffers) == (56, 24, 17)
    assert found.model_bytes == 4 * 56 + 4 * 16 + 8
    mixed = flopaudit.count(model[2], torch.rand(3, 8).half())
    assert mixed.params_by_dtype == {"float16": 18}


def test_memory_access_of_a_pointwise_convolution() -> None:
    found = flopaudit.count(nn.Conv2d(8, 16, 1, bias=False), torch.rand(1, 8, 10, 12))
    elements = 10 * 12 * (8 + 16) + 8 * 16
    assert found.elements_accessed == elements
    assert found.bytes_accessed == 4 * elements
    assert found.intensity == Fraction(2 * 10 * 12 * 8 * 16, 4 * elements)


def test_peak_of_activations_by_hand() -> None:
    wide = nn.Sequential(nn.Linear(4, 100), nn.ReLU(inplace=True), nn.Linear(100, 2))
    # The input stays; the largest results next to it are 100 wide and the last 2 wide.
    assert peak_activation_bytes(wide.eval(), torch.rand(3, 4)) == 4 * 3 * (4 + 100 + 2)
    chain = nn.Sequential(*(nn.Linear(10, 10) for _ in range(50)))
    # However long a chain is, input, one result and the next are all that is held.
    assert peak_activation_bytes(chain, torch.rand(7, 10)) == 4 * 7 * 10 * 3


def test_command_line_shows_conventions(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def counted(*options: str) -> dict[str, Any]:
        command = ["flopaudit", "count", "squeezenet1_1", "--json", *options]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 0
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    plain, static, step = (
        counted("--convention", "macs+bias"),
        counted("--static"),
        counted("--backward"),
    )
    assert set(plain) >= {
        "model", "inputs", "params", "macs", "flops", "flops_all", "bias_adds", "bytes_accessed",
        "uncounted_ops", "conventions", "peak_activation_bytes",
    }  # fmt: skip
    assert plain["conventions"] == {"macs+bias": plain["macs"] + plain["bias_adds"]}
    assert static["macs"] == plain["macs"]
    assert static["device"] == "export"
    assert step["macs"] > 2 * plain["macs"]
    assert step["mode"] == "train"
