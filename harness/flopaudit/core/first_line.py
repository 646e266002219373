"""The first line of an error: what it says, without what some errors list after it."""

from __future__ import annotations

import re

LONGEST = 300

_SENTENCE = re.compile(r"(?<=[\w)'\"\]]{2}\.)\s+(?=[A-Z'\"])")
_LONG = 120
"""Of a line that is longer than this, the first sentence is enough."""


def first_line(message: str) -> str:
    """Return the first line of a message; of a long line, the first sentence.

    torch follows the sentence `Could not run 'ns::op' with arguments from the 'Meta' backend.` by
    advice and a list of all its backends.
    """
    lines = message.strip().splitlines()
    if not lines:
        return ""
    line = lines[0].strip()
    if len(line) > _LONG:
        line = _SENTENCE.split(line, maxsplit=1)[0]
    return line[:LONGEST]


def named(error: BaseException) -> str:
    """Return the type of an error and the first line of its message."""
    line = first_line(str(error))
    return f"{type(error).__name__}: {line}" if line else type(error).__name__
