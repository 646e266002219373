"""Published numbers that users dispute, settled: each from the thread or paper that it names."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from flopaudit.claims.parsing import parse_claims
from flopaudit.claims.search import Answer
from flopaudit.claims.settle_claims import settle_claims
from flopaudit.claims.tool_predictions import predicted_by_tools
from flopaudit.models.torchvision_zoo import torchvision_models
from flopaudit.pipeline.model_requests import model_request

# By model: the claim, the verdict, and the names of the simplest interpretations.
DISPUTES: dict[str, dict[str, tuple[str, tuple[str, ...]]]] = {
    # sovrasov/flops-counter.pytorch#76 and #94, pytorch/vision#1266, Lyken17/pytorch-OpCounter#17
    "resnet50": {
        "paper=3.8G": (
            "ambiguous",
            ("macs; G as 2^30", "macs, stride in the 1×1; cut off, not rounded"),
        ),
        "3.86G": ("settled", ("macs, stride in the 1×1",)),
        "4.09B FLOPs": ("settled", ("macs",)),
        "8.2 GFLOPs": ("settled", ("flops",)),
        "card=4.123 GFLOPs": ("settled", ("macs+norm at 2 per element+activation+pooling",)),
        "thop=4.13G": ("settled", ("total of thop",)),
        "25.6M params": ("settled", ("params",)),
    },
    # TylerYep/torchinfo#226: 173.23 M is the total of torchinfo, 33.03 G was printed by a model zoo
    "vit_b_16": {
        "17.6 GMACs": ("settled", ("macs",)),
        "torchinfo=173.23M": ("settled", ("parameters times output positions of convolutions",)),
        "zoo=33.03G": (
            "ambiguous",
            (
                "macs in modules of layers only+norm at 2 per element, at 1x3x384x384",
                "macs in modules of layers only+activation at 1 per element, at 1x3x384x384",
            ),
        ),
        "zoo=86.86M params": ("settled", ("params, at 1x3x384x384",)),
        "55.5G": ("settled", ("macs, at 1x3x384x384",)),
    },
    # sovrasov/flops-counter.pytorch#142
    "swin_t": {
        "paper=4.5G": ("settled", ("macs",)),
        "3.13G": ("settled", ("total of ptflops pytorch",)),
    },
    "mobilenet_v2": {
        "300M": ("settled", ("macs; cut off, not rounded",)),
        "301M": ("settled", ("macs",)),
        "0.3 GFLOPs": ("weak", ("macs",)),
        "602 MFLOPs": ("settled", ("flops",)),
    },
    "vgg16": {"15.5G": ("settled", ("macs",)), "30.9G": ("settled", ("flops",))},
    "alexnet": {"714M": ("settled", ("macs",)), "0.7G": ("weak", ("macs",))},
    "inception_v3": {
        "5.7G": ("settled", ("macs",)),
        "27.2M params": ("settled", ("params",)),
        "23.8M params": ("settled", ("params of what ran",)),
    },
    "deeplabv3_resnet50": {"178.722G": ("settled", ("macs, with auxiliary heads",))},
}


@lru_cache(maxsize=1)
def answers(model: str) -> dict[str, Answer]:
    request = model_request(model)
    texts = list(DISPUTES[model])
    found = settle_claims(request, parse_claims(texts), predicted_by_tools(request, None))
    return dict(zip(texts, found.answers, strict=True))


@pytest.mark.parametrize(
    ("model", "text"), [(model, text) for model, claims in DISPUTES.items() for text in claims]
)
def test_dispute(model: str, text: str) -> None:
    verdict, names = DISPUTES[model][text]
    found = answers(model)[text]
    assert found.verdict == verdict
    assert tuple(fit.name for fit in found.simplest) == names
    low, high = found.claim.bounds
    for fit in found.simplest:
        assert low <= fit.interpretation.value <= high or fit.printing.name


@pytest.mark.parametrize(
    "model", ["resnet18", "squeezenet1_1", "shufflenet_v2_x1_0", "mobilenet_v3_small"]
)
def test_what_torchvision_publishes_is_settled(model: str) -> None:
    weights = torchvision_models()[model].weights
    assert weights is not None
    claims = parse_claims([f"{weights.published_gmacs}G", f"{weights.published_params} params"])
    macs, params = settle_claims(model_request(model), claims).answers
    assert (macs.verdict, macs.fits[0].name) == ("settled", "macs")
    assert (params.verdict, params.fits[0].name) == ("settled", "params")


def test_the_usual_4_12_of_resnet50_has_several_interpretations() -> None:
    """sovrasov/flops-counter.pytorch#76: with normalisation and activation it is 4.12 billion."""
    (found,) = settle_claims(model_request("resnet50"), parse_claims(["4.12 GFLOPs"])).answers
    assert found.verdict == "ambiguous"
    assert "macs+norm at 2 per element+activation" in [fit.name for fit in found.simplest]
    assert found.chance < 0.05


def test_the_papers_resnet50_to_the_operation() -> None:
    """The stride in the 1×1 has 3.858 billion, which is 3.8 when cut off and 3.9 when rounded."""
    binary, moved = answers("resnet50")["paper=3.8G"].simplest
    assert moved.interpretation.value == 3_857_973_248
    assert binary.interpretation.value == 4_089_184_256
    assert round(100 * binary.error, 2) == 0.22
    assert round(100 * moved.error, 2) == 1.53


def test_an_alexnet_of_1_5_billion_is_not_this_one() -> None:
    """Twice 0.714 is 1.43: all fits to 1.5 assume too much for two digits, so they are weak."""
    (found,) = settle_claims(model_request("alexnet"), parse_claims(["1.5G"])).answers
    assert found.verdict == "weak"
    assert found.chance > 0.1
    assert not [fit for fit in found.fits if fit.cost < 5]


def test_the_answer_reports_how_many_random_numbers_fit() -> None:
    for found in answers("resnet50").values():
        assert found.rates["settled"] <= 0.05
        assert found.rates["settled"] + found.rates["ambiguous"] <= 0.10


SINGLE = """
import torch
def conv():
    return torch.nn.Conv2d(1, 128, 3)
"""


def settled(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flopaudit", "settle", *more],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_one_convolution_by_tensorflow_and_by_thop(tmp_path: Path) -> None:
    """Lyken17/pytorch-OpCounter#37: 38,612,737 against 20,321,280, to the last operation."""
    path = tmp_path / "single.py"
    path.write_text(SINGLE)
    claims = ("--claim", "tensorflow=38,612,737", "--claim", "thop=20,321,280")
    done = settled(tmp_path, f"{path}:conv", "--input", "1x1x128x128", *claims, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["reference"] == {"macs": 18_289_152, "params": 1_280}
    tensorflow, thop = found["claims"]
    assert tensorflow["verdict"] == thop["verdict"] == "settled"
    assert thop["fits"][0]["interpretation"] == "macs+bias"
    (fit,) = tensorflow["fits"]
    assert fit["interpretation"] == "flops+bias, and drawing the weights at random"
    # 2 for each of 1,152 weights and 1 for their range, in addition to 2·18,289,152 + 2,032,128.
    assert fit["value"] - 2 * 18_289_152 - 2_032_128 == 2 * 1_152 + 1


def test_command_line_prints_interpretation_and_certainty(tmp_path: Path) -> None:
    done = settled(tmp_path, "alexnet", "--claim", "paper=0.714G", "--claim", "0.7 GFLOPs")
    assert done.returncode == 0, done.stderr
    assert "paper = 0.714G (713,500,000 to 714,500,000): settled" in done.stdout
    assert "Of random numbers with 3 digits" in done.stdout
    assert "0.7 GFLOPs (650,000,000 to 750,000,000): weak" in done.stdout


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--claim", "paper="), "'paper=' is not a claim"),
        (("--claim", "x=much"), "'much' is not a number"),
        (("--claim", "4G", "--input", "224"), "does not run on"),
    ],
)
def test_bad_claims_are_refused(more: tuple[str, ...], message: str, tmp_path: Path) -> None:
    done = settled(tmp_path, "alexnet", *more)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
