"""Parsing of published numbers: read one, and find the counts that may be printed as its digits.

Only the printed digits are known of the number behind them: 3.8G is anything from 3.75 to 3.85
billion, if it was rounded. `Claim.printings` lists the ways in which a number may have become those
digits, each with the cost of assuming it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from flopaudit.core.errors import UsageError

Unit = Literal["", "MAC", "FLOP", "param"]

HOW = "Write it as paper=3.8G, '4.12 GFLOPs', 25.6M params, 1.8e9 or 4,089,184,256."

_UNITS: dict[Unit, str] = {
    "MAC": r"macs?|maccs?|m-?adds?|mult-?adds?|multadds?|multiply-(?:adds?|accumulates?)|fmas?",
    "FLOP": r"flops?",
    "param": r"params?|parameters?",
    "": r"ops?",
}
_PREFIXES = {"K": 1, "M": 2, "G": 3, "T": 4, "P": 5}
_WORDS = {"B": "G", "BN": "G", "THOUSAND": "K", "MILLION": "M", "BILLION": "G", "TRILLION": "T"}

_VALUE = re.compile(
    r"^(?:~|≈|about|approx\.?|ca\.)?\s*"
    r"(?P<number>\d{1,3}(?:[,_]\d{3})+|\d+(?:\.\d+)?|\.\d+)"
    r"(?:(?:e\+?|\s*[*x×·]\s*10\s*(?:\^|\*\*)\s*)(?P<power>\d{1,2}))?"
    r"\s*(?P<prefix>[kmgtp]i|[kmgtpb]|thousand|million|billion|trillion|bn)?"
    rf"\s*-?\s*(?P<unit>{'|'.join(_UNITS.values())})?$",
    re.IGNORECASE,
)
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")
_POWERED = re.compile(r"(?<=10)[⁰¹²³⁴⁵⁶⁷⁸⁹]+")
_SPEED = re.compile(r"(?:/\s*s(?:ec)?|\bper second)\s*$", re.IGNORECASE)

ZEROS_OF_ROUNDING = 3
"""A plain whole number that ends in at least this many zeros is taken as rounded there."""
MOST_DIGITS = 30
BARE = 10_000
"""A smaller number without a prefix may be in any, as in a table with G only in its header."""


@dataclass(frozen=True)
class Scale:
    """The factor of the printed number, and the cost of assuming it."""

    factor: int
    name: str
    cost: float


@dataclass(frozen=True)
class Printing:
    """A way in which a number may have become the printed digits.

    Attributes:
        scale: the factor of the printed number.
        coarser: the number of last digits that are zeros from rounding.
        cut: whether digits were cut off instead of rounded.
        cost: the cost of assuming all of this.
    """

    scale: Scale
    coarser: int
    cut: bool
    cost: float

    @property
    def name(self) -> str:
        """A description of the way; "" for the usual one."""
        parts = [self.scale.name]
        if self.coarser:
            parts.append(f"rounded before its last {self.coarser} zeros")
        if self.cut:
            parts.append("cut off, not rounded")
        return "; ".join(filter(None, parts))


@dataclass(frozen=True)
class Claim:
    """A number that somebody published.

    Attributes:
        name: the user's name for it.
        text: the number as it was given.
        digits: the printed digits as one whole number: 38 for 3.8.
        power: the power of ten of the last digit, before the prefix.
        prefix: K, M, G, T, P, one of them with i, or "".
        unit: the unit that the text names; "" for none.
    """

    name: str
    text: str
    digits: int
    power: int
    prefix: str = ""
    unit: Unit = ""

    @property
    def quantity(self) -> str:
        """The claimed quantity: `params` or `operations`."""
        return "params" if self.unit == "param" else "operations"

    @property
    def figures(self) -> int:
        """The number of significant digits that were printed."""
        return len(str(self.digits))

    @property
    def bounds(self) -> tuple[int, int]:
        """The smallest and the largest count that is usually printed like this."""
        return bounds(self.digits, self.power, self.printings()[0])

    def scales(self) -> tuple[Scale, ...]:
        """List the factors that the prefix may mean, the cheapest first."""
        if self.prefix:
            decimal, binary = _scales(self.prefix[0])
            if self.prefix.endswith("i"):
                return (replace(binary, name="", cost=0), replace(decimal, cost=BINARY_COST))
            return (replace(decimal, name=""), binary)
        plain = Scale(1, "", 0)
        if self.digits * 10 ** max(self.power, 0) >= BARE * 10 ** max(-self.power, 0):
            return (plain,)
        others = [
            Scale(1000 ** _PREFIXES[prefix], f"in {prefix}", cost)
            for prefix, cost in _OMITTED_PREFIXES
        ]
        return (plain, *others) if self.power >= 0 else tuple(others)

    def printings(self) -> tuple[Printing, ...]:
        """List the ways in which a number may have become these digits, the usual one first."""
        zeros = self.figures - len(str(self.digits).rstrip("0"))
        # Zeros after the point are printed on purpose; those before it may come from rounding.
        filled = max(0, zeros + min(self.power, 0)) if self.prefix else 0
        found = []
        for scale in self.scales():
            found.append(Printing(scale, 0, cut=False, cost=scale.cost))
            if scale.factor > 1 or self.power > 0:
                found.append(Printing(scale, 0, cut=True, cost=scale.cost + CUT_COST))
            found += [
                Printing(scale, coarser, cut=False, cost=scale.cost + CUT_COST + coarser - 1)
                for coarser in range(1, filled + 1)
            ]
        return tuple(sorted(found, key=lambda printing: printing.cost))


BINARY_COST = 3.0
"""The cost of G as 2^30: it occurs in practice, about an eighth as often as 10^9."""
CUT_COST = 2.0
"""The cost of digits that were cut off, or of zeros from rounding."""
_OMITTED_PREFIXES = (("G", 1.0), ("M", 1.0), ("K", 3.0), ("T", 3.0))


def _scales(prefix: str) -> tuple[Scale, Scale]:
    power = _PREFIXES[prefix]
    return (
        Scale(1000**power, f"{prefix} as 10^{3 * power}", 0),
        Scale(1024**power, f"{prefix} as 2^{10 * power}", BINARY_COST),
    )


def bounds(digits: int, power: int, printing: Printing) -> tuple[int, int]:
    """Return the smallest and the largest count that is printed as these digits in this way.

    A half belongs to both sides, because some round it up and others to the even digit.
    """
    shift = 10**printing.coarser
    rounded = (2 * digits + shift) // (2 * shift)
    power += printing.coarser
    low, high = (
        (2 * rounded, 2 * rounded + 2) if printing.cut else (2 * rounded - 1, 2 * rounded + 1)
    )
    above, below = printing.scale.factor * 10 ** max(power, 0), 2 * 10 ** max(-power, 0)
    largest = -(-high * above // below) - 1 if printing.cut else high * above // below
    return -(-low * above // below), largest


def parse_claims(texts: Iterable[str]) -> tuple[Claim, ...]:
    """Parse claims; several may share a name, such as that of a paper.

    Raises:
        UsageError: a claim cannot be parsed, or there is none.
    """
    claims = tuple(map(parse_claim, texts))
    if not claims:
        raise UsageError("There is no claim to settle.", f"Add --claim. {HOW}")
    return claims


def parse_claim(text: str) -> Claim:
    """Parse `NAME=VALUE` or `VALUE`: 3.8G, 4.12 GFLOPs, 25.6M params, 38,612,737, 3.6*10^9.

    Raises:
        UsageError: the text has none of these forms; the remedy shows how to write it.
    """
    name, equals, value = (part.strip() for part in text.rpartition("="))
    if (equals and not name) or not value:
        raise UsageError(f"'{text}' is not a claim.", HOW)
    if _SPEED.search(value):
        raise UsageError(
            f"'{value}' is a speed of hardware, not a count.",
            "Claim a count: --claim '8.2 GFLOPs'.",
        )
    plain = _POWERED.sub(lambda match: "^" + match[0].translate(_SUPERSCRIPTS), value)
    match = _VALUE.match(plain)
    if not match:
        raise UsageError(f"'{value}' is not a number of operations or parameters.", HOW)
    digits, power = _digits(match["number"], int(match["power"] or 0))
    if not digits:
        raise UsageError(f"'{value}' is zero.", "Claim a number above 0.")
    prefix = _prefix(match["prefix"] or "")
    if len(str(digits)) > MOST_DIGITS or power > MOST_DIGITS:
        raise UsageError(
            f"'{value}' is larger than the count of any network.", "Check the claim's digits."
        )
    unit = _unit(match["unit"] or "")
    if not unit and re.search("param", name, re.IGNORECASE):
        unit = "param"
    if not prefix:
        digits, power = _without_rounding_zeros(digits, power)
    return Claim(name or value, value, digits, power, prefix, unit)


def _digits(number: str, power: int) -> tuple[int, int]:
    whole, _, fraction = re.sub("[,_]", "", number).partition(".")
    return int(whole + fraction), power - len(fraction)


def _without_rounding_zeros(digits: int, power: int) -> tuple[int, int]:
    zeros = len(str(digits)) - len(str(digits).rstrip("0"))
    if power or zeros < ZEROS_OF_ROUNDING:
        return digits, power
    return digits // 10**zeros, zeros


def _prefix(text: str) -> str:
    upper = text.upper()
    if upper.endswith("I"):
        return upper[0] + "i"
    return _WORDS.get(upper, upper)


def _unit(text: str) -> Unit:
    found = (unit for unit, names in _UNITS.items() if re.fullmatch(names, text, re.IGNORECASE))
    return next(found, "")
