"""Formulas that users have registered with torch's own FlopCounterMode; torch is not imported."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from flopaudit.reference.kinds import Kind
from flopaudit.reference.user_formulas.registry import UserFormula, name_of, origin_of

REGISTER = "torch.utils.flop_counter.register_flop_formula"
_MODULE = "torch.utils.flop_counter"


def find(operator: Any) -> UserFormula | None:
    """Return the formula that a user has registered with torch for an operator; None without one.

    Args:
        operator: as torch's registry has it: without an overload, of higher order, or a kernel.
    """
    function = _registry().get(operator)
    if function is None or getattr(function, "__module__", None) == _MODULE:  # torch's own
        return None
    origin = f"{REGISTER} in {origin_of(function)}"
    return UserFormula(name_of(operator), function, Kind.MATMUL, origin, raw=True)


def every() -> Iterator[UserFormula]:
    """Yield all formulas that users have registered with torch."""
    for operator in list(_registry()):
        found = find(operator)
        if found is not None:
            yield found


def size() -> int:
    """Return how many formulas torch's registry has."""
    return len(_registry())


def _registry() -> dict[Any, Any]:
    """Return torch's registry; empty if nothing has imported it."""
    found: dict[Any, Any] = getattr(sys.modules.get(_MODULE), "flop_registry", {})
    return found
