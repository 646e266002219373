"""The catalogue parsed from torchvision's source against the imported torchvision itself."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from decimal import Decimal
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
import torchvision
from flopaudit.models import torchvision_zoo
from torch.utils.flop_counter import FlopCounterMode

from tests.support.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

MODELS = torchvision.models
FAMILIES = {
    "classification": MODELS,
    "segmentation": MODELS.segmentation,
    "detection": MODELS.detection,
    "video": MODELS.video,
    "optical_flow": MODELS.optical_flow,
    "quantization": MODELS.quantization,
}
LIST_ONLY = """
import sys
import flopaudit.models.torchvision_zoo
assert len(flopaudit.models.torchvision_zoo.torchvision_models()) > 0
assert "torch" not in sys.modules and "torchvision" not in sys.modules
"""

# An invented torchvision, for what the installed one happens not to contain.
INVENTED = """
import os.path
_COMMON = {"num_params": 1_000, "_ops": 1.50}
_MORE: dict = {**_COMMON, "num_params": 7}
class Tiny_Weights(WeightsEnum):
    V1 = Weights(transforms=partial(Images, crop_size=96), meta={"_ops": 3, **_MORE})
    V2 = Weights(transforms=partial(Images, crop_size=SIZE), meta={**_MORE, "_ops": 0.250})
    OLD = V1
    DEFAULT = V2
@register_model()
def tiny(*, weights: Unknown | None = None): ...
@register_model(name="renamed")
def small(weights: Optional[Tiny_Weights] = None): ...
@register_model()
def bare(**kwargs):
    stack.pop()
"""


@pytest.fixture
def invented(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, torchvision_zoo.ZooModel]]:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "tiny.py").write_text(INVENTED)
    spec = ModuleSpec("torchvision", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: spec)
    torchvision_zoo.torchvision_models.cache_clear()
    yield torchvision_zoo.torchvision_models()
    torchvision_zoo.torchvision_models.cache_clear()


def square(side: int) -> str:
    return f"1x3x{side}x{side}"


def implied_inputs(family: str, weights: torchvision.models.WeightsEnum) -> tuple[str, ...] | None:
    """The inputs that live transforms imply, None where they resize nothing."""
    transforms = weights.transforms()
    if family == "segmentation":
        return (square(*transforms.resize_size),)
    if family == "video":
        return ("1x3x16x{}x{}".format(*transforms.crop_size),)
    if family in ("classification", "quantization"):
        return (square(*transforms.crop_size),)
    assert not hasattr(transforms, "crop_size")
    assert not hasattr(transforms, "resize_size")
    return None


def test_names_are_torchvisions() -> None:
    assert list(torchvision_zoo.torchvision_models()) == MODELS.list_models()
    assert all(name == model.name for name, model in torchvision_zoo.torchvision_models().items())


@pytest.mark.parametrize("family", FAMILIES)
def test_families_are_torchvisions(family: str) -> None:
    found = [m.name for m in torchvision_zoo.torchvision_models().values() if m.family == family]
    assert found == MODELS.list_models(module=FAMILIES[family])


@pytest.mark.parametrize("name", MODELS.list_models())
def test_entries_are_torchvisions(name: str) -> None:
    model = torchvision_zoo.torchvision_models()[name]
    published = MODELS.get_model_weights(name)
    assert [entry.name for entry in model.entries] == [str(weights) for weights in published]
    for entry, weights in zip(model.entries, published, strict=True):
        assert entry.published_gmacs == Decimal(str(weights.meta["_ops"]))
        assert entry.published_params == weights.meta["num_params"]
        assert entry.inputs == (implied_inputs(model.family, weights) or model.inputs)


@pytest.mark.parametrize("name", MODELS.list_models())
def test_input_comes_from_default_unless_fixed_at_build(name: str) -> None:
    model = torchvision_zoo.torchvision_models()[name]
    default = str(MODELS.get_model_weights(name).DEFAULT)
    assert model.weights is not None
    assert model.weights in model.entries
    assert model.weights.inputs == model.inputs
    expected = "ViT_H_14_Weights.IMAGENET1K_SWAG_LINEAR_V1" if name == "vit_h_14" else default
    assert model.weights.name == expected


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("vit_h_14", (square(224),)),  # DEFAULT wants 518, which needs image_size=518
        ("quantized_inception_v3", (square(299),)),
        ("fcn_resnet50", (square(520),)),
        ("fasterrcnn_resnet50_fpn", (square(800),)),
        ("ssd300_vgg16", (square(300),)),
        ("r3d_18", ("1x3x16x112x112",)),
        ("raft_small", (square(512), square(512))),
    ],
)
def test_inputs(name: str, inputs: tuple[str, ...]) -> None:
    assert torchvision_zoo.torchvision_models()[name].inputs == inputs


@pytest.mark.parametrize(
    "name",
    ["resnet50", "vit_h_14", "lraspp_mobilenet_v3_large", "mvit_v2_s", "swin3d_t", "raft_small"],
)
def test_inputs_reproduce_the_published_count(name: str) -> None:
    model = torchvision_zoo.torchvision_models()[name]
    backbone = {"weights_backbone": None} if model.family == "segmentation" else {}
    with torch.device("meta"):
        network = MODELS.get_model(name, weights=None, **backbone).eval()
        tensors = [torch.empty([int(n) for n in text.split("x")]) for text in model.inputs]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(*tensors)
    assert model.weights is not None
    gmacs = Decimal(counter.get_total_flops()) / 2 / 10**9
    assert round(gmacs, 3) == model.weights.published_gmacs


def test_published_numbers_keep_their_digits() -> None:
    entries = [
        entry for model in torchvision_zoo.torchvision_models().values() for entry in model.entries
    ]
    assert all(isinstance(entry.published_gmacs, Decimal) for entry in entries)
    assert len({entry.name for entry in entries}) == len(entries)


def test_metadata_follows_names_and_the_last_key_wins(
    invented: dict[str, torchvision_zoo.ZooModel],
) -> None:
    first, second = invented["renamed"].entries
    assert (str(first.published_gmacs), first.published_params) == ("1.50", 7)
    assert (str(second.published_gmacs), second.published_params) == ("0.250", 7)


def test_aliases_are_not_entries(invented: dict[str, torchvision_zoo.ZooModel]) -> None:
    model = invented["renamed"]
    assert [entry.name for entry in model.entries] == ["Tiny_Weights.V1", "Tiny_Weights.V2"]
    assert model.weights == model.entries[1]


def test_sizes_that_are_not_written_fall_back(
    invented: dict[str, torchvision_zoo.ZooModel],
) -> None:
    assert [entry.inputs for entry in invented["renamed"].entries] == [
        (square(96),),
        (square(224),),
    ]
    assert invented["bare"] == torchvision_zoo.ZooModel(
        "bare", "classification", (square(224),), None, ()
    )


def test_listing_imports_neither_torch_nor_torchvision() -> None:
    root = ROOT
    subprocess.run([sys.executable, "-c", LIST_ONLY], cwd=root, check=True, timeout=60)


def test_missing_torchvision_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    torchvision_zoo.torchvision_models.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(torchvision_zoo.CatalogueError, match="pip install torchvision"):
        torchvision_zoo.torchvision_models()


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("resnext50", ["resnext50_32x4d"]),
        ("vit_?_32", ["vit_b_32", "vit_l_32"]),
        ("raft*", ["raft_large", "raft_small"]),
        ("no such model", []),
    ],
)
def test_matching(pattern: str, names: list[str]) -> None:
    assert [model.name for model in torchvision_zoo.matching(pattern)] == names


@pytest.mark.parametrize("name", torchvision_zoo.PRESETS)
def test_presets_are_in_the_catalogue(name: str) -> None:
    names = torchvision_zoo.preset(name)
    assert names
    assert set(names) <= set(torchvision_zoo.torchvision_models())
    assert len(set(names)) == len(names)


def test_torchvision_preset_is_everything() -> None:
    assert torchvision_zoo.preset("torchvision") == tuple(torchvision_zoo.torchvision_models())


def test_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="quick, torchvision"):
        torchvision_zoo.preset("slow")
