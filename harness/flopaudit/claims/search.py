"""Claims and readings come in, answers go out: which readings give a claimed number.

A reading is a number that a model has under some suppositions, with what these cost in bits: each
bit halves how likely they are before the number is seen. Of the readings that fit the printed
digits the cheapest is the answer, unless others are about as cheap, or unless random numbers would
be fitted as cheaply too often. How often is measured: random numbers of the same size, printed with
as many digits, are put through the same search.
"""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from math import floor, inf, log10, sqrt
from typing import Any, Literal

from flopaudit.claims.parsing import (
    Claim,
    Printing,
    Unit,
    bounds,
)

Verdict = Literal["settled", "ambiguous", "weak", "none"]

SETTLED_CHANCE = 0.05
"""A reading settles a claim only if fewer random numbers would have been fitted as cheaply."""
LOOKED_CHANCE = 0.10
"""Beyond this a fit says nothing; costlier readings are not looked for."""
MARGIN_BITS = 2.0
"""Readings that cost less than so much more than the cheapest are about as simple."""
GRAIN = 0.01
"""Readings closer than this share of the last digit are one: the digits cannot tell them apart."""
CLOSEST_BITS = 0.5
"""No two costs that differ do so by less."""
DRAWS = 2_000
SPREAD = 8.0
"""Random numbers are drawn from a range this wide, largest over smallest."""
NEAREST = 3

MISNAMED_BITS: dict[tuple[Unit, Unit], float] = {
    ("", "FLOP"): 1.0,  # most that is called nothing is multiply-accumulates
    ("FLOP", "MAC"): 1.0,  # the usual confusion
    ("MAC", "FLOP"): 3.0,  # the unusual one
}
"""What it costs that a claim says the first and means the second."""


@dataclass(frozen=True)
class Interpretation:
    """A number that a model has under some suppositions.

    Attributes:
        name: the suppositions in words.
        value: the count, exactly.
        unit: MAC, FLOP or param.
        bits: what the suppositions cost; 0 for the usual ones.
        where: what it was counted on, or which tool in which version said it.
        tool: that tool's name, "" for a count of the reference.
    """

    name: str
    value: int
    unit: Unit
    bits: float
    where: str = ""
    tool: str = ""

    @property
    def quantity(self) -> str:
        """What it is a number of: `params` or `operations`."""
        return "params" if self.unit == "param" else "operations"


@dataclass(frozen=True)
class Fit:
    """A reading against a claim, printed in one way.

    Attributes:
        reading: the number and its suppositions.
        printing: how it became the claim's digits.
        bits: what all this costs, with a unit that is named wrongly.
        chance: share of random numbers that would have been fitted as cheaply.
        error: what the reading is above the claimed number, as a share of that.
    """

    reading: Interpretation
    printing: Printing
    bits: float
    chance: float
    error: float

    @property
    def name(self) -> str:
        """Reading and printing in words."""
        return "; ".join(filter(None, (self.reading.name, self.printing.name)))

    def to_json(self) -> dict[str, Any]:
        """Plain data with stable keys."""
        return {
            "reading": self.name,
            "value": self.reading.value,
            "unit": self.reading.unit,
            "where": self.reading.where,
            "error_percent": round(100 * self.error, 4),
            "cost": self.bits,
            "chance": self.chance,
        }


@dataclass(frozen=True)
class Answer:
    """What is found out about one claim.

    Attributes:
        claim: what was claimed.
        verdict: settled, ambiguous (several readings are about as simple), weak (too many random
            numbers would have been fitted as well) or none.
        fits: all readings that fit, the cheapest first.
        simplest: those that are about as simple as the first, and that the digits tell apart.
        nearest: those that come nearest, whether they fit or not.
        chance: share of random numbers fitted as cheaply as the best fit, or at all.
        rates: share of random numbers by the verdict they would have had.
        tried: how many different numbers were looked at.
    """

    claim: Claim
    verdict: Verdict
    fits: tuple[Fit, ...]
    simplest: tuple[Fit, ...]
    nearest: tuple[Fit, ...]
    chance: float
    rates: dict[str, float]
    tried: int

    @property
    def explained(self) -> float:
        """Share of random numbers that would have been called settled or ambiguous."""
        return self.rates["settled"] + self.rates["ambiguous"]

    def to_json(self) -> dict[str, Any]:
        """Plain data with stable keys."""
        low, high = self.claim.bounds
        return {
            "name": self.claim.name,
            "text": self.claim.text,
            "low": low,
            "high": high,
            "verdict": self.verdict,
            "fits": [fit.to_json() for fit in self.fits],
            "simplest": [fit.name for fit in self.simplest],
            "nearest": [fit.to_json() for fit in self.nearest],
            "chance_rate": self.chance,
            "random_rates": self.rates,
            "readings_tried": self.tried,
        }


def answer(claims: Iterable[Claim], readings: Sequence[Interpretation]) -> tuple[Answer, ...]:
    """Find for each claim the readings that give it; the same for the same readings."""
    return tuple(_answer(claim, readings) for claim in claims)


def _answer(claim: Claim, readings: Sequence[Interpretation]) -> Answer:
    search = Search(claim, readings)
    found = search.fits(claim.digits, claim.power)
    fits = tuple(
        Fit(reading, printing, bits, search.chance(bits), search.error(reading, printing))
        for bits, reading, printing in found
    )
    near = _told_apart([(fit.bits, fit.reading.value) for fit in fits], search.grain(claim.power))
    chance = search.chance(fits[0].bits if fits else inf)
    return Answer(
        claim,
        search.verdict([fits[index].bits for index in near]),
        fits,
        tuple(fits[index] for index in near),
        tuple(search.nearest()),
        chance,
        search.rates(),
        len(search.readings),
    )


def _told_apart(fits: Sequence[tuple[float, int]], grain: float) -> list[int]:
    """Which fits, as cost and value, the cheapest first, are about as simple as the first.

    What supposes more than another and gives the same number, as far as the digits tell, is left
    out.
    """
    kept: list[int] = []
    for index, (bits, value) in enumerate(fits):
        if bits >= fits[0][0] + MARGIN_BITS:
            break
        if all(abs(value - fits[other][1]) > grain for other in kept):
            kept.append(index)
    return kept


class Search:
    """The readings that a claim may mean, in order, so that what fits is found fast."""

    def __init__(self, claim: Claim, readings: Sequence[Interpretation]) -> None:
        self.claim = claim
        self.readings = _cheapest(claim, readings)
        self._values = [reading.value for _, reading in self.readings]
        self._bits = [bits for bits, _ in self.readings]
        self._printings = claim.printings()

    def fits(self, digits: int, power: int) -> list[tuple[float, Interpretation, Printing]]:
        """All readings that are printed as these digits, each in its cheapest way."""
        found: dict[int, tuple[float, Interpretation, Printing]] = {}
        for printing in self._printings:  # the cheapest first
            for index in self._span(digits, power, printing):
                bits, reading = self.readings[index]
                found.setdefault(index, (bits + printing.bits, reading, printing))
        return sorted(found.values(), key=lambda fit: (fit[0], abs(self.error(*fit[1:]))))

    def verdict(self, costs: Sequence[float]) -> Verdict:
        """What fits that are about as simple, and cost so much, amount to."""
        if not costs:
            return "none"
        chance, several = self.chance(costs[0]), len(costs) > 1
        if chance > LOOKED_CHANCE or (chance > SETTLED_CHANCE and not several):
            return "weak"
        return "ambiguous" if several else "settled"

    def grain(self, power: int) -> float:
        """How much two counts must differ for digits that end in this power to tell them apart."""
        return GRAIN * self._printings[0].scale.factor * 10.0**power

    def chance(self, bits: float) -> float:
        """Share of random numbers that are fitted as cheaply."""
        return bisect_right(self._drawn_costs, bits) / DRAWS

    def rates(self) -> dict[str, float]:
        """Share of random numbers by their verdict."""
        verdicts = [self.verdict(costs) for costs in self._drawn]
        names: tuple[Verdict, ...] = ("settled", "ambiguous", "weak", "none")
        return {name: verdicts.count(name) / DRAWS for name in names}

    def error(self, reading: Interpretation, printing: Printing) -> float:
        """What a reading is above the claimed number, as a share of that."""
        return reading.value / _value(self.claim, printing.scale.factor) - 1

    def nearest(self) -> Iterator[Fit]:
        """The readings that come nearest, of those that the digits allow, as usually printed."""
        most = self._most_bits
        pairs = [
            (abs(self.error(reading, printing)), bits + printing.bits, reading, printing)
            for printing in self._printings
            if not printing.coarser and not printing.cut
            for bits, reading in self.readings
            if bits + printing.bits <= most
        ]
        pairs.sort(key=lambda pair: pair[:2])
        for _, bits, reading, printing in pairs[:NEAREST]:
            yield Fit(reading, printing, bits, self.chance(bits), self.error(reading, printing))

    @property
    def _most_bits(self) -> float:
        """The cost that not more random numbers than allowed are fitted for; 0 at the least."""
        allowed = int(LOOKED_CHANCE * DRAWS)
        costs = self._drawn_costs
        return inf if len(costs) <= allowed else max(0.0, costs[allowed] - CLOSEST_BITS)

    @cached_property
    def _drawn(self) -> list[tuple[float, ...]]:
        """For each random number, what the fits that are about as simple cost."""
        return [self._costs(*printed) for printed in self._draws()]

    @cached_property
    def _drawn_costs(self) -> list[float]:
        return sorted(chain.from_iterable(costs[:1] for costs in self._drawn))

    def _costs(self, digits: int, power: int) -> tuple[float, ...]:
        found: dict[int, float] = {}
        for printing in self._printings:
            for index in self._span(digits, power, printing):
                found.setdefault(index, self._bits[index] + printing.bits)
        fits = sorted((bits, self._values[index]) for index, bits in found.items())
        return tuple(fits[index][0] for index in _told_apart(fits, self.grain(power)))

    def _span(self, digits: int, power: int, printing: Printing) -> range:
        low, high = bounds(digits, power, printing)
        return range(bisect_left(self._values, low), bisect_right(self._values, high))

    def _draws(self) -> Iterator[tuple[int, int]]:
        """Random numbers around the usual reading, or around a claim that is far from it."""
        usual = min(self.readings, key=lambda item: item[1].bits)[1].value if self.readings else 1
        scales = [scale.factor for scale in self.claim.scales()]
        claimed = min((_value(self.claim, factor) for factor in scales),
                      key=lambda value: abs(log10(value / usual)))  # fmt: skip
        factor = min(scales, key=lambda each: abs(_value(self.claim, each) - claimed))
        reach = sqrt(SPREAD)
        centre = usual if usual / reach <= claimed <= usual * reach else claimed
        generator = random.Random(0)  # noqa: S311 - the same numbers each time
        for _ in range(DRAWS):
            drawn = centre * SPREAD ** (generator.random() - 0.5) / factor
            power = floor(log10(drawn)) - self.claim.figures + 1
            yield max(1, round(drawn * 10.0**-power)), power


def _cheapest(
    claim: Claim, readings: Sequence[Interpretation]
) -> list[tuple[float, Interpretation]]:
    """The readings of what is claimed, by value, of equal ones the cheapest, with their cost."""
    best: dict[int, tuple[float, Interpretation]] = {}
    for reading in readings:
        named = bool(reading.tool) and reading.tool in claim.name.lower()
        bits = 0 if named else reading.bits + MISNAMED_BITS.get((claim.unit, reading.unit), 0.0)
        right = reading.quantity == claim.quantity and reading.value > 0
        if right and (reading.value not in best or bits < best[reading.value][0]):
            best[reading.value] = (bits, reading)
    return [best[value] for value in sorted(best)]


def _value(claim: Claim, factor: int) -> float:
    return claim.digits * factor * 10.0**claim.power
