"""The cost of an operator: exact numbers of scalar operations of each type. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Work:
    """Scalar operations of one execution of an operator, by its unfused mathematical definition.

    Attributes:
        macs: multiply-accumulates of convolution, linear, matrix product and attention.
        bias_adds: additions of a bias to the result of such a product.
        adds: other additions and subtractions.
        muls: other multiplications.
        divs: divisions.
        comparisons: comparisons, maxima and minima.
        elementary: evaluations of exp, log, erf, tanh, sqrt and the like, one operation each.
    """

    macs: int = 0
    bias_adds: int = 0
    adds: int = 0
    muls: int = 0
    divs: int = 0
    comparisons: int = 0
    elementary: int = 0

    @property
    def others(self) -> int:
        """Scalar operations that are neither multiply-accumulates nor additions of a bias."""
        return self.adds + self.muls + self.divs + self.comparisons + self.elementary

    @property
    def flops_all(self) -> int:
        """All scalar operations; a multiply-accumulate is two."""
        return 2 * self.macs + self.bias_adds + self.others

    def __add__(self, other: Work) -> Work:
        return Work(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Work)))

    def __mul__(self, times: int) -> Work:
        return Work(*(getattr(self, f.name) * times for f in fields(Work)))


NOTHING = Work()


def added(works: Iterable[Work]) -> Work:
    """Return the sum of several works."""
    return sum(works, NOTHING)
