"""Jobs: a model request with the cells to run on it, and what each cell may take."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

from flopaudit.core.specs import ModelSpec

MEASURE = "measure"
"""Name of the task that runs a tool and takes its number."""

REFERENCE, TRACE = "reference", "trace"
"""Names of the harness's own cells, which run no tool: the reference count and the trace."""


@dataclass(frozen=True)
class Cell:
    """One tool variant to run on one model.

    Attributes:
        tool: the name that `flopaudit_adapters.find` takes, or `REFERENCE` or `TRACE`.
        variant: one of the tool's variants, if it has any.
        site: the folder to import the tool from, unless it is the installed one.
        task: what the worker does (see `tasks`).
        condition: how the task gives the model to the tool, if the task knows several ways.
    """

    tool: str
    variant: str | None
    site: str | None = None
    task: str = MEASURE
    condition: str = ""


@dataclass(frozen=True)
class Job:
    """One model and the cells that are to run on it.

    Attributes:
        model: the model.
        inputs: of its forward pass, as a user writes them.
        cells: to run.
        prebuilt: whether the host builds the model, once for all cells; otherwise the task of each
            cell builds it as it needs it, in its own process.
    """

    model: ModelSpec
    inputs: tuple[str, ...]
    cells: tuple[Cell, ...]
    prebuilt: bool = True


@dataclass(frozen=True)
class Limits:
    """The time and memory that a cell, or the building of a model, may take.

    Attributes:
        timeout_seconds: wall time.
        memory_bytes: of the process and those below it.
        divided_bytes: the memory that all cells share, if nobody gave a limit for each; `Scheduler`
            then divides it by the number of cells that run at the same time. 0 otherwise.
    """

    timeout_seconds: float
    memory_bytes: int
    divided_bytes: int = 0


def processors() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
