"""The progress of a run on standard error: a bar on a terminal, elsewhere a line for each cell."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from flopaudit.core.text import visible
from flopaudit.isolation.scheduler import Event
from flopaudit.reports.terminal import console, print_message

if TYPE_CHECKING:
    from types import TracebackType

    from rich.progress import Progress, TaskID


class Bar:
    """A context manager that gives a function to be called with each event of a run."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._running: list[str] = []

    def __enter__(self) -> Callable[[Event, int, int], None]:
        if not sys.stderr.isatty():
            return _line
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self._progress = Progress(
            BarColumn(20),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}", markup=False),
            console=console(sys.stderr),
            transient=True,
        )
        self._progress.start()
        self._task = self._progress.add_task("starting torch", total=None)
        return self._update

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._progress:
            self._progress.stop()

    def _update(self, event: Event, done: int, total: int) -> None:
        name = describe(event)
        if event.outcome is None:
            self._running.append(name)
        elif name in self._running:
            self._running.remove(name)
        if event.cell is not None:
            building = f"{event.job.model.location}: building"
            self._running = [name for name in self._running if name != building]
        if self._progress and self._task is not None:
            running = visible(", ".join(self._running[-2:]))
            self._progress.update(self._task, completed=done, total=total, description=running)


def describe(event: Event) -> str:
    """Return the model and tool of an event as text."""
    model = event.job.model.factory or event.job.model.location
    if event.cell is None:
        return f"{event.job.model.location}: building"
    version = Path(event.cell.site).name if event.cell.site else ""
    return " ".join(filter(None, (f"{model}: {event.cell.tool}", version, event.cell.variant)))


def _line(event: Event, done: int, total: int) -> None:
    if event.outcome is not None:
        error = f", {event.outcome.error}" if event.outcome.error else ""
        print_message(visible(f"[{done}/{total}] {describe(event)} {event.outcome.status}{error}"))
