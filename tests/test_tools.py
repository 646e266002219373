"""The real tools on real models: their known identities, and every difference explained."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness.explain import fit
from harness.probes import PROBES

import harness
from adapters import NAMES
from harness.catalogue import columns, subject
from harness.findings import UNEXPLAINED
from harness.ledger import Ledger
from harness.models import build, make_inputs
from harness.results import Results, measurements_in, references_in
from harness.run import run_all
from harness.scheduler import Limits
from harness.schema import Finding, Measurement, Status
from harness.specs import parse_input, parse_model

USERS = Path(__file__).with_name("small_models.py")
SUBJECTS = [
    subject("resnet18"),
    subject("vit_b_16"),
    *(
        subject(f"{USERS}:{name}", inputs)
        for name, inputs in [
            ("alone", ["1x10"]),
            ("attention", ["1x5x16"]),
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
    """A directory in which all tools have been run on all subjects of this file."""
    directory = tmp_path_factory.mktemp("tools")
    run_all(SUBJECTS, columns(",".join(NAMES)), directory, 2, LIMITS, lambda *_: None)
    return directory


@pytest.fixture(scope="session")
def results(out: Path) -> Results:
    from harness.results import collect

    return collect(out)


def said(results: Results, model: str, column: str) -> Measurement:
    return next(m for m in results.measurements if m.model == model and m.column == column)


def causes(results: Results, measurement: Measurement) -> list[Finding]:
    return [
        f
        for f in results.findings
        if (f.tool, f.variant, f.model, f.inputs)
        == (measurement.tool, measurement.variant, measurement.model, measurement.inputs)
    ]


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
    where = SUBJECTS[0]
    ledger = harness.count(
        build(where.spec), *make_inputs(tuple(parse_input(text) for text in where.inputs))
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
    for column, number in expected.items():
        measurement = said(results, "torchvision:resnet18", column)
        assert measurement.reported == number, column
        left = [f for f in causes(results, measurement) if f.cause == UNEXPLAINED]
        assert left
        assert all(f.amount == 0 for f in left), column


def test_vit_what_thop_misses_is_a_finding(results: Results) -> None:
    thop = said(results, "torchvision:vit_b_16", "thop")
    found = causes(results, thop)
    missing = [f for f in found if f.cause == "parameters unseen"]
    assert sum(f.amount for f in missing) == -28_500_480
    assert any("MultiheadAttention" in f.evidence for f in missing)
    unseen = [f for f in found if f.cause == "unseen"]
    assert sum(f.amount for f in unseen) < -6_000_000_000
    assert said(results, "torchvision:vit_b_16", "torchstat").status is Status.ERRORED


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
    ("model", "column", "cause"),
    [
        ("shared", "ptflops pytorch", "per sample"),
        ("unused", "ptflops aten", "frozen parameters unseen"),
        ("unused", "thop", "parameters unseen"),
        ("subclassed", "thop", "unseen"),
        ("functions", "thop", "unseen"),
        ("reused", "torchstat", "reused module counted once"),
        ("encoder", "flop_counter", "unseen"),
        ("recurrent", "fvcore", "unseen"),
        ("alone", "ptflops pytorch", "bias"),
        ("parameterless", "torchstat", "activation"),
    ],
)
def test_cause_is_named(results: Results, model: str, column: str, cause: str) -> None:
    measurements = [
        m for m in results.measurements
        if m.model.endswith(f":{model}") and m.column == column
    ]  # fmt: skip
    found = [f for m in measurements for f in causes(results, m) if f.amount]
    assert cause in {f.cause for f in found}


def test_rows_speak_of_modules_that_exist(results: Results) -> None:
    names = {
        reference.key: {name for m in reference.modules for name in (m.path, *m.aliases)}
        for reference in results.references
    }
    for measurement in results.measurements:
        known = names[measurement.model, measurement.inputs]
        assert {row.path for row in measurement.modules} <= known


def test_probes_are_for_the_form_they_say(out: Path) -> None:
    references = {
        r.model.rpartition(":")[2]: r for r in references_in(out / "probe_references.jsonl")
    }
    assert references
    for name, reference in references.items():
        forms = {total.form for total in reference.operators}
        assert PROBES[name].form in forms
    assert measurements_in(out / "probes.jsonl")


def test_all_probes_build_and_run() -> None:
    for name, probe in PROBES.items():
        model = build(parse_model(f"harness.probes:{name}"))
        samples = []
        for text in probe.inputs:
            ledger = harness.count(model, *make_inputs((parse_input(text),)))
            rows = [row for row in ledger.rows if row.form == probe.form]
            assert rows, name
            samples.append((len(rows), len(rows), 0, len(rows)))
        assert fit(samples) is not None
