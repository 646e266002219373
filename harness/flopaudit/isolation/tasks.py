"""Registry of tasks: what a worker process can do with one tool and one model.

The module of a task registers it when it is imported. `measure` is registered by `worker`; a module
that adds another task is preloaded by naming it in `Scheduler(modules=…)`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flopaudit_adapters.contract import LoadedModel

from flopaudit.isolation.outcomes import Outcome


@dataclass(frozen=True)
class Assignment:
    """The work of one worker process.

    Attributes:
        tool: the name that `flopaudit_adapters.find` takes, or that of one of the harness's cells.
        variant: one of the tool's variants, if it has any.
        loaded: the model and its inputs, inherited by the fork.
        condition: how the model is to be given to the tool; each task has its own conditions.
        site: the folder to import the tool from, unless it is the installed one.
    """

    tool: str
    variant: str | None
    loaded: LoadedModel
    condition: str = ""
    site: str | None = None


Task = Callable[[Assignment], Outcome]

_tasks: dict[str, Task] = {}


def register(name: str, task: Task) -> None:
    """Add a task under a name.

    Raises:
        ValueError: a task of that name exists.
    """
    if name in _tasks:
        raise ValueError(f"the task '{name}' is registered twice")
    _tasks[name] = task


def find(name: str) -> Task:
    """Return the task of a name.

    Raises:
        LookupError: no such task is registered.
    """
    if name not in _tasks:
        raise LookupError(f"no task '{name}' is registered in this process")
    return _tasks[name]
