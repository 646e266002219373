"""Files of a run: journals of records that survive a kill, and files that are written whole."""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flopaudit.core import files
from flopaudit.core.checksum import ChangedError
from flopaudit.core.errors import UsageError
from flopaudit.records.schema import Record, first_problem, load

_UNFINISHED = ".unfinished-"
"""How the names of files begin that a kill can leave while they are written."""

_MOVE_AWAY = "Move it away, or use another --out."


class Journal:
    """A file to which finished records are appended, one line each.

    A kill can leave half a line at the end; it is removed when the file is next opened here, and
    `read` ignores it. Each line is handed to the system before `append` returns, so that killing
    the process does not lose it, and by default it is synced to the disk, so that a loss of power
    does not lose it either. A sync takes some milliseconds, a third of a small cell. With
    `sync_every`, that many lines share one: a loss of power can then lose the lines since the last
    sync, which are measured again, or leave garbage in their place, which `read` reports.
    """

    def __init__(self, path: Path, sync_every: int = 1) -> None:
        self._path = path
        self._sync_every, self._unsynced = sync_every, 0
        files.require_regular(path, _MOVE_AWAY)
        with files.writing(path):
            # Without a buffer, so that a line that failed is not written once more on closing.
            self._file = path.open("ab", buffering=0)
        content = files.read_bytes(path, _MOVE_AWAY)
        with files.writing(path):
            self._file.truncate(_whole_lines(content))

    def append(self, record: Record) -> None:
        """Write one record, whole.

        Raises:
            UsageError: the system refused, as a full disk does, or the file was removed.
        """
        with files.writing(self._path):
            self._write(record.line().encode() + b"\n")
            if not os.fstat(self._file.fileno()).st_nlink:
                raise FileNotFoundError(errno.ENOENT, "it was removed while the run was writing it")
            self._unsynced += 1
            if self._unsynced >= self._sync_every:
                self._sync()

    def _write(self, line: bytes) -> None:
        """Write a line, or take back the part of it that was written."""
        before = os.fstat(self._file.fileno()).st_size
        try:
            while line:
                line = line[self._file.write(line) :]
        except OSError:
            self._file.truncate(before)
            raise

    def close(self) -> None:
        """Sync and close the file."""
        with files.writing(self._path), self._file:
            self._sync()

    def _sync(self) -> None:
        if self._unsynced:
            os.fsync(self._file.fileno())
        self._unsynced = 0


def _whole_lines(data: bytes) -> int:
    """Return the number of bytes up to the last line end, which is included."""
    return data.rfind(b"\n") + 1


def read(path: Path, kind: type[Record]) -> list[Record]:
    """Return the records in a file, without half a line at its end; none if there is no such file.

    Raises:
        UsageError: the file cannot be read, or a line is not such a record, or is of another
            version of the schema.
    """
    files.require_regular(path, _MOVE_AWAY)
    if not path.exists():
        return []
    data = files.read_bytes(path, _MOVE_AWAY)
    # Split at line feeds only: Unicode has more line ends, which JSON may contain.
    lines = data[: _whole_lines(data)].split(b"\n")[:-1]
    return [_record(kind, line, f"Line {n} of {path}") for n, line in enumerate(lines, start=1)]


def _record(kind: type[Record], line: bytes, place: str) -> Record:
    try:
        record: Record = load(kind, line.decode(), place)
    except ChangedError as error:
        raise UsageError(
            f"{place} was changed after it was written.",
            "Remove that line, and its cell is measured again.",
        ) from error
    except ValueError as error:
        raise UsageError(
            f"{place} is not a {kind.__name__.lower()}: {first_problem(error)}.",
            "Repair or remove that line, or use another --out.",
        ) from error
    return record


def write_whole(path: Path, text: str) -> None:
    """Replace a file at once: readers see the old content or the new one, never a part.

    Raises:
        UsageError: the system refused, or something that is no file is in its place.
    """
    files.require_regular(path, _MOVE_AWAY)
    with files.writing(path):
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f"{_UNFINISHED}{path.name}.")
        temporary = Path(name)
        try:
            with open(descriptor, "w", encoding="utf-8", newline="\n") as file:  # noqa: PTH123 - of a descriptor
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(0o644)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def write_records(path: Path, records: list[Record]) -> None:
    """Replace the content of a file by these records, one line each."""
    write_whole(path, "".join(record.line() + "\n" for record in records))


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Lock a directory against other runs.

    Raises:
        UsageError: the directory cannot be created or written to, or another run has locked it.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=directory).close()
        held = os.open(directory, os.O_RDONLY)
    except OSError as error:
        raise files.cannot("write to", directory, error, "Give another --out.") from error
    try:
        _lock(held, directory)
        for left in directory.glob(f"{_UNFINISHED}*"):  # by a run that was killed
            left.unlink(missing_ok=True)
        yield
    finally:
        os.close(held)


def _lock(descriptor: int, directory: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UsageError(
            f"Another run is writing to {directory}.", "Wait for it, or give another --out."
        ) from error
    except OSError as error:  # a file system without locks
        raise files.cannot("lock", directory, error, "Give another --out.") from error
