"""Facts about a process at one time come in, what differs between two times goes out.

A state is a mapping of names to facts, each compared with `==`; `Same` makes a fact of an object
that is to be the very same.
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
"""How many of the names that differ are given."""

Facts = Mapping[str, object]


@dataclass(frozen=True)
class Scene:
    """What is looked at.

    Attributes:
        model: the one the tool is called on.
        home: the current directory, empty before the call.
        printed: the files that standard output and error go to.
    """

    model: torch.nn.Module
    home: Path
    printed: tuple[Path, Path]


@dataclass(frozen=True)
class State:
    """One state: how its facts are read.

    Attributes:
        facts: reads them.
        owner: whose a name is: names are compared only if something of that owner was there
            before, where what is new is another state's; None to compare all.
    """

    facts: Callable[[Scene], Facts]
    owner: Callable[[str], str] | None = None


def itself(name: str) -> str:
    """For a state that compares only the names that were there before."""
    return name


class Same:
    """An object as a fact: equal only to itself; it is kept alive, so that its id stays its own."""

    __slots__ = ("held",)

    def __init__(self, held: object) -> None:
        self.held = held

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.held is other.held

    def __hash__(self) -> int:
        return id(self.held)

    def __str__(self) -> str:
        return ""


@dataclass(frozen=True)
class Compared:
    """One check: what was before and what after, and in how many places they differ."""

    check: str
    before: str
    after: str
    amount: int
    detail: str = ""


def take(states: Mapping[str, State], scene: Scene) -> dict[str, Facts]:
    """The facts of each state; where they cannot be read, that is the fact."""
    return {name: _read(state, scene) for name, state in states.items()}


def _read(state: State, scene: Scene) -> Facts:
    try:
        return dict(state.facts(scene))
    except Exception as error:  # noqa: BLE001 - a tool may have broken what it is read by
        return {"reading it": f"raises {one_line(error)}"}


def compare(
    states: Mapping[str, State], before: Mapping[str, Facts], after: Mapping[str, Facts]
) -> Iterator[Compared]:
    """Each state at two times."""
    for name, state in states.items():
        old, new = before[name], after[name]
        if state.owner:
            known = {state.owner(key) for key in old}
            new = {key: fact for key, fact in new.items() if state.owner(key) in known}
        yield difference(name, old, new)


def difference(check: str, old: Facts, new: Facts) -> Compared:
    """Names that came, went, or have another fact."""
    found = [
        *(f"+{key}{_of(new[key])}" for key in new if key not in old),
        *(f"-{key}{_of(old[key])}" for key in old if key not in new),
        *(_altered(key, old[key], new[key]) for key in old if key in new and old[key] != new[key]),
    ]
    texts = (_brief(old), _brief(new), listed(found))
    before, after, detail = map(portable, texts)
    return Compared(check, before, after, len(found), detail)


def listed(names: list[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _altered(key: str, old: object, new: object) -> str:
    return f"{key} {old} → {new}" if str(old) and str(new) else key


def _of(fact: object) -> str:
    return f" {fact}" if str(fact) else ""


def _brief(facts: Facts) -> str:
    """The fact itself where there is one that has a text, otherwise how many there are."""
    only = next(iter(facts.values())) if len(facts) == 1 else ""
    return str(only) or f"{len(facts):,}"
