"""Formulas that users give for operators: `flopaudit.register_formula`, and files of them.

In: an operator's name with a function, or files of such. Out: the formula of an operator, and where
it came from. Nothing here imports torch.
"""

from __future__ import annotations

from flopaudit.reference.user_formulas.files import (
    FormulaSource,
    digest,
    install,
    load,
    sources,
    state,
    still_hold,
)
from flopaudit.reference.user_formulas.registry import (
    FormulaError,
    Shape,
    UserFormula,
    find,
    register_formula,
)
from flopaudit.reference.user_formulas.settings import formula_files
from flopaudit.reference.user_formulas.torch_registry import find as find_in_torch

__all__ = [
    "FormulaError",
    "FormulaSource",
    "Shape",
    "UserFormula",
    "digest",
    "find",
    "find_in_torch",
    "formula_files",
    "install",
    "load",
    "register_formula",
    "sources",
    "state",
    "still_hold",
]
