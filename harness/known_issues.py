"""Threads in which a tool's users or makers speak of what a finding shows; data.

Only threads that were read are listed. A finding is linked by its tool, its cause and what stands
behind it; an empty field of an entry fits anything.
"""

from __future__ import annotations

from typing import NamedTuple


class Thread(NamedTuple):
    """One thread, and the findings that it is about."""

    tool: str
    variant: str
    cause: str
    label: str
    url: str


THREADS: tuple[Thread, ...] = ()


def link(tool: str, variant: str | None, cause: str, label: str) -> str | None:
    """The thread about such a finding, if one is known."""
    for thread in THREADS:
        fits = (
            thread.tool == tool
            and thread.variant in {"", variant or ""}
            and thread.cause in {"", cause}
            and thread.label.lower() in label.lower()
        )
        if fits:
            return thread.url
    return None
