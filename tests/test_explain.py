"""Laws of the findings: whatever is said and whatever ran, the parts add up to the difference."""

from __future__ import annotations

from harness.explain import Part, Rule, departures, fit
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.findings import UNEXPLAINED, explain
from harness.schema import (
    Conditions,
    Environment,
    Measurement,
    ModuleParams,
    ModuleRow,
    OperatorTotal,
    Reference,
    Status,
    Unit,
)

SOMEWHERE = Environment(
    flopaudit="0", python="3", torch="2", torchvision=None, tool=None, processor="p"
)
PATHS = ["", "a", "a.b", "a.c", "d"]
KINDS = ["conv", "linear", "normalisation", "activation", "data movement"]
amounts = st.integers(0, 10**6)


@st.composite
def totals(draw: st.DrawFn) -> OperatorTotal:
    kind = draw(st.sampled_from(KINDS))
    product = kind in {"conv", "linear"}
    return OperatorTotal(
        path=draw(st.sampled_from(PATHS)),
        type="T",
        operator="aten.op.default",
        form=draw(st.sampled_from(["", "torch.nn.functional.relu", "torch.matmul"])),
        kind=kind,
        executions=draw(st.integers(1, 3)),
        macs=draw(amounts) if product else 0,
        bias_adds=draw(amounts) if product else 0,
        flops_all=draw(amounts),
        input_elements=draw(amounts),
        output_elements=draw(amounts),
    )


rows = st.builds(
    ModuleRow,
    path=st.sampled_from([*PATHS, "alias"]),
    type=st.just("T"),
    count=amounts,
    params=st.none() | amounts,
    operator=st.sampled_from(["", "op", "relu"]),
)
modules = st.lists(
    st.builds(
        ModuleParams,
        path=st.sampled_from(PATHS),
        type=st.just("T"),
        aliases=st.sampled_from([(), ("alias",)]),
        params=amounts,
        trainable=amounts,
    ),
    unique_by=lambda module: module.path,
)


@st.composite
def cells(draw: st.DrawFn) -> tuple[Measurement, Reference]:
    ran = tuple(draw(st.lists(totals(), max_size=6)))
    held = tuple(draw(modules))
    reference = Reference(
        model="m", inputs=("1x1",), device="meta", batch=draw(st.integers(1, 4)),
        macs=sum(total.macs for total in ran),
        params=sum(module.params for module in held),
        trainable_params=draw(amounts), operators=ran, modules=held, environment=SOMEWHERE,
    )  # fmt: skip
    said = Measurement(
        tool="t", tool_version="1", model="m", inputs=("1x1",), conditions=Conditions(),
        status=Status.COUNTED, unit=draw(st.sampled_from(list(Unit))), reported=draw(amounts),
        params=draw(st.none() | amounts), modules=tuple(draw(st.lists(rows, max_size=5))),
        environment=SOMEWHERE,
    )  # fmt: skip
    return said, reference


@settings(max_examples=300, deadline=None)
@given(cells())
def test_parts_add_up_to_the_difference(cell: tuple[Measurement, Reference]) -> None:
    said, reference = cell
    findings = explain(said, reference, {"torch.matmul": [Rule(macs=1)]})
    counts = [f for f in findings if f.quantity != "params"]
    assert said.reported is not None
    assert reference.macs is not None
    assert sum(f.amount for f in counts) == said.reported - reference.macs
    assert counts[0].cause == UNEXPLAINED
    params = [f for f in findings if f.quantity == "params"]
    if said.params is None or reference.params is None:
        assert not params
    else:
        assert sum(f.amount for f in params) == said.params - reference.params
        assert params[0].cause == UNEXPLAINED


@given(
    st.integers(0, 5), st.integers(0, 5), st.integers(0, 1),
    st.lists(st.tuples(amounts, amounts, amounts), min_size=3, max_size=5),
)  # fmt: skip
def test_fit_finds_a_rule_that_gives_every_sample(
    ins: int, outs: int, macs: int, sizes: list[tuple[int, int, int]]
) -> None:
    rule = Rule(0 if macs else ins, outs, macs)
    samples = [(*size, rule(*size)) for size in sizes]
    found = fit(samples)
    assert found is not None
    assert all(found(*sample[:3]) == sample[3] for sample in samples)


def test_fit_finds_nothing_where_there_is_nothing() -> None:
    assert fit([(10, 10, 0, 7), (20, 20, 0, 15)]) is None


@given(st.lists(st.tuples(st.integers(1, 10**9), st.booleans(), st.booleans()), max_size=8))
def test_departures_give_the_target(drawn: list[tuple[int, bool, bool]]) -> None:
    parts = [
        Part("unseen" if usual else "bias", amount, usual=usual, what="w")
        for amount, usual, _ in drawn
    ]
    target = sum(amount for amount, _, counted in drawn if counted)
    chosen = departures(target, parts, others=False)
    assert chosen is not None
    reached = sum(part.amount for part in parts if part.usual)
    reached += sum(-part.amount if part.usual else part.amount for part in chosen)
    assert reached == target


def test_two_errors_that_cancel_are_two_causes() -> None:
    conv = OperatorTotal(
        path="a", type="Conv2d", operator="aten.convolution.default",
        form="torch.nn.functional.conv2d", kind="conv", executions=1, macs=100, bias_adds=0,
        flops_all=200, input_elements=10, output_elements=10,
    )  # fmt: skip
    relu = conv.model_copy(
        update={"path": "d", "type": "ReLU", "kind": "activation", "macs": 0, "flops_all": 100,
                "output_elements": 100, "input_elements": 100, "form": "torch.relu"}
    )  # fmt: skip
    reference = Reference(
        model="m", inputs=("1",), device="meta", macs=100, params=0, environment=SOMEWHERE,
        operators=(conv, relu), modules=(),
    )  # fmt: skip
    said = Measurement(
        tool="t", tool_version="1", model="m", inputs=("1",), conditions=Conditions(),
        status=Status.COUNTED, unit=Unit.MAC, reported=100, environment=SOMEWHERE,
        modules=(ModuleRow(path="a", type="Conv2d", count=0),
                 ModuleRow(path="d", type="ReLU", count=100)),
    )  # fmt: skip
    amounts_by_cause = {f.cause: f.amount for f in explain(said, reference)}
    assert amounts_by_cause == {UNEXPLAINED: 0, "unseen": -100, "activation": 100}
