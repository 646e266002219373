"""Resizing and moving: Upsample, interpolate, shuffles, padding, sampling."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flopaudit.probes.definition import (
    IMAGES,
    Case,
    Make,
    Probe,
    Shape,
    cut,
    function,
    layer,
    sized,
)

_GRIDS: tuple[tuple[int, Shape], ...] = (
    (2, (3, 4, 7)), (3, (2, 5, 6)), (5, (3, 7, 5)), (4, (4, 6, 9)), (7, (2, 3, 8)),
)  # fmt: skip
_FACTORS: tuple[Shape, ...] = ((2, 2, 3), (2, 3, 2), (1, 2, 2), (2, 1, 2), (3, 2, 4))

# Mode, and the number of dimensions of its inputs.
_MODES: tuple[tuple[str, tuple[int, ...]], ...] = (
    ("nearest", (1, 2, 3)),
    ("nearest-exact", (2,)),
    ("linear", (1,)),
    ("bilinear", (2,)),
    ("bicubic", (2,)),
    ("trilinear", (3,)),
    ("area", (2,)),
)


def _by_size(dims: int) -> list[Case]:
    return [
        cut((1, c, *grid[-dims:]), sizes=(_times(grid, factors)[-dims:], None))
        for (c, grid), factors in zip(_GRIDS, _FACTORS, strict=True)
    ]


def _by_factor(dims: int) -> list[Case]:
    return [
        cut((1, c, *grid[-dims:]), sizes=(None, tuple(map(float, factors[-dims:]))))
        for (c, grid), factors in zip(_GRIDS, _FACTORS, strict=True)
    ]


def _by_one_factor(dims: int) -> list[Case]:
    return [
        cut((1, c, *grid[-dims:]), sizes=(None, factor))
        for (c, grid), factor in zip(_GRIDS, (2, 3, 2, 1, 4), strict=True)
    ]


def _times(grid: Shape, factors: Shape) -> Shape:
    return tuple(side * factor for side, factor in zip(grid, factors, strict=True))


_IMAGE_MODES = ("nearest", "bilinear")
"""Modes probed in all ways on images; the others are only resized to a size."""

_WAYS = {
    "size": ("to a size", _by_size),
    "factors": ("by a factor for each side", _by_factor),
    "factor": ("by one factor", _by_one_factor),
}


def _interpolated() -> Iterator[Probe]:
    for mode, dimensions in _MODES:
        for dims in dimensions:
            for way, (words, cases) in _WAYS.items():
                if way != "size" and (mode not in _IMAGE_MODES or dims != 2):
                    continue
                key = f"{mode.replace('-', '_')}{dims}d_{way}"
                yield function(
                    f"resize/interpolate_{key}",
                    f"functional.interpolate, {mode}, {dims}-D, {words}",
                    _interpolate(mode),
                    cases(dims),
                )
                if mode != "area":  # Upsample has no such mode
                    yield layer(
                        f"resize/upsample_{key}",
                        f"Upsample, {mode}, {dims}-D, {words}",
                        _upsample(mode),
                        cases(dims),
                    )


def _interpolate(mode: str) -> Make:
    return lambda torch, x, size, factor: torch.nn.functional.interpolate(
        x, size=size, scale_factor=factor, mode=mode
    )


def _upsample(mode: str) -> Make:
    return lambda torch, size, factor: torch.nn.Upsample(size, factor, mode)


_SHUFFLED = [
    cut((1, c * r * r, h, w), sizes=(r,))
    for c, h, w, r in ((1, 3, 4, 2), (2, 3, 5, 2), (1, 2, 3, 3), (3, 5, 2, 2), (2, 4, 3, 3))
]
_UNSHUFFLED = [
    cut((1, c, h * r, w * r), sizes=(r,))
    for c, h, w, r in ((1, 3, 4, 2), (2, 3, 5, 2), (1, 2, 3, 3), (3, 5, 2, 2), (2, 4, 3, 3))
]
_SAMPLED = [
    cut((1, c, h, w), (1, *out, 2))
    for c, h, w, out in (
        (2, 3, 4, (5, 2)),
        (3, 5, 4, (3, 3)),
        (5, 2, 3, (4, 7)),
        (4, 6, 5, (2, 3)),
        (1, 7, 3, (6, 5)),
    )
]
_PADS = ("ZeroPad2d", "ConstantPad2d", "ReflectionPad2d", "ReplicationPad2d", "CircularPad2d")


def _padded() -> Iterator[Probe]:
    cases = [cut(shape, sizes=((pad, 1, 0, 2),)) for shape, pad in
             zip(IMAGES, (1, 3, 2, 1, 4), strict=True)]  # fmt: skip
    for kind in _PADS:
        key = kind.removesuffix("Pad2d").lower()
        yield layer(f"resize/{key}_pad2d", kind, _pad(kind), cases)
    for mode in ("constant", "reflect", "replicate", "circular"):
        yield function(f"resize/pad_{mode}", f"functional.pad, {mode}", _pads(mode), cases)


def _pad(kind: str) -> Make:
    more = (0.0,) if kind == "ConstantPad2d" else ()
    return lambda torch, pad: getattr(torch.nn, kind)(pad, *more)


def _pads(mode: str) -> Make:
    return lambda torch, x, pad: torch.nn.functional.pad(x, pad, mode=mode)


def _grid_sample(mode: str) -> Make:
    return lambda torch, x, grid: torch.nn.functional.grid_sample(
        x, grid, mode=mode, align_corners=False
    )


def _aligned(torch: Any, size: Shape | None, factor: Any) -> Any:
    return torch.nn.Upsample(size, factor, mode="bilinear", align_corners=True)


_KERNELS = ((2, 3), (3, 2), (2, 2), (3, 3), (1, 4))

PROBES: tuple[Probe, ...] = (
    *_interpolated(),
    layer(
        "resize/upsample_bilinear2d_aligned",
        "Upsample, bilinear, by factors, corners aligned",
        _aligned,
        _by_factor(2),
    ),
    layer(
        "resize/upsampling_nearest2d",
        "UpsamplingNearest2d to a size",
        lambda torch, size, factor: torch.nn.UpsamplingNearest2d(size, factor),
        _by_size(2),
    ),
    layer(
        "resize/upsampling_bilinear2d",
        "UpsamplingBilinear2d to a size",
        lambda torch, size, factor: torch.nn.UpsamplingBilinear2d(size, factor),
        _by_size(2),
    ),
    layer(
        "resize/upsampling_nearest2d_factor",
        "UpsamplingNearest2d by a factor",
        lambda torch, size, factor: torch.nn.UpsamplingNearest2d(size, factor),
        _by_one_factor(2),
    ),
    layer(
        "resize/upsampling_bilinear2d_factor",
        "UpsamplingBilinear2d by a factor",
        lambda torch, size, factor: torch.nn.UpsamplingBilinear2d(size, factor),
        _by_one_factor(2),
    ),
    function(
        "resize/function_upsample",
        "functional.upsample, the old name of interpolate",
        lambda torch, x, size, factor: torch.nn.functional.upsample(x, size, factor),
        _by_size(2),
    ),
    layer(
        "resize/pixel_shuffle",
        "PixelShuffle",
        lambda torch, r: torch.nn.PixelShuffle(r),
        _SHUFFLED,
    ),
    function(
        "resize/function_pixel_shuffle",
        "functional.pixel_shuffle",
        lambda torch, x, r: torch.nn.functional.pixel_shuffle(x, r),
        _SHUFFLED,
    ),
    layer(
        "resize/pixel_unshuffle",
        "PixelUnshuffle",
        lambda torch, r: torch.nn.PixelUnshuffle(r),
        _UNSHUFFLED,
    ),
    layer(
        "resize/channel_shuffle",
        "ChannelShuffle",
        lambda torch, r: torch.nn.ChannelShuffle(r),
        _SHUFFLED,
    ),
    *_padded(),
    function(
        "resize/grid_sample_bilinear", "grid_sample, bilinear", _grid_sample("bilinear"), _SAMPLED
    ),
    function(
        "resize/grid_sample_nearest", "grid_sample, nearest", _grid_sample("nearest"), _SAMPLED
    ),
    function(
        "resize/affine_grid",
        "affine_grid for images of several sizes",
        lambda torch, theta, size: torch.nn.functional.affine_grid(
            theta, list(size), align_corners=False
        ),
        [cut((1, 2, 3), sizes=(shape,)) for shape in IMAGES],
    ),
    layer(
        "resize/unfold",
        "Unfold",
        lambda torch, kernel: torch.nn.Unfold(kernel),
        [cut(shape, sizes=(k,)) for shape, k in zip(IMAGES, _KERNELS, strict=True)],
    ),
    layer(
        "resize/fold",
        "Fold of windows that overlap",
        lambda torch, out, kernel: torch.nn.Fold(out, kernel),
        [
            cut((1, c * kh * kw, (h - kh + 1) * (w - kw + 1)), sizes=((h, w), (kh, kw)))
            for (_, c, h, w), (kh, kw) in zip(IMAGES, _KERNELS, strict=True)
        ],
    ),
    function(
        "resize/max_unpool2d",
        "max_pool2d with its places, and max_unpool2d",
        lambda torch, x: torch.nn.functional.max_unpool2d(
            *torch.nn.functional.max_pool2d(x, 2, return_indices=True), 2
        ),
        sized(((1, 2, 6, 8), (1, 3, 4, 6), (1, 5, 8, 10), (1, 4, 6, 2), (1, 7, 4, 4))),
    ),
)
