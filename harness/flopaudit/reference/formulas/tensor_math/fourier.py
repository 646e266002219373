"""Fourier transforms, counted as the mixed-radix algorithm of Cooley and Tukey performs them.

A transform of N = p·q… points is, for each prime factor p, N/p butterflies: p - 1 twiddle factors
and a p-point transform done directly, of p·(p - 1) additions and, because a factor -1 is free,
(p - 1)² multiplications for p > 2. All are complex: a product is 4 multiplications and 2
additions. For N = 2ᵏ that is the usual 5·N·log₂(N) operations (Cooley & Tukey 1965; FFTW's
benchmark, fftw.org/speed/method.html). Real input or output takes half, because the other
half follows by symmetry; the benchmark counts so too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

from flopaudit.reference.cost import NOTHING, Work
from flopaudit.reference.formulas.call import Call, complex_work, numel
from flopaudit.reference.formulas.tables import Table, entries, table
from flopaudit.reference.kinds import Kind


def prime_factors(number: int) -> Iterator[int]:
    """Yield the prime factors with multiplicity, smallest first."""
    factor = 2
    while factor * factor <= number:
        while number % factor == 0:
            yield factor
            number //= factor
        factor += 1
    if number > 1:
        yield number


def transform(points: int) -> Work:
    """Return the cost of one complex transform of `points` points, in real operations."""
    work = NOTHING
    for factor in prime_factors(points):
        direct = (factor - 1) ** 2 if factor > 2 else 0  # noqa: PLR2004 - radix 2 only changes signs
        butterfly = Work(muls=factor - 1 + direct, adds=factor * (factor - 1))
        work += butterfly * (points // factor)
    return complex_work(work)


def half(work: Work) -> Work:
    """Return half of a transform's cost, which is whole because each radix costs an even number."""
    return Work(adds=work.adds // 2, muls=work.muls // 2)


def _along(shape: Sequence[int], dims: Sequence[int]) -> Work:
    """Return the cost of complex transforms along several dimensions of a tensor."""
    elements = prod(shape)
    if not elements:
        return NOTHING
    return sum((transform(shape[d]) * (elements // shape[d]) for d in dims), NOTHING)


def _real(shape: Sequence[int], dim: int) -> Work:
    """Return the cost of transforms of real numbers along one dimension of a tensor."""
    return half(_along(shape, [dim]))


def _normalised(call: Call, parts: int) -> Work:
    """Return a multiplication for each part of each result, if it is scaled by 1/N or 1/√N."""
    return Work(muls=parts * numel(call.first_out)) if call.args[2] else NOTHING


def complex_to_complex(call: Call) -> Work:
    """Along each dimension."""
    return _along(call.args[0].shape, call.args[1]) + _normalised(call, 2)


def real_to_complex(call: Call) -> Work:
    """Along the last dimension of real numbers, then along the others of what is kept of it."""
    *others, last = call.args[1]
    kept = _kept(call.args[0].shape, last)
    return _real(call.args[0].shape, last) + _along(kept, others) + _normalised(call, 2)


def _kept(shape: Sequence[int], dim: int) -> list[int]:
    """Return the shape of the half, with the middle, from which symmetry gives the rest."""
    kept = list(shape)
    kept[dim] = kept[dim] // 2 + 1
    return kept


def complex_to_real(call: Call) -> Work:
    """Along the other dimensions, then along the last one to real numbers."""
    *others, last = call.args[1]
    out = call.first_out.shape
    return _along(call.args[0].shape, others) + _real(out, last) + _normalised(call, 1)


TABLE: Table = table(
    __name__,
    entries(Kind.FOURIER, complex_to_complex, "_fft_c2c"),
    entries(Kind.FOURIER, real_to_complex, "_fft_r2c"),
    entries(Kind.FOURIER, complex_to_real, "_fft_c2r"),
)
