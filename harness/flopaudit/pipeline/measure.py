"""Measurement of cells: runs them, and appends each record to its journal as its cell finishes.

Cells of which a journal has a record from the same environment are not run again, so an interrupted
run continues where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from flopaudit.core.errors import UsageError
from flopaudit.isolation.jobs import REFERENCE, TRACE, Cell, Job, Limits
from flopaudit.isolation.outcomes import Failed, Outcome
from flopaudit.isolation.scheduler import Event, Scheduler
from flopaudit.pipeline.model_requests import ModelRequest
from flopaudit.pipeline.record_builders import (
    is_current,
    measurement,
    reference,
    trace_record,
)
from flopaudit.records import store
from flopaudit.records.environment import environment
from flopaudit.records.schema import (
    Measurement,
    Record,
    Reference,
    TraceRecord,
)
from flopaudit.tools import versions
from flopaudit.tools.registry import ToolVariant

Notice = Callable[[Event, int, int], None]
"""Called with each event, the number of cells that are done, and the number of all cells."""

MEASUREMENTS = "measurements.jsonl"

OWN: dict[str, tuple[str, type[Record]]] = {
    REFERENCE: ("references.jsonl", Reference),
    TRACE: ("traces.jsonl", TraceRecord),
}
"""The harness's own cells: the file and the kind of their records."""

_BUILDERS = {REFERENCE: reference, TRACE: trace_record}


def _ignore(_event: Event, _done: int, _total: int) -> None:
    """Show nothing."""


@dataclass(frozen=True)
class RunOptions:
    """The options of a run.

    Attributes:
        slots: the number of cells at a time.
        limits: the time and memory that each may take.
        notice: called with each event, to show the progress.
        again: whether to run also the cells of which there are records; the last record counts.
    """

    slots: int
    limits: Limits
    notice: Notice = _ignore
    again: bool = False


@dataclass(frozen=True)
class Plan:
    """The cells to measure.

    Attributes:
        requests: the models.
        variants: the tools, all on every model.
        own: the harness's own cells, `REFERENCE` or `TRACE`.
        sync_every: after how many records a journal is synced (see `flopaudit.records.store`).
        again: whether to measure also cells of which there are records; the last record counts.
    """

    requests: Sequence[ModelRequest]
    variants: Sequence[ToolVariant]
    own: Sequence[str] = (REFERENCE, TRACE)
    sync_every: int = 1
    again: bool = False


def cell_of(variant: ToolVariant) -> Cell:
    """Return the cell of a tool variant, for the scheduler."""
    return Cell(variant.name, variant.variant, str(variant.site) if variant.site else None)


def measure(scheduler: Scheduler, plan: Plan, out: Path, notice: Notice) -> None:
    """Run the cells that the journals of a directory do not have yet, and append their records.

    Raises:
        UsageError: files of a tool were overwritten by another distribution, or a user's formula
            raised or did not return a count.
    """
    for variant in plan.variants:
        _check_files(variant)
    jobs = _open_jobs(plan, out)
    total = sum(len(job.cells) for job in jobs)
    if not total:
        return
    requests = {request.job(()): request for request in plan.requests}
    variants = {cell_of(variant): variant for variant in plan.variants}
    done = 0
    with ExitStack() as stack:
        journals = {name: _journal(stack, out / name, plan) for name in _files()}
        for event in scheduler.run(jobs):
            if event.cell is not None and event.outcome is not None:
                _refuse_wrong_usage(event.outcome)
                request = requests[Job(event.job.model, event.job.inputs, ())]
                file, record = _record(event.cell, event.outcome, request, variants)
                journals[file].append(record)
                done += 1
            notice(event, done, total)


def _refuse_wrong_usage(outcome: Outcome) -> None:
    """Raise what a cell says is wrong with what the user gave; nothing of it is recorded.

    Raises:
        UsageError: a user's formula raised, or did not return a count.
    """
    if isinstance(outcome.result, Failed) and outcome.result.remedy is not None:
        raise UsageError(outcome.result.error, outcome.result.remedy)


def _record(
    cell: Cell, outcome: Outcome, request: ModelRequest, variants: Mapping[Cell, ToolVariant]
) -> tuple[str, Record]:
    """Return the record of a cell, and the name of its journal."""
    if cell.tool in OWN:
        return OWN[cell.tool][0], _BUILDERS[cell.tool](request, outcome)
    return MEASUREMENTS, measurement(variants[cell], request, outcome)


def _check_files(variant: ToolVariant) -> None:
    tool = variant.tool
    changed = versions.overwritten(tool.distribution, tool.package, variant.site)
    owners = sorted({owner for owner in changed.values() if owner})
    if owners:
        raise UsageError(
            f"{tool.name} is not what is installed: {', '.join(owners)} wrote over {len(changed)} "
            "of its files.",
            f"Install it again, or apart: `flopaudit install {tool.distribution}==VERSION`.",
        )


def _files() -> Iterable[str]:
    return (MEASUREMENTS, *(name for name, _ in OWN.values()))


def _journal(stack: ExitStack, path: Path, plan: Plan) -> store.Journal:
    journal = store.Journal(path, plan.sync_every)
    stack.callback(journal.close)
    return journal


def _open_jobs(plan: Plan, out: Path) -> list[Job]:
    """Return the cells without a record from this environment, by model."""
    measured = {
        (record.key, record.environment)
        for record in store.read(out / MEASUREMENTS, Measurement)
        if isinstance(record, Measurement) and not plan.again
    }
    own = {
        name: set() if plan.again else _done(out / OWN[name][0], OWN[name][1]) for name in plan.own
    }
    jobs = []
    for request in plan.requests:
        model = str(request.spec)
        cells = [
            *(Cell(name, None) for name in plan.own if (model, request.inputs) not in own[name]),
            *(
                cell_of(variant)
                for variant in plan.variants
                if (
                    (*variant.key, model, request.inputs),
                    environment(variant.tool.distribution, variant.site),
                )
                not in measured
            ),
        ]
        jobs.append(request.job(cells))
    return jobs


def _done(path: Path, kind: type[Record]) -> set[tuple[str, tuple[str, ...]]]:
    """Return the models and inputs of which there is a record from this environment."""
    here = environment()
    return {
        record.key
        for record in store.read(path, kind)
        if isinstance(record, (Reference, TraceRecord)) and is_current(record, here)
    }


def discard(out: Path) -> None:
    """Delete the records of a directory, so that its cells are measured again."""
    if out.is_dir():
        with store.locked(out):
            for name in _files():
                (out / name).unlink(missing_ok=True)
