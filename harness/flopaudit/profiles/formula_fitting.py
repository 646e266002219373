"""The simplest exact formula that fits all samples of a site, in rational arithmetic.

A sample is a site's quantities and what a tool reported for it. A formula is a sum of quantities
with rational coefficients. It has to fit every sample exactly, and to be the only one over its
quantities that does, so that it follows from the samples and is not a choice among several.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import combinations
from math import lcm
from typing import NamedTuple

from flopaudit.tracing.sites import QUANTITIES, Amounts

Formula = Mapping[str, Fraction]
"""Coefficients by quantity; if there are none, the site is not counted."""

MOST_TERMS = 4
SPARE = 1
"""Samples that are needed in addition to those that determine the coefficients."""

CLOSE = 1e-6
"""Error that floating point may make, as a share of the largest sample."""
MOST_DENOMINATOR = 4
MOST_COEFFICIENT = 1000

NOTHING: Formula = {}


class Sample(NamedTuple):
    """Quantities of a site, and what a tool reported for it."""

    amounts: Amounts
    reported: Fraction


def value(formula: Formula, amounts: Amounts) -> Fraction:
    """Evaluate a formula."""
    # Whole numbers over one denominator, because adding up fractions is slow.
    under = lcm(*(factor.denominator for factor in formula.values()))
    return Fraction(
        sum(f.numerator * (under // f.denominator) * amounts.get(n, 0) for n, f in formula.items()),
        under,
    )


def fit(samples: Sequence[Sample]) -> Formula | None:
    """Find the simplest formula that fits all samples.

    The simplest has the fewest terms, then the smallest numbers. A negative term counts as two.

    Args:
        samples: of sites that count by the same formula.

    Returns:
        Coefficients by quantity; an empty formula if every sample is 0; None if no formula fits.
    """
    if all(sample.reported == 0 for sample in samples):
        return NOTHING
    names = _distinct(samples)
    most = min(MOST_TERMS, len(names), len(samples) - SPARE)
    found: list[Formula] = []
    for size in range(1, most + 1):
        if found and min(map(_terms, found)) <= size:
            break  # A formula with more terms is not simpler.
        found += _of_size(samples, names, size)
    return min(found, key=lambda formula: _complexity(formula, names), default=None)


def _terms(formula: Formula) -> int:
    """Count the terms; a negative one counts twice, because few tools subtract anything."""
    return sum(1 if factor > 0 else 2 for factor in formula.values())


def _distinct(samples: Sequence[Sample]) -> list[str]:
    """Return the quantities that are not all 0, and the first of those that are always equal."""
    seen: set[tuple[int, ...]] = set()
    kept = []
    for name in QUANTITIES:
        amounts = tuple(sample.amounts.get(name, 0) for sample in samples)
        if any(amounts) and amounts not in seen:
            seen.add(amounts)
            kept.append(name)
    return kept


def _of_size(samples: Sequence[Sample], names: Sequence[str], size: int) -> Iterator[Formula]:
    for chosen in _promising(samples, names, size):
        solved = _solve(samples, chosen)
        if solved and all(map(_is_simple, solved)):
            formula = dict(zip(chosen, solved, strict=True))
            if all(value(formula, sample.amounts) == sample.reported for sample in samples):
                yield formula


def _promising(
    samples: Sequence[Sample], names: Sequence[str], size: int
) -> Iterator[tuple[str, ...]]:
    """Yield the choices of quantities that fit all samples in floating point, which is fast."""
    import numpy as np

    chosen = list(combinations(range(len(names)), size))
    table = np.array([[s.amounts.get(name, 0) for name in names] for s in samples], dtype=float)
    reported = np.array([float(sample.reported) for sample in samples])
    columns = np.moveaxis(table[:, chosen], 1, 0)  # choices, samples, size
    fitted = (columns @ (np.linalg.pinv(columns) @ reported)[..., None])[..., 0]
    error = np.abs(fitted - reported).max(axis=1)
    for index in np.flatnonzero(error <= CLOSE * max(1.0, float(np.abs(reported).max()))):
        yield tuple(names[column] for column in chosen[index])


def _is_simple(factor: Fraction) -> bool:
    small = abs(factor.numerator) <= MOST_COEFFICIENT
    return factor != 0 and small and factor.denominator <= MOST_DENOMINATOR


def _complexity(formula: Formula, names: Sequence[str]) -> tuple[int, int, int]:
    size = sum(abs(factor.numerator) + factor.denominator for factor in formula.values())
    return _terms(formula), size, sum(names.index(name) for name in formula)


def _solve(samples: Iterable[Sample], names: Sequence[str]) -> list[Fraction] | None:
    """Solve for the coefficients by the first independent samples; None if there are too few."""
    rows: list[list[Fraction]] = []
    for sample in samples:
        row = [Fraction(sample.amounts.get(name, 0)) for name in names] + [
            Fraction(sample.reported)
        ]
        reduced = _reduce(row, rows)
        if any(reduced[:-1]):
            rows.append(reduced)
        elif reduced[-1]:
            return None  # This sample contradicts the others.
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
    """Solve a triangular system: each row is 0 at the pivots of the rows before it."""
    solution = [Fraction(0)] * len(rows)
    for row in reversed(rows):
        pivot = _pivot(row)
        rest = sum(
            (row[i] * solution[i] for i in range(len(rows)) if i != pivot), start=Fraction(0)
        )
        solution[pivot] = (row[-1] - rest) / row[pivot]
    return solution


def in_words(formula: Formula) -> str:
    """Write a formula in words: `4 per output and 1 per input`."""
    terms = [f"{factor} per {QUANTITIES[name]}" for name, factor in formula.items()]
    return " and ".join(terms) or "nothing"
