"""Cells come in, their records go out, each appended to its journal as its cell finishes.

What a journal already has, measured in the same environment, is not measured again; that is how an
interrupted run goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from flopaudit.core.errors import UsageError
from flopaudit.isolation.scheduler import (
    REFERENCE,
    TRACE,
    Cell,
    Event,
    Job,
    Scheduler,
)
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
"""Told of each event, how many cells are done, and how many there are."""

MEASUREMENTS = "measurements.jsonl"

OWN: dict[str, tuple[str, type[Record]]] = {
    REFERENCE: ("references.jsonl", Reference),
    TRACE: ("traces.jsonl", TraceRecord),
}
"""The harness's own cells: where their records go, and of what kind they are."""

_MAKERS = {REFERENCE: reference, TRACE: trace_record}


@dataclass(frozen=True)
class Plan:
    """What is to be measured.

    Attributes:
        subjects: the models.
        columns: the tools, all on every model.
        own: the harness's own cells, `REFERENCE` or `TRACE`.
        sync_every: how many records may share a way to the disk (see `flopaudit.records.store`).
        again: whether to measure also what there are records of; of several the last counts.
    """

    subjects: Sequence[ModelRequest]
    columns: Sequence[ToolVariant]
    own: Sequence[str] = (REFERENCE, TRACE)
    sync_every: int = 1
    again: bool = False


def cell_of(variant: ToolVariant) -> Cell:
    """What the scheduler is told of a tool."""
    return Cell(variant.name, variant.variant, str(variant.site) if variant.site else None)


def measure(scheduler: Scheduler, plan: Plan, out: Path, notice: Notice) -> None:
    """Run the cells that the journals of a directory do not have yet, and append their records.

    Raises:
        UsageError: a tool is not what is installed, since another wrote over its files.
    """
    for column in plan.columns:
        _check(column)
    jobs = _open_jobs(plan, out)
    total = sum(len(job.cells) for job in jobs)
    if not total:
        return
    wanted = {where.job(()): where for where in plan.subjects}
    by_cell = {cell_of(column): column for column in plan.columns}
    done = 0
    with ExitStack() as stack:
        journals = {name: _journal(stack, out / name, plan) for name in _files()}
        for event in scheduler.run(jobs):
            if event.cell is not None and event.outcome is not None:
                where = wanted[Job(event.job.model, event.job.inputs, ())]
                done += 1
                own = OWN.get(event.cell.tool)
                if own:
                    record = _MAKERS[event.cell.tool](where, event.outcome)
                    journals[own[0]].append(record)
                else:
                    column = by_cell[event.cell]
                    journals[MEASUREMENTS].append(measurement(column, where, event.outcome))
            notice(event, done, total)


def _check(column: ToolVariant) -> None:
    tool = column.tool
    changed = versions.overwritten(tool.distribution, tool.package, column.site)
    owners = sorted({owner for owner in changed.values() if owner})
    if owners:
        raise UsageError(
            f"{tool.name} is not what is installed: {', '.join(owners)} wrote over {len(changed)} "
            "of its files.",
            f"Install it anew, or apart: `flopaudit install {tool.distribution}==VERSION`.",
        )


def _files() -> Iterable[str]:
    return (MEASUREMENTS, *(name for name, _ in OWN.values()))


def _journal(stack: ExitStack, path: Path, plan: Plan) -> store.Journal:
    journal = store.Journal(path, plan.sync_every)
    stack.callback(journal.close)
    return journal


def _open_jobs(plan: Plan, out: Path) -> list[Job]:
    """What is still to be done: all cells without a record from this environment."""
    measured = {
        (record.key, record.environment)
        for record in store.read(out / MEASUREMENTS, Measurement)
        if isinstance(record, Measurement) and not plan.again
    }
    own = {
        name: set() if plan.again else _done(out / OWN[name][0], OWN[name][1]) for name in plan.own
    }
    jobs = []
    for where in plan.subjects:
        model = str(where.spec)
        cells = [
            *(Cell(name, None) for name in plan.own if (model, where.inputs) not in own[name]),
            *(
                cell_of(column)
                for column in plan.columns
                if (
                    (*column.key, model, where.inputs),
                    environment(column.tool.distribution, column.site),
                )
                not in measured
            ),
        ]
        jobs.append(where.job(cells))
    return jobs


def _done(path: Path, kind: type[Record]) -> set[tuple[str, tuple[str, ...]]]:
    """Models and inputs of which there is a record from this environment."""
    here = environment()
    return {
        record.key
        for record in store.read(path, kind)
        if isinstance(record, (Reference, TraceRecord)) and is_current(record, here)
    }


def discard(out: Path) -> None:
    """Forget the records of a directory, so that they are measured anew."""
    if out.is_dir():
        with store.locked(out):
            for name in _files():
                (out / name).unlink(missing_ok=True)
