"""torchvision's own layers and operators."""

from __future__ import annotations

from typing import Any

from flopaudit.probes.definition import (
    IMAGES,
    Case,
    Probe,
    cut,
    function,
    layer,
    sized,
)

# Channels in and out, height and width, kernel.
_CONVS = ((2, 3, (5, 7), 3), (3, 5, (6, 8), 2), (5, 2, (7, 9), 3), (4, 7, (5, 10), 1),
          (3, 4, (8, 6), 5), (6, 3, (9, 7), 2))  # fmt: skip


def _deformable(*, masked: bool) -> list[Case]:
    """Define cases of an image, two offsets for each weight at each output, and their mask."""
    return [
        cut(
            (1, ins, h, w),
            (1, 2 * k * k, h - k + 1, w - k + 1),
            *[(1, k * k, h - k + 1, w - k + 1)] * masked,
            sizes=(ins, outs, k),
        )
        for ins, outs, (h, w), k in _CONVS
    ]


def _deform_conv(torch: Any, ins: int, outs: int, kernel: int) -> Any:
    from torchvision.ops import DeformConv2d

    del torch
    return DeformConv2d(ins, outs, kernel)


def _deform_conv_without_bias(torch: Any, ins: int, outs: int, kernel: int) -> Any:
    from torchvision.ops import DeformConv2d

    del torch
    return DeformConv2d(ins, outs, kernel, bias=False)


def _ops(name: str, *first: Any, **options: Any) -> Any:
    def make(torch: Any, *sizes: Any) -> Any:
        from torchvision import ops

        del torch
        return getattr(ops, name)(*first, *sizes, **options)

    return make


def _boxes(torch: Any, x: Any, name: str, out: int) -> Any:
    from torchvision import ops

    # From the image alone: one box, of its left upper quarter.
    corners = [0.0, 0.0, 0.0, x.shape[3] / 2, x.shape[2] / 2]
    boxes = torch.tensor([corners], device=x.device, dtype=x.dtype)
    # Without a ratio, the number of samples of a box would depend on its values.
    more = {"sampling_ratio": 2} if name.endswith("align") else {}
    return getattr(ops, name)(x, boxes, output_size=out, **more)


def _pooled(name: str) -> list[Case]:
    return [
        cut(shape, sizes=(name, out)) for shape, out in zip(IMAGES, (2, 3, 1, 4, 2), strict=True)
    ]


_SQUEEZED = [
    cut(shape, sizes=(shape[1], inner))
    for shape, inner in zip(IMAGES, (3, 2, 4, 1, 5), strict=True)
]
_CONV_BLOCKS = [cut((1, ins, h, w), sizes=(ins, outs, k)) for ins, outs, (h, w), k in _CONVS]
_ROWS = [
    cut((rows, ins), sizes=(ins, (inner, outs)))
    for rows, ins, inner, outs in (
        (2, 3, 5, 4),
        (5, 4, 3, 2),
        (3, 7, 2, 5),
        (7, 2, 6, 3),
        (4, 5, 7, 6),
        (6, 3, 4, 7),
    )
]


def _layer_norm2d(torch: Any, channels: int) -> Any:
    from torchvision.models.convnext import LayerNorm2d

    del torch
    return LayerNorm2d(channels)


PROBES: tuple[Probe, ...] = (
    layer(
        "vision/deform_conv2d", "DeformConv2d with bias", _deform_conv, _deformable(masked=False)
    ),
    layer(
        "vision/deform_conv2d_no_bias",
        "DeformConv2d without bias",
        _deform_conv_without_bias,
        _deformable(masked=False),
    ),
    layer(
        "vision/deform_conv2d_mask",
        "DeformConv2d with bias and mask",
        _deform_conv,
        _deformable(masked=True),
    ),
    *(
        function(f"vision/{name}", f"torchvision.ops.{name} of one box", _boxes, _pooled(name))
        for name in ("roi_align", "roi_pool")
    ),
    layer(
        "vision/frozen_batch_norm2d",
        "FrozenBatchNorm2d",
        _ops("FrozenBatchNorm2d"),
        [cut(shape, sizes=(shape[1],)) for shape in IMAGES],
    ),
    layer(
        "vision/squeeze_excitation",
        "SqueezeExcitation",
        _ops("SqueezeExcitation"),
        _SQUEEZED,
    ),
    layer(
        "vision/stochastic_depth",
        "StochasticDepth, in evaluation",
        _ops("StochasticDepth", 0.5, "row"),
        sized(IMAGES),
    ),
    layer(
        "vision/drop_block2d",
        "DropBlock2d, in evaluation",
        _ops("DropBlock2d", 0.5, 3),
        sized(IMAGES),
    ),
    layer(
        "vision/conv2d_norm_activation",
        "Conv2dNormActivation",
        _ops("Conv2dNormActivation"),
        _CONV_BLOCKS,
    ),
    layer("vision/mlp", "MLP of two layers", _ops("MLP"), _ROWS),
    layer("vision/permute", "Permute", _ops("Permute", [0, 2, 3, 1]), sized(IMAGES)),
    layer(
        "vision/layer_norm2d",
        "torchvision's LayerNorm2d, as in ConvNeXt",
        _layer_norm2d,
        [cut(shape, sizes=(shape[1],)) for shape in IMAGES],
    ),
)
