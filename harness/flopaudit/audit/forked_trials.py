"""Trials, made in a forked child of this process: callables come in, a short text of each goes out.

What a trial changes is gone with the child. What fails is text too, and begins with `FAILS`.
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
"""After so long without an end a child is ended."""

Trial = Callable[[], str]


def attempts(trials: Mapping[str, Trial]) -> dict[str, str]:
    """What comes of the trials, in their order.

    A trial that ends the child, or hangs, is tried once more in another, with those that are left:
    a process may also end for reasons of its machine's.
    """
    left = dict(trials)
    said: dict[str, str] = {}
    failed: list[str] = []
    while left:
        answers, ended = _in_a_child(left)
        said |= answers
        left = {name: trial for name, trial in left.items() if name not in said}
        stuck = next(iter(left), None)
        if stuck is not None and stuck in failed:
            said[stuck] = ended
            del left[stuck]
            stuck = next(iter(left), None)
        if stuck is not None:
            failed.append(stuck)
    return said


def attempt(trial: Trial) -> str:
    """What comes of one, in this process."""
    try:
        return trial()
    except BaseException as error:  # noqa: BLE001 - that it fails is what is asked
        return FAILS + portable(one_line(error))


def _in_a_child(trials: Mapping[str, Trial]) -> tuple[dict[str, str], str]:
    """What the child said before it ended, and how it ended."""
    parent = os.getpid()
    with tempfile.TemporaryDirectory(prefix="flopaudit-") as home:
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.chdir(home)
            _be_child(trials, write, parent)
        os.close(write)
        said = _hear(read, pid)
        os.close(read)
        return said, FAILS + _ended(os.waitpid(pid, 0)[1])


def _ended(status: int) -> str:
    """Why a trial has no answer."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        slow = f", after {SECONDS} seconds" if number == signal.SIGKILL else ""
        return f"the process was ended by signal {number}{slow}"
    return f"the process exited with code {os.WEXITSTATUS(status)}"


def _be_child(trials: Mapping[str, Trial], write: int, parent: int) -> NoReturn:
    try:
        die_with_parent(parent)
        os.setpgid(0, 0)
        null = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(null, stream)
        for name, trial in trials.items():
            os.write(write, json.dumps([name, attempt(trial)]).encode() + b"\n")
    finally:
        os._exit(0)


def _hear(read: int, pid: int) -> dict[str, str]:
    """Lines of JSON until the child ends, or does not go on."""
    heard, until = b"", time.monotonic() + SECONDS
    while select.select([read], [], [], max(until - time.monotonic(), 0))[0]:
        data = os.read(read, 1 << 16)
        if not data:
            break
        heard += data
    else:
        kill_group(pid)
    return dict(json.loads(line) for line in heard.split(b"\n")[:-1])
