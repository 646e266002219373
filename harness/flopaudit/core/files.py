"""Files that users name and runs leave: read and written, or refused in one sentence with a remedy.

Opening a FIFO waits for its other end, and reading a device may never end. So whatever is read here
is first seen to be a regular file.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flopaudit.core.errors import UsageError

if TYPE_CHECKING:
    from importlib.abc import Traversable

CONTINUE = "finished results are kept, and the same command continues with them."

_REMEDIES = {
    errno.ENOSPC: f"Free some space on that disk; {CONTINUE}",
    errno.EDQUOT: f"Free some space within your quota; {CONTINUE}",
    errno.EFBIG: f"Raise the limit on the size of files (`ulimit -f`); {CONTINUE}",
    errno.EMFILE: f"Raise the limit on open files (`ulimit -n`); {CONTINUE}",
    errno.ENFILE: f"Close programs that hold files open; {CONTINUE}",
    errno.EAGAIN: f"Raise the limit on processes (`ulimit -u`), or give fewer --jobs; {CONTINUE}",
    errno.ENOMEM: f"Free some memory, or give fewer --jobs; {CONTINUE}",
    errno.EIO: f"Check the disk; {CONTINUE}",
}
"""What to do about errors that are the system's and not a single file's."""

_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def cannot(action: str, path: Path, error: OSError, remedy: str) -> UsageError:
    """Return the error of usage for an error of the system.

    Args:
        action: what could not be done, such as `read`.
        path: the file or directory.
        error: what the system said.
        remedy: what to do, unless the kind of error has a remedy of its own.
    """
    reason = error.strerror or str(error)
    return UsageError(f"Cannot {action} {path}: {reason}.", _REMEDIES.get(error.errno or 0, remedy))


def of_system(error: OSError) -> UsageError | None:
    """Return the error of usage for an exhausted system or an unusable file; None for others."""
    remedy = _REMEDIES.get(error.errno or 0)
    if remedy:
        place = f"{error.filename}: " if error.filename else ""
        return UsageError(f"The system refused: {place}{error.strerror}.", remedy)
    if error.filename:
        remedy = "Check that it is there, and that you may read and write it."
        return UsageError(f"Cannot use {error.filename}: {error.strerror}.", remedy)
    return None


def require_regular(path: Path, remedy: str) -> None:
    """Refuse what is neither absent nor a regular file, without opening it.

    Raises:
        UsageError: it is a directory, a FIFO, a socket or a device, or cannot be looked at.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, ValueError) as error:  # ValueError: the name holds a NUL
        raise _unreadable(path, error, remedy) from error
    if not stat.S_ISREG(mode):
        kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "something else")
        raise UsageError(f"{path} is {kind}, not a file.", remedy)


def read_bytes(path: Path, remedy: str) -> bytes:
    """Return the content of a regular file.

    Args:
        path: the file.
        remedy: what to do if it cannot be read.

    Raises:
        UsageError: it is not a regular file, or cannot be read.
    """
    require_regular(path, remedy)
    try:
        # Not blocking, should it have become a FIFO by now.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:  # noqa: PTH123 - of a descriptor
            return file.read()
    except (OSError, ValueError, MemoryError) as error:
        raise _unreadable(path, error, remedy) from error


def _unreadable(path: Path, error: Exception, remedy: str) -> UsageError:
    if isinstance(error, OSError):
        return cannot("read", path, error, remedy)
    reason = "it does not fit into memory" if isinstance(error, MemoryError) else str(error)
    return UsageError(f"Cannot read {str(path)!r}: {reason}.", remedy)


def read_text(path: Traversable, remedy: str) -> str:
    """Return the text of a regular file, or of a file that the package carries.

    Raises:
        UsageError: it is not a regular file, cannot be read, or is not UTF-8.
    """
    try:
        if isinstance(path, Path):
            return read_bytes(path, remedy).decode()
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not text in UTF-8: {error.reason}.", remedy) from error


def parse_json(text: str) -> Any:
    """Parse JSON of unknown origin.

    Raises:
        ValueError: the text is not JSON, is nested too deeply, or has a number of too many digits.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


@contextmanager
def writing(path: Path, remedy: str = "Give another --out.") -> Iterator[None]:
    """Turn the system's refusal to write a file or directory into an error of usage.

    Args:
        path: what is written.
        remedy: what to do, unless the kind of error has a remedy of its own.

    Raises:
        UsageError: the system refused.
    """
    try:
        yield
    except OSError as error:
        raise cannot("write", path, error, remedy) from error


def make_directory(path: Path, remedy: str = "Give another --out.") -> None:
    """Make a directory and those around it, unless they are there.

    Raises:
        UsageError: it cannot be made.
    """
    with writing(path, remedy):
        path.mkdir(parents=True, exist_ok=True)
