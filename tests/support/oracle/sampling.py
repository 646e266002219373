"""Proofs of interpolation, sampled grids and regions, which read values between pixels."""

# ruff: noqa: PLR0913, PLR0917 - a definition takes what its operator takes

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torchvision  # noqa: F401 - registers its operators

from tests.support.oracle.pools import scattered
from tests.support.oracle.scalar import (
    Array,
    Case,
    Draw,
    Num,
    case,
    drawn,
    evaluated,
    folded,
    imagined,
    larger,
    mac,
    smaller,
    spot,
    summed,
    with_bias,
)

Weights = list[tuple[int, float]]  # pixels along one dimension and what they weigh
Filter = Callable[[float], float]


# -- resized images: weights are constants ---------------------------------------------------------


def linear_taps(i: int, size: int, out: int) -> Weights:
    at = max((i + 0.5) * size / out - 0.5, 0.0)
    low = min(int(at), size - 1)
    return [(low, 1 - at + low), (min(low + 1, size - 1), at - low)]


def cubic(x: float) -> float:
    x, a = abs(x), -0.75
    if x <= 1:
        return ((a + 2) * x - (a + 3)) * x * x + 1
    return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a if x < 2 else 0.0


def cubic_taps(i: int, size: int, out: int) -> Weights:
    at = (i + 0.5) * size / out - 0.5
    low = math.floor(at)
    return [(min(max(k, 0), size - 1), cubic(at - k)) for k in range(low - 1, low + 3)]


def smooth_cubic(x: float) -> float:
    """The cubic kernel of the antialiased filter, with a = -1/2."""
    x, a = abs(x), -0.5
    if x <= 1:
        return ((a + 2) * x - (a + 3)) * x * x + 1
    return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a if x < 2 else 0.0


def tent(x: float) -> float:
    return max(1 - abs(x), 0.0)


def lanczos(x: float) -> float:
    if x == 0:
        return 1.0
    if abs(x) >= 3:
        return 0.0
    turned = math.pi * x
    return 3 * math.sin(turned) * math.sin(turned / 3) / (turned * turned)


def smoothed(kernel: Filter, reach: int) -> Callable[[int, int, int], Weights]:
    def taps(i: int, size: int, out: int) -> Weights:
        scale = size / out
        stretch = max(scale, 1.0)
        centre, support = scale * (i + 0.5), reach / 2 * stretch
        low = max(int(centre - support + 0.5), 0)
        high = min(int(centre + support + 0.5), size)
        raw = [kernel((k - centre + 0.5) / stretch) for k in range(low, high)]
        return [(low + k, weight / sum(raw)) for k, weight in enumerate(raw)]

    return taps


Taps = Callable[[int, int, int], Weights]


def neighbours(
    place: Sequence[int], sizes: Any, outs: Any, taps: Taps
) -> Iterator[tuple[Any, float]]:
    along = [taps(i, n, o) for i, n, o in zip(place, sizes, outs, strict=True)]
    for corner in itertools.product(*along):
        yield tuple(at for at, _ in corner), math.prod(weight for _, weight in corner)


def resized(taps: Taps) -> Callable[..., Array]:
    def scalar(x: Array, size: Sequence[int], *_o: Any) -> Array:
        out = np.empty((*x.shape[:2], *size), dtype=object)
        for n, c, *place in np.ndindex(*out.shape):
            terms = [
                x[spot(n, c, *at)] * weight
                for at, weight in neighbours(place, x.shape[2:], size, taps)
            ]
            out[spot(n, c, *place)] = folded(
                lambda a, b: a + b, np.array(terms, dtype=object), 0
            ).item()
        return out

    return scalar


def resized_back(taps: Taps | None) -> Callable[..., Array]:
    """Share each gradient among the pixels it came from; nearest passes it to one pixel."""

    def scalar(g: Array, size: Sequence[int], shape: Sequence[int], *_o: Any) -> Array:
        places, values = [], []
        for n, c, *place in np.ndindex(*g.shape):
            value = g[spot(n, c, *place)]
            if taps is None:
                at = tuple(i * s // o for i, s, o in zip(place, shape[2:], size, strict=True))
                places.append((n, c, *at))
                values.append(value)
                continue
            for at, weight in neighbours(place, shape[2:], size, taps):
                places.append((n, c, *at))
                values.append(value * weight)
        return scattered(shape, places, values)

    return scalar


def sizes(dims: int, *, corners: bool = True) -> Callable[[Draw], tuple[Any, ...]]:
    def arguments(draw: Draw) -> tuple[Any, ...]:
        x = draw.s(1, 2, *[draw.a + 1, draw.b + 1, 2][:dims])
        return x, [draw.c + 1, draw.d + 1, 3][:dims], *((False,) if corners else ())

    return arguments


def back_sizes(dims: int, *, corners: bool = True) -> Callable[[Draw], tuple[Any, ...]]:
    def arguments(draw: Draw) -> tuple[Any, ...]:
        x, size, *more = sizes(dims, corners=corners)(draw)
        return draw.s(1, 2, *size), size, list(x.shape), *more

    return arguments


_RESIZED = [
    ("upsample_linear1d", 1, linear_taps),
    ("upsample_bilinear2d", 2, linear_taps),
    ("upsample_trilinear3d", 3, linear_taps),
    ("upsample_bicubic2d", 2, cubic_taps),
    ("_upsample_bilinear2d_aa", 2, smoothed(tent, 2)),
    ("_upsample_bicubic2d_aa", 2, smoothed(smooth_cubic, 4)),
]
INTERPOLATION = [
    *(case(name, sizes(dims), resized(taps)) for name, dims, taps in _RESIZED),
    *(
        case(f"{name}_backward", back_sizes(dims), resized_back(taps))
        for name, dims, taps in _RESIZED
    ),
    case("upsample_nearest2d_backward", back_sizes(2, corners=False), resized_back(None)),
    imagined(
        "_upsample_lanczos2d_aa",
        lambda x, s, *_o: x.new_empty(*x.shape[:2], *s),
        sizes(2),
        resized(smoothed(lanczos, 6)),
    ),
    imagined(
        "_upsample_lanczos2d_aa_backward",
        lambda *a: torch.empty(a[2]),
        back_sizes(2),
        resized_back(smoothed(lanczos, 6)),
    ),
]


# -- sampled grids: weights are computed -----------------------------------------------------------


def pixel(x: Any, size: int, *, corners: object) -> Any:
    if corners:
        return (x + 1) / 2 * (size - 1)
    return ((x + 1) * size - 1) / 2


def held(x: Any, size: int, padding: int, *, corners: object) -> Any:
    """Handle coordinates outside: leave, clamp to the border, or reflect them."""
    if padding == 2:
        low = 0.0 if corners else -0.5
        span = size - 1 if corners else size
        x = reflected(x, low, span)
    return smaller(larger(x, 0.0), size - 1) if padding else x


def reflected(x: Any, low: float, span: int) -> Any:
    """Reflect a coordinate; both cases are computed and one is selected."""
    inside = abs(x - low)
    if span == 0:  # torch leaves early; the count does not depend on values
        span, empty = 1, True
    else:
        empty = False
    rest = inside - evaluated(math.trunc, inside / span) * span
    turns = evaluated(math.floor, inside / span)
    forward, backward_ = rest + low, span - rest + low
    chosen = forward if turns.value % 2 == 0 else backward_
    return Num(0.0) if empty else chosen


def cubic_weights(t: Any) -> list[Any]:
    a = -0.75

    def near(x: Any) -> Any:
        return ((a + 2) * x - (a + 3)) * x * x + 1

    def far(x: Any) -> Any:
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a

    other = 1 - t
    return [far(t + 1), near(t), near(other), far(other + 1)]


def corner_sums(x: Array, at: Any, corners: Sequence[Any], shares: Sequence[Any]) -> list[Any]:
    """Return the weighted sum for each channel; values outside are zero."""
    out = []
    for channel in range(x.shape[1]):
        total: Any = None
        for place, share in zip(corners, shares, strict=True):
            inside = all(0 <= p < s for p, s in zip(place, x.shape[2:], strict=True))
            term = (x[spot(at, channel, *place)] if inside else Num(0.0)) * share
            total = term if total is None else total + term
        out.append(total)
    return out


def cell(position: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Return the corners of the cell around a point, and their weights."""
    floors = [evaluated(math.floor, p) for p in position]
    parts = [p - f for p, f in zip(position, floors, strict=True)]
    others = [1 - p for p in parts]
    corners, shares = [], []
    for bits in itertools.product((0, 1), repeat=len(position)):
        corners.append([int(f.value) + b for f, b in zip(floors, bits, strict=True)])
        chosen = [p if b else o for p, o, b in zip(parts, others, bits, strict=True)]
        share = chosen[0]
        for factor in chosen[1:]:
            share = share * factor
        shares.append(share)
    return corners, shares


def cubic_cell(
    position: Sequence[Any], sizes_: Sequence[int], padding: int, corners: object
) -> Any:
    floors = [evaluated(math.floor, p) for p in position]
    weights = [cubic_weights(p - f) for p, f in zip(position, floors, strict=True)]
    places = [
        [int(held(Num(f.value + k), n, padding, corners=corners).value) for k in range(-1, 3)]
        for f, n in zip(floors, sizes_, strict=True)
    ]
    spots = list(itertools.product(*places))
    return spots, [a * b for a, b in itertools.product(*weights)]


def sampled(x: Array, grid: Array, mode: int, padding: int, corners: object) -> Array:
    out = np.empty((x.shape[0], x.shape[1], *grid.shape[1:-1]), dtype=object)
    sizes_ = x.shape[2:]
    for n, *place in np.ndindex(*grid.shape[:-1]):
        point = list(grid[spot(n, *place)])[::-1]
        at = [pixel(p, s, corners=corners) for p, s in zip(point, sizes_, strict=True)]
        if mode == 2:
            spots, shares = cubic_cell(at, sizes_, padding, corners)
            values = corner_sums(x, n, spots, shares)
        else:
            at = [held(p, s, padding, corners=corners) for p, s in zip(at, sizes_, strict=True)]
            values = nearest(x, n, at) if mode == 1 else corner_sums(x, n, *cell(at))
        for channel, value in enumerate(values):
            out[spot(n, channel, *place)] = value
    return out


def nearest(x: Array, n: int, at: Sequence[Any]) -> list[Any]:
    place = [int(evaluated(round, p).value) for p in at]
    inside = all(0 <= p < s for p, s in zip(place, x.shape[2:], strict=True))
    return [x[spot(n, c, *place)] if inside else Num(0.0) for c in range(x.shape[1])]


def grid(dims: int, mode: int, padding: int, *, corners: bool) -> Callable[[Draw], tuple[Any, ...]]:
    def arguments(draw: Draw) -> tuple[Any, ...]:
        x = draw.s(1, draw.a, *[draw.b + 1, draw.c + 1, 2][:dims])
        points = draw.s(1, *[draw.d, 2, 2][:dims], dims) / 2
        return x, points, mode, padding, corners

    return arguments


def affine_grid(theta: Array, size: Sequence[int], corners: object) -> Array:
    """Multiply the pixel centres between -1 and 1, with a 1 appended, by each matrix."""
    axes = [
        np.linspace(-1, 1, s) if corners and s > 1 else (np.arange(s) * 2 + 1) / s - 1
        for s in size[2:]
    ]
    axes = [a if len(a) > 1 or not corners else np.zeros(1) for a in axes]
    out = np.empty((size[0], *size[2:], len(axes)), dtype=object)
    for n, *place in np.ndindex(*out.shape[:-1]):
        point = [*reversed([axis[p] for axis, p in zip(axes, place, strict=True)]), 1.0]
        for row in range(len(axes)):
            total: Any = 0.0
            for value, factor in zip(point, theta[n, row], strict=True):
                total = mac(total, value, factor)
            out[spot(n, *place, row)] = total
    return out


GRIDS = [
    *(
        case("grid_sampler_2d", grid(2, mode, padding, corners=corners), sampled)
        for mode, padding, corners in itertools.product(range(3), range(3), (False, True))
    ),
    *(case("grid_sampler_3d", grid(3, mode, 0, corners=False), sampled) for mode in (0, 1)),
    case(
        "affine_grid_generator",
        lambda d: (d.s(d.a, 2, 3), [d.a, 1, d.b, d.c + 1], True),
        affine_grid,
    ),
    case(
        "affine_grid_generator",
        lambda d: (d.s(d.a, 3, 4), [d.a, 1, d.b, d.c, d.d], False),
        affine_grid,
    ),
]


# -- regions ---------------------------------------------------------------------------------------


def line(start: Any, width: Any, bins: int, ratio: int, size: int) -> list[Any]:
    """Return pixel, next pixel, fraction and rest of each sample on a side; nothing outside."""
    out = []
    for p, i in itertools.product(range(bins), range(ratio)):
        at = start + width * p + (width * (i + 0.5)) / ratio
        inside = not ((at < -1.0) | (at > size))
        at = larger(at, 0.0)
        low = min(int(evaluated(math.floor, at).value), size - 1)
        fraction = at - low
        rest = 1 - fraction
        last = low == size - 1
        out.append(
            (
                inside,
                low,
                min(low + 1, size - 1),
                Num(0) if last else fraction,
                Num(1) if last else rest,
            )
        )
    return out


def place(box: Array, scale: float, bins: Sequence[int], offset: float, *, least: bool) -> Any:
    """Return the start and the bin of both sides, the vertical one first."""
    ends = [v * scale for v in box]
    ends = [v - offset for v in ends] if offset else ends
    lengths = [ends[2] - ends[0], ends[3] - ends[1]]
    lengths = [larger(v, 1.0) for v in lengths] if least else lengths
    widths = [lengths[1] / bins[0], lengths[0] / bins[1]]
    return [(ends[1], widths[0]), (ends[0], widths[1])]


def pooled(
    x: Array,
    rois: Array,
    scale: float,
    bins: Any,
    ratio: int,
    *,
    offset: float,
    least: bool,
    channel: Callable[[int, int, int], int],
    channels: int,
) -> Array:
    ratio = max(ratio, 1)
    out = np.empty((len(rois), channels, *bins), dtype=object)
    for r, roi in enumerate(rois):
        starts = place(roi[1:], scale, bins, offset, least=least)
        lines = [
            line(start, width, n, ratio, size)
            for (start, width), n, size in zip(starts, bins, x.shape[2:], strict=True)
        ]
        for ph, pw in np.ndindex(*bins):
            samples = []
            for a, b in itertools.product(range(ratio), range(ratio)):
                y, w = lines[0][ph * ratio + a], lines[1][pw * ratio + b]
                shares = [u * v for u, v in itertools.product((y[4], y[3]), (w[4], w[3]))]
                samples.append((y[0] and w[0], list(itertools.product(y[1:3], w[1:3])), shares))
            for c in range(channels):
                image = x[int(roi[0].value), channel(c, ph, pw)]
                out[r, c, ph, pw] = region_mean(image, samples, ratio)
    return out


def region_mean(image: Array, samples: Sequence[Any], ratio: int) -> Any:
    terms = [
        (image[spot] if inside else Num(0.0)) * share
        for inside, spots, shares in samples
        for spot, share in zip(spots, shares, strict=True)
    ]
    return summed(np.array(terms, dtype=object)).item() / (ratio * ratio)


def roi_align(
    x: Array, rois: Array, scale: float, ph: int, pw: int, ratio: int, aligned: object
) -> Array:
    return pooled(
        x,
        rois,
        scale,
        (ph, pw),
        ratio,
        offset=0.5 if aligned else 0.0,
        least=not aligned,
        channel=lambda c, _h, _w: c,
        channels=x.shape[1],
    )


def ps_roi_align(x: Array, rois: Array, scale: float, ph: int, pw: int, ratio: int) -> Array:
    return pooled(
        x,
        rois,
        scale,
        (ph, pw),
        ratio,
        offset=0.5,
        least=False,
        channel=lambda c, h, w: (c * ph + h) * pw + w,
        channels=x.shape[1] // (ph * pw),
    )


def boxes(draw: Draw, count: int) -> torch.Tensor:
    corner = draw.x(count, 2)
    return torch.cat([torch.zeros(count, 1).double(), corner, corner + 1 + draw.x(count, 2)], 1)


def deformed(
    x: Array, weight: Array, offset: Array, mask: Array, bias: Array, *options: Any
) -> Array:
    """Convolve deformed: stride 1, no padding, one group, offsets for groups of channels."""
    offset_groups, masked = options[7], options[8]
    n, channels, height, width = x.shape
    kernel = weight.shape[2:]
    taps = list(np.ndindex(*kernel))
    out = np.empty((n, weight.shape[0], *offset.shape[2:]), dtype=object)
    for b, h, w in np.ndindex(n, *offset.shape[2:]):
        columns: dict[Any, Any] = {}
        for group, (t, tap) in itertools.product(range(offset_groups), enumerate(taps)):
            first = 2 * (group * len(taps) + t)
            y = offset[b, first, h, w] + (h + tap[0])
            v = offset[b, first + 1, h, w] + (w + tap[1])
            outside = (y <= -1) | (y >= height) | (v <= -1) | (v >= width)
            corners, shares = cell([y, v])
            span = channels // offset_groups
            part = x[:, group * span : (group + 1) * span]
            for c, value in enumerate(corner_sums(part, b, corners, shares)):
                read = Num(0.0) if outside else value
                at = group * len(taps) + t
                columns[group * span + c, tap] = read * mask[b, at, h, w] if masked else read
        for o in range(weight.shape[0]):
            total: Any = 0.0
            for (c, tap), value in columns.items():
                total = mac(total, weight[spot(o, c, *tap)], value)
            out[b, o, h, w] = total
    return with_bias(out, bias.reshape(-1, 1, 1))


def deform_arguments(*, masked: bool) -> Callable[[Draw], tuple[Any, ...]]:
    def arguments(draw: Draw) -> tuple[Any, ...]:
        x, weight = draw.s(draw.a, 2 * draw.b, 4, 4), draw.s(draw.c, 2 * draw.b, 2, 2)
        offset, mask = draw.s(draw.a, 16, 3, 3) / 4, draw.x(draw.a, 8, 3, 3)
        mask = mask if masked else torch.zeros(draw.a, 1).double()
        return x, weight, offset, mask, draw.s(draw.c), 1, 1, 0, 0, 1, 1, 1, 2, masked

    return arguments


def suppressed(found: Array, scores: Any, threshold: float) -> Any:
    """Compare every pair of boxes, then keep the best, one after the other."""
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in found]
    close = {}
    for i, j in itertools.combinations(range(len(found)), 2):
        a, b = found[i], found[j]
        wide = larger(smaller(a[2], b[2]) - larger(a[0], b[0]), 0.0)
        high = larger(smaller(a[3], b[3]) - larger(a[1], b[1]), 0.0)
        shared = wide * high
        close[i, j] = close[j, i] = shared / (areas[i] + areas[j] - shared) > threshold
    kept: list[int] = []
    for i in sorted(range(len(found)), key=lambda k: -scores[k].value):
        if not any(close[i, k] for k in kept):
            kept.append(i)
    return np.array(kept)


vision = torch.ops.torchvision
REGIONS = [
    *(
        Case(
            "roi_align",
            vision.roi_align,
            drawn(lambda d, r, a: (d.s(1, d.a, 4, 4), boxes(d, d.b), 1.0, d.c, 2, r, a), r, a),
            roi_align,
            exact=r > 0,
        )
        for r in (2, 0)
        for a in (True, False)
    ),
    Case(
        "ps_roi_align",
        vision.ps_roi_align,
        lambda d: (d.s(1, 2 * 2 * d.a, 4, 4), boxes(d, d.b), 1.0, 2, 2, 2),
        ps_roi_align,
    ),
    *(
        Case("deform_conv2d", vision.deform_conv2d, deform_arguments(masked=m), deformed)
        for m in (True, False)
    ),
    Case(
        "nms", vision.nms, lambda d: (boxes(d, d.a + d.b)[:, 1:], d.x(d.a + d.b), 0.4), suppressed
    ),
]


CASES: list[Case] = [*INTERPOLATION, *GRIDS, *REGIONS]
