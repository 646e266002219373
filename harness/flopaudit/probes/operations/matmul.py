"""Matrix products, in every way that torch has to write them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flopaudit.probes.definition import (
    Case,
    Make,
    Probe,
    cut,
    function,
)

_SIZES = ((2, 3, 5), (3, 5, 4), (5, 4, 3), (7, 2, 4), (4, 7, 2), (6, 5, 11))
_BATCHES = (2, 3, 2, 5, 3, 4)


def _cases(*letters: str) -> list[Case]:
    """Define cases of operands by the names of their sides, as in einsum: b, n, k, m and h."""
    return [
        cut(*(tuple(sides[side] for side in operand) for operand in letters)) for sides in _sides()
    ]


def _sides() -> Iterable[dict[str, int]]:
    for (n, k, m), b in zip(_SIZES, _BATCHES, strict=True):
        yield {"b": b, "n": n, "k": k, "m": m, "h": m + 1, "1": 1}


def _einsum(equation: str) -> tuple[Make, list[Case]]:
    def call(torch: Any, *operands: Any) -> Any:
        return torch.einsum(equation, *operands)

    return call, _cases(*equation.partition("->")[0].split(","))


_MATRICES = _cases("nk", "km")
_STACKS = _cases("bnk", "bkm")
_HEADS = _cases("bhnk", "bhkm")

_PRODUCTS: dict[str, tuple[str, Make, list[Case]]] = {
    "operator": ("a @ b of stacks", lambda torch, a, b: a @ b, _STACKS),
    "operator_2d": ("a @ b of matrices", lambda torch, a, b: a @ b, _MATRICES),
    "operator_4d": ("a @ b of 4-D stacks", lambda torch, a, b: a @ b, _HEADS),
    "operator_broadcast": (
        "a @ b of a stack and a matrix",
        lambda torch, a, b: a @ b,
        _cases("bnk", "km"),
    ),
    "operator_broadcast_stacks": (
        "a @ b of stacks of which one is repeated",
        lambda torch, a, b: a @ b,
        _cases("bhnk", "1hkm"),
    ),
    "operator_transposed": (
        "a @ b.transpose(-2, -1)",
        lambda torch, a, b: a @ b.transpose(-2, -1),
        _cases("bnk", "bmk"),
    ),
    "operator_vector": ("matrix @ vector", lambda torch, a, b: a @ b, _cases("nk", "k")),
    "torch_matmul": ("torch.matmul of stacks", lambda torch, a, b: torch.matmul(a, b), _STACKS),
    "torch_matmul_2d": (
        "torch.matmul of matrices",
        lambda torch, a, b: torch.matmul(a, b),
        _MATRICES,
    ),
    "torch_matmul_broadcast": (
        "torch.matmul of a stack and a matrix",
        lambda torch, a, b: torch.matmul(a, b),
        _cases("bnk", "km"),
    ),
    "torch_matmul_broadcast_left": (
        "torch.matmul of a matrix and a stack",
        lambda torch, a, b: torch.matmul(a, b),
        _cases("nk", "bkm"),
    ),
    "torch_matmul_vector": (
        "torch.matmul of a matrix and a vector",
        lambda torch, a, b: torch.matmul(a, b),
        _cases("nk", "k"),
    ),
    "torch_matmul_vectors": (
        "torch.matmul of two vectors",
        lambda torch, a, b: torch.matmul(a, b),
        _cases("k", "k"),
    ),
    "method_matmul": ("Tensor.matmul of stacks", lambda torch, a, b: a.matmul(b), _STACKS),
    "linalg_matmul": (
        "torch.linalg.matmul",
        lambda torch, a, b: torch.linalg.matmul(a, b),
        _STACKS,
    ),
    "torch_mm": ("torch.mm", lambda torch, a, b: torch.mm(a, b), _MATRICES),
    "method_mm": ("Tensor.mm", lambda torch, a, b: a.mm(b), _MATRICES),
    "torch_bmm": ("torch.bmm", lambda torch, a, b: torch.bmm(a, b), _STACKS),
    "method_bmm": ("Tensor.bmm", lambda torch, a, b: a.bmm(b), _STACKS),
    "torch_addmm": (
        "torch.addmm",
        lambda torch, c, a, b: torch.addmm(c, a, b),
        _cases("nm", "nk", "km"),
    ),
    "torch_addmm_vector": (
        "torch.addmm of a vector, as a bias",
        lambda torch, c, a, b: torch.addmm(c, a, b),
        _cases("m", "nk", "km"),
    ),
    "torch_addmm_beta0": (
        "torch.addmm with beta=0",
        lambda torch, c, a, b: torch.addmm(c, a, b, beta=0),
        _cases("nm", "nk", "km"),
    ),
    "torch_addmm_scaled": (
        "torch.addmm with alpha and beta",
        lambda torch, c, a, b: torch.addmm(c, a, b, beta=0.5, alpha=2.0),
        _cases("nm", "nk", "km"),
    ),
    "method_addmm": (
        "Tensor.addmm",
        lambda torch, c, a, b: c.addmm(a, b),
        _cases("nm", "nk", "km"),
    ),
    "torch_baddbmm": (
        "torch.baddbmm",
        lambda torch, c, a, b: torch.baddbmm(c, a, b),
        _cases("bnm", "bnk", "bkm"),
    ),
    "torch_baddbmm_beta0": (
        "torch.baddbmm with beta=0",
        lambda torch, c, a, b: torch.baddbmm(c, a, b, beta=0),
        _cases("bnm", "bnk", "bkm"),
    ),
    "method_baddbmm": (
        "Tensor.baddbmm",
        lambda torch, c, a, b: c.baddbmm(a, b),
        _cases("bnm", "bnk", "bkm"),
    ),
    "torch_addbmm": (
        "torch.addbmm",
        lambda torch, c, a, b: torch.addbmm(c, a, b),
        _cases("nm", "bnk", "bkm"),
    ),
    "torch_mv": ("torch.mv", lambda torch, a, b: torch.mv(a, b), _cases("nk", "k")),
    "torch_addmv": (
        "torch.addmv",
        lambda torch, c, a, b: torch.addmv(c, a, b),
        _cases("n", "nk", "k"),
    ),
    "torch_dot": ("torch.dot", lambda torch, a, b: torch.dot(a, b), _cases("k", "k")),
    "torch_inner": ("torch.inner", lambda torch, a, b: torch.inner(a, b), _cases("nk", "mk")),
    "torch_outer": ("torch.outer", lambda torch, a, b: torch.outer(a, b), _cases("n", "m")),
    "torch_tensordot": (
        "torch.tensordot over one side",
        lambda torch, a, b: torch.tensordot(a, b, dims=1),
        _cases("bnk", "km"),
    ),
    "torch_tensordot_two_sides": (
        "torch.tensordot over two sides",
        lambda torch, a, b: torch.tensordot(a, b, dims=2),
        _cases("bnk", "nkm"),
    ),
    "linalg_multi_dot": (
        "torch.linalg.multi_dot of three matrices",
        lambda torch, a, b, c: torch.linalg.multi_dot((a, b, c)),
        _cases("nk", "km", "mb"),
    ),
    "two_in_a_row": (
        "a @ b @ c of stacks",
        lambda torch, a, b, c: a @ b @ c,
        _cases("bnk", "bkm", "bmh"),
    ),
    "as_product_and_sum": (
        "a product written as a multiplication and a sum",
        lambda torch, a, b: (a.unsqueeze(-1) * b.unsqueeze(0)).sum(1),
        _MATRICES,
    ),
    "torch_cdist": ("torch.cdist", lambda torch, a, b: torch.cdist(a, b), _cases("nk", "mk")),
}

_EQUATIONS = {
    "two": "nk,km->nm",
    "batch": "bnk,bkm->bnm",
    "transposed": "bnk,bmk->bnm",
    "outer": "n,m->nm",
    "dot": "k,k->",
    "scores": "bnhk,bmhk->bhnm",
    "values": "bhnm,bmhk->bnhk",
    "weights": "bnk,mk->bnm",
    "three": "nk,km,mh->nh",
    "over_rows": "bnk,bnm->bkm",
    "summed": "bnk->bn",
    "diagonal_batch": "bn,bn->b",
}


PROBES: tuple[Probe, ...] = (
    *(
        function(f"matmul/{key}", about, call, cases)
        for key, (about, call, cases) in _PRODUCTS.items()
    ),
    *(
        function(f"matmul/einsum_{key}", f"torch.einsum {equation}", *_einsum(equation))
        for key, equation in _EQUATIONS.items()
    ),
    function(
        "matmul/einsum_large",
        "torch.einsum bnk,bkm->bnm with products of more digits than a tool may print",
        lambda torch, a, b: torch.einsum("bnk,bkm->bnm", a, b),
        [
            cut((b, n, k), (b, k, m))
            for b, n, k, m in (
                (3, 17, 29, 37),
                (2, 41, 31, 43),
                (5, 23, 19, 47),
                (2, 53, 37, 29),
                (3, 43, 23, 31),
            )
        ],
    ),
    function(
        "matmul/einsum_abc_abd",
        "torch.einsum abc,abd->acd in just these letters",
        lambda torch, a, b: torch.einsum("abc,abd->acd", a, b),
        _cases("bnk", "bnm"),
    ),
    function(
        "matmul/einsum_dots",
        "torch.einsum ...ij,...jk->...ik",
        lambda torch, a, b: torch.einsum("...ij,...jk->...ik", a, b),
        _HEADS,
    ),
)
