"""The reference of an exported graph against the reference of a run, and by hand."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import flopaudit
import flopaudit.reference.graph_export
import pytest
import torch
from flopaudit.models.torchvision_zoo import torchvision_models
from flopaudit.reference import graph_export
from flopaudit.reference.conventions import Convention
from flopaudit.reference.export_counter import NotExportable, count_static
from flopaudit.studies import agreement
from flopaudit.studies.agreement import Compared, Refused
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch._higher_order_ops.while_loop import while_loop
from torch.nn import functional
from torch.nn.attention.flex_attention import flex_attention
from torch.utils.checkpoint import checkpoint

MODELS = torchvision_models()

# Each family of models, and in each the quickest to export.
ZOO = """
    alexnet convnext_tiny efficientnet_v2_s googlenet mobilenet_v2 mobilenet_v3_small mvit_v1_b
    regnet_x_400mf regnet_y_400mf resnet18 resnext50_32x4d shufflenet_v2_x0_5 squeezenet1_1
    swin_v2_t vgg11 vit_b_32 wide_resnet50_2 quantized_resnet18 quantized_mobilenet_v2
    quantized_shufflenet_v2_x0_5 mc3_18 r3d_18 s3d fcn_resnet50 raft_small
""".split()  # noqa: SIM905 - names read best as words


class Function(nn.Module):
    """Runs a function of two linear layers and the inputs."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)

    def forward(self, *inputs: Any) -> Any:
        return self.function(self, *inputs)


class Twice(nn.Module):
    """One layer under two names, called under both."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = self.first

    def forward(self, x: Any) -> Any:
        return self.second(torch.relu(self.first(x)))


class SelfAttention(nn.Module):
    """The attention layer as a part of a model."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)

    def forward(self, x: Any) -> Any:
        return self.attention(x, x, x)[0]


def attend(**kwargs: Any) -> Function:
    return Function(lambda _, q, k: functional.scaled_dot_product_attention(q, k, k, **kwargs))


def einsum(equation: str) -> Function:
    return Function(lambda _, *inputs: torch.einsum(equation, *inputs))


def encoder() -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)


def without_gradients(model: Function, x: Any) -> Any:
    with torch.no_grad():
        x = model.first(x)
    with torch.enable_grad():
        return model.second(x)


def in_half_precision(model: Function, x: Any) -> Any:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        x = model.first(x)
    return model.second(x.float())


def branch(model: Function, x: Any) -> Any:
    return model.first(x) if x.sum() > 0 else x


def chosen_rows(model: Function, x: Any) -> Any:
    return model.first(x[x.sum(-1) > 0])


def same_branches(model: Function, x: Any) -> Any:
    return torch.cond(x.sum() > 0, model.first, model.second, (x,))


def other_branches(model: Function, x: Any) -> Any:
    return torch.cond(x.sum() > 0, model.first, torch.sin, (x,))


def repeats(model: Function, x: Any) -> Any:
    body = (lambda x: x.sum() > 0, lambda x: (model.first(x),), (x,))
    return while_loop(*body)[0]  # type: ignore[no-untyped-call] # torch's own


# Models with shapes to call them with.
SMALL: dict[str, tuple[Callable[[], nn.Module], list[tuple[int, ...]]]] = {
    "shared": (Twice, [(2, 4)]),
    "attention": (SelfAttention, [(2, 5, 16)]),
    "encoder": (encoder, [(2, 5, 16)]),
    "stack": (lambda: nn.TransformerEncoder(encoder(), 2), [(2, 5, 16)]),
    "lstm": (lambda: nn.LSTM(8, 12, 2, batch_first=True, bidirectional=True), [(2, 5, 8)]),
    "gru": (lambda: nn.GRU(8, 12), [(5, 2, 8)]),
    "grouped and dilated": (lambda: nn.Conv2d(8, 16, 3, groups=4, dilation=2), [(1, 8, 9, 9)]),
    "transposed": (
        lambda: nn.ConvTranspose2d(8, 4, 3, groups=2, stride=2, output_padding=1),
        [(2, 8, 5, 5)],
    ),
    "without a batch": (lambda: nn.Conv1d(3, 4, 3, padding="same"), [(3, 9)]),
    "reflected": (lambda: nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), [(1, 3, 6, 6)]),
    "trained": (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), [(2, 3, 6, 6)]),
    "norms": (lambda: nn.Sequential(nn.GroupNorm(2, 4), nn.LayerNorm(6)), [(2, 4, 6)]),
    "einsum": (lambda: einsum("bij,bkj->bik"), [(2, 3, 4), (2, 5, 4)]),
    "chain": (lambda: einsum("ij,jk,kl->il"), [(3, 4), (4, 5), (5, 2)]),
    "broadcast": (lambda: Function(lambda _, x, y: x @ y), [(2, 1, 3, 4), (5, 4, 6)]),
    "addition": (
        lambda: Function(lambda _, x, y, z: torch.baddbmm(x, y, z)),
        [(2, 3, 5), (2, 3, 4), (2, 4, 5)],
    ),
    "causal": (lambda: attend(is_causal=True), [(2, 4, 6, 8), (2, 4, 6, 8)]),
    "grouped queries": (lambda: attend(enable_gqa=True), [(2, 4, 6, 8), (2, 2, 7, 8)]),
    "transposed linear": (lambda: Function(lambda m, x: m.first(x.mT)), [(2, 4, 3)]),
    "no gradients": (lambda: Function(without_gradients), [(2, 4)]),
    "autocast": (lambda: Function(in_half_precision), [(2, 4)]),
    "checkpoint": (
        lambda: Function(lambda m, x: checkpoint(m.first, x, use_reentrant=False)),
        [(2, 4)],
    ),
    "unused result": (lambda: Function(lambda m, x: (m.first(x), m.second(x))[1]), [(2, 4)]),
}


@pytest.mark.parametrize("name", ZOO)
def test_zoo_agrees(name: str) -> None:
    found = agreement.outcome(MODELS[name])
    assert isinstance(found, Compared)
    assert found.agree
    assert found.per_module
    assert not found.reason


def test_detection_depends_on_the_data() -> None:
    found = agreement.outcome(MODELS["fasterrcnn_mobilenet_v3_large_320_fpn"])
    assert isinstance(found, Refused)
    line = r"`if boxes\.numel\(\) == 0:` at torchvision/ops/boxes\.py:\d+\."
    assert re.fullmatch(f"The count depends on the values of the input: {line}", found.reason)


@pytest.mark.parametrize("name", SMALL)
def test_small_models_agree(name: str) -> None:
    factory, shapes = SMALL[name]
    model, inputs = factory().train(name == "trained"), [torch.rand(shape) for shape in shapes]
    static, dynamic = count_static(model, *inputs), flopaudit.count(model, *inputs, device="meta")
    assert static.macs == dynamic.macs
    assert not static.uncounted_ops
    assert static.params == dynamic.params
    found = agreement.compare(name, static, dynamic)
    assert found.agree, found.reason
    assert found.per_module, found.reason


def test_attention_layer_by_hand() -> None:
    """Four projections of ten tokens, each with a bias; every query meets every key."""
    found = count_static(SelfAttention(), torch.rand(2, 5, 16))
    assert found.components()["bias_adds"] == 4 * 10 * 16
    assert found.components()["linear_macs"] == 4 * 10 * 16 * 16
    assert found.components()["attention_macs"] == 2 * (2 * 5 * 5 * 16)


@settings(max_examples=10, deadline=None)
@given(
    sizes=st.tuples(*[st.integers(1, 5)] * 6),
    causal=st.booleans(),
)
def test_attention_is_the_same_whole_or_in_parts(sizes: tuple[int, ...], causal: object) -> None:
    batch, heads, queries, keys, width, value_width = sizes
    query = torch.rand(batch, heads, queries, width)
    key = torch.rand(batch, heads, keys, width)
    value = torch.rand(batch, heads, keys, value_width)
    model = Function(
        lambda _, q, k, v: functional.scaled_dot_product_attention(q, k, v, is_causal=bool(causal))
    )
    expected = batch * heads * queries * keys * (width + value_width)
    assert count_static(model, query, key, value).macs == expected
    assert flopaudit.count(model, query, key, value, device="meta").macs == expected


class CausalLayer(nn.Module):
    """Multi-head attention called with `is_causal`."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(16, 4, batch_first=True)

    def forward(self, x: Any) -> Any:
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1], device=x.device)
        return self.inner(x, x, x, attn_mask=mask, is_causal=True, need_weights=False)[0]


def test_half_of_causal_attention_is_the_same_whole_or_in_parts() -> None:
    """By `causal-half`, a query meets the keys up to its own, 21 of 36 in six tokens."""
    half = Convention("half", "causal attention by half", alternatives=("causal-half",))
    cases: list[tuple[Any, Any, int]] = [
        (attend(is_causal=True), [torch.rand(2, 3, 6, 8)] * 2, 2 * 3 * 15 * 16),
        (attend(is_causal=False), [torch.rand(2, 3, 6, 8)] * 2, 0),
        (CausalLayer(), [torch.rand(2, 6, 16)], 2 * 4 * 15 * 8),
    ]
    for model, inputs, hidden in cases:
        for ledger in (count_static(model, *inputs), flopaudit.count(model, *inputs)):
            assert ledger.macs - ledger.read(half) == hidden


def test_calls_of_one_module_under_two_names() -> None:
    found = count_static(Twice(), torch.rand(2, 4))
    assert [(m.path, m.calls, m.aliases) for m in found.modules] == [
        ("", 1, ()),
        ("first", 2, ("second",)),
    ]
    assert [row.call for row in found.rows if row.path == "first"] == [1, 2]


def test_call_syntax_is_the_function_that_was_called() -> None:
    found = count_static(Twice(), torch.rand(2, 4))
    assert [row.form for row in found.rows] == [
        "torch.nn.functional.linear",
        "torch.relu",
        "torch.nn.functional.linear",
    ]


@pytest.mark.parametrize("way", [("meta", False), ("own", False), ("own", True)])
def test_every_way_to_export_gives_the_same(
    way: tuple[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the processor torch runs an LSTM as one operator, and attention as another."""
    ways = (graph_export._Way(*way),)  # noqa: SLF001 - there is no other way to ask for one
    monkeypatch.setattr(graph_export, "_WAYS", ways)
    model, x = nn.LSTM(16, 16, batch_first=True), torch.rand(2, 5, 16)
    assert count_static(model, x).macs == 2 * 5 * 4 * (16 * 16 + 16 * 16)
    assert count_static(Twice(), torch.rand(2, 4)).by("path")["first"].macs == 2 * 2 * 4 * 4


def test_model_that_fails_on_meta_is_exported_otherwise_with_a_reason() -> None:
    table = torch.rand(4, 4)
    found = count_static(Function(lambda _, x: x @ table), torch.rand(3, 4))
    assert found.macs == 3 * 4 * 4
    assert found.fallback
    assert found.device == "export"


def test_nothing_is_run_or_stored() -> None:
    """The result would have 10¹² elements."""
    with torch.device("meta"):
        model, image = nn.Conv2d(3, 1, 3, padding=1), torch.rand(1, 3, 10**6, 10**6)
    assert count_static(model, image).macs == 27 * 10**12


def test_model_is_left_as_it_was() -> None:
    model, x = nn.LSTM(8, 12).train(), torch.rand(5, 2, 8)
    before, result = copy.deepcopy(model.state_dict()), model(x)[0]
    count_static(model, x)
    assert model.training
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in before.items())
    assert torch.equal(model(x)[0], result)


def test_modules_in_regions_keep_their_rows() -> None:
    for region in (without_gradients, in_half_precision):
        found = count_static(Function(region), torch.rand(2, 4))
        assert {path: work.macs for path, work in found.by("path").items() if work.macs} == {
            "first": 2 * 4 * 4,
            "second": 2 * 4 * 4,
        }


def test_flex_attention_counts_each_score() -> None:
    model = Function(
        lambda _, q: flex_attention(q, q, q, score_mod=lambda score, *_: score * 2 + 1)
    )
    query = torch.rand(1, 2, 16, 8)
    found = count_static(model, query)
    assert found.macs == 2 * 16 * 16 * (8 + 8)
    changes = found.by("operator")
    assert changes["aten.mul.Tensor"].muls == 2 * 16 * 16
    assert changes["aten.add.Tensor"].adds == 2 * 16 * 16


def test_branches_that_cost_the_same_are_counted_once() -> None:
    assert count_static(Function(same_branches), torch.rand(2, 4)).macs == 2 * 4 * 4


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (branch, r"values of the input: `return model\.first.*` at \S*test_export_counter\.py:\d+"),
        (chosen_rows, r"input: the sizes that aten\.index\.Tensor works on, `.*` at \S*\.py:\d+"),
        (other_branches, r"input: which branch of a cond runs, and the branches differ in cost"),
        (repeats, r"input: how often a while_loop runs its body"),
        (lambda _, x: x.no_such_thing, "AttributeError"),
    ],
)
def test_not_exportable(function: Callable[..., Any], reason: str) -> None:
    with pytest.raises(NotExportable, match=reason):
        count_static(Function(function), torch.rand(2, 4))


def test_unknown_operator_is_named() -> None:
    model = Function(lambda _, x: torch.special.bessel_j0(x))
    found = count_static(model, torch.rand(4))
    assert list(found.uncounted_ops) == ["aten.special_bessel_j0.default"]


@torch.library.custom_op("flopaudit_tests::opaque", mutates_args=())
def opaque(x: torch.Tensor) -> torch.Tensor:
    return x.clone()


@torch.library.custom_op("flopaudit_tests::homebound", mutates_args=())
def homebound(x: torch.Tensor) -> torch.Tensor:
    return x.clone()


@opaque.register_fake
def _(x: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(x)


@homebound.register_fake
def _(x: torch.Tensor) -> torch.Tensor:
    if x.device.type == "meta":
        raise RuntimeError("only on the processor")
    return torch.empty_like(x)


def test_operator_of_a_users_own_is_named() -> None:
    found = count_static(Function(lambda _, x: opaque(x)), torch.rand(2, 4))
    assert dict(found.uncounted_ops) == {"flopaudit_tests.opaque.default": 1}


def test_operator_that_cannot_be_decomposed_is_refused() -> None:
    with pytest.raises(NotExportable, match=r"homebound\.default cannot be decomposed"):
        count_static(Function(lambda _, x: homebound(x)), torch.rand(2, 4))
