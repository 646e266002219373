"""Provenance of modules: whether what is imported is what the recorded version stands for.

A record names the version of an installed distribution. The module that is imported may be another:
a file of that name earlier on the search path, one that a model has put there, or one of another
distribution. Its number would stand under a version that it is not of.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import metadata
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from urllib.parse import urlparse
from urllib.request import url2pathname

from flopaudit.core.errors import UsageError
from flopaudit.tools import versions

LIBRARIES = ("torch", "torchvision", "timm", "transformers")
"""The packages whose recorded versions define models and counts, each named as its distribution."""


def require_libraries(*, imported: bool = False) -> None:
    """Check that the libraries of models are those whose versions are recorded; imports none.

    Args:
        imported: whether to check only those that this process has imported.

    Raises:
        UsageError: one has been, or would be, imported from another place.
    """
    for name in LIBRARIES:
        places = _places(sys.modules.get(name) if imported else _found(name))
        stranger = _stranger(name, tuple(places), name, None)
        if stranger:
            folder = (places or [Path()])[0].parent
            raise UsageError(stranger, f"Take {folder} off the module search path.")


def foreign(module: ModuleType, distribution: str, site: Path | None = None) -> str | None:
    """Return why an imported module is not of a distribution, as a sentence; None if it is.

    Nothing is said of a distribution that is not installed: no version is recorded for it.

    Args:
        module: as it has been imported.
        distribution: the one whose version is recorded.
        site: the folder that the distribution is in, unless it is the installed one.
    """
    places = tuple(_places(module))
    stranger = _stranger(module.__name__, places, distribution, site)
    return stranger or _changed(module.__name__, distribution, site)


def _found(name: str) -> ModuleType | ModuleSpec | None:
    """Return what a top-level name means here, without importing it."""
    try:
        return sys.modules.get(name) or importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None


def _places(found: ModuleType | ModuleSpec | None) -> list[Path]:
    """Return the file of a module; of one that has none, such as a namespace, its folders."""
    if isinstance(found, ModuleSpec):
        file = found.origin if found.has_location else None
        folders = found.submodule_search_locations
    else:
        file, folders = getattr(found, "__file__", None), getattr(found, "__path__", None)
    return [Path(file)] if file else [Path(folder) for folder in folders or ()]


@cache
def _stranger(name: str, places: Sequence[Path], distribution: str, site: Path | None) -> str:
    """Return the sentence for a module that is not in its distribution; "" for one that is."""
    installed = _installed(distribution, site)
    if installed is None or (not places and name in LIBRARIES):
        return ""
    strangers = [place for place in places if not _holds(installed, place)]
    if places and not strangers:
        return ""
    where = f"from {strangers[0]}" if strangers else "from no file"
    named = f"{installed.metadata['Name']} {installed.version} in {_root(installed)}"
    return f"{name} is imported {where}, which is not part of {named}."


def _changed(name: str, distribution: str, site: Path | None) -> str | None:
    """Return the sentence for a package with files that are not as they were installed."""
    changed = versions.overwritten(distribution, name, site)
    installed = _installed(distribution, site)
    there = [
        file for file in changed if installed and Path(str(installed.locate_file(file))).exists()
    ]
    if not installed or not there:
        return None
    named = f"{installed.metadata['Name']} {installed.version}"
    owner = changed[there[0]]
    now = f"that of {owner}, which overwrote" if owner else "no longer that of"
    return f"{there[0]} in {_root(installed)} is {now} {named}."


def _root(installed: metadata.Distribution) -> Path:
    """Return the folder that the files of a distribution are in."""
    return Path(str(installed.locate_file("")))


def _holds(installed: metadata.Distribution, place: Path) -> bool:
    """Whether a file, or the folder of a namespace, is part of a distribution."""
    root = _root(installed)
    names = {
        spelled.relative_to(base).as_posix()
        for base in (root, root.resolve())
        for spelled in (place, place.parent.resolve() / place.name, place.resolve())
        if spelled.is_relative_to(base)
    }
    lines = _record(installed)
    if names and not lines.strip():
        return True  # such as Debian's packages, which list no files
    listed = any(f"\n{start}{name}{end}" in lines for name in names for start, end in _SPELLINGS)
    return listed or any(
        place.resolve().is_relative_to(folder.resolve()) for folder in _sources(installed)
    )


@cache
def _installed(distribution: str, site: Path | None) -> metadata.Distribution | None:
    return versions.installed(distribution, site)


@cache
def _record(installed: metadata.Distribution) -> str:
    """Return the list of a distribution's files, each after a line break.

    That of torch is 1.5 MB. A host has read it before it forks its workers.
    """
    return f"\n{installed.read_text('RECORD') or ''}"


_SPELLINGS = (("", ","), ('"', '",'), ("", "/"))
"""What comes before and after the name of a file in a RECORD, and of a folder with files."""


def _sources(installed: metadata.Distribution) -> Iterator[Path]:
    """Yield the folders that an editable installation takes its modules from."""
    origin = json.loads(installed.read_text("direct_url.json") or "{}")
    if _is_editable(origin):
        yield Path(url2pathname(urlparse(origin["url"]).path))
    for file in installed.files or ():
        if file.suffix == ".pth" and len(file.parts) == 1:
            lines = Path(str(file.locate())).read_text().splitlines()
            yield from (Path(line) for line in lines if Path(line).is_absolute())
        elif file.name.startswith("__editable__") and file.stem in sys.modules:
            mapping: Mapping[str, str] = getattr(sys.modules[file.stem], "MAPPING", {})
            yield from map(Path, mapping.values())


def _is_editable(origin: Mapping[str, Mapping[str, object]]) -> bool:
    return bool(origin.get("dir_info", {}).get("editable"))
