"""Samples come in, the simplest exact formula that gives all of them goes out; pure rationals.

A sample is what a tool said of a site and the site's quantities. A formula is a sum of quantities
with rational coefficients; it has to give every sample exactly, and to be the only one over its
quantities that does, so that it is read off the samples rather than chosen for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import combinations
from math import lcm
from typing import NamedTuple

from flopaudit.tracing.sites import QUANTITIES, Amounts

Formula = Mapping[str, Fraction]
"""Coefficients by quantity; without any, the site is not counted."""

MOST_TERMS = 4
SPARE = 1
"""Samples that there must be beyond those that fix the coefficients."""

CLOSE = 1e-6
"""Share of the largest sample by which floating point may be off."""
MOST_DENOMINATOR = 4
MOST_COEFFICIENT = 1000

NOTHING: Formula = {}


class Sample(NamedTuple):
    """Quantities of a site, and what a tool said of it."""

    amounts: Amounts
    said: Fraction


def value(formula: Formula, amounts: Amounts) -> Fraction:
    """What a formula makes of quantities."""
    # Whole numbers over one denominator, since adding fractions up is slow.
    under = lcm(*(factor.denominator for factor in formula.values()))
    return Fraction(
        sum(f.numerator * (under // f.denominator) * amounts.get(n, 0) for n, f in formula.items()),
        under,
    )


def fit(samples: Sequence[Sample]) -> Formula | None:
    """The simplest formula that gives all samples: the fewest terms, then the smallest numbers.

    A term that is taken off counts as two.

    Returns:
        None where there is none; an empty formula where all that was said is 0.
    """
    if all(sample.said == 0 for sample in samples):
        return NOTHING
    names = _distinct(samples)
    most = min(MOST_TERMS, len(names), len(samples) - SPARE)
    found: list[Formula] = []
    for size in range(1, most + 1):
        if found and min(map(_terms, found)) <= size:
            break  # what has more terms is not simpler
        found += _of_size(samples, names, size)
    return min(found, key=lambda formula: _complexity(formula, names), default=None)


def _terms(formula: Formula) -> int:
    """How many terms there are; one that is taken off counts twice, since few tools do so."""
    return sum(1 if factor > 0 else 2 for factor in formula.values())


def _distinct(samples: Sequence[Sample]) -> list[str]:
    """Quantities that are there, of several that are always equal the first."""
    seen: set[tuple[int, ...]] = set()
    kept = []
    for name in QUANTITIES:
        column = tuple(sample.amounts.get(name, 0) for sample in samples)
        if any(column) and column not in seen:
            seen.add(column)
            kept.append(name)
    return kept


def _of_size(samples: Sequence[Sample], names: Sequence[str], size: int) -> Iterator[Formula]:
    for chosen in _promising(samples, names, size):
        solved = _solve(samples, chosen)
        if solved and all(map(_is_simple, solved)):
            formula = dict(zip(chosen, solved, strict=True))
            if all(value(formula, sample.amounts) == sample.said for sample in samples):
                yield formula


def _promising(
    samples: Sequence[Sample], names: Sequence[str], size: int
) -> Iterator[tuple[str, ...]]:
    """The choices of quantities that come close to all samples in floating point, which is fast."""
    import numpy as np

    chosen = list(combinations(range(len(names)), size))
    table = np.array([[s.amounts.get(name, 0) for name in names] for s in samples], dtype=float)
    said = np.array([float(sample.said) for sample in samples])
    columns = np.moveaxis(table[:, chosen], 1, 0)  # choices, samples, size
    reached = (columns @ (np.linalg.pinv(columns) @ said)[..., None])[..., 0]
    off = np.abs(reached - said).max(axis=1)
    for index in np.flatnonzero(off <= CLOSE * max(1.0, float(np.abs(said).max()))):
        yield tuple(names[column] for column in chosen[index])


def _is_simple(factor: Fraction) -> bool:
    small = abs(factor.numerator) <= MOST_COEFFICIENT
    return factor != 0 and small and factor.denominator <= MOST_DENOMINATOR


def _complexity(formula: Formula, names: Sequence[str]) -> tuple[int, int, int]:
    size = sum(abs(factor.numerator) + factor.denominator for factor in formula.values())
    return _terms(formula), size, sum(names.index(name) for name in formula)


def _solve(samples: Iterable[Sample], names: Sequence[str]) -> list[Fraction] | None:
    """The coefficients that the first independent samples demand; None if too few are."""
    rows: list[list[Fraction]] = []
    for sample in samples:
        row = [Fraction(sample.amounts.get(name, 0)) for name in names] + [Fraction(sample.said)]
        reduced = _reduce(row, rows)
        if any(reduced[:-1]):
            rows.append(reduced)
        elif reduced[-1]:
            return None  # this sample contradicts the others
        if len(rows) == len(names):
            return _back(rows)
    return None


def _reduce(row: list[Fraction], rows: Sequence[Sequence[Fraction]]) -> list[Fraction]:
    for known in rows:
        pivot = _pivot(known)
        if row[pivot]:
            ratio = row[pivot] / known[pivot]
            row = [mine - ratio * its for mine, its in zip(row, known, strict=True)]
    return row


def _pivot(row: Sequence[Fraction]) -> int:
    return next(index for index, entry in enumerate(row) if entry)


def _back(rows: Sequence[list[Fraction]]) -> list[Fraction]:
    """Solve a triangle: each row has nothing at the pivots of those before it."""
    solution = [Fraction(0)] * len(rows)
    for row in reversed(rows):
        pivot = _pivot(row)
        rest = sum(
            (row[i] * solution[i] for i in range(len(rows)) if i != pivot), start=Fraction(0)
        )
        solution[pivot] = (row[-1] - rest) / row[pivot]
    return solution


def in_words(formula: Formula) -> str:
    """`4 per output and 1 per input`; a multiply-accumulate is M and a bias add b."""
    terms = [f"{factor} per {QUANTITIES[name]}" for name, factor in formula.items()]
    return " and ".join(terms) or "nothing"
