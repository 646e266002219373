"""The marks that say how a tool's number compares with the reference; never by colour alone."""

from __future__ import annotations

EXACT, EXPLAINED, FAR, UNEXPLAINED, BOUND = "=", "*", "!", "?", "~"

FAR_PERCENT = 1
"""A number further from the reference than this is marked as far."""

LEGEND = "= exact match; * differs, explained; ! differs by more than 1 %; ? unexplained."

BOUND_LEGEND = "~ compared with a lower bound."
"""The legend of a mark that few tables have."""

STYLES = {EXACT: "green", EXPLAINED: "", FAR: "magenta", UNEXPLAINED: "bold red", BOUND: "magenta"}
"""Of the 16 colours of any terminal, those that can be read on dark and on light."""


def mark(reported: int, reference: int, *, explained: bool, lower_bound: bool = False) -> str:
    """Return the mark of a number.

    Args:
        reported: the number.
        reference: in the same unit.
        explained: whether each known difference is explained.
        lower_bound: whether the reference is one; then no number is right or wrong by it.
    """
    if lower_bound:
        return BOUND
    if not explained:
        return UNEXPLAINED
    if reported == reference:
        return EXACT
    return FAR if abs(reported - reference) * 100 > FAR_PERCENT * reference else EXPLAINED
