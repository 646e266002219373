"""Every weights entry that torchvision publishes, at its own input, built as with its weights."""

from __future__ import annotations

import inspect
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache
from typing import Any

import flopaudit
import pytest
import torch
import torchvision
from flopaudit.core.specs import parse_input
from flopaudit.models.build import make_inputs
from flopaudit.models.torchvision_zoo import WeightsEntry, torchvision_models
from flopaudit.reference.ledger import Ledger
from torch import nn

# What a builder sets when it is given weights, and so what the published figures are of.
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
# Detection decides on the data what runs, so that it is not run on meta tensors: it is in
# test_reference.py as far as its figures do not depend on the data.
RUN = [(name, entry) for name, entry in ENTRIES if MODELS[name].family != "detection"]


@lru_cache(maxsize=1)
def built(name: str, image_size: int | None) -> nn.Module:
    """A model on meta tensors; its entries stand one after the other, so one is kept."""
    builder = torchvision.models.get_model_builder(name)
    options: dict[str, Any] = dict(AS_WITH_WEIGHTS.get(name, {}))
    if image_size is not None:
        options["image_size"] = image_size
    if "weights_backbone" in inspect.signature(builder).parameters:
        options["weights_backbone"] = None
    model: nn.Module
    if name.startswith("regnet"):  # its initialisation needs real tensors
        model = builder(**options).to("meta")
    else:
        with torch.device("meta"):
            model = builder(**options)
    return model.eval()


def counted(name: str, inputs: tuple[str, ...]) -> Ledger:
    """The ledger of a model, built for that input."""
    specs = tuple(map(parse_input, inputs))
    model = built(name, specs[0].shape[-1] if name.startswith("vit") else None)
    with torch.device("meta"):
        return flopaudit.count(model, *make_inputs(specs))


@pytest.mark.parametrize(("name", "entry"), RUN, ids=[entry.name for _, entry in RUN])
def test_entry(name: str, entry: WeightsEntry) -> None:
    ledger = counted(name, entry.inputs)
    assert entry.published_gmacs is not None
    thousandth = Decimal("0.001")
    found = (Decimal(ledger.macs) / 10**9).quantize(thousandth, ROUND_HALF_UP)
    assert found == entry.published_gmacs.quantize(thousandth)
    assert ledger.params == entry.published_params
    assert not ledger.uncounted_ops


def test_nearly_all_entries_are_run() -> None:
    assert len(RUN) > 0.9 * len(ENTRIES)
