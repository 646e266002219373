"""Convolutions: layers of all dimensions, transposed convolutions, and their functions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from flopaudit.probes.definition import (
    Case,
    Probe,
    cut,
    function,
    layer,
)


@dataclass(frozen=True)
class _Size:
    """A convolution; in fewer dimensions it takes the last sides of the grid and the kernel."""

    ins: int
    outs: int
    groups: int
    grid: tuple[int, int, int]
    kernel: tuple[int, int, int]

    def case(self, dims: int, *, pointwise: bool = False) -> Case:
        kernel = (1,) * dims if pointwise else self.kernel[-dims:]
        sizes = (self.ins, self.outs, kernel, self.groups)
        return cut((1, self.ins, *self.grid[-dims:]), sizes=sizes)

    def operands(self, dims: int, *, transposed: bool, bias: bool) -> Case:
        outer, inner = (self.ins, self.outs) if transposed else (self.outs, self.ins)
        shapes = [(1, self.ins, *self.grid[-dims:]), (outer, inner, *self.kernel[-dims:])]
        return cut(*shapes, *[(self.outs,)] * bias)


_PLAIN = (
    _Size(2, 3, 1, (5, 7, 9), (2, 3, 2)),
    _Size(3, 5, 1, (6, 8, 11), (3, 2, 3)),
    _Size(5, 2, 1, (7, 9, 13), (2, 4, 5)),
    _Size(4, 7, 1, (5, 11, 10), (3, 3, 4)),
    _Size(7, 4, 1, (6, 10, 8), (2, 5, 3)),
    _Size(3, 11, 1, (5, 9, 12), (3, 4, 2)),
    _Size(6, 3, 1, (7, 7, 17), (2, 2, 4)),
)
_GROUPED = (
    _Size(4, 6, 2, (5, 7, 9), (2, 3, 2)),
    _Size(6, 3, 3, (6, 8, 11), (3, 2, 3)),
    _Size(6, 10, 2, (7, 9, 13), (2, 4, 5)),
    _Size(8, 4, 4, (5, 11, 10), (3, 3, 4)),
    _Size(9, 6, 3, (6, 10, 8), (2, 5, 3)),
    _Size(10, 15, 5, (5, 9, 12), (3, 4, 2)),
    _Size(8, 6, 2, (7, 7, 17), (2, 2, 4)),
)
_DEPTHWISE = (
    _Size(2, 2, 2, (5, 7, 9), (2, 3, 2)),
    _Size(3, 6, 3, (6, 8, 11), (3, 2, 3)),
    _Size(5, 5, 5, (7, 9, 13), (2, 4, 5)),
    _Size(4, 12, 4, (5, 11, 10), (3, 3, 4)),
    _Size(7, 7, 7, (6, 10, 8), (2, 5, 3)),
    _Size(3, 15, 3, (5, 9, 12), (3, 4, 2)),
    _Size(6, 12, 6, (7, 7, 17), (2, 2, 4)),
)

_Options = dict[str, tuple[str, tuple[_Size, ...], dict[str, Any]]]
_OPTIONS: _Options = {
    "bias": ("with bias", _PLAIN, {}),
    "no_bias": ("without bias", _PLAIN, {"bias": False}),
    "stride": ("of stride 2", _PLAIN, {"stride": 2, "bias": False}),
    "padding": ("padded by 1", _PLAIN, {"padding": 1, "bias": False}),
    "dilation": ("dilated by 2", _PLAIN, {"dilation": 2, "bias": False}),
    "groups": ("in groups", _GROUPED, {"bias": False}),
    "groups_bias": ("in groups, with bias", _GROUPED, {}),
    "depthwise": ("depthwise", _DEPTHWISE, {"bias": False}),
    "pointwise": ("of kernel 1", _PLAIN, {"bias": False}),
    "pointwise_bias": ("of kernel 1, with bias", _PLAIN, {}),
}
_ALL_DIMENSIONS = ("bias", "no_bias", "groups")
"""Variants probed in one and three dimensions too; the others are probed in two only."""

_ONLY: dict[str, _Options] = {
    "Conv": {
        "same": ("padded to the same size", _PLAIN, {"padding": "same", "bias": False}),
        "circular": ("padded in circles", _PLAIN, {"padding": 1, "padding_mode": "circular"}),
    },
    "ConvTranspose": {
        "output_padding": (
            "of stride 2, its output padded",
            _PLAIN,
            {"stride": 2, "output_padding": 1, "bias": False},
        ),
        "stride_bias": ("of stride 2, with bias", _PLAIN, {"stride": 2}),
    },
}


def _layers() -> Iterator[Probe]:
    for family, stem in (("Conv", "conv"), ("ConvTranspose", "conv_transpose")):
        for dims in (1, 2, 3):
            for key, (words, sizes, options) in {**_OPTIONS, **_ONLY[family]}.items():
                if dims != 2 and key not in _ALL_DIMENSIONS:
                    continue
                kind = f"{family}{dims}d"
                yield layer(
                    f"conv/{stem}{dims}d_{key}",
                    f"{kind} {words}",
                    _maker(kind, options),
                    [size.case(dims, pointwise=key.startswith("pointwise")) for size in sizes],
                )


def _maker(kind: str, options: dict[str, Any]) -> Any:
    def make(torch: Any, ins: int, outs: int, kernel: tuple[int, ...], groups: int) -> Any:
        return getattr(torch.nn, kind)(ins, outs, kernel, groups=groups, **options)

    return make


def _functions() -> Iterator[Probe]:
    for stem in ("conv", "conv_transpose"):
        for dims in (1, 2, 3):
            for bias in (True, False):
                words = "with" if bias else "without"
                yield function(
                    f"conv/function_{stem}{dims}d_{'bias' if bias else 'no_bias'}",
                    f"functional.{stem}{dims}d {words} bias",
                    _caller(f"{stem}{dims}d"),
                    [size.operands(dims, transposed=stem != "conv", bias=bias) for size in _PLAIN],
                )


def _caller(name: str) -> Any:
    # Looked up at each call, because tools replace torch's functions.
    return lambda torch, *operands: getattr(torch.nn.functional, name)(*operands)


PROBES: tuple[Probe, ...] = (
    *_layers(),
    *_functions(),
    function(
        "conv/torch_conv2d_bias",
        "torch.conv2d with bias",
        lambda torch, *operands: torch.conv2d(*operands),
        [size.operands(2, transposed=False, bias=True) for size in _PLAIN],
    ),
    function(
        "conv/function_conv2d_depthwise",
        "functional.conv2d, depthwise",
        lambda torch, x, weight: torch.nn.functional.conv2d(x, weight, groups=x.shape[1]),
        [
            cut((1, size.ins, *size.grid[-2:]), (size.outs, 1, *size.kernel[-2:]))
            for size in _DEPTHWISE
        ],
    ),
)
