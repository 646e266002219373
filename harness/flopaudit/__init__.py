"""flopaudit: FLOP counters of PyTorch models, compared with an exact reference and explained.

In: a model and its inputs. Out: `count(model, *inputs)` returns the reference count as a `Ledger`,
and `settle(model, *inputs)` every tool's number with what it differs by, as a `SettledModel`.
`register_formula` gives an operator that has no formula one; the formula may return `Work`.
"""

# Nothing is imported here: `python -m flopaudit` comes by while a file in the current directory
# could still take the place of a module, of `typing` for example (see `core/search_path.py`).
TYPE_CHECKING = False
if TYPE_CHECKING:
    from flopaudit.core.errors import UsageError
    from flopaudit.pipeline.live_settlement import settle
    from flopaudit.reference.cost import Work
    from flopaudit.reference.counter import count
    from flopaudit.reference.ledger import Ledger
    from flopaudit.reference.user_formulas import register_formula
    from flopaudit.reports.settlement_object import SettledModel

__all__ = [
    "Ledger",
    "SettledModel",
    "UsageError",
    "Work",
    "count",
    "register_formula",
    "settle",
]

_PLACES = {
    "Ledger": "flopaudit.reference.ledger",
    "SettledModel": "flopaudit.reports.settlement_object",
    "UsageError": "flopaudit.core.errors",
    "Work": "flopaudit.reference.cost",
    "count": "flopaudit.reference.counter",
    "register_formula": "flopaudit.reference.user_formulas",
    "settle": "flopaudit.pipeline.live_settlement",
}


def __getattr__(name: str) -> object:
    # torch takes seconds to import, and the command line should not wait for it.
    if name in _PLACES:
        from importlib import import_module

        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
