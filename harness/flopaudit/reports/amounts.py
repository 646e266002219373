"""Numbers and lists of words as a reader sees them."""

from __future__ import annotations

from collections.abc import Sequence


def listed(words: Sequence[str]) -> str:
    """Return words as a list in a sentence: `a, b and c`."""
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else words[0]


def giga(count: int, unit: str) -> str:
    """Return a count with three decimals in G or M, such as `4.134 GMACs`; small ones exactly."""
    for scale, name in ((10**9, "G"), (10**6, "M")):
        if abs(count) >= scale // 10:
            thousandths = (abs(count) * 1000 + scale // 2) // scale
            sign = "-" if count < 0 else ""
            return f"{sign}{thousandths // 1000:,}.{thousandths % 1000:03d} {name}{unit}"
    return f"{count:,} {unit}".rstrip()


def signed(amount: int, *, exact: bool) -> str:
    """Return a difference with its sign, exactly or rounded: `+22,227,968`, `+22.228 M`."""
    return f"{amount:+,}" if exact else f"{'+' if amount > 0 else ''}{giga(amount, '')}"
