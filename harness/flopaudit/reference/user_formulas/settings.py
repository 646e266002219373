"""Settings of a project: `[tool.flopaudit]` in its pyproject.toml."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from flopaudit.core.errors import UsageError

FILE, TABLE = "pyproject.toml", "[tool.flopaudit]"
_REMEDY = 'It has `formulas = ["file.py"]`, with paths relative to it.'


def formula_files(start: Path) -> list[Path]:
    """Return the files of formulas that the project of a folder names.

    Args:
        start: the folder; the nearest pyproject.toml in it, or above it, with `[tool.flopaudit]` is
            that of its project.

    Raises:
        UsageError: a pyproject.toml there cannot be read, or has other settings of flopaudit.
    """
    for folder in (start, *start.parents):
        path = folder / FILE
        settings = _settings(path) if path.is_file() else None
        if settings is not None:
            return [folder / name for name in _names(settings, path)]
    return []


def _settings(path: Path) -> Any:
    """Return the settings of flopaudit in a file; None if it has none."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib  # type: ignore[import-not-found,unused-ignore] # 3.10 only
    try:
        text = path.read_text(encoding="utf-8")
        if "flopaudit" not in text:
            return None
        tool = tomllib.loads(text).get("tool")
    except (OSError, UnicodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}.", "Correct the file.") from error
    return tool.get("flopaudit") if isinstance(tool, dict) else None


def _names(settings: Any, path: Path) -> list[str]:
    names = settings.get("formulas", []) if isinstance(settings, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UsageError(f"In {path}, {TABLE} has no list of files as formulas.", _REMEDY)
    unknown = sorted(set(settings) - {"formulas"})
    if unknown:
        raise UsageError(f"In {path}, {TABLE} has the unknown '{unknown[0]}'.", _REMEDY)
    return names
