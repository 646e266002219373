"""Models whose own code harms the process that builds or runs them, each in one way.

This file prints while it is imported, and when the process ends. Its models are named as
`hostile_models.py:NAME`, with the input 1x8; `PRINTING` is a tool.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import runpy
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import torch
from flopaudit_adapters.contract import LoadedModel, Tool, ToolResult
from torch import nn

_SOURCE = Path(__file__).with_name("printing.py")
print_in_every_way: Callable[[], None] = runpy.run_path(str(_SOURCE))["print_in_every_way"]


class Runs(nn.Module):
    """A layer that does something else before it runs."""

    def __init__(self, harm: Callable[[], object]) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)
        self.harm = harm

    def forward(self, x: torch.Tensor) -> Any:
        self.harm()
        return self.layer(x)


class Leaving(BaseException):
    """An exception that is no `Exception`."""


def exit_3() -> NoReturn:
    sys.exit(3)


def exit_0() -> NoReturn:
    sys.exit(0)


def exit_at_once() -> NoReturn:
    os._exit(0)


def interrupt() -> NoReturn:
    raise KeyboardInterrupt


def leave() -> NoReturn:
    raise Leaving("for good")


def segfault() -> object:
    return ctypes.string_at(0)


def abort() -> NoReturn:
    os.abort()


def fail() -> NoReturn:
    raise ValueError("broken.")


def kill_the_group_of_the_parent() -> None:
    os.killpg(os.getpgid(os.getppid()), signal.SIGKILL)


def hang() -> None:
    time.sleep(600)


def close_the_streams() -> None:
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):  # the second time
            os.close(descriptor)


def fork_in_two() -> None:
    os.fork()


def gives_none() -> None:
    """Build nothing."""


def runs(harm: Callable[[], object]) -> Callable[[], nn.Module]:
    """Return a factory of a model that does harm when it runs."""
    return lambda: Runs(harm)


def builds(harm: Callable[[], object]) -> Callable[[], nn.Module]:
    """Return a factory that does harm and then builds a layer."""

    def factory() -> nn.Module:
        harm()
        return nn.Linear(8, 8)

    return factory


prints = runs(print_in_every_way)
runs_exit_3, runs_exit_at_once, runs_interrupt = map(runs, (exit_3, exit_at_once, interrupt))
runs_segfault, runs_abort, runs_leave = map(runs, (segfault, abort, leave))
runs_fail, runs_close_the_streams, runs_fork_in_two = map(
    runs, (fail, close_the_streams, fork_in_two)
)
closes_the_streams, forks_in_two = builds(close_the_streams), builds(fork_in_two)


def _measure(_loaded: LoadedModel, _variant: str | None) -> ToolResult:
    print_in_every_way()
    return ToolResult(count=64, raw={"total": 64})


PRINTING = Tool("printing", "torch", "torch", "MAC", _measure, "Prints.", "https://example.org")
