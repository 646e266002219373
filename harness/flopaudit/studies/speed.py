"""What the reference costs beside a bare forward pass and torch's FlopCounterMode, on meta tensors.

`flopaudit study speed` writes three tables to OUT, all measured in one run: models
in turn (speed), a 405-billion-parameter Llama (scale), and depth from 1 to 1,000 layers (depth).
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from flopaudit.records import store
from flopaudit.records.environment import environment

MODELS = (
    "vgg11", "resnet50", "densenet121", "mobilenet_v2", "mobilenet_v3_large", "efficientnet_b0",
    "convnext_tiny", "swin_t", "vit_b_16", "inception_v3", "regnet_y_400mf", "r3d_18",
    "deeplabv3_resnet50", "raft_small",
)  # fmt: skip
DEPTHS = (1, 3, 10, 30, 100, 300, 1000)
REPEATS = 7

LLAMA = {
    "hidden": 16_384, "layers": 126, "heads": 128, "groups": 8, "feed_forward": 53_248,
    "vocabulary": 128_256, "tokens": 8_192,
}  # fmt: skip
"""Llama 3.1 405B; Grattafiori et al. 2024, arXiv:2407.21783, table 3."""


Table = list[dict[str, str]]
"""Rows of a table by its headers."""


def main(out: Path) -> dict[str, Table]:
    """Measure and write the tables, and return them by name."""
    out.mkdir(parents=True, exist_ok=True)
    where = environment()
    command = "`flopaudit study speed`"
    note = f"torch {where.torch}, Python {where.python}, {where.processor}; {command}"
    headers = ["model", "operators", "bare seconds", "reference / bare", "FlopCounterMode / bare",
               "reference / FlopCounterMode", "reference, nothing known / bare"]  # fmt: skip
    rows = [_model_row(name) for name in MODELS]
    medians = [f"{statistics.median(float(row[i]) for row in rows):.3f}" for i in (3, 4, 5, 6)]
    rows.append(["median", "", "", *medians])
    _write(out / "speed.md", "Ratios of the fastest of runs in turn", note, headers, rows)
    depth = [_depth_row(layers) for layers in DEPTHS]
    depth_headers = ["layers", "operators", "seconds", "microseconds an operator"]
    _write(out / "depth.md", "Linear in the operators executed", note, depth_headers, depth)
    alone = [sys.executable, "-m", "flopaudit.studies.speed"]
    done = subprocess.run(alone, check=True, capture_output=True, text=True)  # noqa: S603 - this module
    told = [[name, str(value)] for name, value in json.loads(done.stdout).items()]
    _write(out / "scale.md", "Llama 3.1 405B on 8,192 tokens, in a process of its own", note,
           ["quantity", "value"], told)  # fmt: skip
    return {
        "speed": _by_header(headers, rows),
        "depth": _by_header(depth_headers, depth),
        "scale": _by_header(["quantity", "value"], told),
    }


def _by_header(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    return [dict(zip(headers, row, strict=True)) for row in rows]


def _model_row(name: str) -> list[str]:
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

    def reference_anew() -> None:
        meta_cache.forget()
        reference()

    base, ours, theirs, anew = _in_turn([bare, reference, flop_counter_mode, reference_anew])
    ratios = (ours / base, theirs / base, ours / theirs, anew / base)
    return [name, str(operators), f"{base:.4f}", *(f"{ratio:.3f}" for ratio in ratios)]


def _in_turn(ways: Sequence[Callable[[], object]]) -> list[float]:
    """Seconds of each way, the fastest of runs in turn, after one that is not counted."""
    best = [float("inf")] * len(ways)
    for repeat in range(REPEATS + 1):
        for index, way in enumerate(ways):
            started = time.perf_counter()
            way()
            if repeat:
                best[index] = min(best[index], time.perf_counter() - started)
    return best


def _on_meta(name: str) -> tuple[Any, Any]:
    import torch

    from flopaudit.core.specs import parse_input
    from flopaudit.models.build import build, make_inputs
    from flopaudit.pipeline.model_requests import model_request

    where = model_request(name)
    # Some builders need real tensors; moved afterwards, the model is the same.
    model = build(where.spec).to("meta")
    with torch.device("meta"):
        return model, make_inputs(tuple(parse_input(text) for text in where.inputs))


def _depth_row(layers: int) -> list[str]:
    import torch
    from torch import nn

    from flopaudit.reference.counter import count

    with torch.device("meta"):
        model = nn.Sequential(*(nn.TransformerEncoderLayer(64, 4, 128) for _ in range(layers)))
        tokens = torch.rand(16, 1, 64)
    operators = len(count(model.eval(), tokens).rows)
    (seconds,) = _in_turn([lambda: count(model, tokens, device="meta")])
    return [str(layers), str(operators), f"{seconds:.4f}", f"{seconds / operators * 1e6:.1f}"]


def llama() -> dict[str, Any]:
    """Build and count the large Llama on meta tensors; counts, seconds and memory."""
    import torch
    from torch import nn
    from torch.nn import functional

    from flopaudit.reference.counter import count

    size, heads, groups = LLAMA["hidden"], LLAMA["heads"], LLAMA["groups"]
    width = size // heads

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norms = nn.ModuleList(nn.RMSNorm(size) for _ in range(2))
            self.q, self.o = (nn.Linear(size, size, bias=False) for _ in range(2))
            self.k, self.v = (nn.Linear(size, groups * width, bias=False) for _ in range(2))
            self.gate, self.up = (
                nn.Linear(size, LLAMA["feed_forward"], bias=False) for _ in range(2)
            )
            self.down = nn.Linear(LLAMA["feed_forward"], size, bias=False)

        def forward(self, x: Any) -> Any:
            batch, tokens, _ = x.shape
            seen = self.norms[0](x)
            q, k, v = (
                part.view(batch, tokens, -1, width).transpose(1, 2)
                for part in (self.q(seen), self.k(seen), self.v(seen))
            )
            attended = functional.scaled_dot_product_attention(
                q, k, v, is_causal=True, enable_gqa=True
            )
            x = x + self.o(attended.transpose(1, 2).reshape(batch, tokens, size))
            seen = self.norms[1](x)
            return x + self.down(functional.silu(self.gate(seen)) * self.up(seen))

    with torch.device("meta"):
        layers = [Layer() for _ in range(LLAMA["layers"])]
        embedding = nn.Embedding(LLAMA["vocabulary"], size)
        head = nn.Linear(size, LLAMA["vocabulary"], bias=False)
        model = nn.Sequential(embedding, *layers, nn.RMSNorm(size), head).eval()
        tokens = torch.zeros(1, LLAMA["tokens"], dtype=torch.int64)
    started = time.perf_counter()
    ledger = count(model, tokens, device="meta")
    seconds = time.perf_counter() - started
    pairs = LLAMA["layers"] * LLAMA["tokens"] ** 2 * size * 2
    weights = ledger.params - LLAMA["vocabulary"] * size - (2 * LLAMA["layers"] + 1) * size
    return {
        "params": ledger.params,
        "macs": ledger.macs,
        "macs by params x tokens + attention": weights * LLAMA["tokens"] + pairs,
        "operators": len(ledger.rows),
        "seconds to count": round(seconds, 3),
        "peak RSS bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def _write(
    path: Path, title: str, note: str, headers: Sequence[str], rows: Sequence[Sequence[str]]
) -> None:
    from tabulate import tabulate

    text = tabulate(rows, headers, tablefmt="github", disable_numparse=True)
    store.write_whole(path, f"# {title}\n\n{note}\n\n{text}\n")


if __name__ == "__main__":  # run by `main` in a process of its own
    print(json.dumps(llama()))
