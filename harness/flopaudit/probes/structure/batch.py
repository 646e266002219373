"""Common layers and functions on batches of 1, 2, 4 and 5: does a count cover a batch or a sample?

Here the batch is the model's own, for tools that look at the model's input.
"""

from __future__ import annotations

from typing import Any

from flopaudit.probes.definition import (
    Case,
    Make,
    Probe,
    Shape,
    function,
    given,
    layer,
)
from flopaudit.probes.structure.nesting import own

_BATCHES = (1, 2, 4, 5, 3, 2, 1)
_OUTS = (3, 5, 2, 7, 4, 3, 6)
_IMAGES: tuple[Shape, ...] = (
    (2, 6, 9), (3, 8, 7), (5, 7, 6), (4, 9, 6), (3, 5, 8), (6, 4, 5), (5, 4, 7),
)  # fmt: skip
_SEQUENCES: tuple[Shape, ...] = ((3, 4), (5, 6), (2, 8), (7, 4), (4, 10), (6, 2), (5, 12))
_SIGNALS: tuple[Shape, ...] = ((4, 3), (6, 5), (8, 2), (4, 7), (10, 4), (2, 6), (12, 5))
_ROWS: tuple[Shape, ...] = ((3,), (5,), (2,), (7,), (4,), (6,), (11,))


def _cases(shapes: tuple[Shape, ...], side: int | None = None, *, outs: bool = False) -> list[Case]:
    """Define cases of batches, with the size of a side and optionally of the output."""
    return [
        given(
            "x".join(map(str, (batch, *shape))),
            *(() if side is None else (shape[side],)),
            *((out,) if outs else ()),
        )
        for batch, shape, out in zip(_BATCHES, shapes, _OUTS, strict=True)
    ]


_TO_CHANNELS = _cases(_IMAGES, 0, outs=True)
_CHANNELS = _cases(_IMAGES, 0)
_PLAIN = _cases(_IMAGES)
_FEATURES = _cases(_SEQUENCES, -1)
_TO_FEATURES = _cases(_SEQUENCES, -1, outs=True)
_STEPS = _cases(_SEQUENCES)


def _layer(name: str, *numbers: Any, **options: Any) -> Make:
    return lambda torch, *sizes: getattr(torch.nn, name)(*sizes, *numbers, **options)


def _first(torch: Any, recurrent: Any, x: Any) -> Any:
    del torch
    return recurrent(x)[0]


def _attend(torch: Any, attention: Any, x: Any) -> Any:
    del torch
    return attention(x, x, x, need_weights=False)[0]


_LAYERS: dict[str, tuple[Make, list[Case], Make | None]] = {
    "conv1d": (_layer("Conv1d", 2), _cases(_SIGNALS, 0, outs=True), None),
    "conv2d_bias": (_layer("Conv2d", 3), _TO_CHANNELS, None),
    "conv2d_no_bias": (_layer("Conv2d", 3, bias=False), _TO_CHANNELS, None),
    "conv2d_depthwise": (
        lambda torch, channels: torch.nn.Conv2d(channels, channels, 3, groups=channels),
        _CHANNELS,
        None,
    ),
    "conv_transpose2d": (_layer("ConvTranspose2d", 3), _TO_CHANNELS, None),
    "linear_2d": (_layer("Linear"), _cases(_ROWS, 0, outs=True), None),
    "linear_3d": (_layer("Linear"), _TO_FEATURES, None),
    "batch_norm1d": (_layer("BatchNorm1d"), _cases(_ROWS, 0), None),
    "batch_norm2d": (_layer("BatchNorm2d"), _CHANNELS, None),
    "group_norm": (lambda torch, channels: torch.nn.GroupNorm(1, channels), _CHANNELS, None),
    "layer_norm": (_layer("LayerNorm"), _FEATURES, None),
    "relu_module": (_layer("ReLU"), _PLAIN, None),
    "gelu_module": (_layer("GELU"), _PLAIN, None),
    "prelu_module": (_layer("PReLU"), _CHANNELS, None),
    "softmax_module": (_layer("Softmax", dim=-1), _STEPS, None),
    "max_pool2d": (_layer("MaxPool2d", 2), _PLAIN, None),
    "avg_pool2d": (_layer("AvgPool2d", 2), _PLAIN, None),
    "adaptive_avg_pool2d": (_layer("AdaptiveAvgPool2d", 1), _PLAIN, None),
    "upsample_nearest": (_layer("Upsample", scale_factor=2), _PLAIN, None),
    "rnn": (_layer("RNN", batch_first=True), _TO_FEATURES, _first),
    "gru": (_layer("GRU", batch_first=True), _TO_FEATURES, _first),
    "lstm": (_layer("LSTM", batch_first=True), _TO_FEATURES, _first),
    "lstm_two_layers": (_layer("LSTM", 2, batch_first=True), _TO_FEATURES, _first),
    "multihead_attention": (_layer("MultiheadAttention", 2, batch_first=True), _FEATURES, _attend),
    "encoder_layer": (
        _layer("TransformerEncoderLayer", 2, 7, batch_first=True),
        _FEATURES,
        None,
    ),
    "conv2d_called_twice": (
        lambda torch, channels: torch.nn.Conv2d(channels, channels, 3, padding=1),
        _CHANNELS,
        lambda torch, conv, x: conv(conv(x)),
    ),
    "sequential": (
        lambda torch, channels, out: torch.nn.Sequential(
            torch.nn.Conv2d(channels, out, 3), torch.nn.BatchNorm2d(out), torch.nn.ReLU()
        ),
        _TO_CHANNELS,
        None,
    ),
}

_FUNCTIONS: dict[str, tuple[Make, list[Case]]] = {
    "relu_function": (lambda torch, x: torch.nn.functional.relu(x), _PLAIN),
    "gelu_function": (lambda torch, x: torch.nn.functional.gelu(x), _PLAIN),
    "softmax_function": (lambda torch, x: torch.nn.functional.softmax(x, dim=-1), _STEPS),
    "linear_function": (
        lambda torch, x: torch.nn.functional.linear(x, x[0]),
        _STEPS,
    ),
    "conv2d_function": (
        lambda torch, x: torch.nn.functional.conv2d(x, x[:1, :, :3, :2]),
        _PLAIN,
    ),
    "max_pool2d_function": (lambda torch, x: torch.nn.functional.max_pool2d(x, 2), _PLAIN),
    "avg_pool2d_function": (lambda torch, x: torch.nn.functional.avg_pool2d(x, 2), _PLAIN),
    "adaptive_avg_pool2d_function": (
        lambda torch, x: torch.nn.functional.adaptive_avg_pool2d(x, 1),
        _PLAIN,
    ),
    "interpolate_nearest": (
        lambda torch, x: torch.nn.functional.interpolate(x, scale_factor=2),
        _PLAIN,
    ),
    "interpolate_bilinear": (
        lambda torch, x: torch.nn.functional.interpolate(x, scale_factor=2, mode="bilinear"),
        _PLAIN,
    ),
    "matmul_operator": (lambda torch, x: x @ x.transpose(1, 2), _STEPS),
    "matmul_torch": (lambda torch, x: torch.matmul(x, x.transpose(1, 2)), _STEPS),
    "matmul_method": (lambda torch, x: x.matmul(x.transpose(1, 2)), _STEPS),
    "bmm": (lambda torch, x: torch.bmm(x, x.transpose(1, 2)), _STEPS),
    "einsum": (lambda torch, x: torch.einsum("bnk,bmk->bnm", x, x), _STEPS),
    "sdpa": (
        lambda torch, x: torch.nn.functional.scaled_dot_product_attention(x, x, x),
        _PLAIN,
    ),
    "add_operator": (lambda torch, x: x + x, _PLAIN),
    "add_torch": (lambda torch, x: torch.add(x, x), _PLAIN),
    "mul_method": (lambda torch, x: x.mul(x), _PLAIN),
    "mean": (lambda torch, x: x.mean((2, 3)), _PLAIN),
    "layer_norm_function": (
        lambda torch, x: torch.nn.functional.layer_norm(x, x.shape[-1:]),
        _STEPS,
    ),
}


def _two(name: str = "", other: str = "") -> list[Case]:
    return [
        Case((f"{name}{sides}", f"{other}{sides}"), (), case.sizes)
        for case in _TO_CHANNELS
        for sides in case.inputs
    ]


_WHOLE: dict[str, tuple[str, Make, list[Case]]] = {
    "two_inputs": ("a model of two inputs, in batches", own("TwoImages"), _two()),
    "two_inputs_by_keyword": (
        "a model of two inputs by keyword, in batches",
        own("TwoImages"),
        _two("image=", "other="),
    ),
    "second_by_keyword": (
        "a model of two inputs, the second by keyword, in batches",
        own("TwoImages"),
        _two("", "other="),
    ),
    "whole_by_keyword": (
        "a Conv2d as the whole model, by keyword, in batches",
        _layer("Conv2d", 3),
        [Case((f"input={case.inputs[0]}",), (), case.sizes) for case in _TO_CHANNELS],
    ),
}

PROBES: tuple[Probe, ...] = (
    *(
        layer(f"batch/{key}", about, make, cases, root="itself")
        for key, (about, make, cases) in _WHOLE.items()
    ),
    *(
        layer(f"batch/{key}", f"{key.replace('_', ' ')}, in batches", make, cases, call)
        for key, (make, cases, call) in _LAYERS.items()
    ),
    *(
        function(f"batch/{key}", f"{key.replace('_', ' ')}, in batches", call, cases)
        for key, (call, cases) in _FUNCTIONS.items()
    ),
)
