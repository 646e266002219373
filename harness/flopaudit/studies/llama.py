"""Count Llama 3.1 405B on meta tensors, in a process of its own, and print the result as JSON.

`flopaudit study speed` runs it as `python -m flopaudit.studies.llama`, so that the peak memory is
that of this count alone.
"""

from __future__ import annotations

import json
import resource
import sys
import time

import torch
from torch import nn
from torch.nn import functional

from flopaudit.reference.counter import count

# Grattafiori et al. 2024, arXiv:2407.21783, table 3.
HIDDEN = 16_384
LAYERS = 126
HEADS = 128
KEY_VALUE_HEADS = 8
FEED_FORWARD = 53_248
VOCABULARY = 128_256
TOKENS = 8_192
HEAD_WIDTH = HIDDEN // HEADS


class Layer(nn.Module):
    """One layer: grouped-query attention, then a gated feed-forward network."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.RMSNorm(HIDDEN) for _ in range(2))
        self.q, self.o = (nn.Linear(HIDDEN, HIDDEN, bias=False) for _ in range(2))
        narrow = KEY_VALUE_HEADS * HEAD_WIDTH
        self.k, self.v = (nn.Linear(HIDDEN, narrow, bias=False) for _ in range(2))
        self.gate, self.up = (nn.Linear(HIDDEN, FEED_FORWARD, bias=False) for _ in range(2))
        self.down = nn.Linear(FEED_FORWARD, HIDDEN, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (batch, tokens, HIDDEN) to the same shape."""
        batch, tokens, _ = x.shape
        normed = self.norms[0](x)
        q, k, v = (
            part.view(batch, tokens, -1, HEAD_WIDTH).transpose(1, 2)
            for part in (self.q(normed), self.k(normed), self.v(normed))
        )
        attended = functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        x = x + self.o(attended.transpose(1, 2).reshape(batch, tokens, HIDDEN))
        normed = self.norms[1](x)
        out: torch.Tensor = x + self.down(functional.silu(self.gate(normed)) * self.up(normed))
        return out


def measure() -> dict[str, int | float]:
    """Build and count the model; return counts, seconds and bytes by name."""
    with torch.device("meta"):
        embedding = nn.Embedding(VOCABULARY, HIDDEN)
        layers = [Layer() for _ in range(LAYERS)]
        head = nn.Linear(HIDDEN, VOCABULARY, bias=False)
        model = nn.Sequential(embedding, *layers, nn.RMSNorm(HIDDEN), head).eval()
        tokens = torch.zeros(1, TOKENS, dtype=torch.int64)
    started = time.perf_counter()
    ledger = count(model, tokens, device="meta")
    seconds = time.perf_counter() - started
    attention = LAYERS * TOKENS**2 * HIDDEN * 2
    weights = ledger.params - VOCABULARY * HIDDEN - (2 * LAYERS + 1) * HIDDEN
    return {
        "params": ledger.params,
        "macs": ledger.macs,
        "macs by params x tokens + attention": weights * TOKENS + attention,
        "operators": len(ledger.rows),
        "seconds to count": round(seconds, 3),
        "peak RSS bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure()))
