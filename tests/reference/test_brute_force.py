"""Every formula against its definition, run on numbers that count the operations on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from flopaudit.reference.formulas.call import Call, Formula
from flopaudit.reference.operators import ANY_DTYPE, FORMULAS, known
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.support.oracle import (
    elementwise,
    losses,
    norms,
    pools,
    products,
    reductions,
    sampling,
    sequences,
    transforms,
)
from tests.support.oracle.scalar import Case, Draw, lift, lower, tallied

CASES = [
    *elementwise.CASES,
    *products.CASES,
    *norms.CASES,
    *sequences.CASES,
    *pools.CASES,
    *reductions.CASES,
    *losses.CASES,
    *sampling.CASES,
    *transforms.CASES,
]
SIZES = st.builds(Draw, *[st.integers(1, 4)] * 4)


def named(cases: list[Case]) -> list[Any]:
    return [pytest.param(one, id=f"{i}-{one.name}") for i, one in enumerate(cases)]


@pytest.mark.parametrize("proof", named(CASES))
@settings(
    max_examples=3,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(draw=SIZES, seed=st.integers(0, 2**16))
def test_formula_counts_its_definition(proof: Case, draw: Draw, seed: int) -> None:
    torch.manual_seed(seed)
    args = proof.arguments(draw)
    # In-place and random operators may change their arguments.
    lifted = [lift(argument) for argument in args]
    options = {name: lift(value) for name, value in proof.kwargs.items()}
    out = proof.operator(*args, **proof.kwargs)
    _, formula = FORMULAS[proof.name]
    expected = formula(Call(args, proof.kwargs, out))
    tallied()
    found = proof.scalar(*lifted, **options)
    assert tallied() == expected
    if proof.exact:
        agree(found, out, proof.part)


def agree(found: Any, out: Any, part: int) -> None:
    """Check that the values are torch's, for the results that are compared."""
    results = found if isinstance(found, tuple) else (found,)
    outs = out if isinstance(out, (tuple, list)) else (out,)
    for mine, theirs in list(zip(results, outs, strict=False))[:part]:
        value = theirs.to_dense() if theirs.is_sparse else theirs
        np.testing.assert_allclose(
            np.asarray(lower(mine), dtype=complex),
            value.detach().resolve_conj().numpy().astype(complex),
            rtol=1e-5,
            atol=1e-6,
        )


def innermost(formula: Formula) -> Callable[..., Any]:
    """Return the formula behind wrappers that widen it to complex numbers or lists."""
    inner: Callable[..., Any] = formula
    while hasattr(inner, "__wrapped__"):
        inner = inner.__wrapped__
    return inner


def test_every_formula_is_proven() -> None:
    proven = {innermost(FORMULAS[one.name][1]) for one in CASES}
    left = {name for name, (_, formula) in FORMULAS.items() if innermost(formula) not in proven}
    assert not left


def test_operators_are_known_by_full_name_base_name_and_in_place() -> None:
    assert known("add_", FORMULAS) == FORMULAS["add"]
    assert known("aten::add", FORMULAS) == FORMULAS["add"]
    assert known("quantized::add", FORMULAS) == FORMULAS["quantized::add"] != FORMULAS["add"]
    assert known("torchvision::roi_align", FORMULAS) == FORMULAS["roi_align"]
    assert known("special_bessel_j0", FORMULAS) is None
    assert "quantized::linear" in ANY_DTYPE
