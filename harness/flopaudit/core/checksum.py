"""Checksums: of stored lines, each of which ends with one, and of source files.

A checksum finds a line that was edited or damaged after it was written; it is no signature.
"""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Callable
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import Any

_CHECKSUM = re.compile(r', "checksum": "(?P<checksum>[0-9a-f]{16})"\}$')


class State(Enum):
    """The state of a line with regard to its checksum."""

    INTACT = "intact"
    """The line is as it was written."""
    CHANGED = "changed"
    """The line has another checksum than its text."""
    ABSENT = "absent"
    """The line has no checksum, as lines of earlier versions."""


class ChangedError(ValueError):
    """A line was changed after it was written."""


def digest(data: bytes) -> str:
    """Return the first 16 hexadecimal digits of a SHA-256 digest."""
    return hashlib.sha256(data).hexdigest()[:16]


def add(text: str) -> str:
    """Return a JSON object with its checksum as the last member.

    Args:
        text: the object in one line, `{…}`, with at least one member.
    """
    return f'{text[:-1]}, "checksum": "{digest(text.encode())}"}}'


def check(line: str) -> tuple[str, State]:
    """Return the JSON object of a line without its checksum, and whether the two agree."""
    found = _CHECKSUM.search(line)
    if not found:
        return line, State.ABSENT
    text = line[: found.start()] + "}"
    return text, State.INTACT if digest(text.encode()) == found["checksum"] else State.CHANGED


def file_digest(path: Path) -> str:
    """Return the first 32 hexadecimal digits of the SHA-256 digest of a file.

    Raises:
        OSError: the file cannot be read.
    """
    state = path.stat()
    return _file_digest(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=4096)
def _file_digest(path: Path, _changed: int, _size: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:32]


def source_digest(function: Callable[..., Any]) -> str | None:
    """Return the digest of the file with a function, such as an adapter's; None without a file."""
    try:
        file = inspect.getsourcefile(inspect.unwrap(function))
    except TypeError:  # it is not written in Python
        return None
    return file_digest(Path(file)) if file and Path(file).is_file() else None
