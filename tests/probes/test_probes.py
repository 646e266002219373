"""The probes: every case runs and is counted, and its sizes can be distinguished."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from fractions import Fraction
from functools import cache
from math import prod
from typing import Any, NamedTuple

import pytest
import torch
from flopaudit import count, probes
from flopaudit.core.errors import UsageError
from flopaudit.core.specs import ModelSpec, parse_inputs, parse_model
from flopaudit.models.build import build, make_inputs, make_kwargs
from flopaudit.pipeline.count_model import count_model
from flopaudit.pipeline.model_requests import model_lines, model_request
from flopaudit.probes.definition import Probe, image
from flopaudit.probes.root_models import cut
from flopaudit.reference.ledger import Ledger

GROUPS = list(dict.fromkeys(name.partition("/")[0] for name in probes.PROBES))

# Operators for which the reference has no formula.
UNCOUNTED = {"vision/roi_pool": {"torchvision.roi_pool.default"}}

_ONE_ROW = "with one row there are as many weights as products, and a bias for each bias add"
_CHAINED = "operators in a row: what one gives the next takes, so that the sums follow each other"
DEPENDENT = {
    "linear/linear_1d_bias": _ONE_ROW,
    "linear/linear_one_row_bias": _ONE_ROW,
    "whole/unbatched_linear": _ONE_ROW,
    "vision/squeeze_excitation": _ONE_ROW,
    "structure/squeeze_excite": _ONE_ROW,
    "timm/squeeze_excite": _ONE_ROW,
    "structure/spectral_norm_conv2d": _CHAINED,
    "structure/spectral_norm_linear": _CHAINED,
    "structure/dead_conv2d": _CHAINED,
    "timm/attention_unfused": _CHAINED,
    "timm/eca": _CHAINED,
    "timm/global_response_norm": _CHAINED,
    "timm/glu_mlp": _CHAINED,
    "timm/star_relu": _CHAINED,
    "timm/swiglu": _CHAINED,
}

# Every probe of these groups has products, but for those named; none of the others has any.
WITH_PRODUCTS = {"conv", "linear", "attention", "recurrent", "matmul"}
NO_PRODUCT = {
    "matmul/as_product_and_sum": "multiplications and additions, not fused",
    "matmul/einsum_outer": "a multiplication for each pair, and no sum",
    "matmul/einsum_summed": "a sum",
    "matmul/torch_cdist": "differences and their squares",
    "matmul/torch_outer": "a multiplication for each pair, and no sum",
}
WITHOUT_PRODUCTS = {"norm", "activation", "pool", "elementwise", "reduction", "movement"}

# torchstat accepts the probes of all other groups.
NO_IMAGE = {"batch", "embedding", "whole"}
NO_IMAGE_PROBES = {"parameters/tokens_of_root", "subclass/embedding"}


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Run these small models in one thread: more threads would only wait for one another."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Ran(NamedTuple):
    """One case: its results of two runs, whether its input is unchanged, and its ledger."""

    first: Any
    second: Any
    kept_input: bool
    ledger: Ledger


@cache
def ran(group: str) -> dict[str, list[Ran]]:
    return {
        probe.name: [_ran(probe, number) for number in range(len(probe.cases))]
        for probe in probes.ALL
        if probe.name.startswith(f"{group}/")
    }


def _ran(probe: Probe, number: int) -> Ran:
    model = build(probes.spec(probe.name, number))
    specs = parse_inputs(probe.cases[number].inputs)
    inputs, named = make_inputs(specs), make_kwargs(specs)
    before = [tensor.clone() for tensor in (*inputs, *named.values())]
    with torch.no_grad():
        first, second = model(*inputs, **named), model(*inputs, **named)
    kept = all(map(torch.equal, before, (*inputs, *named.values())))
    return Ran(first, second, kept, count(model, *inputs, **named))


AROUND = {"Layer", "LayerInTraining", "LayerOnCopy", "Function"}
"""Classes of the models around a probed layer, whose own parameter is not of interest."""


def quantities(ledger: Ledger) -> list[int]:
    """Return elements in and out of operators, products, bias adds, parameters, and a constant."""
    rows = [row for row in ledger.rows if row.work.flops_all and row.inputs]
    return [
        sum(prod(row.inputs[0]) for row in rows),
        sum(prod(row.outputs[0]) for row in rows),
        ledger.macs,
        ledger.work.bias_adds,
        sum(module.params for module in ledger.modules if module.type not in AROUND),
        1,
    ]


def told_apart(rows: list[list[int]]) -> bool:
    """Whether the columns are independent, ignoring those that are 0 or a multiple of another."""
    columns = [column for column in zip(*rows, strict=True) if any(column)]
    scale = [next(value for value in column if value) for column in columns]
    different = {
        (tuple(map(bool, column)), tuple(Fraction(value, first) for value in column))
        for column, first in zip(columns, scale, strict=True)
    }
    return rank([list(column) for _, column in different]) == len(different)


def rank(rows: list[list[Fraction]]) -> int:
    """Return the rank of a matrix, by elimination in exact numbers."""
    rows = [row for row in rows if any(row)]
    if not rows:
        return 0
    pivot, rest = rows[0], rows[1:]
    at = next(index for index, value in enumerate(pivot) if value)
    return 1 + rank(
        [
            [value - row[at] / pivot[at] * above for value, above in zip(row, pivot, strict=True)]
            for row in rest
        ]
    )


def test_a_dependent_column_is_seen() -> None:
    assert told_apart([[1, 2, 1], [2, 5, 1], [3, 7, 1], [4, 1, 1]])
    assert told_apart([[1, 2, 0], [2, 4, 0], [3, 6, 0]])
    assert not told_apart([[1, 2, 3], [2, 5, 7], [3, 7, 10]])
    assert rank([[Fraction(1), Fraction(2)], [Fraction(2), Fraction(4)]]) == 1


# -- The list --------------------------------------------------------------------------------------


def test_there_are_many_and_each_name_is_there_once() -> None:
    names = Counter(probe.name for probe in probes.ALL)
    assert len(names) >= 250
    assert set(names.values()) == {1}
    assert list(names) == list(probes.PROBES)
    assert all(re.fullmatch(r"[a-z_]+/[a-z0-9_]+", name) for name in names)
    assert all(probe.about for probe in probes.ALL)


def test_two_probes_of_one_name_are_refused() -> None:
    probe = probes.PROBES["conv/conv2d_bias"]
    message = "'conv/conv2d_bias' is defined twice, in first.py and in second.py"
    with pytest.raises(ValueError, match=message):
        probes.by_name([("first.py", [probe]), ("second.py", [probe])])
    with pytest.raises(ValueError, match=r"defined twice, in one\.py and in one\.py"):
        probes.by_name([("one.py", [probe, probe])])


def test_each_has_five_cases_or_more_that_differ() -> None:
    few = {probe.name for probe in probes.ALL if len(set(probe.cases)) < 5}
    assert not few


def test_probes_take_one_image() -> None:
    others = {
        probe.name
        for probe in probes.ALL
        for case in probe.cases
        if len(case.inputs) != 1 or not re.fullmatch(r"1(x\d+){3}", case.inputs[0])
    }
    assert {name for name in others if name.partition("/")[0] not in NO_IMAGE} == (
        {name for name in others if name.startswith("structure/unbatched")} | NO_IMAGE_PROBES
    )


@pytest.mark.parametrize(
    ("shapes", "written"),
    [
        (((1, 2, 3, 5),), "1x2x3x5"),
        (((3,),), "1x1x1x3"),
        (((2, 3),), "1x1x2x3"),
        (((1, 2, 9),), "1x1x2x9"),
        (((1, 2, 3, 4, 5),), "1x6x4x5"),
        (((2, 3), (3, 5)), "1x1x1x21"),
    ],
)
def test_tensors_are_cut_from_an_image(shapes: Any, written: str) -> None:
    assert image(shapes) == written
    (tensor,) = make_inputs(parse_inputs((written,)))
    pieces = cut(tensor, shapes)
    assert tuple(tuple(piece.shape) for piece in pieces) == shapes
    assert torch.equal(torch.cat([piece.reshape(-1) for piece in pieces]), tensor.reshape(-1))
    storage = tensor.untyped_storage().data_ptr()
    assert all(piece.untyped_storage().data_ptr() == storage for piece in pieces)


def _python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.strip()


def test_names_are_listed_without_torch() -> None:
    code = (
        "import sys; from flopaudit.pipeline.model_requests import model_lines, model_request;"
        "request = model_request('probe:conv/conv2d_bias?case=1');"
        "print(len(model_lines('*', 'probe')), *request.inputs,"
        "'torch' in sys.modules, 'timm' in sys.modules)"
    )
    case = probes.PROBES["conv/conv2d_bias"].cases[1]
    assert _python(code) == f"{len(probes.PROBES)} {case.inputs[0]} False False"


def test_timms_layers_are_left_out_where_timm_is_not_installed() -> None:
    code = (
        "import importlib.util as u; found = u.find_spec;"
        "u.find_spec = lambda name: None if name == 'timm' else found(name);"
        "from flopaudit import probes; print(len(probes.PROBES))"
    )
    others = [name for name in probes.PROBES if not name.startswith("timm/")]
    assert int(_python(code)) == len(others) < len(probes.PROBES)


# -- As models -------------------------------------------------------------------------------------


def test_specs_read_back() -> None:
    for probe in probes.ALL:
        for number, case in enumerate(probe.cases):
            spec = probes.spec(probe.name, number)
            assert parse_model(str(spec)) == spec
            assert ModelSpec(**asdict(spec)) == spec  # as the host receives it
            assert probes.find(spec) == (probe, case)
            assert model_request(str(spec)).inputs == case.inputs
    assert str(probes.spec("norm/layer_norm_3d")) == "probe:norm/layer_norm_3d"
    assert str(parse_model("probe:norm/layer_norm_3d?case=0")) == "probe:norm/layer_norm_3d?case=0"


@pytest.mark.parametrize(
    ("text", "message", "remedy"),
    [
        ("probe:", "not a probe", "probe:conv/conv2d_bias"),
        ("probe:conv/conv2d_bias?case=one", "not a probe", "case=1"),
        ("probe:conv/conv2d_bias?size=1", "not a probe", "case=1"),
        ("probe:conv/conv2d_bias?case=99", "has no case 99", "cases 0 to 6"),
        ("probe:conv/conv2d_bais", "no probe 'conv/conv2d_bais'", "conv/conv2d_bias"),
        ("probe:xyzzy", "no probe 'xyzzy'", "flopaudit models --source probe"),
    ],
)
def test_errors_have_a_message_and_a_remedy(text: str, message: str, remedy: str) -> None:
    with pytest.raises(UsageError) as caught:
        model_request(text)
    assert message in caught.value.message
    assert remedy in caught.value.remedy


def test_a_probe_takes_no_other_input() -> None:
    with pytest.raises(UsageError, match="comes with its inputs"):
        model_request("probe:conv/conv2d_bias", ["1x3x8x8"])


def test_probes_are_listed_as_models() -> None:
    (line,) = model_lines("norm/batch_norm2d_affine", "probe")[:1]
    assert line["model"] == "norm/batch_norm2d_affine"
    assert line["family"] == "BatchNorm2d affine"
    assert line["cases"] == 5
    with pytest.raises(UsageError, match="No model matches"):
        model_lines("xyzzy", "probe")
    with pytest.raises(UsageError, match="torchvision, timm, transformers, probe"):
        model_lines("*", "nowhere")


def test_a_probe_is_counted_like_a_model() -> None:
    result = count_model(model_request("probe:conv/conv2d_bias?case=1")).to_json()
    # 3 channels to 5, kernel 2 x 3, on 8 x 11.
    assert result["macs"] == 5 * 7 * 9 * 3 * 2 * 3
    assert result["bias_adds"] == 5 * 7 * 9
    assert result["params"] == 5 * 3 * 2 * 3 + 5 + 1  # the last is the root's own
    assert result["model"] == "probe:conv/conv2d_bias?case=1"


def test_weights_are_the_same_each_time() -> None:
    first, second = (build(probes.spec("linear/linear_2d_bias")) for _ in range(2))
    assert all(map(torch.equal, first.parameters(), second.parameters()))


def test_a_layer_stays_in_training_where_that_is_probed() -> None:
    model = build(probes.spec("norm/batch_norm2d_affine_train"))
    assert not model.training
    assert all(child.training for child in model.children())
    assert not any(m.training for m in build(probes.spec("norm/batch_norm2d_affine")).modules())


def test_models_can_be_pickled() -> None:
    unpicklable = set()
    for probe in probes.ALL:
        model = probes.build(probe.name, probe.cases[0])
        try:
            loaded = pickle.loads(pickle.dumps(model))  # noqa: S301 - what was just written
        except RuntimeError as error:
            assert "parametrized modules" in str(error)  # noqa: PT017 - torch's own limit
            unpicklable.add(probe.name)
            continue
        assert type(loaded) is type(model)
    assert all("_norm_" in name and name.startswith("structure/") for name in unpicklable)


# -- What they cost --------------------------------------------------------------------------------


@pytest.mark.parametrize("group", GROUPS)
def test_every_case_runs_and_is_counted_on_meta(group: str) -> None:
    for name, cases in ran(group).items():
        for case in cases:
            torch.testing.assert_close(case.first, case.second, rtol=0, atol=0, equal_nan=True)
            assert case.kept_input, name
            assert (case.ledger.device, case.ledger.fallback) == ("meta", None), name
            assert set(case.ledger.uncounted_ops) == UNCOUNTED.get(name, set()), name


@pytest.mark.parametrize("group", GROUPS)
def test_quantities_can_be_told_apart(group: str) -> None:
    dependent = {
        name
        for name, cases in ran(group).items()
        if not told_apart([quantities(case.ledger) for case in cases])
    }
    assert dependent == {name for name in DEPENDENT if name.startswith(f"{group}/")}


@pytest.mark.parametrize("group", GROUPS)
def test_sizes_vary(group: str) -> None:
    """Quantities vary across the cases of a probe, except for the constant."""
    for name, cases in ran(group).items():
        columns = list(zip(*(quantities(case.ledger) for case in cases), strict=True))[:2]
        assert not any(columns[0]) or any(len(set(column)) > 2 for column in columns), name


@pytest.mark.parametrize("group", sorted(WITH_PRODUCTS))
def test_products_are_there(group: str) -> None:
    without = {name for name, cases in ran(group).items() if any(not c.ledger.macs for c in cases)}
    assert without == {name for name in NO_PRODUCT if name.startswith(f"{group}/")}


@pytest.mark.parametrize("group", sorted(WITHOUT_PRODUCTS))
def test_no_product_is_there(group: str) -> None:
    assert not {name for name, cases in ran(group).items() if any(c.ledger.macs for c in cases)}
