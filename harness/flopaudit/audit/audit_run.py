"""An audit from plan to records: tools and cases come in, a record for each check goes out.

Each call is made in a cell of its own. A tool that crashes or hangs there is an outcome: its one
record says how the process ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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
from flopaudit.isolation.jobs import MEASURE
from flopaudit.isolation.outcomes import Audited, Check
from flopaudit.isolation.scheduler import (
    Event,
    Job,
    Limits,
    Scheduler,
)
from flopaudit.pipeline.measure import cell_of
from flopaudit.pipeline.model_requests import model_request
from flopaudit.records import store
from flopaudit.records.schema import SideEffect
from flopaudit.tools.registry import ToolVariant, tool_variants

REFERENCE = "reference"
RECORDS = "audit.jsonl"
PRELOAD = ("flopaudit.audit.worker_task", "torch._dynamo", "networkx")
"""What every cell needs, imported once."""

Notice = Callable[[Event, int, int], None]


def tools(names: Sequence[str]) -> list[ToolVariant]:
    """The columns of an audit: the tools named, or all of them, and the reference always.

    Raises:
        UsageError: there is no such tool, or it goes by the name of the reference.
    """
    asked = [name for name in names or NAMES if name != REFERENCE]
    found = tool_variants(",".join(asked))
    if any(column.tool.name == REFERENCE for column in found):
        raise UsageError(
            f"A tool is named '{REFERENCE}', as the project's own counter is.",
            "Give its Tool another name.",
        )
    return [*found, ToolVariant(REFERENCE, own_counter.TOOL, None)]


def cases(models: str) -> tuple[Case, ...]:
    """The models of a comma-separated list, and the import; `CASES` if it is empty.

    Those of `CASES` go by their last name and come in their conditions, others in eval mode.
    """
    known = {case.model.rpartition(":")[2]: case for case in CASES}
    named = tuple(known.get(name) or Case(name) for name in split_list(models))
    return (IMPORT_CASE, *named) if named else CASES


def audit(
    tools: Sequence[ToolVariant], asked: Sequence[Case], slots: int, limits: Limits, notice: Notice
) -> list[SideEffect]:
    """Audit all tools on all cases.

    Raises:
        UsageError: there is no such model.
    """
    jobs = [_job(tools, case) for case in asked]
    by_cell = {cell_of(column): column for column in tools}
    total, done = sum(len(job.cells) for job in jobs), 0
    found: list[SideEffect] = []
    with Scheduler(slots, limits, modules=PRELOAD) as scheduler:
        for event in scheduler.run(jobs):
            if event.cell is not None and event.outcome is not None:
                done += 1
                column = by_cell[replace(event.cell, task=MEASURE, condition="")]
                found.extend(records(column, event))
            notice(event, done, total)
    return _in_order(found, tools, jobs)


def _job(tools: Sequence[ToolVariant], case: Case) -> Job:
    return model_request(case.model, case.inputs).job(
        replace(cell_of(column), task=TASK, condition=condition)
        for column in tools
        for condition in case.conditions
    )


def records(column: ToolVariant, event: Event) -> Iterator[SideEffect]:
    """The records of one cell: one for each check, or one that says how it ended."""
    assert event.cell is not None  # noqa: S101 - for mypy: the building of a model has no records
    assert event.outcome is not None  # noqa: S101 - the same
    outcome = event.outcome
    if isinstance(outcome.result, Audited):
        when, checks = outcome.result.when, outcome.result.checks
    else:
        ended = f"{outcome.status}: {outcome.error}"
        which = "import" if outcome.status == "unavailable" else "call"
        when, checks = "none", (Check(which, "", ended, 1, ended),)
    for check in checks:
        yield SideEffect(
            tool=column.tool.name,
            tool_version=column.version,
            variant=column.variant,
            model=str(event.job.model),
            condition=event.cell.condition,
            when=when,
            changed=bool(check.amount),
            **vars(check),
        )


def _in_order(
    found: list[SideEffect], tools: Sequence[ToolVariant], jobs: Sequence[Job]
) -> list[SideEffect]:
    """By tool, model, condition and check, whatever order the cells finished in."""
    column = {each.key: number for number, each in enumerate(tools)}
    model = {str(job.model): number for number, job in enumerate(jobs)}
    condition, check = list(CONDITIONS), list(EFFECTS)

    def place(effect: SideEffect) -> tuple[int, ...]:
        return (
            column[effect.tool, effect.tool_version or "", effect.variant or ""],
            model[effect.model],
            condition.index(effect.condition),
            check.index(effect.check),
        )

    return sorted(found, key=place)


def publish(out: Path, effects: Sequence[SideEffect]) -> None:
    """Write records and tables into a directory, each file whole.

    Raises:
        UsageError: the directory cannot be written to.
    """
    from flopaudit.audit.audit_report import csv, markdown

    with store.locked(out):
        store.write_records(out / RECORDS, list(effects))
        store.write_whole(out / "table.csv", csv(effects))
        store.write_whole(out / "table.md", markdown(effects))
