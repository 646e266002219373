"""Formulas of operators: one small pure function for each, in modules by topic.

A formula takes a `Call`, the operator's arguments by position and name with its result, and returns
its `Work`. It reads only shapes and dtypes of tensors, so meta, fake and real tensors work alike.
Each module ends with its table; `flopaudit.reference.operators` merges the tables. What is counted
and why is explained in docs/DEFINITIONS.md.
"""

from __future__ import annotations

from flopaudit.reference.formulas.call import Call, Formula, Parts

__all__ = ["Call", "Formula", "Parts"]
