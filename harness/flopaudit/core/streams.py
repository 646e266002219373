"""Standard output, kept for what the program itself prints.

Models, tools and libraries print too: at import, from C, in threads, at exit, in child processes.
While a command works, descriptor 1 is that of standard error, so all of this goes there; the
program writes to a copy of the descriptor that nothing else knows.
"""

from __future__ import annotations

import fcntl
import os
import sys
from typing import TextIO

from flopaudit.core.guarded_streams import guarded, lose

_STDOUT, _STDERR, _FIRST_OTHER = 1, 2, 3  # descriptors

_kept: TextIO | None = None


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
    _kept = guarded(copy, sys.stdout, lose)
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
