"""Errors that a user sees: each has a message of one sentence, and a remedy."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import ClassVar


class UsageError(Exception):
    """Bad input. Shown as `message` and `remedy`, without a traceback; exit code 2."""

    exit_code: ClassVar[int] = 2

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(f"{message} {remedy}".rstrip())
        self.message = message
        self.remedy = remedy


class RunError(UsageError):
    """A run that could not go on, although nothing was wrong with its input; exit code 1."""

    exit_code: ClassVar[int] = 1


def unknown(kind: str, name: str, known: Iterable[str], remedy: str) -> UsageError:
    """Return the error for an unknown name; its remedy suggests similar names, if there are any."""
    names = list(known)
    near = [each for each in names if name in each] or get_close_matches(name, names)
    hint = f"Did you mean {', '.join(near[:5])}?" if near else remedy
    return UsageError(f"There is no {kind} '{name}'.", hint)
