"""Normalisation: layers in evaluation and in training, and their functions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flopaudit.probes.definition import (
    IMAGES,
    ROWS,
    SEQUENCES,
    Case,
    Make,
    Probe,
    Root,
    Shape,
    cut,
    function,
    layer,
)

_SIGNALS: tuple[Shape, ...] = ((1, 2, 9), (1, 3, 7), (2, 5, 4), (1, 4, 11), (3, 7, 5), (2, 3, 5))
_GRIDS: tuple[Shape, ...] = ((1, 2, 6, 9), (1, 3, 8, 7), (2, 5, 3, 4), (1, 4, 5, 6), (3, 7, 2, 4))
_VOLUMES: tuple[Shape, ...] = (
    (1, 2, 3, 4, 5), (1, 3, 2, 5, 4), (2, 5, 2, 3, 2), (1, 4, 3, 2, 3), (1, 7, 2, 2, 3),
)  # fmt: skip
_BY_DIMS = {"1d": _SIGNALS, "2d": _GRIDS, "3d": _VOLUMES}

_EVAL: Root = "layer"
_TRAIN: Root = "layer in training"
_BATCH_NORMS: dict[str, tuple[str, Root, dict[str, Any]]] = {
    "affine": ("affine", _EVAL, {}),
    "no_affine": ("without affine", _EVAL, {"affine": False}),
    "affine_train": ("affine, in training", _TRAIN, {}),
    "no_affine_train": ("without affine, in training", _TRAIN, {"affine": False}),
    "no_stats": ("affine, without running statistics", _EVAL, {"track_running_stats": False}),
    "no_stats_no_affine": (
        "without affine and running statistics",
        _EVAL,
        {"track_running_stats": False, "affine": False},
    ),
}
_ALL_DIMENSIONS = ("affine", "no_affine", "affine_train")
"""Variants probed in one and three dimensions too; the others are probed in two only."""

_INSTANCE_NORMS: dict[str, tuple[str, Root, dict[str, Any]]] = {
    "no_affine": ("without affine", _EVAL, {}),
    "affine": ("affine", _EVAL, {"affine": True}),
    "stats": (
        "affine, with running statistics",
        _EVAL,
        {"affine": True, "track_running_stats": True},
    ),
    "affine_train": ("affine, in training", _TRAIN, {"affine": True}),
}


def _by_channels(shapes: tuple[Shape, ...]) -> list[Case]:
    return [cut(shape, sizes=(shape[1],)) for shape in shapes]


def _maker(kind: str, options: dict[str, Any]) -> Make:
    return lambda torch, channels: getattr(torch.nn, kind)(channels, **options)


def _by_dimension() -> Iterator[Probe]:
    for stem, family, variants in (
        ("batch_norm", "BatchNorm", _BATCH_NORMS),
        ("instance_norm", "InstanceNorm", _INSTANCE_NORMS),
    ):
        for dims, shapes in _BY_DIMS.items():
            for key, (words, root, options) in variants.items():
                if dims != "2d" and key not in _ALL_DIMENSIONS:
                    continue
                kind = f"{family}{dims}"
                yield layer(
                    f"norm/{stem}{dims}_{key}",
                    f"{kind} {words}",
                    _maker(kind, options),
                    _by_channels(shapes),
                    root=root,
                )


def _batch_norms_of_rows() -> Iterator[Probe]:
    for key in ("affine", "no_affine", "affine_train"):
        words, root, options = _BATCH_NORMS[key]
        yield layer(
            f"norm/batch_norm1d_rows_{key}",
            f"BatchNorm1d of rows, {words}",
            _maker("BatchNorm1d", options),
            _by_channels(ROWS),
            root=root,
        )
    for key in ("affine",):
        words, root, options = _BATCH_NORMS[key]
        yield layer(
            f"norm/sync_batch_norm_{key}",
            f"SyncBatchNorm {words}",
            _maker("SyncBatchNorm", options),
            _by_channels(_GRIDS),
            root=root,
        )


_GROUPS = ((1, 4, 6, 9), (1, 6, 8, 7), (2, 8, 3, 4), (1, 9, 5, 6), (3, 10, 2, 4))
_GROUPED = tuple(
    cut(shape, sizes=(groups, shape[1]))
    for shape, groups in zip(_GROUPS, (2, 3, 4, 3, 5), strict=True)
)
_ONE_GROUP = tuple(cut(shape, sizes=(1, shape[1])) for shape in _GRIDS)


def _group_norms() -> Iterator[Probe]:
    for key, cases, options in (
        ("affine", _GROUPED, {}),
        ("no_affine", _GROUPED, {"affine": False}),
        ("one_group", _ONE_GROUP, {}),
    ):
        yield layer(
            f"norm/group_norm_{key}",
            f"GroupNorm {key.replace('_', ' ')}",
            _group_norm(options),
            cases,
        )


def _group_norm(options: dict[str, Any]) -> Make:
    return lambda torch, groups, channels: torch.nn.GroupNorm(groups, channels, **options)


def _last(shapes: tuple[Shape, ...], sides: int) -> list[Case]:
    return [cut(shape, sizes=(shape[-sides:],)) for shape in shapes]


_ROW_NORMS: dict[str, tuple[str, tuple[Shape, ...], int]] = {
    "2d": ("rows", ROWS, 1),
    "3d": ("sequences", SEQUENCES, 1),
    "4d": ("the last side of images", IMAGES, 1),
    "two_sides": ("the last two sides of images", IMAGES, 2),
}
_PLAIN_ROWS = ("3d", "two_sides")
"""Norms whose variants are probed too."""


def _row_norms() -> Iterator[Probe]:
    for key, (words, shapes, sides) in _ROW_NORMS.items():
        for kind, stem, options in (
            ("LayerNorm", "layer_norm", {}),
            ("LayerNorm", "layer_norm_no_affine", {"elementwise_affine": False}),
            ("LayerNorm", "layer_norm_no_bias", {"bias": False}),
            ("RMSNorm", "rms_norm", {}),
            ("RMSNorm", "rms_norm_no_affine", {"elementwise_affine": False}),
        ):
            how = stem.partition("norm_")[2].replace("_", " ")
            if how and key not in _PLAIN_ROWS:
                continue
            yield layer(
                f"norm/{stem}_{key}",
                f"{kind} of {words}{', ' if how else ''}{how}",
                _maker(kind, options),
                _last(shapes, sides),
            )


def _with_channels(times: int) -> list[Case]:
    """Define cases of images, with `times` vectors of a value for each channel."""
    return [cut(shape, *[(shape[1],)] * times) for shape in _GRIDS]


def _with_rows(times: int) -> list[Case]:
    return [cut(shape, *[(shape[-1],)] * times) for shape in SEQUENCES]


_FUNCTIONS: tuple[tuple[str, Make, list[Case]], ...] = (
    (
        "batch_norm_affine",
        lambda torch, x, mean, var, weight, bias: torch.nn.functional.batch_norm(
            x, mean, var, weight, bias
        ),
        _with_channels(4),
    ),
    (
        "batch_norm_no_affine",
        lambda torch, x, mean, var: torch.nn.functional.batch_norm(x, mean, var),
        _with_channels(2),
    ),
    (
        "batch_norm_train",
        lambda torch, x, weight, bias: torch.nn.functional.batch_norm(
            x, None, None, weight, bias, training=True
        ),
        _with_channels(2),
    ),
    (
        "layer_norm_affine",
        lambda torch, x, weight, bias: torch.nn.functional.layer_norm(
            x, x.shape[-1:], weight, bias
        ),
        _with_rows(2),
    ),
    (
        "layer_norm_no_affine",
        lambda torch, x: torch.nn.functional.layer_norm(x, x.shape[-1:]),
        _with_rows(0),
    ),
    (
        "rms_norm_affine",
        lambda torch, x, weight: torch.nn.functional.rms_norm(x, x.shape[-1:], weight),
        _with_rows(1),
    ),
    (
        "rms_norm_no_affine",
        lambda torch, x: torch.nn.functional.rms_norm(x, x.shape[-1:]),
        _with_rows(0),
    ),
    (
        "group_norm_affine",
        lambda torch, x, weight, bias: torch.nn.functional.group_norm(x, 1, weight, bias),
        _with_channels(2),
    ),
    (
        "group_norm_no_affine",
        lambda torch, x: torch.nn.functional.group_norm(x, 1),
        _with_channels(0),
    ),
    (
        "instance_norm_affine",
        lambda torch, x, weight, bias: torch.nn.functional.instance_norm(
            x, weight=weight, bias=bias
        ),
        _with_channels(2),
    ),
    (
        "instance_norm_no_affine",
        lambda torch, x: torch.nn.functional.instance_norm(x),
        _with_channels(0),
    ),
    (
        "local_response_norm",
        lambda torch, x: torch.nn.functional.local_response_norm(x, 2),
        _with_channels(0),
    ),
    ("normalize", lambda torch, x: torch.nn.functional.normalize(x, dim=-1), _with_rows(0)),
    ("normalize_dim1", lambda torch, x: torch.nn.functional.normalize(x), _with_channels(0)),
)

PROBES: tuple[Probe, ...] = (
    *_by_dimension(),
    *_batch_norms_of_rows(),
    *_group_norms(),
    *_row_norms(),
    layer(
        "norm/local_response_norm",
        "LocalResponseNorm over windows of several sizes",
        lambda torch, size: torch.nn.LocalResponseNorm(size),
        [cut(shape, sizes=(size,)) for shape, size in zip(IMAGES, (2, 3, 5, 3, 2), strict=True)],
    ),
    layer(
        "norm/cross_map_lrn2d",
        "CrossMapLRN2d, a loop of plain operators",
        lambda torch: torch.nn.CrossMapLRN2d(3),
        [cut(shape) for shape in IMAGES],
    ),
    *(
        function(f"norm/function_{key}", f"functional.{key.replace('_', ' ')}", call, cases)
        for key, call, cases in _FUNCTIONS
    ),
    function(
        "norm/torch_layer_norm",
        "torch.layer_norm affine",
        lambda torch, x, weight, bias: torch.layer_norm(x, x.shape[-1:], weight, bias),
        _with_rows(2),
    ),
    function(
        "norm/torch_group_norm",
        "torch.group_norm affine",
        lambda torch, x, weight, bias: torch.group_norm(x, 1, weight, bias),
        _with_channels(2),
    ),
)
