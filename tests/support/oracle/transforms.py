"""Proofs of Fourier transforms, linear algebra, and lists of tensors."""

from __future__ import annotations

import cmath
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from tests.support.oracle.elementwise import dropped
from tests.support.oracle.reductions import norm
from tests.support.oracle.scalar import (
    TALLY,
    Array,
    Case,
    Draw,
    Num,
    Pair,
    case,
    each,
    imagined,
    log,
    rounded,
    sqrt,
    summed,
)

# -- Fourier transforms ----------------------------------------------------------------------------


def root(k: int, n: int, *, forward: object) -> Pair:
    value = cmath.exp((-2j if forward else 2j) * math.pi * k / n)
    return Pair(Num(value.real), Num(value.imag))


def smallest_factor(n: int) -> int:
    return next(p for p in range(2, n + 1) if n % p == 0)


def butterfly(parts: Sequence[Any], *, forward: object) -> list[Any]:
    """Transform a prime number of points directly; the first row and column have no factor."""
    p = len(parts)
    out = []
    for row in range(p):
        total = parts[0]
        for column in range(1, p):
            if row == 0:
                total = total + parts[column]
            elif p == 2:  # the factor -1 is a subtraction
                total = total - parts[column]
            else:
                total = total + parts[column] * root(row * column, p, forward=forward)
        out.append(total)
    return out


def transform(x: Sequence[Any], *, forward: object) -> list[Any]:
    """Transform by Cooley and Tukey: the parts, their twiddle factors, the butterflies."""
    n = len(x)
    if n == 1:
        return list(x)
    p = smallest_factor(n)
    parts = [transform(x[i::p], forward=forward) for i in range(p)]
    m = n // p
    out: list[Any] = [None] * n
    for k in range(m):
        turned = [
            part[k] * root(i * k, n, forward=forward) if i else part[k]
            for i, part in enumerate(parts)
        ]
        for row, value in enumerate(butterfly(turned, forward=forward)):
            out[k + row * m] = value
    return out


def along(x: Array, dim: int, *, forward: object) -> Array:
    rows = np.moveaxis(x, dim, -1)
    out = np.empty(rows.shape, dtype=object)
    for at in np.ndindex(*rows.shape[:-1]):
        out[at] = np.array([*transform(list(rows[at]), forward=forward), None], dtype=object)[:-1]
    return np.moveaxis(out, -1, dim)


def scaled(x: Array, normalization: int, count: int) -> Array:
    return x * {0: 1, 1: 1 / math.sqrt(count), 2: 1 / count}[normalization] if normalization else x


def c2c(x: Array, dims: Sequence[int], normalization: int, forward: object) -> Array:
    for dim in dims:
        x = along(x, dim, forward=forward)
    return scaled(x, normalization, math.prod(x.shape[d] for d in dims))


def r2c(x: Array, dims: Sequence[int], normalization: int, onesided: object) -> Array:
    """Transform the last dimension first, at half the cost, because its halves are mirrored."""
    assert onesided
    count = math.prod(x.shape[d] for d in dims)
    before = TALLY.copy()
    out = along(each(lambda v: Pair(v, Num(0.0)), x), dims[-1], forward=True)
    halve(before)
    out = np.take(out, range(x.shape[dims[-1]] // 2 + 1), dims[-1])
    for dim in dims[:-1]:
        out = along(out, dim, forward=True)
    return scaled(out, normalization, count)


def c2r(x: Array, dims: Sequence[int], normalization: int, size: int) -> Array:
    for dim in dims[:-1]:
        x = along(x, dim, forward=False)
    last = dims[-1]
    mirror = np.take(x, [size - k for k in range(size // 2 + 1, size)], last)
    whole = np.concatenate([x, each(lambda v: Pair(v.re, Num(-v.im.value)), mirror)], last)
    before = TALLY.copy()
    out = along(whole, last, forward=False)
    halve(before)
    count = math.prod(out.shape[d] for d in dims)
    return scaled(each(lambda v: v.re, out), normalization, count)


def halve(before: Any) -> None:
    """Do two real transforms as one complex one, with one as its imaginary part."""
    for what in TALLY:
        spent = TALLY[what] - before[what]
        assert spent % 2 == 0
        TALLY[what] = before[what] + spent // 2


def c2r_arguments(draw: Draw) -> tuple[Any, ...]:
    size = draw.b * 2
    whole = torch.fft.rfft2(draw.s(draw.a, size))
    return whole, [0, 1], 2, size


FOURIER = [
    case("_fft_c2c", lambda d: (d.z(d.a * d.b, d.c), [0], 0, True), c2c),
    case("_fft_c2c", lambda d: (d.z(d.a * d.b, d.c), [0, 1], 1, False), c2c),
    case("_fft_c2c", lambda d: (d.z(8, 1), [0], 2, True), c2c),
    case("_fft_r2c", lambda d: (d.s(d.a, d.b * d.c), [0, 1], 0, True), r2c),
    case("_fft_r2c", lambda d: (d.s(d.a, d.b * d.c), [1], 1, True), r2c),
    case("_fft_c2r", c2r_arguments, c2r),
]


# -- linear algebra --------------------------------------------------------------------------------


def eliminated(matrix: Array, *, pivot: bool = True) -> Array:
    """Return L and U in one matrix; a pivot is the largest of its column, found by comparison."""
    a = matrix.copy()
    rows, columns = a.shape
    for k in range(min(rows, columns)):
        best = k
        for i in range(k + 1, rows) if pivot else ():
            TALLY["comparisons"] += 1
            best = i if abs(a[i, k].value) > abs(a[best, k].value) else best
        a[[k, best]] = a[[best, k]]
        for i in range(k + 1, rows):
            a[i, k] = a[i, k] / a[k, k]
            for j in range(k + 1, columns):
                a[i, j] = a[i, j] - a[i, k] * a[k, j]
    return a


def swaps(matrix: Array) -> tuple[Array, list[int], int]:
    """Return the same with the order of the rows and its sign, which are integers."""
    before = TALLY.copy()
    values = np.array([[v.value for v in row] for row in matrix])
    factors = eliminated(matrix)
    TALLY.clear()
    TALLY.update(before)
    order, sign = list(range(len(values))), 1
    for k in range(len(values)):
        best = k + int(np.argmax(abs(values[k:, k])))
        if best != k:
            values[[k, best]] = values[[best, k]]
            order[k], order[best] = order[best], order[k]
            sign = -sign
        values[k + 1 :] -= np.outer(values[k + 1 :, k] / values[k, k], values[k])
    return factors, order, sign


def determinant(matrix: Array) -> Array:
    sign = swaps(matrix)[2]
    diagonal = np.diagonal(eliminated(matrix))
    product = diagonal[0]
    for value in diagonal[1:]:
        product = product * value
    return np.asarray(Num(sign * product.value), dtype=object)


def log_determinant(matrix: Array) -> tuple[Array, Array]:
    diagonal = np.diagonal(eliminated(matrix))
    sign = swaps(matrix)[2] * math.prod(math.copysign(1, v.value) for v in diagonal)
    return np.asarray(Num(sign), dtype=object), summed(log(abs(diagonal)))


def solved(matrix: Array, right: Array, *, upper: bool, unit: bool = False) -> Array:
    """Solve one triangular system for each column."""
    n = len(matrix)
    out = right.copy()
    order = range(n - 1, -1, -1) if upper else range(n)
    for column in range(right.shape[1]):
        for i in order:
            for j in range(i + 1, n) if upper else range(i):
                out[i, column] = out[i, column] - matrix[i, j] * out[j, column]
            if not unit:
                out[i, column] = out[i, column] / matrix[i, i]
    return out


def both_ways(factors: Array, right: Array) -> Array:
    return solved(factors, solved(factors, right, upper=False, unit=True), upper=True)


def solve(matrix: Array, right: Array) -> Array:
    order = swaps(matrix)[1]
    return both_ways(eliminated(matrix), right[order])


def identity(n: int) -> Array:
    return each(Num, np.eye(n))


def inverse(matrix: Array) -> Array:
    return solve(matrix, identity(len(matrix)))


def cholesky(matrix: Array) -> Array:
    a = matrix.copy()
    n = len(a)
    for j in range(n):
        for k in range(j):
            for i in range(j, n):
                a[i, j] = a[i, j] - a[i, k] * a[j, k]
        a[j, j] = sqrt(a[j, j]).item()
        for i in range(j + 1, n):
            a[i, j] = a[i, j] / a[j, j]
        a[:j, j] = Num(0)
    return a


def square(draw: Draw) -> torch.Tensor:
    return draw.s(draw.a, draw.a)


def definite(draw: Draw) -> torch.Tensor:
    root_ = square(draw)
    return root_ @ root_.T + torch.eye(draw.a).double()


def lower_arguments(draw: Draw) -> tuple[Any, ...]:
    return (square(draw).tril() + 9 * torch.eye(draw.a).double(), draw.s(draw.a, draw.b))


def factored_arguments(draw: Draw) -> tuple[Any, ...]:
    factors, pivots = torch.linalg.lu_factor(square(draw))
    return factors, pivots, draw.s(draw.a, draw.b)


def with_factor(right: Array, factor: Array, *_o: Any) -> Array:
    half = solved(factor, right, upper=False)
    return solved(factor.T, half, upper=True)


def _same(matrix: torch.Tensor, **_options: Any) -> torch.Tensor:
    return matrix


SOLVERS = [
    case("linalg_lu_factor_ex", lambda d: (d.s(d.a, d.b),), eliminated),
    imagined("linalg_lu_factor_ex", _same, lambda d: (d.s(d.a, d.b),), eliminated, pivot=False),
    case("_linalg_det", lambda d: (square(d),), determinant),
    case("_linalg_slogdet", lambda d: (square(d),), log_determinant, part=2),
    case("linalg_cholesky_ex", lambda d: (definite(d),), cholesky),
    case("linalg_inv_ex", lambda d: (square(d),), inverse),
    case("_linalg_solve_ex", lambda d: (square(d), d.s(d.a, d.b)), solve),
    case("linalg_lu_solve", factored_arguments, lambda f, _p, b: both_ways(f, b), exact=False),
    case("cholesky_solve", lambda d: lower_arguments(d)[::-1], with_factor),
    case(
        "cholesky_inverse",
        lambda d: lower_arguments(d)[:1],
        lambda f: with_factor(identity(len(f)), f),
    ),
    case("linalg_solve_triangular", lower_arguments, solved, upper=False),
    case(
        "triangular_solve",
        lambda d: (*lower_arguments(d)[::-1], False),
        lambda b, a, upper: solved(a, b, upper=upper),
    ),
]


# -- lists of tensors, and other operators ---------------------------------------------------------


def pairs(draw: Draw) -> tuple[Any, ...]:
    return [draw.s(draw.a), draw.s(draw.b, 2)], [draw.s(draw.a), draw.s(draw.b, 2)]


LISTS = [
    case(
        "_foreach_add.List",
        pairs,
        lambda x, y: tuple(a + b for a, b in zip(x, y, strict=True)),
        part=2,
    ),
    case(
        "_foreach_mul.Scalar",
        lambda d: (pairs(d)[0], 2.0),
        lambda x, y: tuple(a * y for a in x),
        part=2,
    ),
    case("_foreach_sqrt", lambda d: ([d.x(d.a), d.x(2)],), lambda x: tuple(map(sqrt, x)), part=2),
    case("_foreach_norm.Scalar", lambda d: (pairs(d)[0],), lambda x: tuple(map(norm, x)), part=2),
    imagined(
        "_fused_dropout",
        lambda x, _p: x,
        lambda d: (d.s(d.a, d.b), 0.25),
        lambda x, p: dropped(x, p, train=True),
    ),
    imagined(
        "_masked_scale",
        lambda x, *_o: x,
        lambda d: (d.s(d.a), d.i(2, d.a), 2.0),
        lambda x, m, s: each(lambda v, k: v * s if k else v * 0.0, x, m),
    ),
    imagined(
        "quantized::add",
        lambda a, *_o: a,
        lambda d: (d.s(d.a), d.s(d.a)),
        lambda a, b: rounded((a * 0.5 + b * 0.5) / 0.1),
    ),
    imagined(
        "quantized::mul",
        lambda a, *_o: a,
        lambda d: (d.s(d.a), d.s(d.a)),
        lambda a, b: rounded((a * 0.5) * (b * 0.5) / 0.1),
    ),
]


CASES: list[Case] = [*FOURIER, *SOLVERS, *LISTS]
