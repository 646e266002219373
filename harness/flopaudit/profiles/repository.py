"""The stored profiles: where they are kept, and how one is found by tool, version and variant."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from flopaudit import published
from flopaudit.core.files import read_text, require_regular
from flopaudit.core.specs import ToolKey
from flopaudit.profiles.tool_profile import PROBE_AGAIN, Profile, from_text
from flopaudit.tools.versions import same

if TYPE_CHECKING:
    from importlib.abc import Traversable

DIRECTORY = Path("results") / "profiles"
"""Where `flopaudit probe` writes profiles, in the current directory."""


def file_name(key: ToolKey) -> str:
    """Return the name of a profile's file, such as `thop-0.1.1.json`, with any variant.

    A tool may be anyone's, and its name must not lead out of the folder.
    """
    return re.sub(r"[/\\\0]", "_", "-".join(part for part in key if part)) + ".json"


def find(key: ToolKey, first: Sequence[Path] = ()) -> Profile | None:
    """Find the profile of a tool in one version; None if none has been measured.

    Args:
        key: tool, version and variant.
        first: directories to look in before the usual ones, which are `results/profiles` and the
            profiles that the package carries.

    Raises:
        UsageError: the file of that name cannot be read, or is not a profile.
    """
    for directory in (*first, DIRECTORY, published.profiles()):
        named = directory / file_name(key)
        if isinstance(named, Path):
            require_regular(named, PROBE_AGAIN)
        for file in [named] if named.is_file() else _of_same_version(directory, key):
            return _parsed(read_text(file, PROBE_AGAIN), str(file))
    return None


def _of_same_version(directory: Traversable, key: ToolKey) -> Iterator[Traversable]:
    """Yield the files of a profile whose version is spelled otherwise, as 0.7 for 0.7.0."""
    tool, version, variant = key
    start, end = f"{tool}-", f"-{variant}.json" if variant else ".json"
    for file in _files(directory):
        spelled = file.name.removeprefix(start).removesuffix(end)
        if file.name == f"{start}{spelled}{end}" and same(spelled, version):
            yield file


_parsed = lru_cache(maxsize=64)(from_text)


def everywhere() -> Iterator[Profile]:
    """Yield all stored profiles, each tool, version and variant once."""
    seen: set[tuple[str, str, str | None]] = set()
    for directory in (DIRECTORY, published.profiles()):
        for profile in in_directory(directory):
            if profile.key not in seen:
                seen.add(profile.key)
                yield profile


def in_directory(directory: Traversable) -> Iterator[Profile]:
    """Yield the profiles in one directory, by file name; none if there is no such directory.

    Raises:
        UsageError: a JSON file in it is not a profile.
    """
    for file in _files(directory):
        yield _parsed(read_text(file, PROBE_AGAIN), str(file))


def _files(directory: Traversable) -> Iterable[Traversable]:
    files = directory.iterdir() if directory.is_dir() else ()
    return sorted((f for f in files if f.name.endswith(".json")), key=lambda file: file.name)
