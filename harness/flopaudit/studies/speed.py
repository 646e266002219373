"""The time of a reference count, compared with a bare forward pass and torch's FlopCounterMode.

`flopaudit study speed` writes three tables, all measured in one run on meta tensors: models in turn
(speed), Llama 3.1 405B (scale), and networks of 1 to 1,000 layers (depth).
"""

from __future__ import annotations

import json
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from flopaudit.core.search_path import child_environment, module_command
from flopaudit.reports.escaping import Markdown, Row, markdown_text
from flopaudit.studies.table_files import machine, write_markdown

MODELS = (
    "vgg11", "resnet50", "densenet121", "mobilenet_v2", "mobilenet_v3_large", "efficientnet_b0",
    "convnext_tiny", "swin_t", "vit_b_16", "inception_v3", "regnet_y_400mf", "r3d_18",
    "deeplabv3_resnet50", "raft_small",
)  # fmt: skip
DEPTHS = (1, 3, 10, 30, 100, 300, 1000)
REPEATS = 7

Table = list[dict[str, str]]
"""The rows of a table, each by its headers."""

TITLES = {
    "speed": "Ratios of the fastest of runs in turn",
    "scale": "Llama 3.1 405B on 8,192 tokens, in a process of its own",
    "depth": "Linear in the operators executed",
}
HEADERS = {
    "speed": (
        "model", "operators", "bare seconds", "reference / bare", "FlopCounterMode / bare",
        "reference / FlopCounterMode", "reference, nothing known / bare",
    ),
    "scale": ("quantity", "value"),
    "depth": ("layers", "operators", "seconds", "microseconds an operator"),
}  # fmt: skip


def main(out: Path) -> dict[str, Table]:
    """Measure, write speed.md, scale.md and depth.md, and return the tables by name.

    Args:
        out: directory for the tables.

    Raises:
        subprocess.CalledProcessError: the process that counts Llama failed.
    """
    note = Markdown(f"{markdown_text(machine())}; `flopaudit study speed`")
    measured = {"speed": _model_rows, "depth": _depth_rows, "scale": _llama_rows}
    tables: dict[str, Table] = {}
    for name, measure in measured.items():
        rows = measure()
        write_markdown(out / f"{name}.md", TITLES[name], note, HEADERS[name], rows)
        tables[name] = [dict(zip(HEADERS[name], row, strict=True)) for row in rows]
    return tables


def _model_rows() -> list[Row]:
    rows = [_model_row(name) for name in MODELS]
    medians = [f"{statistics.median(float(row[i]) for row in rows):.3f}" for i in (3, 4, 5, 6)]
    return [*rows, ["median", "", "", *medians]]


def _depth_rows() -> list[Row]:
    return [_depth_row(layers) for layers in DEPTHS]


def _llama_rows() -> list[Row]:
    done = subprocess.run(  # noqa: S603 - this interpreter, this package
        module_command("flopaudit.studies.llama"),
        env=child_environment(), check=True, capture_output=True, text=True,
    )  # fmt: skip
    return [[name, str(value)] for name, value in json.loads(done.stdout).items()]


def _model_row(name: str) -> Row:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from flopaudit.reference import meta_cache
    from flopaudit.reference.counter import count

    model, inputs = _on_meta(name)
    operators = len(count(model, *inputs).rows)

    def bare() -> None:
        with torch.no_grad():
            model(*inputs)

    def flop_counter_mode() -> None:
        with torch.no_grad(), FlopCounterMode(display=False):
            model(*inputs)

    def reference() -> None:
        count(model, *inputs, device="meta")

    def reference_without_cache() -> None:
        meta_cache.clear()
        reference()

    ways = [bare, reference, flop_counter_mode, reference_without_cache]
    base, ours, torchs, uncached = _in_turn(ways)
    ratios = (ours / base, torchs / base, ours / torchs, uncached / base)
    return [name, str(operators), f"{base:.4f}", *(f"{ratio:.3f}" for ratio in ratios)]


def _in_turn(ways: Sequence[Callable[[], object]]) -> list[float]:
    """Run the ways in turn, once untimed; return the seconds of the fastest run of each."""
    best = [float("inf")] * len(ways)
    for repeat in range(REPEATS + 1):
        for index, way in enumerate(ways):
            started = time.perf_counter()
            way()
            if repeat:
                best[index] = min(best[index], time.perf_counter() - started)
    return best


def _on_meta(name: str) -> tuple[Any, Any]:
    """Build a model and its inputs on meta."""
    import torch

    from flopaudit.core.specs import parse_input
    from flopaudit.models.build import build, make_inputs
    from flopaudit.pipeline.model_requests import model_request

    request = model_request(name)
    # Some builders need real tensors; moved afterwards, the model is the same.
    model = build(request.spec).to("meta")
    with torch.device("meta"):
        return model, make_inputs(tuple(parse_input(text) for text in request.inputs))


def _depth_row(layers: int) -> Row:
    import torch
    from torch import nn

    from flopaudit.reference.counter import count

    with torch.device("meta"):
        model = nn.Sequential(*(nn.TransformerEncoderLayer(64, 4, 128) for _ in range(layers)))
        tokens = torch.rand(16, 1, 64)
    operators = len(count(model.eval(), tokens).rows)
    (seconds,) = _in_turn([lambda: count(model, tokens, device="meta")])
    return [str(layers), str(operators), f"{seconds:.4f}", f"{seconds / operators * 1e6:.1f}"]
