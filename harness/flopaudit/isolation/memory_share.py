"""How much memory each cell may take, and how many cells therefore run at the same time.

A cell begins as a copy of the zygote, which has imported torch. A limit below that ends every cell
at once, so it is measured when the zygote is ready, and no cell gets less.
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from flopaudit.core.errors import UsageError
from flopaudit.isolation.jobs import Limits

_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Where a container's memory limit is written, by version 2 and version 1 of control groups."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Footprint:
    """The memory of a process that has imported torch, in bytes.

    Attributes:
        resident: all that it holds, files such as torch's libraries included.
        private: all but the files, which is what a fork holds from its start.
    """

    resident: int
    private: int


def own_footprint() -> Footprint:
    """Return the footprint of this process."""
    memory = psutil.Process().memory_info()
    return Footprint(memory.rss, memory.rss - getattr(memory, "shared", 0))  # Linux knows `shared`


def default_memory_bytes(slots: int) -> int:
    """Return a cell's share of four fifths of the memory of this machine, or of its container."""
    limits = [psutil.virtual_memory().total]
    for path in _CGROUP_LIMITS:
        with contextlib.suppress(OSError, ValueError):  # no such file, or "max"
            limits.append(int(Path(path).read_text()))
    return min(limits) * 4 // 5 // slots


def divided(slots: int, cells: int, limits: Limits, needed: Footprint) -> tuple[int, Limits]:
    """Return how many cells can run at the same time, and the limits of each.

    There are no more than there are cells, and no more than have room. If that is fewer than were
    asked for, a warning says so.

    Args:
        slots: how many cells may run at the same time.
        cells: how many there are.
        limits: of each cell; a share of the machine's memory grows if fewer cells run.
        needed: what a process needs before its cell begins.

    Raises:
        UsageError: the limit that was given is used up before a cell begins.
    """
    slots = max(min(slots, cells), 1)
    if not limits.divided_bytes:
        if limits.memory_bytes <= needed.private:
            raise UsageError(
                f"A limit of {_mebibytes(limits.memory_bytes)} of memory ends every cell at its "
                f"start, because torch alone takes {_mebibytes(needed.private)}.",
                f"Give --memory {_in_mebibytes(needed.resident)}M or more.",
            )
        return slots, limits
    fitting = max(min(slots, limits.divided_bytes // needed.resident), 1)
    if fitting < slots:
        _log.warning(
            "%d cells run at a time, not %d: each needs %s of memory for torch, and there are %s.",
            fitting, slots, _mebibytes(needed.resident), _mebibytes(limits.divided_bytes),
        )  # fmt: skip
    return fitting, replace(limits, memory_bytes=limits.divided_bytes // fitting)


def _in_mebibytes(number: int) -> int:
    return -(-number // (1 << 20))


def _mebibytes(number: int) -> str:
    return f"{_in_mebibytes(number):,} MiB"
