"""Formulas of single probes fit the tool's numbers, and are written in a short notation."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import pytest
from flopaudit import probes
from flopaudit.core.specs import parse_inputs
from flopaudit.models.build import build, make_inputs
from flopaudit.profiles.formula_fitting import Formula, value
from flopaudit.profiles.formula_text import (
    SYMBOLS,
    legend,
    short,
    symbol,
)
from flopaudit.profiles.probe_formulas import probe_formula
from flopaudit.profiles.rule_inference import CaseResult
from flopaudit.tracing.sites import (
    FUNCTION,
    QUANTITIES,
    Amounts,
    ModuleSite,
    Site,
    Trace,
)
from flopaudit.tracing.watcher import trace
from hypothesis import given
from hypothesis import strategies as st

# -- notation --------------------------------------------------------------------------------------


def formula(**factors: float | str) -> dict[str, Fraction]:
    return {name.replace("__", " "): Fraction(factor) for name, factor in factors.items()}


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (formula(), "0"),
        (formula(macs=2, bias_adds=1), "2M + b"),
        (formula(outputs=3, rows=-1), "3n - r"),
        (formula(rows=-1, outputs=3), "-r + 3n"),
        (formula(bias_adds="9/4"), "9b/4"),
        (formula(macs=1, calls=6), "M + 6"),
        (formula(macs__per__sample=1), "M/B"),
        (formula(macs__of__the__last__call=1), "M(last)"),
        (formula(macs__of__linear__functions=2), "2M(linear)"),
        (formula(outputs__of__normalisation__layers=4), "4n(norm layers)"),
        (formula(something_new=2), "2something_new"),
    ],
)
def test_a_formula_is_written_short(found: Formula, text: str) -> None:
    assert short(found) == text


def test_symbols_are_distinct() -> None:
    symbols = [symbol(name) for name in QUANTITIES]
    assert len(set(symbols)) == len(symbols)
    assert set(SYMBOLS) <= set(QUANTITIES)


def test_the_legend_explains_the_symbols_in_use_alone() -> None:
    found = [formula(macs=1, bias_adds__per__sample=1), formula(calls=3)]
    assert list(legend(found)) == [
        "M per multiply-accumulate",
        "b per bias add",
        "/B divided by the batch",
    ]


# -- the formula of a probe ------------------------------------------------------------------------

SIZES = ((2, 3, 5), (3, 5, 7), (5, 4, 3), (7, 2, 4), (4, 7, 2), (6, 5, 11))
"""Rows, features in, features out."""


def module(
    path: str, name: str, amounts: Amounts, *, kind: str = "linear", **more: object
) -> ModuleSite:
    given: dict[str, object] = {
        "bases": (), "aliases": (), "leaf": path != "", "calls": 1, "traits": {}, "last": {},
        "params": 0, "trainable": 0, "own_params": 0, "all_params": 0, **more,
    }  # fmt: skip
    return ModuleSite(path=path, name=name, amounts=amounts, kind=kind, **given)  # type: ignore[arg-type]


def linear(rows: int, ins: int, outs: int) -> dict[str, int]:
    return {
        "macs": rows * ins * outs, "bias_adds": rows * outs, "outputs": rows * outs,
        "inputs": rows * ins, "calls": 1,
    }  # fmt: skip


ROOT_OF_LAYER, ROOT_OF_FUNCTION = (
    f"flopaudit.probes.root_models.{name}" for name in ("Layer", "Function")
)


def of_layer(size: tuple[int, int, int], *, batch: int = 1, calls: int = 1) -> Trace:
    once = linear(*size)
    amounts = {name: calls * amount for name, amount in once.items()}
    last = once if calls > 1 else {}
    modules = (
        module("", ROOT_OF_LAYER, {}),
        module("layer", "torch.nn.Linear", amounts, calls=calls, last=last),
    )
    return Trace(batch, modules, (), ())


def of_functions(*amounts: tuple[str, Amounts]) -> Trace:
    sites = tuple(
        Site(FUNCTION, f"torch.{kind}", "", -1, {}, found, kind) for kind, found in amounts
    )
    return Trace(1, (module("", ROOT_OF_FUNCTION, {"outputs": 1}),), sites, ())


Numbered = tuple[Trace, int | None]
"""A case, and the number that a tool reported for it."""


def fitted(cases: Sequence[Numbered]) -> Formula | None:
    return probe_formula([CaseResult("made/up", trace, number) for trace, number in cases])


def test_zero_is_an_empty_formula_and_no_number_is_none() -> None:
    traces = [of_layer(size) for size in SIZES]
    assert fitted([(trace, 0) for trace in traces]) == {}
    assert fitted([(trace, None) for trace in traces]) is None
    assert fitted([]) is None


@pytest.mark.parametrize(
    ("macs", "bias", "text"),
    [(1, 0, "M"), (2, 0, "2M"), (1, 1, "M + b"), (2, 1, "2M + b"), (2, 2, "2M + 2b"),
     (1, 2, "M + 2n"), (3, 0, "3M")],
)  # fmt: skip
def test_products_and_bias_of_a_layer_are_inferred(macs: int, bias: int, text: str) -> None:
    cases: list[Numbered] = [
        (of_layer((rows, ins, outs)), macs * rows * ins * outs + bias * rows * outs)
        for rows, ins, outs in SIZES
    ]
    assert short(fitted(cases) or {}) == text


@given(
    st.sampled_from(("macs", "outputs", "inputs")),
    st.sampled_from(("macs", "outputs", "inputs", "calls")),
    st.integers(1, 20),
    st.integers(0, 20),
)
def test_a_formula_that_is_found_fits_all_numbers(
    one: str, other: str, times: int, more: int
) -> None:
    numbers = [times * linear(*size)[one] + more * linear(*size)[other] for size in SIZES]
    found = fitted([(of_layer(size), n) for size, n in zip(SIZES, numbers, strict=True)])
    assert found
    assert [value(found, linear(*size)) for size in SIZES] == numbers


def test_a_depthwise_kernel_is_products_though_it_is_as_many_per_output() -> None:
    cases: list[Numbered] = [
        (of_layer((rows, 9, outs)), 10 * rows * outs) for rows, _, outs in SIZES
    ]
    assert fitted(cases) == formula(macs=1, bias_adds=1)


def test_a_number_divided_by_the_batch_is_named_so() -> None:
    cases: list[Numbered] = [
        (of_layer((rows, ins, outs), batch=rows), ins * outs) for rows, ins, outs in SIZES
    ]
    assert short(fitted(cases) or {}) == "M/B"


def test_of_a_layer_called_again_the_last_call_may_be_what_counts() -> None:
    cases: list[Numbered] = [
        (of_layer(size, calls=1 + number), linear(*size)["macs"])
        for number, size in enumerate(SIZES)
    ]
    assert short(fitted(cases) or {}) == "M(last)"


def test_a_copy_that_is_made_first_is_not_under_test() -> None:
    cases: list[Numbered] = [
        (
            of_functions(
                ("data movement", {"outputs": rows, "inputs": rows}),
                ("activation", {"outputs": rows, "inputs": rows}),
            ),
            rows,
        )
        for rows, _, _ in SIZES
    ]
    assert fitted(cases) == formula(outputs=1)


def test_parts_are_distinguished_by_kind() -> None:
    cases: list[Numbered] = [
        (
            of_functions(
                ("attention", {"macs": rows * ins, "outputs": ins}),
                ("linear", {"macs": rows * outs, "outputs": outs}),
            ),
            2 * rows * outs,
        )
        for rows, ins, outs in SIZES
    ]
    assert short(fitted(cases) or {}) == "2M(linear)"


def test_numbers_that_follow_nothing_have_no_formula() -> None:
    numbers = (1009, 2003, 3001, 4007, 5003, 6007)
    cases = [(of_layer(size), n) for size, n in zip(SIZES, numbers, strict=True)]
    assert fitted(cases) is None


@pytest.mark.parametrize(
    ("probe", "text"),
    [
        ("conv/conv2d_bias", "2M"),
        ("linear/function_2d_bias", "2M"),
        ("matmul/operator", "2M"),
        ("norm/layer_norm_3d", "0"),
        ("attention/multihead_self_no_weights", "2M(linear)"),
    ],
)
def test_formulas_of_a_real_counter_on_real_probes(probe: str, text: str) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    results = []
    for number, case in enumerate(probes.PROBES[probe].cases):
        model = build(probes.spec(probe, number)).eval()
        inputs = make_inputs(parse_inputs(case.inputs))
        with FlopCounterMode(display=False) as counter:
            model(*inputs)
        reported = int(counter.get_total_flops())
        results.append(CaseResult(probe, trace(model, inputs, {}), reported))
    found = probe_formula(results)
    assert found is not None
    assert short(found) == text
