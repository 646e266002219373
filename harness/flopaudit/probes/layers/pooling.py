"""Pooling: layers of all dimensions, functions, and equivalent means."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flopaudit.probes.definition import (
    Case,
    Make,
    Probe,
    Shape,
    cut,
    function,
    layer,
)

# Channels, grid and kernel; a pool of fewer dimensions takes the last sides of both.
_SIZES: tuple[tuple[int, Shape, Shape], ...] = (
    (2, (4, 6, 9), (2, 3, 2)),
    (3, (5, 8, 7), (3, 2, 3)),
    (5, (6, 7, 11), (2, 2, 5)),
    (4, (5, 10, 13), (2, 5, 4)),
    (7, (5, 9, 8), (2, 4, 3)),
    (3, (7, 11, 10), (4, 3, 2)),
)
_OUT: tuple[Shape, ...] = ((2, 3, 4), (3, 5, 3), (4, 2, 6), (3, 4, 5), (2, 5, 3), (3, 6, 7))
_GRIDS_DIVIDED: tuple[Shape, ...] = (
    (4, 6, 8), (6, 5, 9), (4, 8, 6), (3, 8, 10), (2, 15, 3), (6, 12, 7),
)  # fmt: skip


def _cases(dims: int) -> list[Case]:
    return [
        # LPPool1d takes only a number.
        cut((1, c, *grid[-dims:]), sizes=(kernel[-1] if dims == 1 else kernel[-dims:],))
        for c, grid, kernel in _SIZES
    ]


def _resized(dims: int, *, divided: bool) -> list[Case]:
    """Define cases in which the output's sides divide the input's, or do not."""
    grids = _GRIDS_DIVIDED if divided else [grid for _, grid, _ in _SIZES]
    channels = [c for c, _, _ in _SIZES]
    return [
        cut((1, c, *grid[-dims:]), sizes=(out[-dims:],))
        for c, grid, out in zip(channels, grids, _OUT, strict=True)
    ]


def _to_one(dims: int) -> list[Case]:
    return [cut((1, c, *grid[-dims:]), sizes=(1,)) for c, grid, _ in _SIZES]


_OPTIONS: dict[str, dict[str, dict[str, Any]]] = {
    "MaxPool": {
        "": {},
        "_stride1": {"stride": 1},
        "_ceil": {"ceil_mode": True, "stride": 2},
        "_padding": {"padding": 1},
        "_dilation": {"dilation": 2, "stride": 1},
    },
    "AvgPool": {
        "": {},
        "_ceil": {"ceil_mode": True, "stride": 2},
        "_padding": {"padding": 1},
        "_padding_left_out": {"padding": 1, "count_include_pad": False},
    },
    "LPPool": {"": {"norm_type": 2}, "_norm3": {"norm_type": 3}},
}
_STEMS = {"MaxPool": "max_pool", "AvgPool": "avg_pool", "LPPool": "lp_pool"}
_ADAPTIVE = {"AdaptiveAvgPool": "adaptive_avg_pool", "AdaptiveMaxPool": "adaptive_max_pool"}


def _windowed() -> Iterator[Probe]:
    for family, variants in _OPTIONS.items():
        for dims in (1, 2, 3):
            for key, options in variants.items():
                if dims != 2 and key:
                    continue
                stem = f"{_STEMS[family]}{dims}d"
                words = ", ".join(f"{name}={value}" for name, value in options.items())
                yield layer(
                    f"pool/{stem}{key}",
                    f"{family}{dims}d {words}".strip(),
                    _layer(f"{family}{dims}d", options),
                    _cases(dims),
                )
            stem = f"{_STEMS[family]}{dims}d"
            options = variants[""]
            about = f"functional.{stem}"
            yield function(f"pool/function_{stem}", about, _call(stem, options), _cases(dims))


def _layer(kind: str, options: dict[str, Any]) -> Make:
    return lambda torch, kernel: getattr(torch.nn, kind)(kernel_size=kernel, **options)


def _call(name: str, options: dict[str, Any]) -> Make:
    # Looked up at each call, because tools replace torch's functions.
    return lambda torch, x, size: getattr(torch.nn.functional, name)(x, **options, kernel_size=size)


def _adaptive() -> Iterator[Probe]:
    for family, stem in _ADAPTIVE.items():
        for dims in (1, 2, 3):
            for key, words, cases in (
                ("to_one", "to one value", _to_one(dims)),
                ("divided", "to sides that divide the input's", _resized(dims, divided=True)),
                ("overlapping", "to sides that do not", _resized(dims, divided=False)),
            ):
                if dims != 2 and key == "divided":
                    continue
                name = f"{stem}{dims}d"
                yield layer(
                    f"pool/{name}_{key}",
                    f"{family}{dims}d {words}",
                    _adaptive_layer(f"{family}{dims}d"),
                    cases,
                )
                yield function(
                    f"pool/function_{name}_{key}",
                    f"functional.{name} {words}",
                    _adaptive_call(name),
                    cases,
                )


def _adaptive_layer(kind: str) -> Make:
    return lambda torch, out: getattr(torch.nn, kind)(out)


def _adaptive_call(name: str) -> Make:
    return lambda torch, x, out: getattr(torch.nn.functional, name)(x, out)


def _fractional(kind: str, sides: int) -> Make:
    def make(torch: Any, channels: int, kernel: Shape, out: Shape) -> Any:
        pool = getattr(torch.nn, kind)(kernel, output_size=out)
        # Fixed samples instead of random ones; a buffer moves with the model.
        del pool._random_samples  # noqa: SLF001 - so torch names its argument
        pool.register_buffer("_random_samples", torch.rand(1, channels, sides))
        return pool

    return make


def _fractional_cases(dims: int) -> list[Case]:
    return [
        cut((1, c, *grid[-dims:]), sizes=(c, (2,) * dims, out[-dims:]))
        for (c, grid, _), out in zip(_SIZES, _OUT, strict=True)
    ]


def _global(call: Make) -> tuple[Make, list[Case]]:
    return call, [cut((1, c, *grid[-2:])) for c, grid, _ in _SIZES]


_GLOBAL: dict[str, tuple[str, Make]] = {
    "mean_method": ("x.mean([2, 3])", lambda torch, x: x.mean([2, 3])),
    "mean_method_kept": (
        "x.mean((2, 3), keepdim=True)",
        lambda torch, x: x.mean((2, 3), keepdim=True),
    ),
    "mean_torch": ("torch.mean over height and width", lambda torch, x: torch.mean(x, (2, 3))),
    "mean_twice": ("x.mean(-1).mean(-1)", lambda torch, x: x.mean(-1).mean(-1)),
    "mean_flattened": ("x.flatten(2).mean(2)", lambda torch, x: x.flatten(2).mean(2)),
    "sum_divided": (
        "the sum over height and width, divided",
        lambda torch, x: x.sum((2, 3)) / (x.shape[2] * x.shape[3]),
    ),
    "amax": ("x.amax((2, 3))", lambda torch, x: x.amax((2, 3))),
    "avg_pool_of_all": (
        "functional.avg_pool2d over all of the input",
        lambda torch, x: torch.nn.functional.avg_pool2d(x, x.shape[2:]),
    ),
}

PROBES: tuple[Probe, ...] = (
    *_windowed(),
    *_adaptive(),
    layer(
        "pool/adaptive_avg_pool2d_one_side",
        "AdaptiveAvgPool2d that leaves the width",
        lambda torch: torch.nn.AdaptiveAvgPool2d((1, None)),
        [cut((1, c, *grid[-2:])) for c, grid, _ in _SIZES],
    ),
    layer(
        "pool/avg_pool2d_divisor",
        "AvgPool2d with a divisor of its own",
        lambda torch, kernel: torch.nn.AvgPool2d(kernel, divisor_override=3),
        _cases(2),
    ),
    layer(
        "pool/max_pool2d_indices",
        "MaxPool2d that also gives the places",
        lambda torch, kernel: torch.nn.MaxPool2d(kernel, return_indices=True),
        _cases(2),
        call=lambda torch, pool, x: pool(x)[0],
    ),
    *(
        layer(
            f"pool/fractional_max_pool{dims}d",
            f"FractionalMaxPool{dims}d at fixed places",
            _fractional(f"FractionalMaxPool{dims}d", dims),
            _fractional_cases(dims),
        )
        for dims in (2, 3)
    ),
    *(
        function(f"pool/global_{key}", words, *_global(call))
        for key, (words, call) in _GLOBAL.items()
    ),
)
