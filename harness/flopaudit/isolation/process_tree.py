"""Process trees: tie a child to its parent, list and kill children, read their memory."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Collection
from pathlib import Path

_SET_PARENT_DEATH_SIGNAL, _SET_CHILD_SUBREAPER = 1, 36  # of prctl(2)


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, where the kernel can (Linux).

    Args:
        parent: who the parent should be; if it has ended already, so does this process.
    """
    if sys.platform != "linux":
        return  # there, a closed channel is what ends the children
    ctypes.CDLL(None, use_errno=True).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the line above
        os._exit(1)


def outlive_parent() -> None:
    """Take `die_with_parent` back, for a process that sees its channel close and tidies up."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_SET_PARENT_DEATH_SIGNAL, 0)


def adopt_orphans() -> None:
    """Become the parent of what descendants leave behind, so that it can be ended (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_SET_CHILD_SUBREAPER, 1)


def end_children(keep: Collection[int] = ()) -> None:
    """Kill and reap all children of this process but those to keep, and what they leave behind."""
    while True:
        strays = [pid for pid in children() if pid not in keep]
        if not strays:
            return
        for pid in strays:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def children() -> list[int]:
    """The children of this process, where the system says (Linux)."""
    me = os.getpid()
    try:
        return [int(pid) for pid in Path(f"/proc/{me}/task/{me}/children").read_text().split()]
    except OSError:
        return []  # not on this system; there, process groups are all that is known


def kill_group(pid: int) -> None:
    """Kill a process and all that share its process group, if they are still there."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return


def resident_bytes(pid: int) -> int:
    """Memory that a process holds now; 0 where it has ended or the system does not say."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:  # noqa: PTH123 - not worth a Path 50 times a second
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0
