"""Steps of a worker: what it does now, so that a sudden end of the process can be described.

A worker announces its steps on the pipe that its outcome follows on: a line for each step.
"""

from __future__ import annotations

import os
from enum import Enum

_MARK = b"@"  # what a line of JSON does not begin with


class Step(Enum):
    """A step in which foreign code runs.

    Attributes:
        doing: what the worker does in it.
        who: whose code runs.
    """

    doing: str
    who: str

    def __init__(self, doing: str, who: str) -> None:
        self.doing = doing
        self.who = who

    BUILDING = "building the model", "the model's factory"
    RUNNING = "running the model", "the model"


_pipe: int | None = None
_current: Step | None = None


def announce_on(pipe: int) -> None:
    """Announce the steps of this process on a pipe."""
    global _pipe  # noqa: PLW0603 - a worker has one host
    _pipe = pipe


def announce(step: Step) -> None:
    """Say which step begins; nobody is told in a process that is not a worker."""
    global _current  # noqa: PLW0603 - a worker does one thing at a time
    _current = step
    if _pipe is not None:
        os.write(_pipe, _MARK + step.name.encode() + b"\n")


def current() -> Step | None:
    """Return the step that this process announced last."""
    return _current


def split(payload: bytes) -> tuple[bytes, Step | None]:
    """Separate what a worker handed over from the steps that it announced before.

    Returns:
        The rest, and the last step; None if there is none.
    """
    last = None
    while payload.startswith(_MARK):
        line, _, payload = payload.partition(b"\n")
        last = Step.__members__.get(line[len(_MARK) :].decode(errors="replace"), last)
    return payload, last
