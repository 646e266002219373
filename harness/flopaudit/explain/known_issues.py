"""Public threads in which a tool's users or authors discuss what a finding shows; data.

Each thread was read, and is listed only for what it is about. A finding is linked by its tool, its
cause and the class or function that it comes from; the first entry that fits is taken.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from flopaudit.core.causes import Cause


class Thread(NamedTuple):
    """One thread, and the findings that it is about.

    Attributes:
        tool: whose thread it is.
        cause: of the findings.
        label: a regular expression that is found in the label of the findings.
        url: the address of the thread.
        variant: of the tool; "" for any.
        bug: what goes wrong, if the tool does not do what it intends; "" for its convention.
    """

    tool: str
    cause: Cause
    label: str
    url: str
    variant: str = ""
    bug: str = ""

    def __str__(self) -> str:
        """Return the address, and what goes wrong."""
        return f"{self.url} (bug: {self.bug})" if self.bug else self.url


_THOP = "https://github.com/Lyken17/pytorch-OpCounter/issues/"
_TORCHSTAT = "https://github.com/Swall0w/torchstat/issues/"
_FVCORE = "https://github.com/facebookresearch/fvcore/issues/"
_PTFLOPS = "https://github.com/sovrasov/flops-counter.pytorch/issues/"
_TORCH = "https://github.com/pytorch/pytorch/issues/"

_ACTIVATION = "(ReLU|ReLU6|PReLU|ELU|GELU|SiLU)"
_HOOK_AND_PATCH = "a function counted by its module's hook is counted again by its patch"

THREADS: tuple[Thread, ...] = (
    Thread(
        "thop", Cause.SHARED_COUNTED_AGAIN, "", f"{_THOP}98",
        bug="a shared module has a hook for each parent, and its count is added at each",
    ),
    Thread(
        "thop", Cause.BY_OUTPUT, "", f"{_THOP}93",
        bug="meant to be counted from the input",
    ),
    Thread("thop", Cause.UNSEEN_MODULE, "in MultiheadAttention", f"{_THOP}197"),
    Thread("thop", Cause.UNSEEN_MODULE, "^(conv|linear) by (convolution|linear) in", f"{_THOP}63"),
    Thread("thop", Cause.UNSEEN_FUNCTION, "^matmul by (matmul|b?mm) in", f"{_THOP}213"),
    Thread("thop", Cause.NORMALISATION, "^BatchNorm", f"{_THOP}196"),
    Thread("thop", Cause.NORMALISATION, "^LayerNorm", f"{_THOP}220"),
    Thread(
        "thop", Cause.PARAMS_UNSEEN, r"^(Linear|Conv\w*d)$", f"{_THOP}217",
        bug="of a layer that is the whole model no parameters are counted",
    ),
    Thread("thop", Cause.PARAMS_UNSEEN, "^MultiheadAttention$", f"{_THOP}197"),
    Thread("thop", Cause.PARAMS_UNCALLED, "", f"{_THOP}75"),
    Thread("torchstat", Cause.UNSEEN_MODULE, "in ConvTranspose2d", f"{_TORCHSTAT}16"),
    Thread("fvcore", Cause.UNSEEN_FUNCTION, " by lstm in ", f"{_FVCORE}98"),
    Thread("fvcore", Cause.UNSEEN_FUNCTION, "^matmul by baddbmm", f"{_FVCORE}117"),
    Thread("fvcore", Cause.DATA_MOVEMENT, "^upsample_nearest2d in", f"{_FVCORE}119"),
    Thread(
        "ptflops", Cause.ACTIVATION, rf"^\w+ in {_ACTIVATION}$", f"{_PTFLOPS}139", "pytorch",
        bug=_HOOK_AND_PATCH,
    ),
    Thread(
        "ptflops", Cause.POOLING, r"^\w+ in \w*(Max|Avg)Pool", f"{_PTFLOPS}139", "pytorch",
        bug=_HOOK_AND_PATCH,
    ),
    Thread(
        "ptflops", Cause.DATA_MOVEMENT, "^interpolate in Upsample", f"{_PTFLOPS}139", "pytorch",
        bug=_HOOK_AND_PATCH,
    ),
    Thread("ptflops", Cause.DATA_MOVEMENT, "^Upsample$", f"{_PTFLOPS}1", "pytorch"),
    Thread("ptflops", Cause.ACTIVATION, f"^{_ACTIVATION}$", f"{_PTFLOPS}76", "pytorch"),
    Thread("ptflops", Cause.NORMALISATION, "^BatchNorm", f"{_PTFLOPS}94", "pytorch"),
    Thread("ptflops", Cause.POOLING, r"^\w+Pool\dd$", f"{_PTFLOPS}94", "pytorch"),
    Thread("ptflops", Cause.BIAS, "^Linear$", f"{_PTFLOPS}60", "pytorch"),
    Thread("ptflops", Cause.UNSEEN_FUNCTION, "^linear by linear", f"{_PTFLOPS}142", "pytorch"),
    Thread(
        "ptflops", Cause.SHARED_COUNTED_AGAIN, "", f"{_PTFLOPS}106", "pytorch",
        bug="all calls of a shared module are counted at each of its parents",
    ),
    Thread("ptflops", Cause.PARAMS_FROZEN, "", f"{_PTFLOPS}103"),
    Thread(
        "flop_counter", Cause.UNSEEN_OPERATOR, "^attention by scaled_dot_product_attention",
        f"{_TORCH}195460", bug="the operator that the CPU runs has no formula",
    ),
    Thread("flop_counter", Cause.UNIT, "", f"{_TORCH}144001"),
)  # fmt: skip


def link(tool: str, variant: str | None, cause: Cause, label: str) -> str | None:
    """Return the thread about such a finding, and what goes wrong; None if none is known."""
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
