"""Proofs of interpolation, sampled grids, regions, Fourier transforms, solvers, and lists."""

# ruff: noqa: PLR0913, PLR0917 - a definition takes what its operator takes

from __future__ import annotations

import cmath
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torchvision  # noqa: F401 - registers its operators

from tests.scalar import (
    TALLY,
    Array,
    Case,
    Draw,
    Num,
    Pair,
    case,
    drawn,
    each,
    evaluated,
    folded,
    imagined,
    larger,
    log,
    mac,
    rounded,
    smaller,
    spot,
    sqrt,
    summed,
    with_bias,
)
from tests.scalar_elementwise import dropped
from tests.scalar_layers import norm, scattered

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
    """The antialiased filter's, with a = -1/2."""
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
    """Each gradient shared among the pixels it came from; the nearest gets it whole."""

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
    """Outside coordinates: left, brought to the border, or reflected."""
    if padding == 2:
        low = 0.0 if corners else -0.5
        span = size - 1 if corners else size
        x = reflected(x, low, span)
    return smaller(larger(x, 0.0), size - 1) if padding else x


def reflected(x: Any, low: float, span: int) -> Any:
    """Whole spans turn it around; both cases are computed and one selected."""
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
    """For each channel the weighted sum; what lies outside is zero."""
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
    """The corners of the cell around a point, and their weights."""
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
    """The centres of all pixels between -1 and 1, with a 1, times each matrix."""
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
    """Along one side: pixel, next pixel, fraction, rest of each sample, or nothing outside."""
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
    """Start and bin of both sides, the vertical one first."""
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
    """Stride 1, no padding, one group, offsets for groups of channels."""
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
    """Every pair compared, then the best kept one after the other."""
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


# -- Fourier transforms ----------------------------------------------------------------------------


def root(k: int, n: int, *, forward: object) -> Pair:
    value = cmath.exp((-2j if forward else 2j) * math.pi * k / n)
    return Pair(Num(value.real), Num(value.imag))


def smallest_factor(n: int) -> int:
    return next(p for p in range(2, n + 1) if n % p == 0)


def butterfly(parts: Sequence[Any], *, forward: object) -> list[Any]:
    """A direct transform of a prime number of points; the first row and column have no factor."""
    p = len(parts)
    out = []
    for row in range(p):
        total = parts[0]
        for column in range(1, p):
            if row == 0:
                total = total + parts[column]
            elif p == 2:  # the factor -1 is a subtraction
                total = total - parts[column]
            else:
                total = total + parts[column] * root(row * column, p, forward=forward)
        out.append(total)
    return out


def transform(x: Sequence[Any], *, forward: object) -> list[Any]:
    """Cooley and Tukey: the parts, their twiddle factors, the butterflies."""
    n = len(x)
    if n == 1:
        return list(x)
    p = smallest_factor(n)
    parts = [transform(x[i::p], forward=forward) for i in range(p)]
    m = n // p
    out: list[Any] = [None] * n
    for k in range(m):
        turned = [
            part[k] * root(i * k, n, forward=forward) if i else part[k]
            for i, part in enumerate(parts)
        ]
        for row, value in enumerate(butterfly(turned, forward=forward)):
            out[k + row * m] = value
    return out


def along(x: Array, dim: int, *, forward: object) -> Array:
    rows = np.moveaxis(x, dim, -1)
    out = np.empty(rows.shape, dtype=object)
    for at in np.ndindex(*rows.shape[:-1]):
        out[at] = np.array([*transform(list(rows[at]), forward=forward), None], dtype=object)[:-1]
    return np.moveaxis(out, -1, dim)


def scaled(x: Array, normalization: int, count: int) -> Array:
    return x * {0: 1, 1: 1 / math.sqrt(count), 2: 1 / count}[normalization] if normalization else x


def c2c(x: Array, dims: Sequence[int], normalization: int, forward: object) -> Array:
    for dim in dims:
        x = along(x, dim, forward=forward)
    return scaled(x, normalization, math.prod(x.shape[d] for d in dims))


def r2c(x: Array, dims: Sequence[int], normalization: int, onesided: object) -> Array:
    """The last dimension first; its transform costs half, as half of it is the other's mirror."""
    assert onesided
    count = math.prod(x.shape[d] for d in dims)
    before = TALLY.copy()
    out = along(each(lambda v: Pair(v, Num(0.0)), x), dims[-1], forward=True)
    halve(before)
    out = np.take(out, range(x.shape[dims[-1]] // 2 + 1), dims[-1])
    for dim in dims[:-1]:
        out = along(out, dim, forward=True)
    return scaled(out, normalization, count)


def c2r(x: Array, dims: Sequence[int], normalization: int, size: int) -> Array:
    for dim in dims[:-1]:
        x = along(x, dim, forward=False)
    last = dims[-1]
    mirror = np.take(x, [size - k for k in range(size // 2 + 1, size)], last)
    whole = np.concatenate([x, each(lambda v: Pair(v.re, Num(-v.im.value)), mirror)], last)
    before = TALLY.copy()
    out = along(whole, last, forward=False)
    halve(before)
    count = math.prod(out.shape[d] for d in dims)
    return scaled(each(lambda v: v.re, out), normalization, count)


def halve(before: Any) -> None:
    """Two real transforms are one complex one, of the one as real and the other as imaginary."""
    for what in TALLY:
        spent = TALLY[what] - before[what]
        assert spent % 2 == 0
        TALLY[what] = before[what] + spent // 2


def c2r_arguments(draw: Draw) -> tuple[Any, ...]:
    size = draw.b * 2
    whole = torch.fft.rfft2(draw.s(draw.a, size))
    return whole, [0, 1], 2, size


FOURIER = [
    case("_fft_c2c", lambda d: (d.z(d.a * d.b, d.c), [0], 0, True), c2c),
    case("_fft_c2c", lambda d: (d.z(d.a * d.b, d.c), [0, 1], 1, False), c2c),
    case("_fft_c2c", lambda d: (d.z(8, 1), [0], 2, True), c2c),
    case("_fft_r2c", lambda d: (d.s(d.a, d.b * d.c), [0, 1], 0, True), r2c),
    case("_fft_r2c", lambda d: (d.s(d.a, d.b * d.c), [1], 1, True), r2c),
    case("_fft_c2r", c2r_arguments, c2r),
]


# -- linear algebra --------------------------------------------------------------------------------


def eliminated(matrix: Array, *, pivot: bool = True) -> Array:
    """L and U in one; a pivot is the largest of its column, found by comparison."""
    a = matrix.copy()
    rows, columns = a.shape
    for k in range(min(rows, columns)):
        best = k
        for i in range(k + 1, rows) if pivot else ():
            TALLY["comparisons"] += 1
            best = i if abs(a[i, k].value) > abs(a[best, k].value) else best
        a[[k, best]] = a[[best, k]]
        for i in range(k + 1, rows):
            a[i, k] = a[i, k] / a[k, k]
            for j in range(k + 1, columns):
                a[i, j] = a[i, j] - a[i, k] * a[k, j]
    return a


def swaps(matrix: Array) -> tuple[Array, list[int], int]:
    """The same with the order of the rows and its sign, which are integers."""
    before = TALLY.copy()
    values = np.array([[v.value for v in row] for row in matrix])
    factors = eliminated(matrix)
    TALLY.clear()
    TALLY.update(before)
    order, sign = list(range(len(values))), 1
    for k in range(len(values)):
        best = k + int(np.argmax(abs(values[k:, k])))
        if best != k:
            values[[k, best]] = values[[best, k]]
            order[k], order[best] = order[best], order[k]
            sign = -sign
        values[k + 1 :] -= np.outer(values[k + 1 :, k] / values[k, k], values[k])
    return factors, order, sign


def determinant(matrix: Array) -> Array:
    sign = swaps(matrix)[2]
    diagonal = np.diagonal(eliminated(matrix))
    product = diagonal[0]
    for value in diagonal[1:]:
        product = product * value
    return np.asarray(Num(sign * product.value), dtype=object)


def log_determinant(matrix: Array) -> tuple[Array, Array]:
    diagonal = np.diagonal(eliminated(matrix))
    sign = swaps(matrix)[2] * math.prod(math.copysign(1, v.value) for v in diagonal)
    return np.asarray(Num(sign), dtype=object), summed(log(abs(diagonal)))


def solved(matrix: Array, right: Array, *, upper: bool, unit: bool = False) -> Array:
    """One triangular system for each column."""
    n = len(matrix)
    out = right.copy()
    order = range(n - 1, -1, -1) if upper else range(n)
    for column in range(right.shape[1]):
        for i in order:
            for j in range(i + 1, n) if upper else range(i):
                out[i, column] = out[i, column] - matrix[i, j] * out[j, column]
            if not unit:
                out[i, column] = out[i, column] / matrix[i, i]
    return out


def both_ways(factors: Array, right: Array) -> Array:
    return solved(factors, solved(factors, right, upper=False, unit=True), upper=True)


def solve(matrix: Array, right: Array) -> Array:
    order = swaps(matrix)[1]
    return both_ways(eliminated(matrix), right[order])


def identity(n: int) -> Array:
    return each(Num, np.eye(n))


def inverse(matrix: Array) -> Array:
    return solve(matrix, identity(len(matrix)))


def cholesky(matrix: Array) -> Array:
    a = matrix.copy()
    n = len(a)
    for j in range(n):
        for k in range(j):
            for i in range(j, n):
                a[i, j] = a[i, j] - a[i, k] * a[j, k]
        a[j, j] = sqrt(a[j, j]).item()
        for i in range(j + 1, n):
            a[i, j] = a[i, j] / a[j, j]
        a[:j, j] = Num(0)
    return a


def square(draw: Draw) -> torch.Tensor:
    return draw.s(draw.a, draw.a)


def definite(draw: Draw) -> torch.Tensor:
    root_ = square(draw)
    return root_ @ root_.T + torch.eye(draw.a).double()


def lower_arguments(draw: Draw) -> tuple[Any, ...]:
    return (square(draw).tril() + 9 * torch.eye(draw.a).double(), draw.s(draw.a, draw.b))


def factored_arguments(draw: Draw) -> tuple[Any, ...]:
    factors, pivots = torch.linalg.lu_factor(square(draw))
    return factors, pivots, draw.s(draw.a, draw.b)


def with_factor(right: Array, factor: Array, *_o: Any) -> Array:
    half = solved(factor, right, upper=False)
    return solved(factor.T, half, upper=True)


def _same(matrix: torch.Tensor, **_options: Any) -> torch.Tensor:
    return matrix


SOLVERS = [
    case("linalg_lu_factor_ex", lambda d: (d.s(d.a, d.b),), eliminated),
    imagined("linalg_lu_factor_ex", _same, lambda d: (d.s(d.a, d.b),), eliminated, pivot=False),
    case("_linalg_det", lambda d: (square(d),), determinant),
    case("_linalg_slogdet", lambda d: (square(d),), log_determinant, part=2),
    case("linalg_cholesky_ex", lambda d: (definite(d),), cholesky),
    case("linalg_inv_ex", lambda d: (square(d),), inverse),
    case("_linalg_solve_ex", lambda d: (square(d), d.s(d.a, d.b)), solve),
    case("linalg_lu_solve", factored_arguments, lambda f, _p, b: both_ways(f, b), exact=False),
    case("cholesky_solve", lambda d: lower_arguments(d)[::-1], with_factor),
    case(
        "cholesky_inverse",
        lambda d: lower_arguments(d)[:1],
        lambda f: with_factor(identity(len(f)), f),
    ),
    case("linalg_solve_triangular", lower_arguments, solved, upper=False),
    case(
        "triangular_solve",
        lambda d: (*lower_arguments(d)[::-1], False),
        lambda b, a, upper: solved(a, b, upper=upper),
    ),
]


# -- lists of tensors, and what is left ------------------------------------------------------------


def pairs(draw: Draw) -> tuple[Any, ...]:
    return [draw.s(draw.a), draw.s(draw.b, 2)], [draw.s(draw.a), draw.s(draw.b, 2)]


LISTS = [
    case(
        "_foreach_add.List",
        pairs,
        lambda x, y: tuple(a + b for a, b in zip(x, y, strict=True)),
        part=2,
    ),
    case(
        "_foreach_mul.Scalar",
        lambda d: (pairs(d)[0], 2.0),
        lambda x, y: tuple(a * y for a in x),
        part=2,
    ),
    case("_foreach_sqrt", lambda d: ([d.x(d.a), d.x(2)],), lambda x: tuple(map(sqrt, x)), part=2),
    case("_foreach_norm.Scalar", lambda d: (pairs(d)[0],), lambda x: tuple(map(norm, x)), part=2),
    imagined(
        "_fused_dropout",
        lambda x, _p: x,
        lambda d: (d.s(d.a, d.b), 0.25),
        lambda x, p: dropped(x, p, train=True),
    ),
    imagined(
        "_masked_scale",
        lambda x, *_o: x,
        lambda d: (d.s(d.a), d.i(2, d.a), 2.0),
        lambda x, m, s: each(lambda v, k: v * s if k else v * 0.0, x, m),
    ),
    imagined(
        "quantized::add",
        lambda a, *_o: a,
        lambda d: (d.s(d.a), d.s(d.a)),
        lambda a, b: rounded((a * 0.5 + b * 0.5) / 0.1),
    ),
    imagined(
        "quantized::mul",
        lambda a, *_o: a,
        lambda d: (d.s(d.a), d.s(d.a)),
        lambda a, b: rounded((a * 0.5) * (b * 0.5) / 0.1),
    ),
]

CASES: list[Case] = [*INTERPOLATION, *GRIDS, *REGIONS, *FOURIER, *SOLVERS, *LISTS]
