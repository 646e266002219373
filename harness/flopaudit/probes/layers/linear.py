"""Fully connected layers: modules and functions, on inputs of one to four dimensions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flopaudit.probes.definition import (
    Case,
    Probe,
    cut,
    function,
    layer,
)

# Rows, features in, features out.
_SIZES = ((2, 3, 5), (3, 5, 7), (5, 4, 3), (7, 2, 4), (4, 7, 2), (6, 5, 11), (9, 3, 4))
_LEADING = {
    "1d": ((),) * 7,
    "one_row": ((1,),) * 7,
    "2d": ((2,), (3,), (5,), (7,), (4,), (6,), (9,)),
    "3d": ((2, 3), (3, 2), (5, 2), (2, 7), (4, 3), (6, 2), (2, 5)),
    "4d": ((2, 3, 2), (1, 2, 3), (5, 2, 1), (2, 2, 3), (1, 4, 3), (2, 2, 2), (3, 2, 5)),
}
_WORDS = {"1d": "a vector", "one_row": "one row"} | {f"{n}d": f"{n}-D input" for n in (2, 3, 4)}


def _cases(rank: str) -> list[Case]:
    return [
        cut((*leading, ins), sizes=(ins, outs))
        for leading, (_, ins, outs) in zip(_LEADING[rank], _SIZES, strict=True)
    ]


def _operands(rank: str, *, bias: bool) -> list[Case]:
    return [
        cut((*leading, ins), (outs, ins), *[(outs,)] * bias)
        for leading, (_, ins, outs) in zip(_LEADING[rank], _SIZES, strict=True)
    ]


def _linear(torch: Any, ins: int, outs: int) -> Any:
    return torch.nn.Linear(ins, outs)


def _linear_without_bias(torch: Any, ins: int, outs: int) -> Any:
    return torch.nn.Linear(ins, outs, bias=False)


def _by_rank() -> Iterator[Probe]:
    for rank, words in _WORDS.items():
        for bias in (True, False):
            if not bias and rank in {"1d", "one_row"}:
                continue
            key = f"{rank}_{'bias' if bias else 'no_bias'}"
            about = f"of {words}, {'with' if bias else 'without'} bias"
            make = _linear if bias else _linear_without_bias
            yield layer(f"linear/linear_{key}", f"Linear {about}", make, _cases(rank))
            yield function(
                f"linear/function_{key}",
                f"functional.linear {about}",
                lambda torch, *operands: torch.nn.functional.linear(*operands),
                _operands(rank, bias=bias),
            )


_BILINEAR = tuple(
    cut((rows, ins), (rows, others), sizes=(ins, others, outs))
    for rows, ins, others, outs in (
        (2, 3, 4, 5), (3, 2, 5, 4), (5, 4, 3, 2), (7, 3, 2, 3), (4, 5, 5, 6), (6, 2, 7, 3),
    )
)  # fmt: skip

PROBES: tuple[Probe, ...] = (
    *_by_rank(),
    layer(
        "linear/linear_non_contiguous",
        "Linear of a 3-D input whose sides were swapped",
        _linear,
        [
            cut((features, a, b), sizes=(features, outs))
            for (a, b), (_, features, outs) in zip(_LEADING["3d"], _SIZES, strict=True)
        ],
        call=lambda torch, linear, x: linear(x.permute(1, 2, 0)),
    ),
    layer(
        "linear/bilinear_bias",
        "Bilinear with bias",
        lambda torch, ins, others, outs: torch.nn.Bilinear(ins, others, outs),
        _BILINEAR,
    ),
    layer(
        "linear/bilinear_no_bias",
        "Bilinear without bias",
        lambda torch, ins, others, outs: torch.nn.Bilinear(ins, others, outs, bias=False),
        _BILINEAR,
    ),
    function(
        "linear/function_bilinear",
        "functional.bilinear without bias",
        lambda torch, x, y, weight: torch.nn.functional.bilinear(x, y, weight),
        [cut(*case.shapes, (case.sizes[2], case.sizes[0], case.sizes[1])) for case in _BILINEAR],
    ),
)
