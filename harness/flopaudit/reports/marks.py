"""The marks that say how a tool's number compares with the reference; never by colour alone."""

from __future__ import annotations

EXACT, EXPLAINED, FAR, UNEXPLAINED = "=", "*", "!", "?"

FAR_PERCENT = 1
"""A number further from the reference than this is marked as far."""

LEGEND = "= exact match; * differs, explained; ! differs by more than 1 %; ? unexplained."

STYLES = {EXACT: "green", EXPLAINED: "", FAR: "magenta", UNEXPLAINED: "bold red"}
"""Of the 16 colours of any terminal, those that can be read on dark and on light."""


def mark(reported: int, reference: int, *, explained: bool) -> str:
    """Return the mark of a number, which is in the same unit as the reference."""
    if not explained:
        return UNEXPLAINED
    if reported == reference:
        return EXACT
    return FAR if abs(reported - reference) * 100 > FAR_PERCENT * reference else EXPLAINED
