"""Tallies of the fault campaign: what each kind of fault did, added up to a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from flopaudit.reports.escaping import Markdown, markdown_text
from flopaudit.studies.table_files import machine, write_csv, write_markdown

HEADERS = ("fault", "times", "cells lost", "cells wrong", "processes left", "unclear ends")
TOTAL = "all"

_NOTE = (
    "`flopaudit study faults --kills {kills} --seed {seed}` with {machine}. Each command was run, "
    "disturbed, and given again until it finished. A cell is lost if its record was there, or its "
    "result was reported, and is not there afterwards; it is wrong if it differs from that of an "
    "undisturbed run. A process is left if it runs two seconds after the command has ended. An end "
    "is unclear if the command hung, showed a traceback, or did not say what was wrong."
)


@dataclass(frozen=True)
class Tally:
    """What one fault, or several of one kind, did.

    Attributes:
        fault: the kind.
        times: how often it was tried.
        lost: cells whose finished record is gone.
        wrong: cells that differ from an undisturbed run.
        left: processes that run although the command has ended.
        unclear: commands that hung, or that did not say what was wrong.
        notes: what went wrong, for people.
    """

    fault: str
    times: int = 1
    lost: int = 0
    wrong: int = 0
    left: int = 0
    unclear: int = 0
    notes: tuple[str, ...] = ()

    @property
    def is_harmless(self) -> bool:
        """Whether nothing was lost, wrong, left or unclear."""
        return not (self.lost or self.wrong or self.left or self.unclear)

    def row(self) -> list[str]:
        """Return the row of the table."""
        numbers = (self.times, self.lost, self.wrong, self.left, self.unclear)
        return [self.fault, *map(str, numbers)]


def added(fault: str, tallies: Iterable[Tally]) -> Tally:
    """Add up tallies under one name."""
    found = list(tallies)
    return Tally(
        fault,
        sum(each.times for each in found),
        sum(each.lost for each in found),
        sum(each.wrong for each in found),
        sum(each.left for each in found),
        sum(each.unclear for each in found),
        tuple(note for each in found for note in each.notes),
    )


def by_fault(tallies: Sequence[Tally], order: Sequence[str]) -> list[Tally]:
    """Return one tally for each kind of fault, in this order, and the total."""
    names = [name for name in order if any(each.fault == name for each in tallies)]
    rows = [added(name, (each for each in tallies if each.fault == name)) for name in names]
    return [*rows, added(TOTAL, rows)]


def write(out: Path, rows: Sequence[Tally], kills: int, seed: int) -> None:
    """Write faults.md and faults.csv."""
    cells = [row.row() for row in rows]
    note = Markdown(_NOTE.format(kills=kills, seed=seed, machine=markdown_text(machine())))
    align = ("left", *("right",) * (len(HEADERS) - 1))
    write_markdown(out / "faults.md", "Faults", note, HEADERS, cells, align)
    write_csv(out / "faults.csv", HEADERS, cells)
