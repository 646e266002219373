"""The catalogue of torchvision's registered models, read without importing torchvision.

The source files of the installed package are parsed with `ast`; none of their code runs. Each
registered model has its family, the input that its weights imply (`1x3x224x224`) and the numbers
that torchvision publishes for its weights (multiply-accumulates, parameters), as written.
"""

from __future__ import annotations

import ast
import fnmatch
import importlib.util
import re
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

Size = tuple[int, int]
Weights = dict[str, "WeightsEntry"]  # one enumeration: its members and aliases such as DEFAULT


class CatalogueError(LookupError):
    """The catalogue cannot be read; the message gives the remedy."""


@dataclass(frozen=True)
class WeightsEntry:
    """One published set of weights, e.g. `ResNet50_Weights.IMAGENET1K_V2`."""

    name: str
    inputs: tuple[str, ...]  # what its transforms produce
    published_gmacs: Decimal | None  # meta["_ops"]: billions of multiply-accumulates
    published_params: int | None  # meta["num_params"]


@dataclass(frozen=True)
class ZooModel:
    """One registered model; `weights` is the entry its `inputs` were taken from."""

    name: str
    family: str
    inputs: tuple[str, ...]
    weights: WeightsEntry | None
    entries: tuple[WeightsEntry, ...]  # in source order, aliases such as DEFAULT not repeated


@dataclass(frozen=True)
class _Rule:
    """The rule by which a family's transforms imply an input."""

    size_argument: str | None  # the transforms' argument that is the final image size
    size: int  # the image size where no such argument is written
    frames: int | None = None  # video only
    copies: int = 1  # how many such tensors one forward pass takes


_IMAGES = _Rule("crop_size", 224)

# Where the transforms leave a dimension open (frames of a clip, detection, optical flow), the
# value is the one torchvision's own tests feed when they check the published "_ops": clips of 16
# frames and pairs of 512 x 512 images; detection sizes are below. Those tests start from a square
# image, which segmentation's one-number resize leaves square.
_RULES = {
    "classification": _IMAGES,
    "quantization": _IMAGES,
    "segmentation": _Rule("resize_size", 520),
    "video": _Rule("crop_size", 112, frames=16),
    "detection": _Rule(None, 800),
    "optical_flow": _Rule(None, 512, copies=2),
}

# Detection transforms resize nothing: the network itself does, to a shorter side of 800 unless it
# was built for another size. So torchvision published "_ops" at 800 x 800 except for these weights
# (1333 is the key point network's longest allowed side; it becomes 800 inside).
_DETECTION_SIZES = {
    "FasterRCNN_MobileNet_V3_Large_320_FPN_Weights": 320,
    "KeypointRCNN_ResNet50_FPN_Weights": 1333,
    "SSD300_VGG16_Weights": 300,
    "SSDLite320_MobileNet_V3_Large_Weights": 320,
}

# Builders that take their image size from the weights say so with kwargs.pop("image_size", 224):
# without weights the default is baked into the network, whatever the newest weights want.
_FIXED_SIZE_ARGUMENTS = ("image_size", "input_size", "spatial_size")
_MENTIONS_FIXED_SIZE = re.compile(rb"\.pop\(\s*[\"'](image|input|spatial)_size")

_QUICK = """
    vgg11 resnet18 resnet50 densenet121 mobilenet_v2 efficientnet_b0 convnext_tiny swin_t vit_b_16
    inception_v3 r3d_18
"""
# Each preset is a list of names or name patterns.
PRESETS: dict[str, tuple[str, ...]] = {"quick": tuple(_QUICK.split()), "torchvision": ("*",)}


@lru_cache(maxsize=1)
def torchvision_models() -> dict[str, ZooModel]:
    """Return every registered model by name, sorted.

    Raises:
        CatalogueError: torchvision is not installed.
    """
    sources = list(_sources(_models_folder()))
    classes = {name: found for source in sources for name, found in source.classes.items()}
    models = {
        name: _model(name, source, next((classes[n] for n in names if n in classes), {}))
        for source in sources
        for name, names in source.builders.items()
    }
    return dict(sorted(models.items()))


def matching(pattern: str) -> list[ZooModel]:
    """Return the models whose name contains `pattern` or matches it as a shell pattern."""
    models = torchvision_models().values()
    return [m for m in models if pattern in m.name or fnmatch.fnmatchcase(m.name, pattern)]


def preset(name: str) -> tuple[str, ...]:
    """Return the model names of a preset.

    Raises:
        ValueError: there is no such preset; the message lists the presets.
    """
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}; the presets are {', '.join(sorted(PRESETS))}")
    # A name that this torchvision lacks is kept, so that its use fails instead of passing unseen.
    models = torchvision_models()
    found = (fnmatch.filter(models, pattern) or [pattern] for pattern in PRESETS[name])
    return tuple(chain.from_iterable(found))


@dataclass(frozen=True)
class _Source:
    """The models of one file; no syntax tree is kept, as live trees slow every later parse."""

    family: str
    fixed_size: Size | None
    builders: dict[str, tuple[str, ...]]  # model name to the names in its `weights` annotation
    classes: dict[str, Weights]


def _model(name: str, source: _Source, weights: Weights) -> ZooModel:
    rule = _RULES.get(source.family, _IMAGES)
    entries = tuple(dict.fromkeys(weights.values()))
    inputs = _inputs(rule, source.fixed_size or (rule.size, rule.size))
    if source.fixed_size:
        chosen = next((entry for entry in entries if entry.inputs == inputs), None)
    else:
        chosen = weights.get("DEFAULT")
        inputs = chosen.inputs if chosen else inputs
    return ZooModel(name, source.family, inputs, chosen, entries)


def _inputs(rule: _Rule, size: Size) -> tuple[str, ...]:
    frames = () if rule.frames is None else (rule.frames,)
    return ("x".join(map(str, (1, 3, *frames, *size))),) * rule.copies


def _models_folder() -> Path:
    spec = importlib.util.find_spec("torchvision")  # a top-level name: finding imports nothing
    for location in (spec and spec.submodule_search_locations) or ():
        folder = Path(location) / "models"
        if folder.is_dir():
            return folder
    raise CatalogueError("torchvision is not installed; remedy: pip install torchvision")


def _sources(folder: Path) -> Iterator[_Source]:
    for path in sorted(folder.rglob("*.py")):
        content = path.read_bytes()
        if b"@register_model" in content:  # parsing is the cost, so other files are skipped
            family = "classification" if path.parent == folder else path.parent.name
            yield _source(family, content)


def _source(family: str, content: bytes) -> _Source:
    tree = ast.parse(content)
    text = _Text(content.splitlines(), dict(_assignments(tree.body)))
    rule = _RULES.get(family, _IMAGES)
    return _Source(
        family=family,
        fixed_size=_fixed_size(tree) if _MENTIONS_FIXED_SIZE.search(content) else None,
        builders=dict(_builders(tree)),
        classes={
            node.name: _weights(node, rule, text)
            for node in tree.body
            if isinstance(node, ast.ClassDef) and "WeightsEnum" in map(_last_name, node.bases)
        },
    )


def _builders(tree: ast.Module) -> Iterator[tuple[str, tuple[str, ...]]]:
    for node in (node for node in tree.body if isinstance(node, ast.FunctionDef)):
        for decorator in node.decorator_list:
            if isinstance(decorator, ast.Call) and _last_name(decorator.func) == "register_model":
                name = _literal(_keyword(decorator, "name"))
                yield name if isinstance(name, str) else node.name, _weights_names(node)


def _weights_names(node: ast.FunctionDef) -> tuple[str, ...]:
    """Return the names in the annotation of `weights`: quantized classes before float."""
    for argument in (*node.args.args, *node.args.kwonlyargs):
        if argument.arg == "weights" and argument.annotation is not None:
            names = ast.walk(argument.annotation)
            return tuple(name.id for name in names if isinstance(name, ast.Name))
    return ()


def _assignments(body: list[ast.stmt]) -> Iterator[tuple[str, ast.expr]]:
    for statement in body:
        if isinstance(statement, ast.Assign):
            target: ast.expr = statement.targets[0]
        elif isinstance(statement, ast.AnnAssign):
            target = statement.target
        else:
            continue
        if isinstance(target, ast.Name) and statement.value is not None:
            yield target.id, statement.value


def _fixed_size(tree: ast.Module) -> Size | None:
    """Return the default of `kwargs.pop("image_size", default)` anywhere in the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _last_name(node.func) == "pop" and len(node.args) > 1:
            name, default = map(_literal, node.args[:2])
            if name in _FIXED_SIZE_ARGUMENTS:
                return _pair(default)
    return None


def _last_name(node: ast.expr | None) -> str:
    """Return `b` for both `b` and `a.b`."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _keyword(call: ast.Call, name: str) -> ast.expr | None:
    return next((keyword.value for keyword in call.keywords if keyword.arg == name), None)


def _literal(node: ast.expr | None) -> object:
    """Return the value of a literal of numbers and strings; None for anything else."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, (ast.Tuple, ast.List)):
        return tuple(_literal(element) for element in node.elts)
    return None


def _pair(value: object) -> Size | None:
    """Return a size as (height, width); one number stands for both."""
    numbers = value if isinstance(value, tuple) and value else (value,)
    height, width = numbers[0], numbers[-1]
    return (height, width) if isinstance(height, int) and isinstance(width, int) else None


@dataclass(frozen=True)
class _Text:
    """The parts of a file that its expressions refer to."""

    lines: list[bytes]  # bytes, because that is what ast's columns count
    constants: dict[str, ast.expr]  # module-level NAME = expression


def _weights(node: ast.ClassDef, rule: _Rule, text: _Text) -> Weights:
    members = dict(_assignments(node.body))
    usual = replace(rule, size=_DETECTION_SIZES.get(node.name, rule.size))
    entries = {
        name: _entry(f"{node.name}.{name}", call, usual, text)
        for name, call in members.items()
        if isinstance(call, ast.Call)
    }
    targets = {alias: _last_name(value) for alias, value in members.items()}
    return entries | {alias: entries[name] for alias, name in targets.items() if name in entries}


def _entry(name: str, call: ast.Call, rule: _Rule, text: _Text) -> WeightsEntry:
    meta = _keyword(call, "meta")
    params = _literal(_meta(meta, "num_params", text))
    return WeightsEntry(
        name=name,
        inputs=_inputs(rule, _written_size(call, rule) or (rule.size, rule.size)),
        published_gmacs=_decimal(_meta(meta, "_ops", text), text),
        published_params=params if isinstance(params, int) else None,
    )


def _written_size(call: ast.Call, rule: _Rule) -> Size | None:
    transforms = _keyword(call, "transforms")
    if rule.size_argument is None or not isinstance(transforms, ast.Call):
        return None
    return _pair(_literal(_keyword(transforms, rule.size_argument)))


def _meta(node: ast.expr | None, key: str, text: _Text) -> ast.expr | None:
    """Return the value of `key` in a dict display, following `**NAME`; the last one wins."""
    if isinstance(node, ast.Name):
        return _meta(text.constants.get(node.id), key, text)
    if not isinstance(node, ast.Dict):
        return None
    for name, value in reversed(list(zip(node.keys, node.values, strict=True))):
        found = _meta(value, key, text) if name is None else value
        if found is not None and (name is None or _literal(name) == key):
            return found
    return None


def _decimal(node: ast.expr | None, text: _Text) -> Decimal | None:
    """Return a number with the digits of the source, which a float would not keep."""
    if not isinstance(node, ast.Constant) or not isinstance(node.value, (int, float)):
        return None
    return Decimal(text.lines[node.lineno - 1][node.col_offset : node.end_col_offset].decode())
