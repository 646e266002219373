"""The cost of one evaluation of a scalar function, by its definition."""

from __future__ import annotations

from flopaudit.reference.cost import Work

SIGMOID = Work(adds=2, elementary=1, divs=1)  # 1 / (1 + exp(0 - x))
TANH = Work(elementary=1)
RELU = Work(comparisons=1)
GELU_ERF = Work(muls=3, adds=1, elementary=1)
GELU_TANH = Work(muls=6, adds=2, elementary=1)
