"""Threads in which a tool's users or makers speak of what a finding shows; data.

Only threads that were read are listed, each for just what it is about. A finding is linked by its
tool, its cause and what stands behind it; the first entry that fits is taken.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Thread(NamedTuple):
    """One thread, and the findings that it is about.

    Attributes:
        tool: whose thread it is.
        cause: of the findings.
        label: a regular expression, found in what stands behind them.
        url: where it is.
        variant: of the tool; "" for any.
        bug: what goes wrong, where the tool does not do what it sets out to; "" for a custom of it.
    """

    tool: str
    cause: str
    label: str
    url: str
    variant: str = ""
    bug: str = ""

    def __str__(self) -> str:
        """The address, and what goes wrong."""
        return f"{self.url} (bug: {self.bug})" if self.bug else self.url


_THOP = "https://github.com/Lyken17/pytorch-OpCounter/issues/"
_TORCHSTAT = "https://github.com/Swall0w/torchstat/issues/"
_FVCORE = "https://github.com/facebookresearch/fvcore/issues/"
_PTFLOPS = "https://github.com/sovrasov/flops-counter.pytorch/issues/"
_TORCH = "https://github.com/pytorch/pytorch/issues/"

_UNSEEN_MODULE, _UNSEEN_FUNCTION = "unseen module type", "unseen function"
_SHARED, _UNSEEN_PARAMS = "shared module counted again", "parameters unseen"
_ACTIVATION = "(ReLU|ReLU6|PReLU|ELU|GELU|SiLU)"
_HOOK_AND_PATCH = "a function counted by its module's hook is counted again by its patch"

THREADS: tuple[Thread, ...] = (
    Thread(
        "thop", _SHARED, "", f"{_THOP}98",
        bug="a shared module has a hook for each parent, and its count is added at each",
    ),
    Thread(
        "thop", "transposed convolution counted by output", "", f"{_THOP}93",
        bug="meant to be counted from the input",
    ),
    Thread("thop", _UNSEEN_MODULE, "in MultiheadAttention", f"{_THOP}197"),
    Thread("thop", _UNSEEN_MODULE, "^(conv|linear) by (convolution|linear) in", f"{_THOP}63"),
    Thread("thop", _UNSEEN_FUNCTION, "^matmul by (matmul|b?mm) in", f"{_THOP}213"),
    Thread("thop", "normalisation", "^BatchNorm", f"{_THOP}196"),
    Thread("thop", "normalisation", "^LayerNorm", f"{_THOP}220"),
    Thread(
        "thop", _UNSEEN_PARAMS, r"^(Linear|Conv\w*d)$", f"{_THOP}217",
        bug="of a layer that is the whole model no parameters are counted",
    ),
    Thread("thop", _UNSEEN_PARAMS, "^MultiheadAttention$", f"{_THOP}197"),
    Thread("thop", "parameters of modules that did not run", "", f"{_THOP}75"),
    Thread("torchstat", _UNSEEN_MODULE, "in ConvTranspose2d", f"{_TORCHSTAT}16"),
    Thread("fvcore", _UNSEEN_FUNCTION, " by lstm in ", f"{_FVCORE}98"),
    Thread("fvcore", _UNSEEN_FUNCTION, "^matmul by baddbmm", f"{_FVCORE}117"),
    Thread("fvcore", "data movement", "^upsample_nearest2d in", f"{_FVCORE}119"),
    Thread(
        "ptflops", "activation", rf"^\w+ in {_ACTIVATION}$", f"{_PTFLOPS}139", "pytorch",
        bug=_HOOK_AND_PATCH,
    ),
    Thread(
        "ptflops", "pooling", r"^\w+ in \w*(Max|Avg)Pool", f"{_PTFLOPS}139", "pytorch",
        bug=_HOOK_AND_PATCH,
    ),
    Thread(
        "ptflops", "data movement", "^interpolate in Upsample", f"{_PTFLOPS}139", "pytorch",
        bug=_HOOK_AND_PATCH,
    ),
    Thread("ptflops", "data movement", "^Upsample$", f"{_PTFLOPS}1", "pytorch"),
    Thread("ptflops", "activation", f"^{_ACTIVATION}$", f"{_PTFLOPS}76", "pytorch"),
    Thread("ptflops", "normalisation", "^BatchNorm", f"{_PTFLOPS}94", "pytorch"),
    Thread("ptflops", "pooling", r"^\w+Pool\dd$", f"{_PTFLOPS}94", "pytorch"),
    Thread("ptflops", "bias", "^Linear$", f"{_PTFLOPS}60", "pytorch"),
    Thread("ptflops", _UNSEEN_FUNCTION, "^linear by linear", f"{_PTFLOPS}142", "pytorch"),
    Thread(
        "ptflops", _SHARED, "", f"{_PTFLOPS}106", "pytorch",
        bug="all calls of a shared module are counted at each of its parents",
    ),
    Thread("ptflops", "frozen parameters unseen", "", f"{_PTFLOPS}103"),
    Thread(
        "flop_counter", "unseen operator", "^attention by scaled_dot_product_attention",
        f"{_TORCH}195460", bug="the operator that the CPU runs has no formula",
    ),
    Thread("flop_counter", "unit", "", f"{_TORCH}144001"),
)  # fmt: skip


def link(tool: str, variant: str | None, cause: str, label: str) -> str | None:
    """The thread about such a finding, and what goes wrong, if one is known."""
    for thread in THREADS:
        fits = (
            thread.tool == tool
            and thread.variant in {"", variant or ""}
            and thread.cause == cause
            and re.search(thread.label, label)
        )
        if fits:
            return str(thread)
    return None
