"""Registry of tasks: what a worker process can do with one tool and one model.

The module of a task registers it when it is imported. `measure` is registered by `worker`; a module
that adds another task is preloaded by naming it in `Scheduler(modules=…)`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flopaudit_adapters.contract import LoadedModel

from flopaudit.core.specs import ModelSpec
from flopaudit.isolation.outcomes import Outcome
from flopaudit.reference.user_formulas import FormulaSource


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


@dataclass(frozen=True)
class UnbuiltAssignment:
    """The work of one worker process that builds the model itself.

    Attributes:
        model: the model.
        inputs: of its forward pass, as a user writes them.
        condition: what else the task is to know, in a form of its own.
        formulas: the user's formulas, which are to be installed before the model is counted.
    """

    model: ModelSpec
    inputs: tuple[str, ...]
    condition: str = ""
    formulas: tuple[FormulaSource, ...] = ()


Task = Callable[[Assignment], Outcome]
BuildingTask = Callable[[UnbuiltAssignment], Outcome]

_tasks: dict[str, Task] = {}
_building_tasks: dict[str, BuildingTask] = {}


def register(name: str, task: Task) -> None:
    """Add a task under a name.

    Raises:
        ValueError: a task of that name exists.
    """
    if name in _tasks:
        raise ValueError(f"the task '{name}' is registered twice")
    _tasks[name] = task


def register_building(name: str, task: BuildingTask) -> None:
    """Add a task that builds the model itself, for jobs that are not prebuilt.

    Raises:
        ValueError: a task of that name exists.
    """
    if name in _building_tasks:
        raise ValueError(f"the task '{name}' is registered twice")
    _building_tasks[name] = task


def find(name: str) -> Task:
    """Return the task of a name.

    Raises:
        LookupError: no such task is registered.
    """
    if name not in _tasks:
        raise LookupError(f"no task '{name}' is registered in this process")
    return _tasks[name]


def find_building(name: str) -> BuildingTask:
    """Return the task of a name that builds the model itself.

    Raises:
        LookupError: no such task is registered.
    """
    if name not in _building_tasks:
        raise LookupError(f"no task '{name}' that builds models is registered in this process")
    return _building_tasks[name]
