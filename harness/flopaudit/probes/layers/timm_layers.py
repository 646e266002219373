"""timm's own layers; listed only if timm is installed, and imported when one is built."""

from __future__ import annotations

import importlib
from typing import Any

from flopaudit.probes.definition import (
    IMAGES,
    Case,
    Make,
    Probe,
    Shape,
    cut,
    layer,
    sized,
)

_CHANNELS = [cut(shape, sizes=(shape[1],)) for shape in IMAGES]
_CONVS = [
    cut((1, ins, h, w), sizes=(ins, outs, k))
    for ins, outs, h, w, k in (
        (2, 3, 7, 9, 3), (3, 5, 8, 11, 2), (5, 2, 9, 13, 5), (4, 7, 11, 10, 4), (7, 4, 10, 8, 3),
        (3, 6, 9, 12, 1),
    )
]  # fmt: skip
_SEQUENCES: tuple[Shape, ...] = ((2, 3, 4), (1, 5, 6), (3, 2, 8), (2, 7, 10), (1, 4, 12), (3, 5, 6))
_FEATURES = [cut(shape, sizes=(shape[-1],)) for shape in _SEQUENCES]
_HIDDEN = [cut(shape, sizes=(shape[-1], shape[-1] + shape[1])) for shape in _SEQUENCES]
_DIVIDED = [cut((1, c, 2 * h, 3 * w), sizes=((2, 3), c, outs)) for c, h, w, outs in
            ((2, 3, 4, 5), (3, 5, 2, 4), (5, 2, 3, 3), (4, 4, 5, 7), (1, 7, 3, 6))]  # fmt: skip


def _made(name: str, *numbers: Any, home: str = "timm.layers", **options: Any) -> Make:
    def make(torch: Any, *sizes: Any) -> Any:
        del torch
        return getattr(importlib.import_module(home), name)(*sizes, *numbers, **options)

    return make


def _attention(*, fused: bool) -> Make:
    def make(torch: Any, features: int) -> Any:
        del torch
        home = importlib.import_module("timm.models.vision_transformer")
        attention = home.Attention(features, num_heads=2, qkv_bias=True)
        attention.fused_attn = fused
        return attention

    return make


def _patches(torch: Any, patch: Shape, channels: int, outs: int) -> Any:
    del torch
    embed = importlib.import_module("timm.layers").PatchEmbed
    return embed(None, patch, channels, outs)


_VISION = "timm.models.vision_transformer"
_LAYERS: dict[str, tuple[str, Make, list[Case] | tuple[Case, ...]]] = {
    "layer_norm": ("LayerNorm", _made("LayerNorm"), _FEATURES),
    "layer_norm2d": ("LayerNorm2d", _made("LayerNorm2d"), _CHANNELS),
    "rms_norm": ("RmsNorm", _made("RmsNorm"), _FEATURES),
    "group_norm1": ("GroupNorm1", _made("GroupNorm1"), _CHANNELS),
    "batch_norm_act2d": ("BatchNormAct2d", _made("BatchNormAct2d"), _CHANNELS),
    "batch_norm_act2d_silu": (
        "BatchNormAct2d with SiLU",
        _made("BatchNormAct2d", act_layer="silu"),
        _CHANNELS,
    ),
    "frozen_batch_norm_act2d": (
        "FrozenBatchNormAct2d",
        _made("FrozenBatchNormAct2d"),
        _CHANNELS,
    ),
    "group_norm_act": ("GroupNormAct", _made("GroupNormAct", group_size=1), _CHANNELS),
    "conv_norm_act": ("ConvNormAct", _made("ConvNormAct"), _CONVS),
    "std_conv2d": ("StdConv2d", _made("StdConv2d"), _CONVS),
    "std_conv2d_same": ("StdConv2dSame", _made("StdConv2dSame"), _CONVS),
    "scaled_std_conv2d": ("ScaledStdConv2d", _made("ScaledStdConv2d"), _CONVS),
    "conv2d_same": ("Conv2dSame", _made("Conv2dSame"), _CONVS),
    "mlp": ("Mlp", _made("Mlp"), _HIDDEN),
    "glu_mlp": (
        "GluMlp",
        _made("GluMlp"),
        [cut(shape, sizes=(shape[-1], 2 * shape[1])) for shape in _SEQUENCES],
    ),
    "swiglu": ("SwiGLU", _made("SwiGLU"), _HIDDEN),
    "conv_mlp": (
        "ConvMlp",
        _made("ConvMlp"),
        [cut(shape, sizes=(shape[1], shape[1] + n)) for n, shape in enumerate(IMAGES)],
    ),
    "global_response_norm": (
        "GlobalResponseNorm, channels last",
        _made("GlobalResponseNorm", home="timm.layers.grn"),
        [cut((1, h, w, c), sizes=(c,)) for _, c, h, w in IMAGES],
    ),
    "attention_fused": (
        "the vision transformer's Attention, fused",
        _attention(fused=True),
        _FEATURES,
    ),
    "attention_unfused": (
        "the vision transformer's Attention, unfused",
        _attention(fused=False),
        _FEATURES,
    ),
    "layer_scale": ("LayerScale", _made("LayerScale", home=_VISION), _FEATURES),
    "vit_block": ("the vision transformer's Block", _made("Block", 2, home=_VISION), _FEATURES),
    "patch_embed": ("PatchEmbed", _patches, _DIVIDED),
    "select_adaptive_pool2d": (
        "SelectAdaptivePool2d, average",
        _made("SelectAdaptivePool2d", pool_type="avg", flatten=True),
        sized(IMAGES),
    ),
    "select_adaptive_pool2d_catavgmax": (
        "SelectAdaptivePool2d, average and maximum",
        _made("SelectAdaptivePool2d", pool_type="catavgmax"),
        sized(IMAGES),
    ),
    "select_adaptive_pool2d_fast": (
        "SelectAdaptivePool2d, average by a mean",
        _made("SelectAdaptivePool2d", pool_type="fast"),
        sized(IMAGES),
    ),
    "squeeze_excite": ("SEModule", _made("SEModule", rd_channels=3), _CHANNELS),
    "eca": ("EcaModule", _made("EcaModule", kernel_size=3), _CHANNELS),
    "drop_path": ("DropPath, in evaluation", _made("DropPath", 0.5), sized(IMAGES)),
    "blur_pool2d": ("BlurPool2d", _made("BlurPool2d"), _CHANNELS),
    "space_to_depth": (
        "SpaceToDepth",
        _made("SpaceToDepth", 4),
        sized(tuple((1, c, 4 * h, 4 * w) for _, c, h, w in IMAGES)),
    ),
    "gelu": ("GELU", _made("GELU"), sized(IMAGES)),
    "swish": ("Swish", _made("Swish"), sized(IMAGES)),
    "hard_swish": ("HardSwish", _made("HardSwish"), sized(IMAGES)),
    "star_relu": ("StarReLU", _made("StarReLU", home="timm.models.metaformer"), sized(IMAGES)),
}

PROBES: tuple[Probe, ...] = tuple(
    layer(f"timm/{key}", f"timm's {about}", make, cases)
    for key, (about, make, cases) in _LAYERS.items()
)
