"""Trials in a forked child process: each is a callable that returns a short text.

The changes that a trial makes are gone when the child ends. The text of a failure begins with
`FAILS`.
"""

from __future__ import annotations

import json
import os
import select
import signal
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import NoReturn

from flopaudit.core.text import one_line, portable
from flopaudit.isolation.process_tree import die_with_parent, kill_group

FAILS = "fails: "
SECONDS = 60
"""A child process that runs for longer is ended."""

Trial = Callable[[], str]


def try_all(trials: Mapping[str, Trial]) -> dict[str, str]:
    """Make the trials in their order and return their results by name.

    A trial that ends the child process, or does not return in time, is made a second time in
    another child, followed by the remaining ones, because the machine may have ended the first.
    """
    left = dict(trials)
    results: dict[str, str] = {}
    failed: list[str] = []
    while left:
        received, ended = _in_a_child(left)
        results |= received
        left = {name: trial for name, trial in left.items() if name not in results}
        stuck = next(iter(left), None)
        if stuck is not None and stuck in failed:
            results[stuck] = ended
            del left[stuck]
            stuck = next(iter(left), None)
        if stuck is not None:
            failed.append(stuck)
    return results


def try_one(trial: Trial) -> str:
    """Make one trial in this process and return its result, or the exception as text."""
    try:
        return trial()
    except BaseException as error:  # noqa: BLE001 - a failure is a result too
        return FAILS + portable(one_line(error))


def _in_a_child(trials: Mapping[str, Trial]) -> tuple[dict[str, str], str]:
    """Make trials in a child process; return its results, and how it ended."""
    parent = os.getpid()
    with tempfile.TemporaryDirectory(prefix="flopaudit-") as home:
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.chdir(home)
            _run_in_child(trials, write, parent)
        os.close(write)
        results = _receive(read, pid)
        os.close(read)
        return results, FAILS + _ended(os.waitpid(pid, 0)[1])


def _ended(status: int) -> str:
    """Describe how a child ended that did not finish a trial."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        slow = f", after {SECONDS} seconds" if number == signal.SIGKILL else ""
        return f"the process was ended by signal {number}{slow}"
    return f"the process exited with code {os.WEXITSTATUS(status)}"


def _run_in_child(trials: Mapping[str, Trial], write: int, parent: int) -> NoReturn:
    try:
        die_with_parent(parent)
        os.setpgid(0, 0)
        null = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(null, stream)
        for name, trial in trials.items():
            os.write(write, json.dumps([name, try_one(trial)]).encode() + b"\n")
    finally:
        os._exit(0)


def _receive(read: int, pid: int) -> dict[str, str]:
    """Read lines of JSON until the child ends; kill it when the time is over."""
    received, until = b"", time.monotonic() + SECONDS
    while select.select([read], [], [], max(until - time.monotonic(), 0))[0]:
        data = os.read(read, 1 << 16)
        if not data:
            break
        received += data
    else:
        kill_group(pid)
    return dict(json.loads(line) for line in received.split(b"\n")[:-1])
