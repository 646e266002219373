"""Search the interpretations of a model for those that give a claimed number.

An interpretation is a number that a model has under some assumptions. Its cost states how unlikely
these are before the number is seen: each unit of cost halves their probability. Of the
interpretations that fit the printed digits, the cheapest is the answer, unless others are about as
cheap, or unless random numbers would be fitted as cheaply too often. That rate is measured: random
numbers of the same size, printed with as many digits, are searched for in the same way.
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
"""A fit settles a claim only if at most this share of random numbers is fitted as cheaply."""
LOOKED_CHANCE = 0.10
"""Above this share a fit shows nothing, and costlier interpretations are not searched."""
MARGIN_COST = 2.0
"""Interpretations count as about as simple if they cost less than this above the cheapest."""
GRAIN = 0.01
"""Interpretations that differ by less than this share of the last digit count as equal."""
CLOSEST_COST = 0.5
"""The smallest difference between two different costs."""
DRAWS = 2_000
SPREAD = 8.0
"""Random numbers are drawn from a range this wide, largest over smallest."""
NEAREST = 3

MISNAMED_COST: dict[tuple[Unit, Unit], float] = {
    ("", "FLOP"): 1.0,  # most numbers without a unit are multiply-accumulates
    ("FLOP", "MAC"): 1.0,  # the usual confusion
    ("MAC", "FLOP"): 3.0,  # the unusual one
}
"""The cost of assuming that a claim names the first unit and means the second."""


@dataclass(frozen=True)
class Interpretation:
    """A number that a model has under some assumptions.

    Attributes:
        name: a description of the assumptions.
        value: the exact count.
        unit: MAC, FLOP or param.
        cost: the cost of the assumptions; 0 for the usual ones.
        where: the input that was counted on, or the tool and its version.
        tool: the name of that tool; "" for a count of the reference.
    """

    name: str
    value: int
    unit: Unit
    cost: float
    where: str = ""
    tool: str = ""

    @property
    def quantity(self) -> str:
        """The quantity: `params` or `operations`."""
        return "params" if self.unit == "param" else "operations"


@dataclass(frozen=True)
class Fit:
    """An interpretation that is compared with a claim.

    Attributes:
        interpretation: the number and its assumptions.
        printing: the way in which it became the claim's digits.
        cost: the cost of both, including that of a wrong unit.
        chance: the share of random numbers that would have been fitted as cheaply.
        error: the relative difference of the interpretation from the claimed number.
    """

    interpretation: Interpretation
    printing: Printing
    cost: float
    chance: float
    error: float

    @property
    def name(self) -> str:
        """A description of the interpretation and the printing."""
        return "; ".join(filter(None, (self.interpretation.name, self.printing.name)))

    def to_json(self) -> dict[str, Any]:
        """Return plain data with stable keys."""
        return {
            "interpretation": self.name,
            "value": self.interpretation.value,
            "unit": self.interpretation.unit,
            "where": self.interpretation.where,
            "error_percent": round(100 * self.error, 4),
            "cost": self.cost,
            "chance": self.chance,
        }


@dataclass(frozen=True)
class Answer:
    """The answer to one claim.

    Attributes:
        claim: the claim.
        verdict: settled, ambiguous (several interpretations are about as simple), weak (too many
            random numbers would have been fitted as well) or none.
        fits: all interpretations that fit, the cheapest first.
        simplest: those that are about as simple as the first and distinguishable by the digits.
        nearest: the nearest interpretations, whether they fit or not.
        chance: the share of random numbers fitted as cheaply as the best fit, or at all.
        rates: the share of random numbers by the verdict that they would have had.
        tried: the number of different numbers that were compared.
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
        """The share of random numbers that would have been called settled or ambiguous."""
        return self.rates["settled"] + self.rates["ambiguous"]

    def to_json(self) -> dict[str, Any]:
        """Return plain data with stable keys."""
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
            "interpretations_tried": self.tried,
        }


def answer(
    claims: Iterable[Claim], interpretations: Sequence[Interpretation]
) -> tuple[Answer, ...]:
    """Find the interpretations that give each claim; deterministic."""
    return tuple(_answer(claim, interpretations) for claim in claims)


def _answer(claim: Claim, interpretations: Sequence[Interpretation]) -> Answer:
    search = Search(claim, interpretations)
    found = search.fits(claim.digits, claim.power)
    fits = tuple(
        Fit(
            interpretation,
            printing,
            cost,
            search.chance(cost),
            search.error(interpretation, printing),
        )
        for cost, interpretation, printing in found
    )
    near = _distinguishable(
        [(fit.cost, fit.interpretation.value) for fit in fits], search.grain(claim.power)
    )
    chance = search.chance(fits[0].cost if fits else inf)
    return Answer(
        claim,
        search.verdict([fits[index].cost for index in near]),
        fits,
        tuple(fits[index] for index in near),
        tuple(search.nearest()),
        chance,
        search.rates(),
        len(search.interpretations),
    )


def _distinguishable(fits: Sequence[tuple[float, int]], grain: float) -> list[int]:
    """Return the indices of the fits that are about as simple as the first.

    A fit is left out if a cheaper one gives the same number, as far as the digits show.

    Args:
        fits: costs and values, the cheapest first.
        grain: the smallest difference between values that the digits show.
    """
    kept: list[int] = []
    for index, (cost, value) in enumerate(fits):
        if cost >= fits[0][0] + MARGIN_COST:
            break
        if all(abs(value - fits[other][1]) > grain for other in kept):
            kept.append(index)
    return kept


class Search:
    """The interpretations that a claim may mean, sorted by value so that a search is fast."""

    def __init__(self, claim: Claim, interpretations: Sequence[Interpretation]) -> None:
        self.claim = claim
        self.interpretations = _cheapest(claim, interpretations)
        self._values = [interpretation.value for _, interpretation in self.interpretations]
        self._costs = [cost for cost, _ in self.interpretations]
        self._printings = claim.printings()

    def fits(self, digits: int, power: int) -> list[tuple[float, Interpretation, Printing]]:
        """Find all interpretations that are printed as these digits, each in its cheapest way."""
        found: dict[int, tuple[float, Interpretation, Printing]] = {}
        for printing in self._printings:  # the cheapest first
            for index in self._span(digits, power, printing):
                cost, interpretation = self.interpretations[index]
                found.setdefault(index, (cost + printing.cost, interpretation, printing))
        return sorted(found.values(), key=lambda fit: (fit[0], abs(self.error(*fit[1:]))))

    def verdict(self, costs: Sequence[float]) -> Verdict:
        """Return the verdict for fits with these costs, which are about as simple."""
        if not costs:
            return "none"
        chance, several = self.chance(costs[0]), len(costs) > 1
        if chance > LOOKED_CHANCE or (chance > SETTLED_CHANCE and not several):
            return "weak"
        return "ambiguous" if several else "settled"

    def grain(self, power: int) -> float:
        """Return the smallest difference between counts that digits ending in this power show."""
        return GRAIN * self._printings[0].scale.factor * 10.0**power

    def chance(self, cost: float) -> float:
        """Return the share of random numbers that are fitted as cheaply."""
        return bisect_right(self._drawn_costs, cost) / DRAWS

    def rates(self) -> dict[str, float]:
        """Return the share of random numbers by verdict."""
        verdicts = [self.verdict(costs) for costs in self._drawn]
        names: tuple[Verdict, ...] = ("settled", "ambiguous", "weak", "none")
        return {name: verdicts.count(name) / DRAWS for name in names}

    def error(self, interpretation: Interpretation, printing: Printing) -> float:
        """Return the relative difference of an interpretation from the claimed number."""
        return interpretation.value / _value(self.claim, printing.scale.factor) - 1

    def nearest(self) -> Iterator[Fit]:
        """Yield the nearest interpretations that are simple enough for the number of digits."""
        most = self._most_cost
        pairs = [
            (
                abs(self.error(interpretation, printing)),
                cost + printing.cost,
                interpretation,
                printing,
            )
            for printing in self._printings
            if not printing.coarser and not printing.cut
            for cost, interpretation in self.interpretations
            if cost + printing.cost <= most
        ]
        pairs.sort(key=lambda pair: pair[:2])
        for _, cost, interpretation, printing in pairs[:NEAREST]:
            yield Fit(
                interpretation,
                printing,
                cost,
                self.chance(cost),
                self.error(interpretation, printing),
            )

    @property
    def _most_cost(self) -> float:
        """The highest cost at which few enough random numbers are fitted; at least 0."""
        allowed = int(LOOKED_CHANCE * DRAWS)
        costs = self._drawn_costs
        return inf if len(costs) <= allowed else max(0.0, costs[allowed] - CLOSEST_COST)

    @cached_property
    def _drawn(self) -> list[tuple[float, ...]]:
        """The costs of the fits that are about as simple, for each random number."""
        return [self._costs_of_fits(*printed) for printed in self._draws()]

    @cached_property
    def _drawn_costs(self) -> list[float]:
        return sorted(chain.from_iterable(costs[:1] for costs in self._drawn))

    def _costs_of_fits(self, digits: int, power: int) -> tuple[float, ...]:
        found: dict[int, float] = {}
        for printing in self._printings:
            for index in self._span(digits, power, printing):
                found.setdefault(index, self._costs[index] + printing.cost)
        fits = sorted((cost, self._values[index]) for index, cost in found.items())
        return tuple(fits[index][0] for index in _distinguishable(fits, self.grain(power)))

    def _span(self, digits: int, power: int, printing: Printing) -> range:
        low, high = bounds(digits, power, printing)
        return range(bisect_left(self._values, low), bisect_right(self._values, high))

    def _draws(self) -> Iterator[tuple[int, int]]:
        """Draw numbers around the usual interpretation, or around a claim that is far from it."""
        usual = (
            min(self.interpretations, key=lambda item: item[1].cost)[1].value
            if self.interpretations
            else 1
        )
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
    claim: Claim, interpretations: Sequence[Interpretation]
) -> list[tuple[float, Interpretation]]:
    """Sort interpretations of the claimed quantity by value; of equal ones, keep the cheapest."""
    best: dict[int, tuple[float, Interpretation]] = {}
    for interpretation in interpretations:
        names_tool = bool(interpretation.tool) and interpretation.tool in claim.name.lower()
        cost = (
            0
            if names_tool
            else interpretation.cost + MISNAMED_COST.get((claim.unit, interpretation.unit), 0.0)
        )
        eligible = interpretation.quantity == claim.quantity and interpretation.value > 0
        if eligible and (interpretation.value not in best or cost < best[interpretation.value][0]):
            best[interpretation.value] = (cost, interpretation)
    return [best[value] for value in sorted(best)]


def _value(claim: Claim, factor: int) -> float:
    return claim.digits * factor * 10.0**claim.power
