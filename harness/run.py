"""A run: models and tools come in, the records in a directory go out, one for each cell.

What is already in the directory, measured in the same environment, is not measured again; that is
how an interrupted run goes on. The records are appended as cells finish and put in order, with
findings and tables beside them, at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import probes, store
from harness.catalogue import Column, Subject
from harness.environment import environment
from harness.records import measurement, reference
from harness.results import (
    MEASUREMENTS,
    PROBE_REFERENCES,
    PROBES,
    REFERENCES,
    Results,
    measurements_in,
    publish,
    references_in,
)
from harness.scheduler import Cell, Event, Job, Limits, Scheduler
from harness.schema import ToolKey
from harness.specs import ModelSpec

REFERENCE = "reference"


@dataclass(frozen=True)
class Files:
    """The two journals that a set of cells is recorded in."""

    measurements: Path
    references: Path


Notice = Callable[[Event, int, int], None]
"""Told of each event, how many cells are done, and how many there are."""


def run_all(  # noqa: PLR0913, PLR0917 - what a run is given
    subjects: Sequence[Subject],
    tools: Sequence[Column],
    out: Path,
    slots: int,
    limits: Limits,
    notice: Notice,
) -> Results:
    """Measure all tools on all models into a directory, and write findings and tables there.

    Raises:
        UsageError: the directory cannot be used, or holds what this program cannot read.
        KeyboardInterrupt: as usual; all child processes are ended first, and what is finished is
            in the directory.
    """
    with store.locked(out):
        files = Files(out / MEASUREMENTS, out / REFERENCES)
        probe_files = Files(out / PROBES, out / PROBE_REFERENCES)
        with Scheduler(slots, limits) as scheduler:
            _measure(scheduler, subjects, tools, files, notice)
            for column, asked in _to_be_probed(files, tools):
                _measure(scheduler, asked, [column], probe_files, notice)
        return publish(out)


def _measure(
    scheduler: Scheduler,
    subjects: Sequence[Subject],
    tools: Sequence[Column],
    files: Files,
    notice: Notice,
) -> None:
    """Run the cells that the journals do not have yet, and append their records."""
    wanted = {where.job(()): where for where in subjects}
    jobs = _open_jobs(subjects, tools, files)
    total = sum(len(job.cells) for job in jobs)
    if not total:
        return
    by_cell = {column.cell: column for column in tools}
    done = 0
    measured, referred = store.Journal(files.measurements), store.Journal(files.references)
    try:
        for event in scheduler.run(jobs):
            if event.cell is not None and event.outcome is not None:
                where = wanted[Job(event.job.model, event.job.inputs, ())]
                done += 1
                if event.cell.tool == REFERENCE:
                    referred.append(reference(where, event.outcome))
                else:
                    column = by_cell[event.cell]
                    measured.append(measurement(column, where, event.outcome))
            notice(event, done, total)
    finally:
        measured.close()
        referred.close()


def _open_jobs(subjects: Sequence[Subject], tools: Sequence[Column], files: Files) -> list[Job]:
    """What is still to be done: all cells without a record from this environment."""
    measured = {(record.key, record.environment) for record in measurements_in(files.measurements)}
    referred = {(record.key, record.environment) for record in references_in(files.references)}
    jobs = []
    for where in subjects:
        model = str(where.spec)
        cells = [
            column.cell
            for column in tools
            if (
                (*column.key, model, where.inputs),
                environment(column.tool.distribution, column.site),
            )
            not in measured
        ]
        if ((model, where.inputs), environment()) not in referred:
            cells.insert(0, Cell(REFERENCE, None))
        jobs.append(where.job(cells))
    return jobs


def _to_be_probed(files: Files, tools: Sequence[Column]) -> list[tuple[Column, list[Subject]]]:
    """Tools whose totals hold more than their rows, with probes for the forms their models call."""
    forms = {
        record.key: {total.form for total in record.operators}
        for record in references_in(files.references)
    }
    called: dict[ToolKey, set[str]] = {}
    for record in measurements_in(files.measurements):
        if record.modules and sum(row.count for row in record.modules) != record.reported:
            seen = forms.get((record.model, record.inputs), set())
            called.setdefault(record.tool_key, set()).update(seen)
    return [(column, _probes_of(called[column.key])) for column in tools if column.key in called]


def _probes_of(forms: set[str]) -> list[Subject]:
    return [
        Subject(ModelSpec("module", probes.__name__, name), (shape,))
        for name, probe in probes.PROBES.items()
        if probe.form in forms
        for shape in probe.inputs
    ]


def discard(out: Path) -> None:
    """Forget the records of a directory, so that they are measured anew."""
    if out.is_dir():
        with store.locked(out):
            for name in (MEASUREMENTS, REFERENCES, PROBES, PROBE_REFERENCES):
                (out / name).unlink(missing_ok=True)
