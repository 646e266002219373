"""Subclasses that add nothing: does a tool know a layer by its exact type or by its base?"""

from __future__ import annotations

from typing import Any

from flopaudit.probes.definition import (
    IMAGES,
    ROWS,
    SEQUENCES,
    Case,
    Make,
    Probe,
    cut,
    given,
    layer,
    sized,
)

# Channels in and out, and grid.
_CONVS = ((2, 3, (5, 7, 9)), (3, 5, (4, 8, 7)), (5, 2, (6, 5, 8)), (4, 7, (4, 6, 5)),
          (7, 4, (5, 4, 11)), (3, 6, (3, 9, 6)), (6, 3, (4, 7, 12)))  # fmt: skip
_CHANNELS = [cut(shape, sizes=(shape[1],)) for shape in IMAGES]
_FEATURES = [cut(shape, sizes=(shape[-1],)) for shape in SEQUENCES]
_PLAIN = sized(IMAGES)
_RECURRENT = [cut((t, b, i), sizes=(i, h)) for t, b, i, h in
              ((2, 3, 4, 5), (5, 1, 3, 2), (2, 3, 5, 4), (7, 2, 2, 3), (4, 4, 3, 7), (3, 5, 6, 4),
               (6, 1, 7, 3))]  # fmt: skip
_ATTENDED = [cut((n, b, e), sizes=(e,)) for n, b, e in
             ((3, 2, 4), (4, 1, 6), (5, 3, 2), (2, 4, 10), (7, 1, 8), (3, 3, 6))]  # fmt: skip


def _conv(dims: int) -> list[Case]:
    return [cut((1, i, *grid[-dims:]), sizes=(i, o, 2)) for i, o, grid in _CONVS]


def _first(torch: Any, inside: Any, x: Any) -> Any:
    del torch
    return inside(x)[0]


def _attend(torch: Any, attention: Any, x: Any) -> Any:
    del torch
    return attention(x, x, x, need_weights=False)[0]


_LAYERS: dict[str, tuple[list[Case] | tuple[Case, ...], Make | None, dict[str, Any]]] = {
    "Conv1d": (_conv(1), None, {}),
    "Conv2d": (_conv(2), None, {}),
    "Conv3d": (_conv(3), None, {}),
    "ConvTranspose2d": (_conv(2), None, {}),
    "Linear": (
        [
            cut((n, i), sizes=(i, o))
            for n, i, o in (
                (2, 3, 5),
                (3, 5, 7),
                (5, 4, 3),
                (7, 2, 4),
                (4, 7, 2),
                (6, 5, 11),
                (9, 3, 4),
            )
        ],
        None,
        {},
    ),
    "BatchNorm2d": (_CHANNELS, None, {}),
    "LayerNorm": (_FEATURES, None, {}),
    "GroupNorm": ([cut(shape, sizes=(1, shape[1])) for shape in IMAGES], None, {}),
    "ReLU": (_PLAIN, None, {}),
    "GELU": (_PLAIN, None, {}),
    "SiLU": (_PLAIN, None, {}),
    "Sigmoid": (_PLAIN, None, {}),
    "PReLU": (_CHANNELS, None, {}),
    "MaxPool2d": (_PLAIN, None, {"kernel_size": 2}),
    "AvgPool2d": (_PLAIN, None, {"kernel_size": 2}),
    "AdaptiveAvgPool2d": (_PLAIN, None, {"output_size": 1}),
    "Upsample": (_PLAIN, None, {"scale_factor": 2}),
    "Softmax": (sized(ROWS), None, {"dim": -1}),
    "LSTM": (_RECURRENT, _first, {}),
    "GRU": (_RECURRENT, _first, {}),
    "MultiheadAttention": (_ATTENDED, _attend, {"num_heads": 2}),
    "Embedding": (
        [
            given(f"int64:{shape}", rows, features)
            for shape, rows, features in (
                ("1x5", 3, 4),
                ("2x3", 5, 7),
                ("3x7", 2, 5),
                ("4x2", 7, 3),
                ("1x11", 6, 2),
            )
        ],
        None,
        {},
    ),
    "Dropout": (_PLAIN, None, {}),
    "Identity": (_PLAIN, None, {}),
    "Flatten": (_PLAIN, None, {}),
}


def _subclassed(name: str, options: dict[str, Any]) -> Make:
    def make(torch: Any, *sizes: Any) -> Any:
        from flopaudit.probes.structure import custom_modules

        del torch
        return getattr(custom_modules, f"Sub{name}")(*sizes, **options)

    return make


def _sequential(torch: Any, ins: int, outs: int, kernel: int) -> Any:
    from flopaudit.probes.structure import custom_modules

    sequential = vars(custom_modules)["SubSequential"]
    return sequential(torch.nn.Conv2d(ins, outs, kernel), torch.nn.ReLU())


PROBES: tuple[Probe, ...] = (
    *(
        layer(
            f"subclass/{name.lower()}",
            f"a subclass of {name}",
            _subclassed(name, options),
            cases,
            call,
        )
        for name, (cases, call, options) in _LAYERS.items()
    ),
    layer("subclass/sequential", "a subclass of Sequential", _sequential, _conv(2)),
)
