"""Tables of formulas by operator; merging two that share an operator is an error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from flopaudit.reference.formulas.call import Call, Formula, Parts
from flopaudit.reference.kinds import Kind

Table = dict[str, tuple[Kind, Formula]]
FunctionTable = dict[str, Callable[[Call], Parts]]

_Value = TypeVar("_Value")


def entries(kind: Kind, formula: Formula, names: str) -> Table:
    """Return entries with the same formula for several operators, named in one string."""
    return dict.fromkeys(names.split(), (kind, formula))


def table(module: str, *parts: Table) -> Table:
    """Put the entries of one module together.

    Args:
        module: the module's name, for the message.
        parts: made by `entries`.

    Raises:
        ValueError: two of the parts name one operator.
    """
    return merged((module, part) for part in parts)


def merged(tables: Iterable[tuple[str, Mapping[str, _Value]]]) -> dict[str, _Value]:
    """Merge tables that must not have a name in common.

    Args:
        tables: each with the name of the module it comes from.

    Raises:
        ValueError: two tables have an entry for one name; the message gives both modules.
    """
    found: dict[str, _Value] = {}
    origins: dict[str, str] = {}
    for module, entries_of_module in tables:
        for name, value in entries_of_module.items():
            if name in found:
                raise ValueError(
                    f"'{name}' is registered twice, in {origins[name]} and in {module}. "
                    "Remove one of the two."
                )
            found[name], origins[name] = value, module
    return found
