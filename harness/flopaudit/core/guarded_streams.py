"""Standard output and error as streams that end a program quietly when nobody reads them.

A character that the encoding lacks is written in other words (see `core.text`), whatever locale and
PYTHONIOENCODING say. Standard output that cannot be written raises `OutputLost`, once; what cannot
be written to standard error is dropped, because there is no place left to say so.
"""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from collections.abc import Callable
from typing import Any, TextIO

from flopaudit.core.text import DEGRADE


class OutputLost(Exception):  # noqa: N818 - not an OSError, which libraries in between would handle
    """Standard output cannot be written; `reason` is the system's error."""

    def __init__(self, reason: OSError) -> None:
        closed = reason.errno == errno.EBADF
        super().__init__("it is closed" if closed else reason.strerror)
        self.reason = reason

    @property
    def reader_left(self) -> bool:
        """Whether the reader has left, as `head` does when it has seen enough."""
        return isinstance(self.reason, BrokenPipeError)


class _File(io.FileIO):
    """A descriptor that is written until it fails; everything after that is dropped."""

    def __init__(self, descriptor: int, failed: Callable[[OSError], None]) -> None:
        super().__init__(descriptor, "wb", closefd=False)
        self._failed, self._lost = failed, False

    def write(self, data: Any) -> int:
        """Write bytes, or some of them, and return how many."""
        try:
            return len(data) if self._lost else self._written(data)
        except OSError as error:
            self._lost = True
            self._failed(error)
            return len(data)

    def _written(self, data: Any) -> int:
        written: int | None = super().write(data)
        while written is None:  # the descriptor does not block, and is full
            select.select([], [self.fileno()], [])
            written = super().write(data)
        return written


def guarded(descriptor: int, like: TextIO | None, failed: Callable[[OSError], None]) -> TextIO:
    """Return a stream that writes to a descriptor until that fails.

    Args:
        descriptor: an open one, which stays open.
        like: the stream whose encoding and buffering it has; None for UTF-8, line by line.
        failed: called with the system's error; what it raises is raised by the write.
    """
    return io.TextIOWrapper(
        io.BufferedWriter(_File(descriptor, failed)),
        encoding=like.encoding if like else "utf-8",
        errors=DEGRADE,
        line_buffering=getattr(like, "line_buffering", True),
        write_through=getattr(like, "write_through", False),
    )


def lose(error: OSError) -> None:
    """Raise the error of a standard output that cannot be written."""
    raise OutputLost(error) from error


def _drop(_error: OSError) -> None:
    """Let a message go that nobody can see."""


def prepare() -> None:
    """Replace standard output and error by streams as described above.

    Where the program was started without one of them, as by `>&-`, the descriptor is filled, so
    that no other file takes its number. Streams that something else has put there, such as a test,
    only get the way of encoding.
    """
    flags = (os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)  # standard output then says that it is closed
    for descriptor, flag in enumerate(flags):
        _fill(descriptor, flag)
    sys.stdout = _prepared(sys.stdout, sys.__stdout__, 1, lose)
    sys.stderr = _prepared(sys.stderr, sys.__stderr__, 2, _drop)


def _fill(descriptor: int, flag: int) -> None:
    try:
        os.fstat(descriptor)
    except OSError:
        opened = os.open(os.devnull, flag)
        if opened != descriptor:
            os.dup2(opened, descriptor)
            os.close(opened)
        os.set_inheritable(descriptor, True)  # noqa: FBT003 - its only argument


def _prepared(
    current: TextIO, original: TextIO | None, descriptor: int, failed: Callable[[OSError], None]
) -> TextIO:
    if current is original:
        return guarded(descriptor, original, failed)
    if isinstance(current, io.TextIOWrapper):
        current.reconfigure(errors=DEGRADE)
    return current
