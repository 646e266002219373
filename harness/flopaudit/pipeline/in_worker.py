"""Tasks of the harness that run foreign code: each in a worker of its own, one at a time.

The task builds the model itself, so whatever a model does, while it is imported, built or run,
happens in the worker: it may exit, crash, hang or print.
"""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable
from dataclasses import replace

from flopaudit.core.errors import RunError, UsageError
from flopaudit.isolation.jobs import Cell, Limits
from flopaudit.isolation.outcomes import Failed, Outcome, Refused, Result
from flopaudit.isolation.scheduler import Scheduler
from flopaudit.isolation.tasks import UnbuiltAssignment
from flopaudit.pipeline.model_requests import ModelRequest
from flopaudit.reference import user_formulas

_REMEDIES = {"timed_out": "Give a longer --timeout."}
_REMEDY = "`flopaudit --traceback …` shows what it printed."


class WorkerOutput(Exception):  # noqa: N818 - what a traceback shows as the cause of an error
    """The beginning and the end of what a worker printed, its traceback included."""


def open_scheduler(limits: Limits, module: str) -> Scheduler:
    """Start a scheduler for tasks of the harness.

    Args:
        limits: of a task, the building of its model included.
        module: the module that registers the task.
    """
    return Scheduler(1, limits, modules=(module,), kit="harness")


def run(scheduler: Scheduler, request: ModelRequest, task: str, condition: str = "") -> Result:
    """Run a task on a model, and return its result.

    Args:
        scheduler: as `open_scheduler` starts it.
        request: the model.
        task: the name of the task.
        condition: what else the task is to know.

    Raises:
        UsageError: the task raised it.
        RunError: the task did not return, or the model raised an error.
    """
    cell = Cell(task, None, task=task, condition=condition)
    job = replace(request.job([cell]), prebuilt=False)
    (outcome,) = (event.outcome for event in scheduler.run([job]) if event.outcome)
    result = outcome.result
    printed = WorkerOutput(f"\n{outcome.output_excerpt}") if outcome.output_excerpt else None
    if isinstance(result, Refused):
        raise UsageError(result.message, result.remedy) from printed
    if isinstance(result, Failed):
        remedy = _REMEDIES.get(result.status, _REMEDY if printed else "")
        raise RunError(
            f"'{request.spec}' cannot be counted: {result.error.rstrip('.')}.", remedy
        ) from printed
    return result


def outcome_of(
    task: Callable[[UnbuiltAssignment], Result], assignment: UnbuiltAssignment
) -> Outcome:
    """Run a task in its worker; a `UsageError` is its result, any other is raised."""
    try:
        user_formulas.install(assignment.formulas)
        return Outcome(task(assignment))
    except UsageError as error:
        with contextlib.suppress(Exception):  # the model may have closed standard error
            traceback.print_exc()
        return Outcome(Refused(error.message, error.remedy))
