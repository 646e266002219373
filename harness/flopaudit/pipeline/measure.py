"""Measurement of cells: runs them, and appends each record to its journal as its cell finishes.

Cells of which a journal has a record of the same model, tool and environment are not run again, so
an interrupted run continues where it was. A new record replaces an old one when it is there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flopaudit.core.errors import UsageError
from flopaudit.isolation.jobs import REFERENCE, TRACE, Cell, Job, Limits
from flopaudit.isolation.outcomes import Failed, Outcome
from flopaudit.isolation.scheduler import Event, Scheduler
from flopaudit.pipeline.model_requests import ModelRequest
from flopaudit.pipeline.record_builders import (
    Finished,
    measurement,
    reference,
    trace_record,
)
from flopaudit.pipeline.reuse import Candidates, Now, Reuse, obstacle
from flopaudit.records import store
from flopaudit.records.environment import environment
from flopaudit.records.schema import (
    Measurement,
    ModelIdentity,
    Record,
    Reference,
    TraceRecord,
)
from flopaudit.reference import user_formulas
from flopaudit.reference.user_formulas import torch_registry
from flopaudit.tools import versions
from flopaudit.tools.registry import ToolVariant

Notice = Callable[[Event, int, int], None]
"""Called with each event, the number of cells that are done, and the number of all cells."""

MEASUREMENTS = "measurements.jsonl"
IDENTITIES = "models.jsonl"

OWN: dict[str, tuple[str, type[Record]]] = {
    REFERENCE: ("references.jsonl", Reference),
    TRACE: ("traces.jsonl", TraceRecord),
}
"""The harness's own cells: the file and the kind of their records."""

_BUILDERS: dict[str, Callable[[Finished], Record]] = {REFERENCE: reference, TRACE: trace_record}


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
        retry: whether to run also the cells that failed. Those that failed because of a limit are
            always run if the limit is higher now.
    """

    slots: int
    limits: Limits
    notice: Notice = _ignore
    again: bool = False
    retry: bool = False


@dataclass(frozen=True)
class Plan:
    """The cells to measure.

    Attributes:
        requests: the models.
        variants: the tools, all on every model.
        own: the harness's own cells, `REFERENCE` or `TRACE`.
        sync_every: after how many records a journal is synced (see `flopaudit.records.store`).
    """

    requests: Sequence[ModelRequest]
    variants: Sequence[ToolVariant]
    own: Sequence[str] = (REFERENCE, TRACE)
    sync_every: int = 1


def cell_of(variant: ToolVariant) -> Cell:
    """Return the cell of a tool variant, for the scheduler."""
    return Cell(variant.name, variant.variant, str(variant.site) if variant.site else None)


def measure(
    open_scheduler: Callable[[], Scheduler], plan: Plan, out: Path, options: RunOptions
) -> Reuse:
    """Run the cells that have no record to be reused in a directory, and append their records.

    Args:
        open_scheduler: starts the processes; called only if a model has to be built.
        plan: the models and tools.
        out: the directory.
        options: the limits of each cell, and where to show the progress.

    Raises:
        UsageError: files of a tool were overwritten by another distribution, a record in the
            directory cannot be read, or a user's formula raised or did not return a count.
    """
    for variant in plan.variants:
        _check_files(variant)
    wanted = _candidates(plan, out, options)
    run = _Run(plan, wanted, options)
    jobs = [job for each in wanted.values() if (job := each.request.job(each.to_start())).cells]
    if jobs:
        with ExitStack() as stack:
            journals = {name: _journal(stack, out / name, plan) for name in _files()}
            scheduler = stack.enter_context(open_scheduler())
            for event in scheduler.run(jobs, run.choose):
                for file, record in run.records(event):
                    journals[file].append(record)
                options.notice(event, run.done, run.total)
    return run.reuse


class _Run:
    """The state of one run: what is measured and why, and what is done."""

    def __init__(self, plan: Plan, wanted: Mapping[Job, Candidates], options: RunOptions) -> None:
        self._wanted = wanted
        self._limits = options.limits
        self._variants = {cell_of(variant): variant for variant in plan.variants}
        self._reasons: dict[tuple[Job, Cell], str] = {}
        self._identified: set[str] = set()
        self.done = 0
        self.total = sum(len(each.to_start()) for each in wanted.values())
        cells = sum(len(each.obstacles) for each in wanted.values())
        self.reuse = Reuse(reused=cells - self.total)

    def choose(self, job: Job, now: ModelIdentity) -> Collection[Cell]:
        """Return the cells to run of a model that has been built."""
        key = replace(job, cells=())
        reasons = self._wanted[key].to_measure(now)
        chosen = [cell for cell in job.cells if cell in reasons]
        self._reasons.update({(key, cell): reasons[cell] for cell in chosen})
        self.reuse.reused += len(job.cells) - len(chosen)
        self.total -= len(job.cells) - len(chosen)
        return chosen

    def records(self, event: Event) -> Iterator[tuple[str, Record]]:
        """Yield the records of an event, each with the name of its journal."""
        if event.cell is None or event.outcome is None:
            return
        _refuse_wrong_usage(event.outcome)
        key = replace(event.job, cells=())
        self.done += 1
        reason = self._reasons.get((key, event.cell), "the model could not be built")
        self.reuse.measured[reason] += 1
        now = event.identity
        if now is not None and now.fingerprint not in self._identified:
            self._identified.add(now.fingerprint)
            yield IDENTITIES, now
        finished = Finished(
            self._wanted[key].request,
            event.outcome,
            now.fingerprint if now else None,
            self._limits,
        )
        if event.cell.tool in OWN:
            yield OWN[event.cell.tool][0], _BUILDERS[event.cell.tool](finished)
        else:
            yield MEASUREMENTS, measurement(self._variants[event.cell], finished)


def _refuse_wrong_usage(outcome: Outcome) -> None:
    """Raise what a cell says is wrong with what the user gave; nothing of it is recorded.

    Raises:
        UsageError: a user's formula raised, or did not return a count.
    """
    if isinstance(outcome.result, Failed) and outcome.result.remedy is not None:
        raise UsageError(outcome.result.error, outcome.result.remedy)


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
    return (MEASUREMENTS, IDENTITIES, *(name for name, _ in OWN.values()))


def _journal(stack: ExitStack, path: Path, plan: Plan) -> store.Journal:
    journal = store.Journal(path, plan.sync_every)
    stack.callback(journal.close)
    return journal


def _candidates(plan: Plan, out: Path, options: RunOptions) -> dict[Job, Candidates]:
    """Return the cells of each model, with what is in the way of reusing their records."""
    measured = last(out / MEASUREMENTS, Measurement)
    own = {name: last(out / OWN[name][0], OWN[name][1]) for name in plan.own}
    known = last(out / IDENTITIES, ModelIdentity)
    here = Now(environment(), None, options.limits, options.retry)
    now = {each: _now(each, options) for each in plan.variants}
    found = {}
    for request in plan.requests:
        key = (str(request.spec), request.inputs)
        model = known.get(key)
        formulas = _changed_formulas(own.get(REFERENCE, {}).get(key), model)
        reasons = {
            **{
                Cell(name, None): obstacle(own[name].get(key), model, here) or formulas
                for name in plan.own
            },
            **{
                cell_of(each): obstacle(measured.get((*each.key, *key)), model, now[each])
                for each in plan.variants
            },
        }
        if options.again:
            reasons = {cell: reason or "--again" for cell, reason in reasons.items()}
        found[request.job(())] = Candidates(request, reasons, model)
    return found


def _changed_formulas(record: Reference | None, model: ModelIdentity | None) -> str | None:
    """Return that a reference was counted by other formulas of users, or by none; None if not.

    Formulas that the model's own files register are part of the model.
    """
    if record is None or model is None:
        return None
    own = tuple(f"{Path(name).name} (" for name in model.sources)
    given = {
        operator: origin
        for operator, origin in record.user_formulas.items()
        if not origin.startswith((torch_registry.REGISTER, *own))
    }
    same = user_formulas.still_hold(record.uncounted_ops, given)
    return None if same else "the user's formulas changed"


def _now(variant: ToolVariant, options: RunOptions) -> Now:
    here = environment(variant.tool.distribution, variant.site)
    return Now(here, variant.adapter, options.limits, options.retry)


def last(path: Path, kind: type[Any]) -> dict[tuple[Any, ...], Any]:
    """Return the last record of each key in a journal of records that have keys."""
    records: Iterable[Any] = store.read(path, kind)
    return {record.key: record for record in records}
