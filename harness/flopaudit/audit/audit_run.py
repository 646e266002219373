"""Run an audit: plan the cells, start them, and make a record of each check.

Each call is made in a cell of its own. If a tool crashes or hangs there, its only record describes
how the process ended.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from flopaudit_adapters import NAMES

from flopaudit.audit import own_counter
from flopaudit.audit.cases import (
    CASES,
    CONDITIONS,
    IMPORT_CASE,
    TASK,
    Case,
)
from flopaudit.audit.effects import EFFECTS
from flopaudit.core.errors import UsageError
from flopaudit.core.specs import split_list
from flopaudit.isolation.jobs import MEASURE, REFERENCE, Job, Limits
from flopaudit.isolation.outcomes import Audited, Check
from flopaudit.isolation.scheduler import Event, Scheduler
from flopaudit.pipeline.measure import Notice, RunOptions, cell_of
from flopaudit.pipeline.model_requests import model_request
from flopaudit.records import store
from flopaudit.records.schema import FAILURES, SideEffect
from flopaudit.tools.registry import ToolVariant, tool_variants

RECORDS = "audit.jsonl"
PRELOAD = ("flopaudit.audit.worker_task", "torch._dynamo", "networkx")
"""Modules that every cell needs, imported once for all.

None of them may run torch: a backward pass in a process forked after an export aborts.
"""


def tools(names: Sequence[str]) -> list[ToolVariant]:
    """Find the tool variants to audit: those named, or all, and always the reference.

    Raises:
        UsageError: a tool does not exist, or has the name of the reference.
    """
    requested = [name for name in names or NAMES if name != REFERENCE]
    variants = tool_variants(",".join(requested))
    if any(variant.tool.name == REFERENCE for variant in variants):
        raise UsageError(
            f"A tool is named '{REFERENCE}', which is the name of the project's own counter.",
            "Give its Tool another name.",
        )
    return [*variants, ToolVariant(REFERENCE, own_counter.TOOL, None)]


def cases(models: str) -> tuple[Case, ...]:
    """Return the cases of a comma-separated list of models, and the import; `CASES` if it is empty.

    A model of `CASES` is found by its last name and has its conditions there; others are in eval
    mode.
    """
    known = {case.model.rpartition(":")[2]: case for case in CASES}
    named = tuple(known.get(name) or Case(name) for name in split_list(models))
    return (IMPORT_CASE, *named) if named else CASES


def audit(
    variants: Sequence[ToolVariant],
    cases: Sequence[Case],
    options: RunOptions,
) -> list[SideEffect]:
    """Audit all tool variants on all cases.

    Args:
        variants: as `tools` finds them.
        cases: as `cases` finds them.
        options: how the cells are run.

    Returns:
        The records, by tool variant, model, condition and check.

    Raises:
        UsageError: a model does not exist.
    """
    for case in cases:  # a model that does not exist is refused before torch is imported
        model_request(case.model, case.inputs)
    with open_scheduler(options.slots, options.limits) as scheduler:
        return audit_on(scheduler, [(variants, case) for case in cases], options.notice)


def open_scheduler(slots: int, limits: Limits) -> Scheduler:
    """Start a scheduler that has imported the modules that every cell needs."""
    return Scheduler(slots, limits, modules=PRELOAD)


def audit_on(
    scheduler: Scheduler, plan: Sequence[tuple[Sequence[ToolVariant], Case]], notice: Notice
) -> list[SideEffect]:
    """Audit tool variants on cases, each case with its own tool variants; like `audit`.

    Raises:
        UsageError: a model does not exist.
    """
    jobs = [_job(variants, case) for variants, case in plan]
    all_variants = list(dict.fromkeys(each for variants, _ in plan for each in variants))
    by_cell = {cell_of(variant): variant for variant in all_variants}
    total, done = sum(len(job.cells) for job in jobs), 0
    effects: list[SideEffect] = []
    for event in scheduler.run(jobs):
        if event.cell is not None and event.outcome is not None:
            done += 1
            variant = by_cell[replace(event.cell, task=MEASURE, condition="")]
            effects.extend(records(variant, event))
        notice(event, done, total)
    return _in_order(effects, all_variants, jobs)


def _job(variants: Sequence[ToolVariant], case: Case) -> Job:
    return model_request(case.model, case.inputs).job(
        replace(cell_of(variant), task=TASK, condition=condition)
        for variant in variants
        for condition in case.conditions
    )


def records(variant: ToolVariant, event: Event) -> Iterator[SideEffect]:
    """Make the records of one cell: one for each check, or one for how the cell ended."""
    assert event.cell is not None  # noqa: S101 - for mypy: the building of a model has no records
    assert event.outcome is not None  # noqa: S101 - the same
    result = event.outcome.result
    if isinstance(result, Audited):
        when, checks = result.when, result.checks
    else:
        ended = f"{event.outcome.status}: {event.outcome.error}"
        name = "import" if event.outcome.status == "unavailable" else "call"
        when, checks = "none", (Check(name, "", ended, 1, ended),)
    for check in checks:
        yield SideEffect(
            tool=variant.tool.name,
            tool_version=variant.version,
            variant=variant.variant,
            model=str(event.job.model),
            condition=event.cell.condition,
            when=when,
            changed=bool(check.amount),
            **vars(check),
        )


def has_failed(effects: Sequence[SideEffect]) -> bool:
    """Whether the process of a call crashed or timed out, or a tool or model was unavailable."""
    return any(each.when == "none" and each.after.partition(":")[0] in FAILURES for each in effects)


def _in_order(
    effects: list[SideEffect], variants: Sequence[ToolVariant], jobs: Sequence[Job]
) -> list[SideEffect]:
    """Sort records by tool variant, model, condition and check."""
    variant = {each.key: number for number, each in enumerate(variants)}
    model = {str(job.model): number for number, job in enumerate(jobs)}
    condition, check = list(CONDITIONS), list(EFFECTS)

    def place(effect: SideEffect) -> tuple[int, ...]:
        return (
            variant[effect.tool, effect.tool_version or "", effect.variant or ""],
            model[effect.model],
            condition.index(effect.condition),
            check.index(effect.check),
        )

    return sorted(effects, key=place)


def publish(out: Path, effects: Sequence[SideEffect]) -> None:
    """Write records and tables into a directory, each file atomically.

    Raises:
        UsageError: the directory cannot be written to.
    """
    from flopaudit.audit.audit_report import csv, markdown

    with store.locked(out):
        store.write_records(out / RECORDS, list(effects))
        store.write_whole(out / "table.csv", csv(effects))
        store.write_whole(out / "table.md", markdown(effects))
