"""Snapshots of the states of a process, and the differences between two of them.

A state is a mapping of names to facts, which are compared with `==`. `Identity` makes a fact of an
object that must remain the same object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flopaudit.core.text import one_line, portable

if TYPE_CHECKING:
    import torch

NAMED = 3
"""The number of differing names that a detail lists."""

Facts = Mapping[str, object]


@dataclass(frozen=True)
class SnapshotContext:
    """The model and the places that snapshots look at.

    Attributes:
        model: the model that the tool is called on.
        home: the current directory, empty before the call.
        printed: the files that receive standard output and standard error.
    """

    model: torch.nn.Module
    home: Path
    printed: tuple[Path, Path]


@dataclass(frozen=True)
class StateReader:
    """The reader of one state.

    Attributes:
        facts: reads the facts.
        owner: gives the owner of a name; names are compared only if their owner had a name before
            the call, for states where new owners belong to another state; None to compare all.
    """

    facts: Callable[[SnapshotContext], Facts]
    owner: Callable[[str], str] | None = None


def by_own_name(name: str) -> str:
    """Return the name, as the owner in a state that compares only the names from before."""
    return name


class Identity:
    """An object as a fact, equal only to itself; kept alive so that its id stays unique."""

    __slots__ = ("held",)

    def __init__(self, held: object) -> None:
        self.held = held

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Identity) and self.held is other.held

    def __hash__(self) -> int:
        return id(self.held)

    def __str__(self) -> str:
        return ""


@dataclass(frozen=True)
class Comparison:
    """The result of one check: the state before and after, and the number of differences."""

    check: str
    before: str
    after: str
    amount: int
    detail: str = ""


def take(states: Mapping[str, StateReader], context: SnapshotContext) -> dict[str, Facts]:
    """Read the facts of each state; a state that cannot be read has its error as the only fact."""
    return {name: _read(state, context) for name, state in states.items()}


def _read(state: StateReader, context: SnapshotContext) -> Facts:
    try:
        return dict(state.facts(context))
    except Exception as error:  # noqa: BLE001 - a tool may have broken the functions that read it
        return {"reading it": f"raises {one_line(error)}"}


def compare(
    states: Mapping[str, StateReader], before: Mapping[str, Facts], after: Mapping[str, Facts]
) -> Iterator[Comparison]:
    """Compare each state before and after."""
    for name, state in states.items():
        old, new = before[name], after[name]
        if state.owner:
            known = {state.owner(key) for key in old}
            new = {key: fact for key, fact in new.items() if state.owner(key) in known}
        yield difference(name, old, new)


def difference(check: str, old: Facts, new: Facts) -> Comparison:
    """Compare two states by name: names added, names removed, and names with another fact."""
    found = [
        *(f"+{key}{_of(new[key])}" for key in new if key not in old),
        *(f"-{key}{_of(old[key])}" for key in old if key not in new),
        *(_altered(key, old[key], new[key]) for key in old if key in new and old[key] != new[key]),
    ]
    texts = (_brief(old), _brief(new), listed(found))
    before, after, detail = map(portable, texts)
    return Comparison(check, before, after, len(found), detail)


def listed(names: list[str]) -> str:
    """Join the first few names, and say how many more there are."""
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _altered(key: str, old: object, new: object) -> str:
    return f"{key} {old} → {new}" if str(old) and str(new) else key


def _of(fact: object) -> str:
    return f" {fact}" if str(fact) else ""


def _brief(facts: Facts) -> str:
    """Return the only fact as text if it has one, otherwise the number of facts."""
    only = next(iter(facts.values())) if len(facts) == 1 else ""
    return str(only) or f"{len(facts):,}"
