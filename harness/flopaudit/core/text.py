"""Text from models and tools, normalised for records: one line, UTF-8, equal on all machines."""

from __future__ import annotations

import re
import sys
import traceback
from pathlib import Path

import flopaudit_adapters

from flopaudit.core.first_line import named

_ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}\b")
_PACKAGES = re.compile(r"[^\s\"']+/site-packages/")
_SOURCES = (
    Path(flopaudit_adapters.__file__).resolve().parent,
    Path(__file__).resolve().parents[1],
)
_PLACES = (*(str(source.parent) for source in _SOURCES), sys.prefix, sys.base_prefix)


def one_line(error: BaseException) -> str:
    """Return an exception's type and first line; without a message, the line that raised it."""
    if str(error).strip():
        return plain(named(error))
    name, raised = type(error).__name__, traceback.extract_tb(error.__traceback__)[-1:]
    return plain(f"{name} at `{raised[0].line}`") if raised and raised[0].line else name


def plain(text: str) -> str:
    """Return text that UTF-8 can hold: lone surrogates, as in odd file names, are escaped."""
    return text.encode(errors="backslashreplace").decode()


def portable(text: str, site: str | None = None) -> str:
    """Return text with memory addresses and folders of this machine blanked, because they differ.

    Args:
        text: the output or message of a tool.
        site: the folder that the tool was imported from.
    """
    for place in filter(None, (site, *_PLACES)):
        text = text.replace(place, "…")
    return _PACKAGES.sub("…/site-packages/", _ADDRESS.sub("0x…", text))
