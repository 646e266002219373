"""Disputed numbers that conventions explain, without any tool; each test names its thread."""

from __future__ import annotations

from pathlib import Path

import flopaudit
import pytest
import torch
from flopaudit.claims.parsing import parse_claims
from flopaudit.claims.search import Answer
from flopaudit.claims.settle_claims import settle_claims
from flopaudit.pipeline.model_requests import model_request
from flopaudit.reference.conventions import Convention
from flopaudit.reference.ledger import Ledger

from tests.support.models import disputed_models
from tests.support.paths import DISPUTED_MODELS

MODELS = DISPUTED_MODELS
_TRANSPOSED = ("transposed-by-output",)
HALF = Convention("half", "causal attention by half", mac=2, alternatives=("causal-half",))
BY_OUTPUT = Convention("by output", "each output by each weight", alternatives=_TRANSPOSED)
BY_OUTPUT_AND_BIAS = Convention("and bias", "the same", bias=1, alternatives=_TRANSPOSED)


def claim(text: str, model: str, *inputs: str) -> Answer:
    (answer,) = settle_claims(model_request(model, inputs), parse_claims([text])).answers
    return answer


def counted(model: torch.nn.Module, *inputs: torch.Tensor) -> Ledger:
    return flopaudit.count(model.eval(), *inputs)


@pytest.mark.slow
def test_the_number_of_torchinfo_for_vit_has_an_interpretation() -> None:
    """TylerYep/torchinfo#226: the claim is settled without torchinfo."""
    answer = claim("torchinfo=173,232,616", "vit_b_16")
    assert answer.verdict == "settled"
    (fit,) = answer.simplest
    assert fit.name == "parameters times output positions of convolutions"
    assert fit.interpretation.value == 173_232_616


@pytest.mark.parametrize(("text", "name"), [("4.5G", "macs"), ("9GFlops", "flops")])
def test_numbers_published_for_swin(text: str, name: str) -> None:
    """sovrasov/flops-counter.pytorch#142, microsoft/Swin-Transformer#340: 4.5 G, and 9 by two."""
    answer = claim(text, "swin_t")
    assert answer.fits[0].name == name
    assert answer.verdict == ("settled" if name == "macs" else "weak")


def test_attention_on_meta_is_counted() -> None:
    """pytorch/pytorch#195460: on meta another operator runs, and the counter reports 12,582,912."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        disputed_models.Attention()(torch.empty(1, 12, 64, 64, device="meta"))
    assert counter.get_total_flops() == 12_582_912


def test_resnet50_by_the_papers() -> None:
    """sovrasov/flops-counter.pytorch#76 and #94: which conventions give 3.8, 4.09 and 4.12."""
    paper, usual = claim("paper=3.8G", "resnet50"), claim("4.09B flops", "resnet50")
    assert paper.verdict == "ambiguous"
    moved = {fit.name: fit.interpretation.value for fit in paper.simplest}
    assert moved["macs, stride in the 1×1; cut off, not rounded"] == 3_857_973_248
    assert (usual.verdict, [fit.name for fit in usual.simplest]) == ("settled", ["macs"])
    ptflops = claim("4.12x10^9", "resnet50")
    assert "macs+norm at 2 per element+activation" in [fit.name for fit in ptflops.simplest]


def test_a_transposed_convolution_by_both_conventions(tmp_path: Path) -> None:
    """sovrasov/flops-counter.pytorch#149 and #57: 192, with bias 208, is the other convention."""
    ledger = counted(disputed_models.transposed(), torch.zeros(1, 3, 2, 2))
    assert ledger.macs == 48
    assert ledger.read("macs+bias") == 64
    assert ledger.read(BY_OUTPUT) == 192
    assert ledger.read(BY_OUTPUT_AND_BIAS) == 208
    ours = tmp_path / "ours.toml"
    ours.write_text('bias = 1\nalternatives = ["transposed-by-output"]\n')
    assert ledger.read(str(ours)) == 208
    answer = claim("192 MACs", f"{MODELS}:transposed", "1x3x2x2")
    assert answer.verdict == "settled"
    assert answer.fits[0].name == "macs, transposed convolutions counted from the output"


def test_formulas_of_a_transposed_convolution() -> None:
    """sovrasov/flops-counter.pytorch#57: K·K·Cin·Cout times the input, or times the output."""
    inputs = torch.zeros(1, 4, 5, 7)
    layer = torch.nn.ConvTranspose2d(4, 6, 3, stride=2)
    ledger = counted(layer, inputs)
    assert layer(inputs).shape[2:] == (11, 15)
    assert ledger.macs == 3 * 3 * 4 * 6 * 5 * 7
    assert ledger.read(BY_OUTPUT) == 3 * 3 * 4 * 6 * 11 * 15


def test_causal_attention_in_a_language_model() -> None:
    """pytorch/torchtitan#280: 6·N + 12·l·h·q·t for a token in full, 6 for 12 by half.

    Half of t² scores is nearly t·(t + 1)/2, which is what a mask leaves.
    """
    model = disputed_models.Decoder().eval()
    layers, heads, size, words, t = model.LAYERS, model.HEADS, model.SIZE, model.WORDS, 6
    ids = torch.arange(t).reshape(1, t) % words
    n = sum(p.numel() for p in model.parameters()) - model.embedding.weight.numel()
    forward, training = flopaudit.count(model, ids), flopaudit.count(model, ids, backward=True)
    attention = layers * heads * size
    assert training.read("flops") == t * (6 * n + 12 * attention * t) == 380_160
    assert 3 * forward.read("flops") == training.read("flops")
    assert 3 * forward.read(HALF) == t * (6 * n + 6 * attention * (t + 1)) == 368_640


@pytest.mark.parametrize("size", [64, 128])
def test_utilisation_above_one(size: int) -> None:
    """NVIDIA/Megatron-LM#831: 189 TFLOP/s by half, of 312 at most, are 121 % in full."""
    length, width = 16 * 1024, 2048
    q = torch.empty(1, width // size, length, size, device="meta")
    ledger = flopaudit.count(disputed_models.CausalAttention(), q)
    full, half = ledger.read("flops"), ledger.read(HALF)
    assert full == 4 * length**2 * width
    assert half == 4 * width * (length * (length + 1) // 2)
    assert round(189 / 312 * full / half, 2) == 1.21


def test_both_conventions_of_attention_are_claims() -> None:
    """NVIDIA/Megatron-LM#831, pytorch/torchtitan#280: the number shows its convention."""
    model = (f"{MODELS}:CausalAttention", "1x12x64x64")
    in_full, by_half = (claim(f"{n} FLOPs", *model) for n in (12_582_912, 4 * 12 * 64 * 2080))
    assert (in_full.verdict, in_full.fits[0].name) == ("settled", "flops")
    assert by_half.verdict == "settled"
    assert by_half.fits[0].name == "flops, causal attention counted by half"
