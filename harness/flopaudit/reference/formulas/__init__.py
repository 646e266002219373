"""What each operator costs: one small pure function each, arguments and result in, `Work` out.

A formula gets a `Call`: the operator's arguments by position and name, and its result. Tensors
are only asked for their shape and dtype, so meta, fake and real ones serve alike. There is a room
for each kind of operator, with its table at its end; `operators.py` puts the tables together. What
is counted and why stands in docs/DEFINITIONS.md.
"""

from __future__ import annotations

from flopaudit.reference.formulas.call import (
    ACTIVATION,
    ATTENTION,
    CONV,
    ELEMENTWISE,
    FOURIER,
    INTERPOLATION,
    LINEAR,
    LOSS,
    MATMUL,
    MOVE,
    NORM,
    POOLING,
    PRODUCT_KINDS,
    REDUCTION,
    SAMPLING,
    SOLVER,
    Call,
    Formula,
)

__all__ = [
    "ACTIVATION",
    "ATTENTION",
    "CONV",
    "ELEMENTWISE",
    "FOURIER",
    "INTERPOLATION",
    "LINEAR",
    "LOSS",
    "MATMUL",
    "MOVE",
    "NORM",
    "POOLING",
    "PRODUCT_KINDS",
    "REDUCTION",
    "SAMPLING",
    "SOLVER",
    "Call",
    "Formula",
]
