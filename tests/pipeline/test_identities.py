"""The real tools on real models: their known identities, and every difference explained."""

from __future__ import annotations

from pathlib import Path

import flopaudit
import pytest
from flopaudit.core.causes import Cause
from flopaudit.core.specs import parse_input
from flopaudit.isolation.jobs import Limits
from flopaudit.models.build import build, make_inputs
from flopaudit.pipeline.measure import RunOptions
from flopaudit.pipeline.model_requests import ModelRequest, model_request
from flopaudit.pipeline.results import Results
from flopaudit.pipeline.run import run_all
from flopaudit.records.schema import Finding, Measurement, Status
from flopaudit.reference.ledger import Ledger
from flopaudit.tools.registry import tool_variants
from flopaudit_adapters import NAMES

from tests.support.paths import SMALL_MODELS

USERS = SMALL_MODELS
REQUESTS = [
    model_request("resnet18"),
    model_request("vit_b_16"),
    *(
        model_request(f"{USERS}:{name}", inputs)
        for name, inputs in [
            ("alone", ["1x10"]),
            ("attention", ["1x5x16"]),
            ("branches", ["1x3x16x16"]),
            ("encoder", ["1x5x16"]),
            ("functions", ["1x3x8x8"]),
            ("parameterless", ["1x3x8x8"]),
            ("recurrent", ["1x5x8"]),
            ("reused", ["1x4x16x16"]),
            ("shared", ["1x16"]),
            ("shared", ["4x16"]),
            ("subclassed", ["1x3x12x12"]),
            ("transposed", ["1x3x6x6"]),
            ("transposed", ["4x3x6x6"]),
            ("two_inputs", ["int64:1x5", "1x5x8"]),
            ("unused", ["1x8"]),
        ]
    ),
]
LIMITS = Limits(timeout_seconds=300, memory_bytes=8 << 30)


@pytest.fixture(scope="session")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which all tools have been run on all models of this file."""
    directory = tmp_path_factory.mktemp("tools")
    run_all(REQUESTS, tool_variants(",".join(NAMES)), directory, RunOptions(2, LIMITS))
    return directory


@pytest.fixture(scope="session")
def results(out: Path) -> Results:
    from flopaudit.pipeline.results import collect

    return collect(out)


def measured(results: Results, model: str, variant: str) -> Measurement:
    return next(m for m in results.measurements if m.model == model and m.variant_name == variant)


def causes(results: Results, measurement: Measurement) -> list[Finding]:
    key = (measurement.tool_key, measurement.model, measurement.inputs)
    return [f for f in results.findings if (f.tool_key, f.model, f.inputs) == key]


def amounts(findings: list[Finding], cause: Cause) -> int:
    return sum(f.amount for f in findings if f.cause == cause)


def elements(ledger: Ledger, kind: str, *, inputs: bool = False, last: bool = False) -> int:
    """Elements that go into or come out of the operators of a kind, as the reference saw them."""
    rows = [row for row in ledger.rows if row.type == kind]
    if last:
        calls = {row.path: row.call for row in rows}
        rows = [row for row in rows if row.call == calls[row.path]]
    shapes = [row.inputs[0] if inputs else row.outputs[0] for row in rows]
    total = 0
    for shape in shapes:
        size = 1
        for length in shape:
            size *= length
        total += size
    return total


def test_identities_of_resnet18(results: Results) -> None:
    request = REQUESTS[0]
    ledger = flopaudit.count(
        build(request.spec), *make_inputs(tuple(parse_input(text) for text in request.inputs))
    )
    macs, norm = ledger.macs, elements(ledger, "BatchNorm2d")
    relu, relu_last = elements(ledger, "ReLU"), elements(ledger, "ReLU", last=True)
    max_in = elements(ledger, "MaxPool2d", inputs=True)
    avg_in = elements(ledger, "AdaptiveAvgPool2d", inputs=True)
    avg_out = elements(ledger, "AdaptiveAvgPool2d")
    bias = ledger.work.bias_adds
    assert (macs, norm, relu, max_in, avg_in) == (
        1_814_073_344, 2_483_712, 2_308_096, 802_816, 25_088,
    )  # fmt: skip
    expected = {
        "flop_counter": 2 * macs,
        "fvcore": macs + 2 * norm + avg_in,
        "thop": macs + 4 * norm + avg_in + avg_out,
        "ptflops aten": macs + bias,
        "ptflops pytorch": macs + bias + 2 * norm + 2 * (relu + max_in + avg_in),
        "torchstat": macs + 2 * norm + max_in + relu_last,
    }
    for variant, number in expected.items():
        measurement = measured(results, "torchvision:resnet18", variant)
        assert measurement.reported == number, variant


def test_vit_what_thop_misses_is_a_finding(results: Results) -> None:
    thop = measured(results, "torchvision:vit_b_16", "thop")
    found = causes(results, thop)
    params = [f for f in found if f.quantity == "params" and f.amount]
    assert sum(f.amount for f in params) == -28_500_480
    assert {f.cause for f in params} == {Cause.PARAMS_UNSEEN, Cause.PARAMS_UNCALLED}
    assert any("MultiheadAttention" in f.evidence for f in params)
    assert amounts(found, Cause.UNSEEN_MODULE) < -6_000_000_000
    assert any("MultiheadAttention" in f.evidence for f in found if f.cause == Cause.UNSEEN_MODULE)
    assert measured(results, "torchvision:vit_b_16", "torchstat").status is Status.ERRORED


def test_every_cell_adds_up(results: Results) -> None:
    references = {reference.key: reference for reference in results.references}
    counted = [m for m in results.measurements if m.status is Status.COUNTED]
    assert len(counted) > 80
    for measurement in counted:
        reference = references[measurement.model, measurement.inputs]
        found = causes(results, measurement)
        counts = [f for f in found if f.quantity != "params"]
        assert measurement.reported is not None
        assert reference.macs is not None
        assert sum(f.amount for f in counts) == measurement.reported - reference.macs
        if measurement.params is not None:
            assert reference.params is not None
            params = sum(f.amount for f in found if f.quantity == "params")
            assert params == measurement.params - reference.params


@pytest.mark.parametrize(
    "wanted",
    REQUESTS,
    ids=lambda wanted: f"{wanted.spec}, {wanted.inputs[0]}".rpartition(":")[2],
)
def test_nothing_is_unexplained(results: Results, wanted: ModelRequest) -> None:
    left = [
        (f.tool, f.variant, f.quantity, f.amount, f.evidence)
        for f in results.findings
        if (f.model, f.inputs) == (str(wanted.spec), wanted.inputs)
        and f.cause == Cause.UNEXPLAINED
        and (f.amount or f.rows_that_differ)
    ]
    assert not left


@pytest.mark.parametrize(
    ("model", "variant", "cause"),
    [
        ("shared", "ptflops pytorch", Cause.PER_SAMPLE),
        ("unused", "ptflops aten", Cause.PARAMS_FROZEN),
        ("unused", "thop", Cause.PARAMS_UNCALLED),
        ("two_inputs", "thop", Cause.PARAMS_UNSEEN),
        ("subclassed", "thop", Cause.UNSEEN_MODULE),
        ("functions", "thop", Cause.UNSEEN_FUNCTION),
        ("reused", "torchstat", Cause.REUSED_COUNTED_ONCE),
        ("branches", "thop", Cause.SHARED_COUNTED_AGAIN),
        ("transposed", "thop", Cause.BY_OUTPUT),
        ("encoder", "flop_counter", Cause.UNSEEN_OPERATOR),
        ("recurrent", "fvcore", Cause.UNSEEN_FUNCTION),
        ("recurrent", "flop_counter", Cause.UNSEEN_OPERATOR),
        ("alone", "ptflops aten", Cause.BIAS),
        ("alone", "ptflops pytorch", Cause.BIAS),
        ("alone", "flop_counter", Cause.UNIT),
        ("parameterless", "torchstat", Cause.ACTIVATION),
    ],
)
def test_cause_is_named(results: Results, model: str, variant: str, cause: Cause) -> None:
    measurements = [
        m for m in results.measurements
        if m.model.endswith(f":{model}") and m.variant_name == variant
    ]  # fmt: skip
    found = [f for m in measurements for f in causes(results, m) if f.amount]
    assert cause in {f.cause for f in found}


def test_rows_name_modules_that_exist(results: Results) -> None:
    names = {
        reference.key: {name for m in reference.modules for name in (m.path, *m.aliases)}
        for reference in results.references
    }
    for measurement in results.measurements:
        known = names[measurement.model, measurement.inputs]
        assert {row.path for row in measurement.modules} <= known
