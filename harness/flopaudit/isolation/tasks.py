"""Registry of tasks: what a worker process can be asked to do with one tool and one model.

The module of a task registers it when it is imported. `measure` is registered by `worker`; a module
that brings another one is preloaded by naming it in `Scheduler(modules=…)`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flopaudit_adapters.contract import LoadedModel

Task = Callable[[str, str | None, LoadedModel, str, str | None], dict[str, Any]]
"""Called with the tool's name, its variant, the model, the condition and the tool's folder."""

MEASURE = "measure"

_tasks: dict[str, Task] = {}


def register(name: str, task: Task) -> None:
    """Add a task under a name.

    Raises:
        ValueError: there is one of that name.
    """
    if name in _tasks:
        raise ValueError(f"the task '{name}' is registered twice")
    _tasks[name] = task


def find(name: str) -> Task:
    """Return the task of a name.

    Raises:
        LookupError: there is none.
    """
    if name not in _tasks:
        raise LookupError(f"no task '{name}' is registered in this process")
    return _tasks[name]
