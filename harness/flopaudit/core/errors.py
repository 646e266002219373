"""What a user may have done wrong: each error is one sentence, and one that says what to do."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class UsageError(Exception):
    """Bad input. Shown as `message` and `remedy`, without a traceback; exit code 2."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(f"{message} {remedy}")
        self.message = message
        self.remedy = remedy


def unknown(what: str, name: str, known: Iterable[str], remedy: str) -> UsageError:
    """The error of a name that is not known: the nearest ones as its remedy, or the one given."""
    names = list(known)
    near = [each for each in names if name in each] or get_close_matches(name, names)
    hint = f"Did you mean {', '.join(near[:5])}?" if near else remedy
    return UsageError(f"There is no {what} '{name}'.", hint)
