"""An audit from plan to records: tools and cases come in, a record for each check goes out.

Each call is made in a cell of its own. A tool that crashes or hangs there is an outcome: its one
record says how the process ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from adapters import NAMES
from harness import store
from harness.audit import own
from harness.audit.cases import CASES, CONDITIONS, IMPORT_CASE, Case
from harness.audit.effects import EFFECTS
from harness.catalogue import Column, columns, subject
from harness.errors import UsageError
from harness.scheduler import Cell, Event, Job, Limits, Scheduler
from harness.schema import SideEffect
from harness.specs import split_list

REFERENCE = "reference"
RECORDS = "audit.jsonl"
PRELOAD = ("harness.audit.cell", "torch._dynamo", "networkx")
"""What every cell needs, imported once."""

Notice = Callable[[Event, int, int], None]


def tools(names: Sequence[str]) -> list[Column]:
    """The columns of an audit: the tools named, or all of them, and the reference always.

    Raises:
        UsageError: there is no such tool, or it goes by the name of the reference.
    """
    asked = [name for name in names or NAMES if name != REFERENCE]
    found = columns(",".join(asked))
    if any(column.tool.name == REFERENCE for column in found):
        raise UsageError(
            f"A tool is named '{REFERENCE}', as the project's own counter is.",
            "Give its Tool another name.",
        )
    return [*found, Column(REFERENCE, own.TOOL, None)]


def cases(models: str) -> tuple[Case, ...]:
    """The models of a comma-separated list, and the import; `CASES` if it is empty.

    Those of `CASES` go by their last name and come in their conditions, others in eval mode.
    """
    known = {case.model.rpartition(":")[2]: case for case in CASES}
    named = tuple(known.get(name) or Case(name) for name in split_list(models))
    return (IMPORT_CASE, *named) if named else CASES


def audit(
    tools: Sequence[Column], asked: Sequence[Case], slots: int, limits: Limits, notice: Notice
) -> list[SideEffect]:
    """Audit all tools on all cases.

    Raises:
        UsageError: there is no such model.
    """
    jobs = [_job(tools, case) for case in asked]
    by_cell = {column.cell: column for column in tools}
    total, done = sum(len(job.cells) for job in jobs), 0
    found: list[SideEffect] = []
    with Scheduler(slots, limits, modules=PRELOAD) as scheduler:
        for event in scheduler.run(jobs):
            if event.cell is not None and event.outcome is not None:
                done += 1
                column = by_cell[replace(event.cell, task="measure")]
                found.extend(records(column, event))
            notice(event, done, total)
    return _in_order(found, tools, jobs)


def _job(tools: Sequence[Column], case: Case) -> Job:
    return subject(case.model, case.inputs).job(
        Cell(column.name, column.variant, column.cell.site, condition)
        for column in tools
        for condition in case.conditions
    )


def records(column: Column, event: Event) -> Iterator[SideEffect]:
    """The records of one cell: one for each check, or one that says how it ended."""
    assert event.cell is not None  # noqa: S101 - for mypy: the building of a model has no records
    assert event.outcome is not None  # noqa: S101 - the same
    outcome = event.outcome
    ended = f"{outcome['status']}: {outcome.get('error')}"
    which = "import" if outcome["status"] == "unavailable" else "call"
    lost = {"check": which, "before": "", "after": ended, "amount": 1, "detail": ended}
    for check in outcome.get("checks", [lost]):
        yield SideEffect(
            tool=column.tool.name,
            tool_version=column.version,
            variant=column.variant,
            model=str(event.job.model),
            condition=event.cell.task,
            when=outcome.get("when", "none"),
            changed=bool(check["amount"]),
            **check,
        )


def _in_order(
    found: list[SideEffect], tools: Sequence[Column], jobs: Sequence[Job]
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
    from harness.audit.report import csv, markdown

    with store.locked(out):
        store.write_records(out / RECORDS, list(effects))
        store.write_whole(out / "table.csv", csv(effects))
        store.write_whole(out / "table.md", markdown(effects))
