"""A model that a user names comes in, its settlement goes out: a stored one, or measured now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flopaudit import published
from flopaudit.explain.settlement import Settlement, find
from flopaudit.pipeline.model_requests import ModelRequest
from flopaudit.tools.registry import ToolVariant
from flopaudit.tools.versions import version

if TYPE_CHECKING:
    from importlib.abc import Traversable

    from flopaudit.isolation.scheduler import Limits
    from flopaudit.pipeline.measure import Notice

RESULTS = Path("results")
OWN = RESULTS / "settled"
"""Where what is measured for a settlement is kept."""


@dataclass(frozen=True)
class MeasureOptions:
    """What may be used to measure."""

    slots: int
    limits: Limits
    notice: Notice
    again: bool = False
    out: Path = OWN


def stored(
    subject: ModelRequest, columns: Sequence[ToolVariant], out: Path = OWN
) -> tuple[Settlement, str] | None:
    """A settlement that is kept, made with the versions that are installed here, and where it is.

    Looked for in `out`, then below `results`, then among the settlements that the package carries.

    Raises:
        UsageError: one is there that this program cannot read.
    """
    for directory, name in _directories(out):
        found = find([directory], str(subject.spec), subject.inputs)
        if found and found["torch"] == version("torch") and _has(found, columns):
            return (_only(found, columns) if columns else found), name
    return None


def _directories(out: Path) -> Iterator[tuple[Traversable, str]]:
    here = sorted(RESULTS.iterdir()) if RESULTS.is_dir() else []
    yield from ((directory, str(directory)) for directory in dict.fromkeys((out, *here)))
    for directory in published.settlements():
        yield directory, f"the {directory.name} results that flopaudit ships"


def _key(tool: dict[str, str | None]) -> tuple[str, str, str]:
    return (tool["tool"] or "", tool["version"] or "", tool["variant"] or "")


def _has(found: Settlement, columns: Iterable[ToolVariant]) -> bool:
    return {column.key for column in columns} <= {_key(tool) for tool in found["tools"]}


def _only(found: Settlement, columns: Iterable[ToolVariant]) -> Settlement:
    wanted = {column.key for column in columns}
    return {**found, "tools": [tool for tool in found["tools"] if _key(tool) in wanted]}


def measured(
    subject: ModelRequest, columns: Sequence[ToolVariant], means: MeasureOptions
) -> Settlement:
    """Run the tools on the model now, and settle what they say.

    Raises:
        UsageError: the results cannot be kept.
        KeyboardInterrupt: as usual; what is finished is kept.
    """
    from flopaudit.pipeline.run import run_all

    out, again = means.out, means.again
    run_all([subject], columns, out, means.slots, means.limits, means.notice, again=again)
    found = find([out], str(subject.spec), subject.inputs)
    if found is None:
        raise RuntimeError(f"the run in {out} left no settlement of {subject.spec}")
    return _only(found, columns)
