"""Where profiles are kept: a tool, its version and its variant come in, its profile goes out."""

from __future__ import annotations

import site
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from harness.profile import Profile, read
from harness.schema import ToolKey

DIRECTORY = Path("results") / "profiles"
"""Where `flopaudit probe` writes them, below the directory it is run in."""

HOME = Path(__file__).resolve().parents[1]
SHARE = Path("share") / "flopaudit" / "profiles"

SHIPPED = (
    HOME / DIRECTORY,
    HOME / SHARE,
    Path(sys.prefix) / SHARE,
    Path(site.getuserbase()) / SHARE,
)
"""Those of this repository, or of the wheel, installed by pip with --target, plainly or --user."""


def file_name(key: ToolKey) -> str:
    """`thop-0.1.1.json`, with the variant where there is one."""
    return "-".join(part for part in key if part) + ".json"


def find(key: ToolKey, beside: Sequence[Path] = ()) -> Profile | None:
    """The profile of a tool in a version, None where none has been measured.

    Args:
        key: tool, version and variant.
        beside: directories to look in first.

    Raises:
        UsageError: a file is there that is no profile.
    """
    for directory in (*beside, DIRECTORY, *SHIPPED):
        path = directory / file_name(key)
        if path.is_file():
            return _read(path, path.stat().st_mtime_ns)
    return None


@lru_cache(maxsize=64)
def _read(path: Path, _changed: int) -> Profile:
    return read(path)


def everywhere() -> Iterator[Profile]:
    """All profiles that are kept, each tool, version and variant once."""
    seen: set[str] = set()
    for directory in (DIRECTORY, *SHIPPED):
        for path in _files(directory):
            if path.name not in seen:
                seen.add(path.name)
                yield read(path)


def _files(directory: Path) -> Iterable[Path]:
    return sorted(directory.glob("*.json")) if directory.is_dir() else ()
