"""flopaudit: FLOP counters of PyTorch models, compared with an exact reference and explained.

In: a model and its inputs. Out: `count(model, *inputs)` returns the reference count as a `Ledger`.
`register_formula` gives an operator that has no formula one; the formula may return `Work`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flopaudit.reference.cost import Work
    from flopaudit.reference.counter import count
    from flopaudit.reference.ledger import Ledger
    from flopaudit.reference.user_formulas import register_formula

__all__ = ["Ledger", "Work", "count", "register_formula"]


def __getattr__(name: str) -> Any:
    # torch takes seconds to import, and the command line should not wait for it.
    if name == "count":
        from flopaudit.reference.counter import count

        return count
    if name == "Ledger":
        from flopaudit.reference.ledger import Ledger

        return Ledger
    if name == "Work":
        from flopaudit.reference.cost import Work

        return Work
    if name == "register_formula":
        from flopaudit.reference.user_formulas import register_formula

        return register_formula
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
