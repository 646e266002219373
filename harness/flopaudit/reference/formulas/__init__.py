"""Formulas of operators: one small pure function for each, in modules by topic.

In: a `Call`, an operator's arguments by position and name with its result. Out: its `Work`.
A formula reads only shapes and dtypes of tensors, so meta, fake and real tensors work alike.
Each module ends with its table; `flopaudit.reference.operators` merges the tables. What is counted
and why is explained in docs/DEFINITIONS.md.
"""

from __future__ import annotations

from flopaudit.reference.formulas.call import Call, Formula, Parts

__all__ = ["Call", "Formula", "Parts"]
