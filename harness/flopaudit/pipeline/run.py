"""A run: measures tools on models, and writes records, findings and tables into a directory.

The records are appended as cells finish (`flopaudit.pipeline.measure`) and put in order at the end,
together with findings and tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from flopaudit.isolation.scheduler import Scheduler
from flopaudit.pipeline.measure import Plan, RunOptions, measure
from flopaudit.pipeline.model_requests import ModelRequest
from flopaudit.pipeline.results import Results, publish
from flopaudit.records import store
from flopaudit.tools.registry import ToolVariant


def run_all(
    requests: Sequence[ModelRequest],
    variants: Sequence[ToolVariant],
    out: Path,
    options: RunOptions,
) -> Results:
    """Measure all tool variants on all models.

    Args:
        requests: the models.
        variants: the tools, each in its version.
        out: the directory for records, findings and tables.
        options: how the cells are run.

    Returns:
        What the directory then holds, and how much of it was measured now.

    Raises:
        UsageError: the directory cannot be used, or holds what this program cannot read.
        KeyboardInterrupt: as usual; all child processes are ended first, and the records of
            finished cells are in the directory.
    """
    with store.locked(out):
        reuse = measure(
            lambda: Scheduler(options.slots, options.limits), Plan(requests, variants), out, options
        )
        return replace(publish(out), reuse=reuse)
