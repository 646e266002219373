"""Text from models and tools, made fit for a record: one line, UTF-8, the same on any machine."""

from __future__ import annotations

import re
import sys
import traceback
from pathlib import Path

import flopaudit_adapters

_ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}\b")
_PACKAGES = re.compile(r"[^\s\"']+/site-packages/")
_SOURCES = (
    Path(flopaudit_adapters.__file__).resolve().parent,
    Path(__file__).resolve().parents[1],
)
_PLACES = (*(str(source.parent) for source in _SOURCES), sys.prefix, sys.base_prefix)


def one_line(error: BaseException) -> str:
    """Type and first line of an exception's message; without one, the line that raised it."""
    name, lines = type(error).__name__, str(error).strip().splitlines()
    if lines:
        return plain(f"{name}: {lines[0][:300]}")
    raised = traceback.extract_tb(error.__traceback__)[-1:]
    return plain(f"{name} at `{raised[0].line}`") if raised and raised[0].line else name


def plain(text: str) -> str:
    """Text as UTF-8 can hold it: lone surrogates, as in odd file names, are written out."""
    return text.encode(errors="backslashreplace").decode()


def portable(text: str, site: str | None = None) -> str:
    """The text, addresses in memory and places on this machine blanked, as they differ.

    Args:
        text: what a tool printed or raised.
        site: the folder that the tool was imported from.
    """
    for place in filter(None, (site, *_PLACES)):
        text = text.replace(place, "…")
    return _PACKAGES.sub("…/site-packages/", _ADDRESS.sub("0x…", text))
