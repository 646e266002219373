"""Errors of usage: each has a message of one sentence, and a remedy."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class UsageError(Exception):
    """Bad input. Shown as `message` and `remedy`, without a traceback; exit code 2."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(f"{message} {remedy}")
        self.message = message
        self.remedy = remedy


def unknown(kind: str, name: str, known: Iterable[str], remedy: str) -> UsageError:
    """Return the error for an unknown name; its remedy suggests similar names, if there are any."""
    names = list(known)
    near = [each for each in names if name in each] or get_close_matches(name, names)
    hint = f"Did you mean {', '.join(near[:5])}?" if near else remedy
    return UsageError(f"There is no {kind} '{name}'.", hint)


class RunError(Exception):
    """A run that failed. Shown as one sentence, without a traceback; exit code 1."""
