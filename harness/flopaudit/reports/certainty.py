"""Sentences on what a count holds for: a lower bound, users' formulas, the values of the input."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from flopaudit.core.source_lines import depends_on_values
from flopaudit.reference.formulas.uncounted import UNCOUNTED
from flopaudit.reports.amounts import listed

SHOWN = 4
"""Operators that are named in a sentence; the number of the others is given."""


def at_least(text: str, *, lower_bound: bool) -> str:
    """Return a number, as `at least N` if it is a lower bound."""
    return f"at least {text}" if lower_bound else text


def operator_name(operator: str) -> str:
    """Return the name to register a formula under: `mylib::op` for `mylib.op.default`."""
    namespace, _, rest = operator.partition(".")
    return f"{namespace}::{rest.partition('.')[0]}" if rest else operator


def no_formula(uncounted_ops: Mapping[str, int]) -> str:
    """Return which operators have no formula, and how often each ran: `a::b (2 calls)`."""
    calls: dict[str, int] = {}
    for operator, times in sorted(uncounted_ops.items()):
        name = operator_name(operator)
        calls[name] = calls.get(name, 0) + times
    names = [_with_calls(name, times) for name, times in calls.items()]
    others = [f"{len(names) - SHOWN} more"] if len(names) > SHOWN else []
    return f"there is no formula for {listed([*names[:SHOWN], *others])}"


def _with_calls(name: str, times: int) -> str:
    calls = "1 call" if times == 1 else f"{times} calls"
    reason = UNCOUNTED.get(name.removeprefix("aten::").rstrip("_"))
    return f"{name} ({calls}{f'; {reason}' if reason else ''})"


def remedy(uncounted_ops: Iterable[str]) -> str:
    """Return how to give a formula for operators that have none."""
    name = operator_name(min(uncounted_ops))
    return (
        f'Give one with @flopaudit.register_formula("{name}") in a Python file, and name the file '
        "with --formulas."
    )


def lower_bound(uncounted_ops: Mapping[str, int]) -> Iterator[str]:
    """Yield sentences on a lower bound: why it is one, and how to give a formula."""
    if uncounted_ops:
        yield f"All totals are lower bounds: {no_formula(uncounted_ops)}."
        yield remedy(uncounted_ops)


def formulas(user_formulas: Mapping[str, str]) -> Iterator[str]:
    """Yield a sentence on the operators that users' formulas counted, if there are any."""
    origins: dict[str, list[str]] = {}
    for operator, origin in sorted(user_formulas.items()):
        names = origins.setdefault(origin, [])
        if operator_name(operator) not in names:
            names.append(operator_name(operator))
    found = [f"{listed(names)} by {origin}" for origin, names in origins.items()]
    if found:
        yield f"Counted by a user's formula: {'; '.join(found)}."


def dependence(lines: Sequence[str], *, own_values: bool) -> Iterator[str]:
    """Yield a sentence on a count that depends on the values of the input, if it does.

    Args:
        lines: of code, as a reference has them.
        own_values: whether the values of the input are the user's.
    """
    if lines:
        values = "given input" if own_values else "random input; --input-file gives your own"
        yield f"{depends_on_values(lines)}. It is for the {values}."
