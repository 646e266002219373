"""The log of the calls of one run, which are joined to sites.

A site is a function or an operator that is called from one place with the same flags. Calls whose
results never reach the output of the model are dead and have sites of their own, because a traced
graph does not contain them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from flopaudit.reference.cost import Work
from flopaudit.reference.kinds import Kind
from flopaudit.tracing.quantities import tensors_in
from flopaudit.tracing.sites import (
    DEAD,
    OPERATOR,
    Site,
    WorkItem,
)


@dataclass
class _Call:
    """One call; `reads` and `writes` are the memories of an operator's tensors."""

    level: str
    name: str
    path: str
    parent: int
    traits: dict[str, str]
    amounts: dict[str, int] = field(default_factory=dict)
    kind: Kind = Kind.DATA_MOVEMENT
    reads: frozenset[int] = frozenset()
    writes: frozenset[int] = frozenset()


class Calls:
    """All calls of a run, in order, a function before what it calls."""

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._work: Counter[tuple[int, str, str]] = Counter()

    def add(self, level: str, name: str, path: str, parent: int, traits: dict[str, str]) -> int:
        """Note a call that begins, and return its number."""
        self._calls.append(_Call(level, name, path, parent, traits))
        return len(self._calls) - 1

    def fill(self, index: int, amounts: Mapping[str, int], kind: Kind) -> None:
        """Note the quantities and the kind of a call that has ended."""
        self._calls[index].amounts = dict(amounts)
        self._calls[index].kind = kind

    def flow(self, index: int, given: Iterable[Any], made: Any) -> None:
        """Note which memory an operator read and which it wrote."""
        self._calls[index].reads = frozenset(_memories(given))
        self._calls[index].writes = frozenset(_memories((made,)))

    def book(self, index: int, path: str, works: Mapping[Kind, Work]) -> None:
        """Note products of the reference at a call."""
        for kind, work in works.items():
            if work.macs:
                self._work[index, path, kind] += work.macs

    def work_by_path(self) -> Counter[str]:
        """Add up the reference's products in each module, without those inside it."""
        found: Counter[str] = Counter()
        for (_, path, _), macs in self._work.items():
            found[path] += macs
        return found

    def sites(
        self, returned: Any, held: Iterable[Any]
    ) -> tuple[tuple[Site, ...], tuple[WorkItem, ...]]:
        """Return the sites, a parent before its children, and the reference's products there.

        Args:
            returned: by the model; if no tensors are found in it, all calls count as alive.
            held: tensors that existed before the run, and may have been changed by it.
        """
        seen = any(True for _ in tensors_in((returned,)))
        alive = self._alive((returned, *held)) if seen else set(range(len(self._calls)))
        numbers: dict[Any, int] = {}
        place: dict[int, int] = {-1: -1}
        added: list[Counter[str]] = []
        heads: list[_Call] = []
        for index in self._executed():
            call = self._calls[index]
            traits = call.traits if index in alive else {**call.traits, DEAD: "True"}
            parent = place[call.parent]
            key = (call.level, call.name, call.path, parent, tuple(traits.items()))
            if key not in numbers:
                numbers[key] = len(heads)
                heads.append(_Call(call.level, call.name, call.path, parent, traits))
                added.append(Counter())
            place[index] = numbers[key]
            added[place[index]].update(call.amounts)
            heads[place[index]].kind = call.kind
        work: Counter[tuple[str, int, str]] = Counter()
        for (index, path, kind), macs in self._work.items():
            work[path, place[index], kind] += macs
        sites = (_site(head, amounts) for head, amounts in zip(heads, added, strict=True))
        items = (WorkItem(path, site, kind, macs) for (path, site, kind), macs in work.items())
        return tuple(sites), tuple(items)

    def _executed(self) -> list[int]:
        """Return the calls in which an operator was executed, which views alone are not."""
        found: set[int] = set()
        for index, call in enumerate(self._calls):
            around = index if call.level == OPERATOR else -1
            while around >= 0 and around not in found:
                found.add(around)
                around = self._calls[around].parent
        return sorted(found)

    def _alive(self, kept: Iterable[Any]) -> set[int]:
        """Return the calls whose results reach what is kept."""
        wanted = set(_memories(kept))
        alive: set[int] = set()
        for index in range(len(self._calls) - 1, -1, -1):
            call = self._calls[index]
            if call.level == OPERATOR and call.writes & wanted:
                # The memory holds this result from here on, and that of another call before.
                wanted -= call.writes - call.reads
                wanted |= call.reads
                self._mark(index, alive)
        return alive

    def _mark(self, index: int, alive: set[int]) -> None:
        while index >= 0 and index not in alive:
            alive.add(index)
            index = self._calls[index].parent


def _site(call: _Call, amounts: Mapping[str, int]) -> Site:
    present = {name: amount for name, amount in amounts.items() if amount}
    return Site(call.level, call.name, call.path, call.parent, call.traits, present, call.kind)


def _memories(values: Iterable[Any]) -> Iterator[int]:
    """Yield what identifies the memory of tensors while they exist."""
    for tensor in tensors_in(values):
        if tensor.layout is torch.strided and not tensor.is_nested:
            yield tensor.untyped_storage()._cdata  # noqa: SLF001 - the one name a memory has
        else:
            yield id(tensor)
