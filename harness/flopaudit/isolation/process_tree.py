"""Process trees: tie a child to its parent, list and kill children, watch their memory.

`prctl` is called directly because no maintained library offers it: psutil has neither the parent
death signal nor the child subreaper.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Collection

import psutil

_SET_PARENT_DEATH_SIGNAL, _SET_CHILD_SUBREAPER = 1, 36  # of prctl(2)

TREE_SECONDS = 0.25
"""How often a process tree is listed; a listing takes about 12 µs for each process running."""


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, where the kernel can (Linux).

    Args:
        parent: the expected parent; if it has ended already, this process ends at once.
    """
    if sys.platform != "linux":
        return  # on other systems the children end when their channel is closed
    ctypes.CDLL(None, use_errno=True).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the line above
        os._exit(1)


def outlive_parent() -> None:
    """Undo `die_with_parent`, for a process that sees its channel close and cleans up."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_SET_PARENT_DEATH_SIGNAL, 0)


def adopt_orphans() -> None:
    """Become the parent of orphaned descendants, so that they can be ended (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_SET_CHILD_SUBREAPER, 1)


def end_children(keep: Collection[int] = ()) -> None:
    """Kill and reap all children of this process except `keep`, and the orphans they leave."""
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
    """Return the children of this process, those included that ended and were not reaped."""
    if not _has_children():
        return []
    return [child.pid for child in psutil.Process().children()]


def _has_children() -> bool:
    """Whether this process has any children: much faster than listing them."""
    if sys.platform != "linux":
        return True
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def kill_group(pid: int) -> None:
    """Kill a process and all that share its process group, if they are still there."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return


def is_stopped(pid: int) -> bool:
    """Whether a process has been stopped, as by SIGSTOP, and does nothing until it is continued."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_STOPPED
    except psutil.Error:
        return False


class MemoryWatch:
    """A comparison of the memory of a process, and of the processes below it, with a limit.

    The process itself is read at each call, which takes some 10 µs; the tree below it every
    `TREE_SECONDS`, because listing it is slower. A descendant that has detached itself is no longer
    below the process, and is not counted.
    """

    def __init__(self, pid: int) -> None:
        self._tree_due = time.monotonic() + TREE_SECONDS
        self._process: psutil.Process | None = None
        with contextlib.suppress(psutil.Error):  # it may have ended already
            self._process = psutil.Process(pid)

    def exceeds(self, limit: int) -> bool:
        """Whether the process, or its tree, holds more than `limit` bytes now."""
        if self._process is None:
            return False
        resident = _resident_bytes(self._process)
        if resident > limit:
            return True
        if time.monotonic() < self._tree_due:
            return False
        self._tree_due = time.monotonic() + TREE_SECONDS
        below = _below(self._process)
        if not below or resident + sum(map(_resident_bytes, below)) <= limit:
            return False
        # Forked processes share pages, so the sum above counts some of them twice.
        return sum(map(_share_bytes, (self._process, *below))) > limit


def _below(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def _resident_bytes(process: psutil.Process) -> int:
    """Memory that a process holds now, shared pages included; 0 if it has ended."""
    try:
        return process.memory_info().rss
    except psutil.Error:
        return 0


def _share_bytes(process: psutil.Process) -> int:
    """Memory of a process itself, and its share of the pages it shares, if the system knows it."""
    try:
        full = process.memory_full_info()
    except psutil.AccessDenied:
        return _resident_bytes(process)
    except psutil.Error:
        return 0
    share: int = getattr(full, "pss", full.uss)  # only Linux knows the proportional share
    return share
