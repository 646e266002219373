"""The reference against the figures that torchvision publishes, for every weights entry.

A model is built as torchvision builds it when it loads the weights, at the input of the entry.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache
from typing import Any

import flopaudit
import pytest
import torch
import torchvision
from flopaudit.core.specs import ModelSpec, parse_input
from flopaudit.models.build import build, make_inputs
from flopaudit.models.torchvision_zoo import WeightsEntry, torchvision_models
from flopaudit.reference.ledger import Ledger
from torch import nn
from torchvision.models import regnet

# Options that a builder sets when it loads weights, so the published figures are of these models.
AS_WITH_WEIGHTS: dict[str, dict[str, Any]] = {
    "googlenet": {"aux_logits": False},
    "quantized_googlenet": {"aux_logits": False},
    "fcn_resnet50": {"aux_loss": True},
    "fcn_resnet101": {"aux_loss": True},
    "deeplabv3_resnet50": {"aux_loss": True},
    "deeplabv3_resnet101": {"aux_loss": True},
    "deeplabv3_mobilenet_v3_large": {"aux_loss": True},
}

MODELS = torchvision_models()
ENTRIES = [(model.name, entry) for model in MODELS.values() for entry in model.entries]
# Detection models decide by their data what runs, so they are not run on meta tensors.
RUN = [(name, entry) for name, entry in ENTRIES if MODELS[name].family != "detection"]

# Models whose published figure is not that of the model as it is built without weights; each reason
# was found by reproducing the published figure.
AUXILIARY = "published with its auxiliary classifier, which is built only with weights"
DATA = "published for other proposals than random weights give: what runs depends on the data"
EXCEPTIONS = {
    "fcn_resnet50": AUXILIARY,
    "fcn_resnet101": AUXILIARY,
    "deeplabv3_resnet50": AUXILIARY,
    "deeplabv3_resnet101": AUXILIARY,
    "deeplabv3_mobilenet_v3_large": AUXILIARY,
    "fasterrcnn_mobilenet_v3_large_320_fpn": DATA,
    "fasterrcnn_mobilenet_v3_large_fpn": DATA,
    "fasterrcnn_resnet50_fpn": DATA,
    "maskrcnn_resnet50_fpn": DATA,
    "keypointrcnn_resnet50_fpn": DATA,
}
# Their count can, by chance of the weights, be the published one.
DATA_DEPENDENT = {
    *(name for name, reason in EXCEPTIONS.items() if reason == DATA),
    "fasterrcnn_resnet50_fpn_v2",
    "maskrcnn_resnet50_fpn_v2",
}
# The quickest of the detection models that do not depend on their data; it runs on real tensors.
DETECTION = "ssdlite320_mobilenet_v3_large"
# Every model with a figure that does not depend on data, at the input of its chosen weights.
CHECKED = [
    name
    for name in sorted(set(MODELS) - DATA_DEPENDENT)
    if MODELS[name].family != "detection" or name == DETECTION
]


@pytest.fixture(autouse=True, scope="module")
def _regnet_on_meta() -> Iterator[None]:
    """RegNet works out its widths with tensors whose values it reads: these stay on the CPU."""
    on_any_device = regnet.BlockParams.from_init_params

    def on_cpu(*args: Any, **kwargs: Any) -> Any:
        with torch.device("cpu"):
            return on_any_device(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(regnet.BlockParams, "from_init_params", on_cpu)
        yield


@lru_cache(maxsize=1)
def built(name: str, image_size: int | None) -> nn.Module:
    """A model on meta tensors. Entries of one model follow one another, so one model is kept."""
    options: dict[str, Any] = dict(AS_WITH_WEIGHTS.get(name, {}))
    if image_size is not None:
        options["image_size"] = image_size
    with torch.device("meta"):
        if not options:
            return build(ModelSpec("torchvision", name))
        builder = torchvision.models.get_model_builder(name)
        if "weights_backbone" in inspect.signature(builder).parameters:
            options["weights_backbone"] = None
        model: nn.Module = builder(**options)
    return model.eval()


def counted(name: str, inputs: tuple[str, ...]) -> Ledger:
    """The ledger of a model that is built for that input."""
    specs = tuple(map(parse_input, inputs))
    size = specs[0].shape[-1] if name.startswith("vit") else None
    # Without weights, a vision transformer is built for its own default size.
    default = MODELS[name].inputs == inputs
    model = built(name, None if default else size)
    with torch.device("meta"):
        return flopaudit.count(model, *make_inputs(specs), device="meta")


def gmacs(macs: int) -> Decimal:
    """Billions to three decimals, as torchvision rounds them."""
    return (Decimal(macs) / 10**9).quantize(Decimal("0.001"), ROUND_HALF_UP)


@pytest.mark.parametrize(("name", "entry"), RUN, ids=[entry.name for _, entry in RUN])
def test_entry(name: str, entry: WeightsEntry) -> None:
    ledger = counted(name, entry.inputs)
    assert entry.published_gmacs is not None
    assert gmacs(ledger.macs) == entry.published_gmacs.quantize(Decimal("0.001"))
    assert ledger.params == entry.published_params
    assert not ledger.uncounted_ops


@pytest.mark.parametrize("name", [*AS_WITH_WEIGHTS, DETECTION])
def test_model_as_built_without_weights(name: str) -> None:
    """Models that `test_entry` builds with options, or does not run at all."""
    specs = tuple(map(parse_input, MODELS[name].inputs))
    with torch.device("cpu" if name == DETECTION else "meta"):
        ledger = flopaudit.count(build(ModelSpec("torchvision", name)), *make_inputs(specs))
    weights = MODELS[name].weights
    assert weights is not None
    assert weights.published_gmacs is not None
    assert not ledger.uncounted_ops
    agrees = gmacs(ledger.macs) == weights.published_gmacs.quantize(Decimal("0.001"))
    # An exception that has come to agree is stale, and fails too.
    assert agrees == (name not in EXCEPTIONS), f"{gmacs(ledger.macs)}, {EXCEPTIONS.get(name)}"


def test_nearly_all_entries_are_run() -> None:
    assert len(RUN) > 0.9 * len(ENTRIES)


def test_chosen_weights_of_every_model_are_run() -> None:
    """Run at the model's own input, so that `test_entry` holds for the model that users name."""
    run = {(name, entry.name, entry.inputs) for name, entry in RUN}
    for name in set(CHECKED) - {DETECTION}:
        model = MODELS[name]
        assert model.weights is not None
        assert (name, model.weights.name, model.inputs) in run


def test_enough_agree() -> None:
    agree = [name for name in CHECKED if name not in EXCEPTIONS]
    assert len(agree) >= 95, f"{len(agree)} of {len(MODELS)}"
    assert set(EXCEPTIONS) <= set(MODELS)
    assert {name for name, reason in EXCEPTIONS.items() if reason == AUXILIARY} <= set(
        AS_WITH_WEIGHTS
    )
