"""Lines of source code as a reader finds them: `` `if x.sum() > 0:` at net.py:12 ``.

The lines are those at which a count depends on the values of the input.
"""

from __future__ import annotations

import linecache
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import FrameType

DEPENDS = "The count depends on the values of the input"

GENERATED = "<eval_with_key>"
"""The file of code that torch generates from a graph."""

_INSTALLED = ("site-packages", "dist-packages")
_LONGEST = 120


def line_of(
    frames: Iterable[tuple[FrameType, int]],
    left_out: Sequence[str],
    libraries: Sequence[str] = (),
) -> str | None:
    """Return the innermost line of a user's code, or else the innermost one of a library.

    Args:
        frames: with the number of the line that each is at, the innermost first.
        left_out: folders whose lines are never named.
        libraries: folders, also within those, whose lines are named if there are no others.

    Returns:
        The line, its file and number, or the function where the source is unknown; None if there is
        no such frame.
    """
    inside: str | None = None
    for frame, number in frames:
        file = frame.f_code.co_filename
        known = file.startswith(tuple(libraries))
        if (file.startswith((GENERATED, *left_out)) and not known) or (known and inside):
            continue
        line = linecache.getline(file, number, frame.f_globals).strip()
        place = f"{shown_path(file, frame.f_globals.get('__name__'))}:{number}"
        shown = f"`{_cut(line)}`" if line else f"`{frame.f_code.co_name}`"  # as in an interpreter
        inside = f"{shown} at {place}".encode(errors="backslashreplace").decode()
        if not known:
            break
    return inside


def _cut(line: str) -> str:
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"


def line_in(stack: str) -> str | None:
    """Return the innermost line of a printed stack, such as that of a node in a graph of torch."""
    frames = re.findall(r'^ *File "(.+)", line (\d+), in .+\n +(.+)$', stack, re.MULTILINE)
    written = [frame for frame in frames if not frame[0].startswith(GENERATED)]
    if not written:
        return None
    file, number, line = written[-1]
    return f"`{_cut(line.strip())}` at {shown_path(file)}:{number}"


def shown_path(file: str, module: object = None) -> str:
    """Return a path that is the same on all machines.

    It is relative to the folder of installed packages or to the current one. Elsewhere it is the
    part of it that is the module's name.

    Args:
        file: the path of a source file, or what Python has in place of one, such as `<string>`.
        module: the name of the module that is in it.
    """
    path = Path(file)
    for folder in _INSTALLED:
        if folder in path.parts:
            return "/".join(path.parts[len(path.parts) - path.parts[::-1].index(folder) :])
    if path.is_absolute() and path.is_relative_to(Path.cwd()):
        return path.relative_to(Path.cwd()).as_posix()
    names = module.split(".") if isinstance(module, str) else []
    if path.stem == "__init__":
        names.append("__init__")
    named = path.is_absolute() and path.with_suffix("").parts[-len(names) :] == tuple(names)
    return "/".join(path.parts[-len(names) :]) if names and named else _last(path)


def _last(path: Path) -> str:
    return path.name if path.is_absolute() else path.as_posix()


def depends_on_values(lines: Sequence[str], shown: int = 3) -> str:
    """Return a sentence that names the lines at which a count depends on the input's values.

    Args:
        lines: as `line_of` returns them.
        shown: how many of them to name; the number of the others is given.

    Returns:
        The sentence without its full stop; an empty text if there are no lines.
    """
    if not lines:
        return ""
    more = f" and {len(lines) - shown} more" if len(lines) > shown else ""
    return f"{DEPENDS}: {', '.join(lines[:shown])}{more}"
