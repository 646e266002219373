"""A model that a user names comes in, its settlement goes out: a stored one, or measured now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.catalogue import Column, Subject
from harness.settlement import Settlement, find
from harness.versions import version

if TYPE_CHECKING:
    from harness.measuring import Notice
    from harness.scheduler import Limits

RESULTS = Path("results")
SHIPPED = Path(__file__).resolve().parents[1] / RESULTS
OWN = RESULTS / "settled"
"""Where what is measured for a settlement is kept."""


@dataclass(frozen=True)
class Means:
    """What may be used to measure."""

    slots: int
    limits: Limits
    notice: Notice
    again: bool = False


def stored(subject: Subject, columns: Sequence[Column]) -> tuple[Settlement, Path] | None:
    """A settlement that is kept, made with the versions that are installed here, and where it is.

    Raises:
        UsageError: one is there that this program cannot read.
    """
    for directory in _directories():
        found = find([directory], str(subject.spec), subject.inputs)
        if found and found["torch"] == version("torch") and _has(found, columns):
            return (_only(found, columns) if columns else found), directory
    return None


def _directories() -> Iterator[Path]:
    seen: set[Path] = set()
    for home in (RESULTS, SHIPPED):
        for directory in sorted(home.iterdir()) if home.is_dir() else ():
            if directory.resolve() not in seen:
                seen.add(directory.resolve())
                yield directory


def _key(tool: dict[str, str | None]) -> tuple[str, str, str]:
    return (tool["tool"] or "", tool["version"] or "", tool["variant"] or "")


def _has(found: Settlement, columns: Iterable[Column]) -> bool:
    return {column.key for column in columns} <= {_key(tool) for tool in found["tools"]}


def _only(found: Settlement, columns: Iterable[Column]) -> Settlement:
    wanted = {column.key for column in columns}
    return {**found, "tools": [tool for tool in found["tools"] if _key(tool) in wanted]}


def measured(subject: Subject, columns: Sequence[Column], means: Means) -> Settlement:
    """Run the tools on the model now, and settle what they say.

    Raises:
        UsageError: the results cannot be kept.
        KeyboardInterrupt: as usual; what is finished is kept.
    """
    from harness.run import run_all

    run_all([subject], columns, OWN, means.slots, means.limits, means.notice, again=means.again)
    found = find([OWN], str(subject.spec), subject.inputs)
    if found is None:
        raise RuntimeError(f"the run in {OWN} left no settlement of {subject.spec}")
    return _only(found, columns)
