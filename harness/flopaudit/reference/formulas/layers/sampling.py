"""Values read between the pixels: interpolation, sampled grids, regions, deformed kernels; boxes.

A value is a weighted sum of its neighbours. Weights that depend on the position alone, as in a
resized image, are constants; weights that depend on the data are computed, once for all channels.
"""

from __future__ import annotations

from math import prod
from typing import Any

from flopaudit.reference.cost import NOTHING, Work
from flopaudit.reference.formulas.call import Call, Formula, numel
from flopaudit.reference.formulas.layers.convolution import dense
from flopaudit.reference.formulas.tables import Table, entries, table
from flopaudit.reference.formulas.tensor_math.accumulation import accumulated
from flopaudit.reference.kinds import Kind

# -- resized images --------------------------------------------------------------------------------


def weighted_sums(points: int, values: int) -> Work:
    """Return the cost of `values` sums of `points` weighted neighbours each."""
    return Work(muls=points * values, adds=max(points - 1, 0) * values)


def interpolate(points: int) -> Formula:
    """Return the formula for `points` neighbours: their weighted sum for each output."""

    def formula(call: Call) -> Work:
        return weighted_sums(points, numel(call.first_out))

    return formula


def interpolate_backward(points: int) -> Formula:
    """Return the formula for `points` neighbours: each gets its weighted share added."""

    def formula(call: Call) -> Work:
        shares = points * numel(call.args[0])
        return Work(muls=shares if points > 1 else 0, adds=shares)

    return formula


def _taps(size: int, out: int, reach: int, scale: float) -> int:
    """Return the pixels read along one dimension over all outputs, within reach of the filter.

    As torch's antialiased kernels place them (ATen/native/cpu/UpSampleKernel.cpp): around the
    centre scale·(i + 1/2), as far as reach/2 times the scale where the image shrinks.
    """
    support = reach / 2 * max(scale, 1.0)
    centres = [scale * (i + 0.5) for i in range(out)]
    return sum(
        min(int(centre + support + 0.5), size) - max(int(centre - support + 0.5), 0)
        for centre in centres
    )


def _scale(size: int, out: int, *, corners: bool, factor: float | None) -> float:
    if corners:
        return (size - 1) / (out - 1) if out > 1 else 0.0
    return 1 / factor if factor else size / out


def _antialiased_reads(call: Call, image: Any, out: Any, reach: int, options: int) -> int:
    """Return the pixels read over all outputs; `options` is the position of the corners' flag."""
    corners = bool(call.arg(options, "align_corners", default=False))
    factors = [call.arg(options + 1, "scales_h"), call.arg(options + 2, "scales_w")]
    sizes = zip(image[-2:], out[-2:], factors, strict=True)
    along = (_taps(i, o, reach, _scale(i, o, corners=corners, factor=f)) for i, o, f in sizes)
    return int(prod(out[:-2]) * prod(along))


def antialiased(reach: int) -> Formula:
    """Return the formula for a filter of that reach: all pixels under it, weighted and added."""

    def formula(call: Call) -> Work:
        out = call.first_out.shape
        reads = _antialiased_reads(call, call.args[0].shape, out, reach, 2)
        return Work(muls=reads, adds=reads - prod(out))

    return formula


def antialiased_backward(reach: int) -> Formula:
    """Return the formula for a filter of that reach: each pixel under it gets its share added."""

    def formula(call: Call) -> Work:
        image, grad = call.args[2], call.args[0].shape
        reads = _antialiased_reads(call, image, grad, reach, 3)
        return Work(muls=reads, adds=reads)

    return formula


# -- sampled grids ---------------------------------------------------------------------------------

_BILINEAR, _NEAREST, _BICUBIC = range(3)
_ZEROS, _BORDER, _REFLECTION = range(3)
_PADDING = {
    _ZEROS: NOTHING,
    _BORDER: Work(comparisons=2),
    # |x - low| modulo the span, or the span less that, from low on, held inside
    _REFLECTION: Work(adds=5, comparisons=3, divs=2, elementary=2, muls=1),
}
# t = x - ⌊x⌋ and the four values of the cubic kernel at t + 1, t, 1 - t, 2 - t (Keys 1981)
_CUBIC = Work(muls=12, adds=13 + 1, elementary=1)


def grid_sampler(call: Call) -> Work:
    """The grid's coordinates in pixels, the weights of the neighbours, their weighted sums.

    2ᵈ neighbours (bilinear), 16 (bicubic), or the nearest one, copied. (Jaderberg et al. 2015,
    arXiv:1506.02025.)
    """
    mode, padding = call.arg(2, "interpolation_mode", 0), call.arg(3, "padding_mode", 0)
    corners = bool(call.arg(4, "align_corners", default=False))
    dims, out = len(call.args[0].shape) - 2, numel(call.first_out)
    points = numel(call.args[1]) // dims
    pixel = Work(adds=1 if corners else 2, muls=1, divs=1)
    held = _PADDING[padding] * (4 if mode == _BICUBIC else 1)
    coordinates = (pixel + held + _fractions(mode)) * (dims * points)
    corners_of_cell = 2**dims
    if mode == _NEAREST:
        return coordinates
    if mode == _BICUBIC:
        return coordinates + Work(muls=16 * points) + weighted_sums(16, out)
    weights = Work(muls=corners_of_cell * (dims - 1) * points)
    return coordinates + weights + weighted_sums(corners_of_cell, out)


def _fractions(mode: int) -> Work:
    """⌊x⌋, x - ⌊x⌋ and 1 less that; the cubic weights; or x rounded."""
    return (Work(elementary=1, adds=2), Work(elementary=1), _CUBIC)[mode]


def affine_grid(call: Call) -> Work:
    """Each position, with a 1 appended, times the matrix of its sample: d·(d + 1) MACs."""
    dims = len(call.args[1]) - 2
    return Work(macs=numel(call.first_out) * (dims + 1))


# -- regions ---------------------------------------------------------------------------------------


def roi_align(call: Call) -> Work:
    """Bilinear samples averaged over each bin; with adaptive sampling one sample a bin is taken.

    (He et al. 2017, arXiv:1703.06870.) Sampling ratio ≤ 0 depends on the boxes' sizes.
    """
    aligned = bool(call.arg(6, "aligned", default=False))
    place = Work(muls=4, adds=6 if aligned else 2, comparisons=0 if aligned else 2, divs=2)
    return _regions(call, place)


def ps_roi_align(call: Call) -> Work:
    """The same with channels of its own for each bin; Dai et al. 2016, arXiv:1605.06409."""
    return _regions(call, Work(muls=4, adds=6, divs=2))


def _regions(call: Call, place: Work) -> Work:
    """Return the cost of placing each region and its samples, and of their weights and means.

    A sample lies at start + bin·p + bin·(i + 1/2)/ratio; it is clamped to the input, cut into
    whole and fraction, and 1 less the fraction is taken.
    """
    ratio, height, width = max(call.args[5], 1), call.args[3], call.args[4]
    rois, out = int(call.args[1].shape[0]), numel(call.first_out)
    samples = ratio * ratio
    line = Work(muls=2, adds=2 + 2, divs=1, comparisons=3, elementary=1)
    lines = rois * ratio * (height + width)
    weights = Work(muls=4 * samples * rois * height * width)
    means = weighted_sums(4 * samples, out) + Work(divs=out)
    places: Work = place * rois + line * lines
    return places + weights + means


def deform_conv2d(call: Call) -> Work:
    """Each weight meets a bilinear sample at its own offset; Zhu et al. 2019, arXiv:1811.11168.

    For each offset: two additions, bounds, floors, fractions and weights; for each value read: a
    weighted sum of 4, times the mask; then the convolution's MACs and its bias.
    """
    image, weight, out = call.args[0], call.args[1], call.first_out
    kernel = prod(weight.shape[-2:])
    reads = int(out.shape[0] * prod(out.shape[-2:]) * kernel)
    offset = Work(adds=2 + 4, comparisons=4, elementary=2, muls=4)
    masked = Work(muls=1) if call.args[13] else NOTHING
    values = reads * int(image.shape[1])
    return (
        offset * (reads * int(call.args[12]))
        + weighted_sums(4, values)
        + masked * values
        + Work(macs=dense(out, weight), bias_adds=numel(out))
    )


def nms(call: Call) -> Work:
    """The overlap of each pair of boxes, compared with a threshold, as if none were skipped.

    Areas; for each pair 4 maxima and minima, 2 sides held at 0, their product, the union, the
    quotient and its comparison. Which pairs an implementation skips depends on the boxes.
    """
    boxes = int(call.args[0].shape[0])
    pairs = boxes * (boxes - 1) // 2
    return Work(adds=2, muls=1) * boxes + Work(adds=4, muls=1, divs=1, comparisons=7) * pairs


TABLE: Table = table(
    __name__,
    entries(Kind.INTERPOLATION, interpolate(2), "upsample_linear1d"),
    entries(Kind.INTERPOLATION, interpolate(4), "upsample_bilinear2d"),
    entries(Kind.INTERPOLATION, interpolate(8), "upsample_trilinear3d"),
    entries(Kind.INTERPOLATION, interpolate(16), "upsample_bicubic2d"),
    entries(Kind.INTERPOLATION, antialiased(2), "_upsample_bilinear2d_aa"),
    entries(Kind.INTERPOLATION, antialiased(4), "_upsample_bicubic2d_aa"),
    entries(Kind.INTERPOLATION, antialiased(6), "_upsample_lanczos2d_aa"),
    entries(Kind.INTERPOLATION, interpolate_backward(2), "upsample_linear1d_backward"),
    entries(Kind.INTERPOLATION, interpolate_backward(4), "upsample_bilinear2d_backward"),
    entries(Kind.INTERPOLATION, interpolate_backward(8), "upsample_trilinear3d_backward"),
    entries(Kind.INTERPOLATION, interpolate_backward(16), "upsample_bicubic2d_backward"),
    entries(Kind.INTERPOLATION, antialiased_backward(2), "_upsample_bilinear2d_aa_backward"),
    entries(Kind.INTERPOLATION, antialiased_backward(4), "_upsample_bicubic2d_aa_backward"),
    entries(Kind.INTERPOLATION, antialiased_backward(6), "_upsample_lanczos2d_aa_backward"),
    entries(
        Kind.INTERPOLATION,
        accumulated,
        """upsample_nearest1d_backward upsample_nearest2d_backward upsample_nearest3d_backward
        _upsample_nearest_exact1d_backward _upsample_nearest_exact2d_backward
        _upsample_nearest_exact3d_backward""",
    ),
    entries(
        Kind.SAMPLING,
        grid_sampler,
        "grid_sampler_2d grid_sampler_3d cudnn_grid_sampler _grid_sampler_2d_cpu_fallback",
    ),
    entries(Kind.MATMUL, affine_grid, "affine_grid_generator"),
    entries(Kind.SAMPLING, roi_align, "roi_align"),
    entries(Kind.SAMPLING, ps_roi_align, "ps_roi_align"),
    entries(Kind.CONVOLUTION, deform_conv2d, "deform_conv2d"),
    entries(Kind.SAMPLING, nms, "nms"),
)
