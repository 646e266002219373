"""Errors that a user sees: each has a message of one sentence, and a remedy, or close names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import SequenceMatcher
from typing import ClassVar

MOST = 5
"""The most names that are suggested."""

_NEAR, _AS_NEAR = 0.6, 0.1  # how close a name is at least, and in comparison with the closest
_BEGINNING, _PART = 0.35, 0.05  # added for a name that begins with what was written, or contains it
_ELSEWHERE = 0.15  # taken from a name of another source
_OF_BEGINNING = 0.95  # for a name of which only the beginning is close to what was written
_TELLING = 3  # letters; fewer are contained in almost every name


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
    """Return the error for an unknown name; its remedy suggests close names, if there are any."""
    return UsageError(f"There is no {kind} '{name}'.", suggestion(closest(name, known)) or remedy)


def suggestion(names: Iterable[str]) -> str:
    """Return a question that suggests names; "" for none."""
    found = list(names)
    return f"Did you mean {', '.join(found)}?" if found else ""


def closest(
    name: str, known: Iterable[str], elsewhere: Mapping[str, Iterable[str]] | None = None
) -> list[str]:
    """Return the names that are closest to what was written, the closest first, at most `MOST`.

    Case, dashes and underscores make no difference. `resnet5` is close to `resnet50`, but not to
    `wide_resnet50_2`, though that contains it, because the other is so much closer.

    Args:
        name: what was written.
        known: the names that were meant to be there.
        elsewhere: names of other sources, by what is written before them, such as `timm:`.
    """
    closeness = _Closeness(name)
    scores = {each: closeness.of(each) for each in known}
    own = {each for each, score in scores.items() if score >= _NEAR}
    for prefix, others in (elsewhere or {}).items():
        for each in others:
            if each not in own:
                scores[prefix + each] = closeness.of(each) - _ELSEWHERE
    least = max(_NEAR, max(scores.values(), default=0) - _AS_NEAR)
    near = [each for each, score in scores.items() if score >= least]
    return sorted(near, key=lambda each: (-round(scores[each], 6), len(each), each))[:MOST]


class _Closeness:
    """How close names are to what was written: 1 or more for one that is, or begins with, it."""

    def __init__(self, written: str) -> None:
        self._written = _letters(written)
        self._matcher = SequenceMatcher(autojunk=False)
        self._matcher.set_seq2(self._written)

    def of(self, name: str) -> float:
        """Return the closeness of one name."""
        letters, written = _letters(name), self._written
        if len(written) >= _TELLING and written in letters:
            bonus = _BEGINNING if letters.startswith(written) else _PART
            return max(self._ratio(letters), _NEAR) + bonus
        beginning = letters[: len(written) + 1]  # a letter may be missing in what was written
        return max(self._ratio(letters), _OF_BEGINNING * self._ratio(beginning))

    def _ratio(self, letters: str) -> float:
        self._matcher.set_seq1(letters)
        return self._matcher.ratio() if self._matcher.quick_ratio() >= _NEAR else 0


def _letters(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name).lower()
