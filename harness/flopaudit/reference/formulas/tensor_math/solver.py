"""Linear algebra by the classic direct algorithms; iterative operators have no formula.

Golub & Van Loan, Matrix Computations, 4th ed.: elimination with partial pivoting (alg. 3.4.1),
substitution (3.1.1, 3.1.2), Cholesky (4.2.1). A pivot of k candidates takes k - 1 comparisons.
"""

from __future__ import annotations

from math import prod
from typing import Any

from flopaudit.reference.cost import NOTHING, Work
from flopaudit.reference.formulas.call import Call
from flopaudit.reference.formulas.tables import Table, entries, table
from flopaudit.reference.kinds import Kind


def _batch(matrix: Any) -> int:
    return prod(matrix.shape[:-2])


def elimination(rows: int, columns: int, *, pivot: bool = True) -> Work:
    """Return the cost of LU: for each pivot its search, the quotients below it, their products."""
    work = NOTHING
    for step in range(min(rows, columns)):
        below, right = rows - step - 1, columns - step - 1
        work += Work(divs=below, muls=below * right, adds=below * right, comparisons=below * pivot)
    return work


def substitution(size: int, *, unit: bool = False) -> Work:
    """Return the cost of one right-hand side: each unknown less the known, over the diagonal."""
    pairs = size * (size - 1) // 2
    return Work(muls=pairs, adds=pairs, divs=0 if unit else size)


def lu_factor(call: Call) -> Work:
    """L and U in place of the matrix."""
    matrix = call.args[0]
    pivot = call.kwargs.get("pivot", True)
    return elimination(*matrix.shape[-2:], pivot=pivot) * _batch(matrix)


def determinant(call: Call) -> Work:
    """LU, and the product of the diagonal."""
    matrix = call.args[0]
    size = int(matrix.shape[-1])
    return (elimination(size, size) + Work(muls=max(size - 1, 0))) * _batch(matrix)


def log_determinant(call: Call) -> Work:
    """LU, and the sum of the diagonal's log|u|; the signs are integers."""
    matrix = call.args[0]
    size = int(matrix.shape[-1])
    logs = Work(comparisons=size, elementary=size, adds=max(size - 1, 0))
    return (elimination(size, size) + logs) * _batch(matrix)


def cholesky(call: Call) -> Work:
    """A root and quotients for each column, n³/6 products to leading order."""
    matrix = call.args[0]
    size = int(matrix.shape[-1])
    products, pairs = (size**3 - size) // 6, size * (size - 1) // 2
    each = Work(elementary=size, divs=pairs, muls=products, adds=products)
    return each * _batch(matrix)


def inverse(call: Call) -> Work:
    """LU, and both substitutions for each column of the identity, its zeros like other values."""
    matrix = call.args[0]
    size = int(matrix.shape[-1])
    both = substitution(size, unit=True) + substitution(size)
    return (elimination(size, size) + both * size) * _batch(matrix)


def solve(call: Call) -> Work:
    """LU, and both substitutions for each right-hand side."""
    matrix, result = call.args[0], call.first_out
    size = int(matrix.shape[-1])
    both = substitution(size, unit=True) + substitution(size)
    return elimination(size, size) * _batch(matrix) + both * _systems(result, size)


def _systems(result: Any, size: int) -> int:
    """Return the number of vectors of that size in a result."""
    return int(prod(result.shape)) // size if size else 0


def lu_solve(call: Call) -> Work:
    """Both substitutions for each right-hand side."""
    size = int(call.args[0].shape[-1])
    both = substitution(size, unit=True) + substitution(size)
    return both * _systems(call.first_out, size)


def cholesky_solve(call: Call) -> Work:
    """A substitution with the factor and one with its transpose."""
    size = int(call.args[1].shape[-1])
    return substitution(size) * 2 * _systems(call.first_out, size)


def cholesky_inverse(call: Call) -> Work:
    """The same for each column of the identity."""
    size = int(call.args[0].shape[-1])
    return substitution(size) * 2 * size * _batch(call.args[0])


def solve_triangular(call: Call) -> Work:
    """One substitution for each right-hand side."""
    size = int(call.args[0].shape[-1])
    unit = bool(call.kwargs.get("unitriangular", False))
    return substitution(size, unit=unit) * _systems(call.first_out, size)


def triangular_solve(call: Call) -> Work:
    """The same, of the older operator, which has the matrix second."""
    size = int(call.args[1].shape[-1])
    unit = bool(call.arg(4, "unitriangular", default=False))
    return substitution(size, unit=unit) * _systems(call.first_out, size)


TABLE: Table = table(
    __name__,
    entries(Kind.SOLVER, lu_factor, "linalg_lu_factor_ex linalg_lu"),
    entries(Kind.SOLVER, determinant, "_linalg_det"),
    entries(Kind.SOLVER, log_determinant, "_linalg_slogdet"),
    entries(Kind.SOLVER, cholesky, "linalg_cholesky_ex"),
    entries(Kind.SOLVER, inverse, "linalg_inv_ex"),
    entries(Kind.SOLVER, solve, "_linalg_solve_ex"),
    entries(Kind.SOLVER, lu_solve, "linalg_lu_solve"),
    entries(Kind.SOLVER, cholesky_solve, "cholesky_solve _cholesky_solve_helper"),
    entries(Kind.SOLVER, cholesky_inverse, "cholesky_inverse"),
    entries(Kind.SOLVER, solve_triangular, "linalg_solve_triangular"),
    entries(Kind.SOLVER, triangular_solve, "triangular_solve"),
)
