"""Laws of fitting: a formula follows from samples exactly, or there is none."""

from __future__ import annotations

from fractions import Fraction
from random import Random

from flopaudit.profiles.formula_fitting import (
    MOST_COEFFICIENT,
    MOST_DENOMINATOR,
    MOST_TERMS,
    NOTHING,
    Formula,
    Sample,
    fit,
    in_words,
    value,
)
from flopaudit.tracing.sites import QUANTITIES
from hypothesis import given, settings
from hypothesis import strategies as st

NAMES = tuple(QUANTITIES)
coefficients = st.builds(
    Fraction,
    st.integers(-20, 20).filter(bool),
    st.integers(1, MOST_DENOMINATOR),
)
formulas = st.dictionaries(st.sampled_from(NAMES), coefficients, max_size=MOST_TERMS)


@st.composite
def samples_near_a_formula(draw: st.DrawFn, names: list[str]) -> list[Sample]:
    """Samples with some quantities, whose numbers follow a formula, but for some of them."""
    formula = draw(st.dictionaries(st.sampled_from(names), coefficients, min_size=1, max_size=2))
    amounts = st.fixed_dictionaries(dict.fromkeys(names, st.just(0) | st.integers(1, 10**9)))
    sizes = draw(st.lists(amounts, max_size=6))
    exact = st.just(Fraction(0))
    errors = draw(st.sampled_from([exact, exact | st.fractions(-50, 50, max_denominator=4)]))
    return [Sample(size, value(formula, size) + draw(errors)) for size in sizes]


few_names = st.lists(st.sampled_from(NAMES), min_size=1, max_size=8, unique=True)
"""Some quantities: of all of them there are thousands of choices to try."""

seeds = st.integers(0, 2**32)


def unlike_sizes(seed: int, least: int) -> list[dict[str, int]]:
    """More samples than quantities, by chance; those that hypothesis draws are often equal."""
    chance = Random(seed)  # noqa: S311 - no secret
    return [{name: chance.randint(least, 10**6) for name in NAMES} for _ in range(len(NAMES) + 2)]


def samples_of(formula: Formula, sizes: list[dict[str, int]]) -> list[Sample]:
    return [Sample(size, value(formula, size)) for size in sizes]


@settings(deadline=None, max_examples=40)
@given(formulas, seeds)
def test_a_drawn_formula_is_found_again(formula: Formula, seed: int) -> None:
    """Enough samples of unlike sizes leave one formula that gives them all."""
    sizes = unlike_sizes(seed, least=1)
    assert fit(samples_of(formula, sizes)) == formula


@settings(deadline=None, max_examples=150)
@given(few_names.flatmap(samples_near_a_formula))
def test_no_formula_misses_a_sample(samples: list[Sample]) -> None:
    found = fit(samples)
    if found is not None:
        assert all(value(found, sample.amounts) == sample.reported for sample in samples)
        assert len(found) <= MOST_TERMS
        for factor in found.values():
            assert 0 < abs(factor.numerator) <= MOST_COEFFICIENT
            assert factor.denominator <= MOST_DENOMINATOR


@settings(deadline=None, max_examples=15)
@given(formulas.filter(bool), seeds, st.integers(1, 3))
def test_one_sample_off_by_little_leaves_no_simple_formula(
    formula: Formula, seed: int, off: int
) -> None:
    samples = samples_of(formula, unlike_sizes(seed, least=10**5))
    samples[-1] = samples[-1]._replace(reported=samples[-1].reported + off)
    assert fit(samples) is None


def test_samples_of_zero_have_an_empty_formula() -> None:
    assert fit([Sample({"macs": 5}, Fraction(0)), Sample({"macs": 7}, Fraction(0))]) == NOTHING
    assert fit([]) == NOTHING


def test_a_constant_is_only_of_calls() -> None:
    """7 and 15 of 10 and 20 outputs: no multiple of outputs, and no constant."""
    sizes = [{"outputs": 10}, {"outputs": 20}, {"outputs": 40}]
    reported = [Fraction(7), Fraction(15), Fraction(31)]
    assert fit([Sample(size, n) for size, n in zip(sizes, reported, strict=True)]) is None


def test_what_fixes_a_formula_is_not_enough_to_show_it() -> None:
    """One sample more than coefficients; of formulas that all samples bear the first in order."""
    one = [Sample({"outputs": 6, "inputs": 3}, Fraction(6))]
    assert fit(one) is None
    two = [*one, Sample({"outputs": 10, "inputs": 5}, Fraction(10))]
    assert fit(two) == {"outputs": Fraction(1)}
    three = [*two, Sample({"outputs": 8, "inputs": 5}, Fraction(10))]
    assert fit(three) == {"inputs": Fraction(2)}


def test_of_equal_quantities_the_first_is_named() -> None:
    same = [Sample({"outputs": n, "inputs": n}, Fraction(n, 2)) for n in (4, 6, 9)]
    assert fit(same) == {"outputs": Fraction(1, 2)}


def test_the_fewest_terms_then_the_smallest_numbers() -> None:
    """2 an input or 1 an output and 1 a row: one term is simpler than two."""
    sizes = [{"inputs": n, "outputs": 2 * n - 1, "rows": 1} for n in (3, 5, 8)]
    assert fit([Sample(size, Fraction(2 * size["inputs"])) for size in sizes]) == {
        "inputs": Fraction(2)
    }


def test_coefficients_that_no_tool_would_have_are_refused() -> None:
    large = [Sample({"outputs": n}, Fraction(n * (MOST_COEFFICIENT + 1))) for n in (3, 5)]
    odd = [Sample({"outputs": n}, Fraction(n, MOST_DENOMINATOR + 1)) for n in (3, 5)]
    assert fit(large) is None
    assert fit(odd) is None


def test_words() -> None:
    assert in_words({"outputs": Fraction(4), "inputs": Fraction(1, 2)}) == (
        "4 per output and 1/2 per input"
    )
    assert in_words(NOTHING) == "nothing"
