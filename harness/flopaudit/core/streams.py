"""Standard output, kept for what the program itself prints, and standard error.

Models, tools and libraries print too: at import, from C, in threads, at exit, in child processes.
While a command works, descriptor 1 is that of standard error, so all of this goes there; the
program writes to a copy of the descriptor that nothing else knows.

Both streams end a program quietly when nobody reads them.
A character that the encoding lacks is written in other words (see `core.text`), whatever locale and
PYTHONIOENCODING say. Standard output that cannot be written raises `OutputLost`, once; what cannot
be written to standard error is dropped, because there is no place left to say so.
"""

from __future__ import annotations

import errno
import fcntl
import io
import os
import select
import sys
from collections.abc import Callable
from typing import Any, TextIO

from flopaudit.core.text import DEGRADE

_STDOUT, _STDERR, _FIRST_OTHER = 1, 2, 3  # descriptors

_kept: TextIO | None = None


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


def _lose(error: OSError) -> None:
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
    sys.stdout = _prepared(sys.stdout, sys.__stdout__, _STDOUT, _lose)
    sys.stderr = _prepared(sys.stderr, sys.__stderr__, _STDERR, _drop)


def _fill(descriptor: int, flag: int) -> None:
    try:
        os.fstat(descriptor)
    except OSError:
        opened = os.open(os.devnull, flag)
        if opened != descriptor:
            os.dup2(opened, descriptor)
            os.close(opened)
        os.set_inheritable(descriptor, True)  # noqa: FBT003 - its only argument


def _prepared(current: Any, original: Any, descriptor: int, failed: Callable[..., None]) -> Any:
    if current is not original or isinstance(getattr(current, "buffer", None), _File):
        if isinstance(current, io.TextIOWrapper):
            current.reconfigure(errors=DEGRADE)
        return current
    return io.TextIOWrapper(
        io.BufferedWriter(_File(descriptor, failed)),
        encoding=current.encoding if current else "utf-8",
        errors=DEGRADE,
        line_buffering=current.line_buffering if current else True,
        write_through=current.write_through if current else False,
    )


def keep_stdout() -> None:
    """From now on, send to standard error what anything but `stdout()` writes.

    There is no way back, because a library may print when the process ends. A standard output that
    is not descriptor 1 stays as it is: somebody else, such as a test, has redirected it.
    """
    global _kept  # noqa: PLW0603 - a process has one standard output
    if _kept is not None or not _is_descriptor(sys.stdout):
        return
    sys.stdout.flush()
    copy = fcntl.fcntl(_STDOUT, fcntl.F_DUPFD_CLOEXEC, _FIRST_OTHER)
    _kept = io.TextIOWrapper(
        io.BufferedWriter(_File(copy, _lose)),
        encoding=sys.stdout.encoding,
        errors=DEGRADE,
        line_buffering=os.isatty(copy),
    )
    closed = sys.__stderr__ is None
    os.dup2(os.open(os.devnull, os.O_WRONLY) if closed else _STDERR, _STDOUT)


def _is_descriptor(stream: TextIO | None) -> bool:
    """Whether a stream writes to descriptor 1."""
    try:
        return stream is not None and stream.fileno() == _STDOUT
    except (OSError, ValueError):  # captured in memory, or closed
        return False


def stdout() -> TextIO:
    """Return the stream that the program itself prints to."""
    return _kept or sys.stdout
