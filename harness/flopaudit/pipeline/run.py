"""A run: models and tools come in, the records in a directory go out, one for each cell.

The records are appended as cells finish (`flopaudit.pipeline.measure`) and put in order, with
findings and tables beside them, at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flopaudit.isolation.scheduler import Limits, Scheduler
from flopaudit.pipeline.measure import Notice, Plan, measure
from flopaudit.pipeline.model_requests import ModelRequest
from flopaudit.pipeline.results import Results, publish
from flopaudit.records import store
from flopaudit.tools.registry import ToolVariant


def run_all(  # noqa: PLR0913, PLR0917 - what a run is given
    subjects: Sequence[ModelRequest],
    tools: Sequence[ToolVariant],
    out: Path,
    slots: int,
    limits: Limits,
    notice: Notice,
    *,
    again: bool = False,
) -> Results:
    """Measure all tools on all models into a directory, and write findings and tables there.

    With `again`, also what the directory has records of.

    Raises:
        UsageError: the directory cannot be used, or holds what this program cannot read.
        KeyboardInterrupt: as usual; all child processes are ended first, and what is finished is
            in the directory.
    """
    with store.locked(out):
        with Scheduler(slots, limits) as scheduler:
            measure(scheduler, Plan(subjects, tools, again=again), out, notice)
        return publish(out)
