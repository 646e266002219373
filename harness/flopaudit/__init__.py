"""flopaudit: FLOP counters of PyTorch models, compared with an exact reference and explained.

In: a model and its inputs. Out: `count(model, *inputs)` returns the reference count as a `Ledger`,
and `settle(model, *inputs)` every tool's number with what it differs by, as a `SettledModel`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flopaudit.core.errors import UsageError
    from flopaudit.pipeline.live_settlement import settle
    from flopaudit.reference.counter import count
    from flopaudit.reference.ledger import Ledger
    from flopaudit.reports.settlement_object import SettledModel

__all__ = ["Ledger", "SettledModel", "UsageError", "count", "settle"]

_PLACES = {
    "Ledger": "flopaudit.reference.ledger",
    "SettledModel": "flopaudit.reports.settlement_object",
    "UsageError": "flopaudit.core.errors",
    "count": "flopaudit.reference.counter",
    "settle": "flopaudit.pipeline.live_settlement",
}


def __getattr__(name: str) -> Any:
    # torch takes seconds to import, and the command line should not wait for it.
    if name in _PLACES:
        from importlib import import_module

        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
