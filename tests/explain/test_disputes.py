"""Disputes in public threads: each thread's number is reproduced, and settled.

Every test names its thread. The tools are the real ones, each in its own process. Differences have
causes with exact amounts; a number that no tool reports today has an interpretation.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import flopaudit_adapters
import pytest
from flopaudit.audit import audit_run as audit
from flopaudit.audit.cases import Case
from flopaudit.core.causes import Cause
from flopaudit.core.specs import parse_inputs
from flopaudit.explain import settlement
from flopaudit.explain.findings import Known, explain
from flopaudit.explain.known_issues import THREADS, Thread
from flopaudit.isolation.jobs import Limits
from flopaudit.isolation.scheduler import Scheduler
from flopaudit.models.build import build, make_inputs, make_kwargs
from flopaudit.pipeline import probe_tools
from flopaudit.pipeline.measure import MEASUREMENTS, Plan, RunOptions, measure
from flopaudit.pipeline.model_requests import ModelRequest, model_request
from flopaudit.pipeline.results import (
    TRACES,
    Results,
    measurements_in,
    traces_in,
)
from flopaudit.pipeline.run import run_all
from flopaudit.profiles.tool_profile import Profile
from flopaudit.records.schema import (
    Finding,
    Measurement,
    Reference,
    Status,
)
from flopaudit.reports import settlement_report
from flopaudit.tools.registry import tool_variants
from flopaudit.tracing.sites import Trace
from flopaudit.tracing.watcher import trace

from tests.support.paths import DISPUTED_MODELS, DISPUTED_TOOLS, TORCHINFO_TOOL

MODELS = DISPUTED_MODELS
TOOLS = DISPUTED_TOOLS
TORCHINFO = f"{TORCHINFO_TOOL}:TOOL"
LIMITS = Limits(timeout_seconds=120, memory_bytes=8 << 30)

SMALL: dict[str, tuple[str, ...]] = {
    "separate_linears": ("1x10",),
    "shared_linear": ("1x10",),
    "Passed": ("1x20x1000",),
    "Attention": ("1x12x64x64",),
    "transposed": ("1x3x2x2",),
    "convolution": ("1x1x128x128",),
    "scores": ("1x6x8",),
    "relu_as_module": ("1x8",),
    "ReluAsFunction": ("1x8",),
    "multihead": ("1x1000x100",) * 3,
    "Odds": ("1x3x8x8",),
}


class Found:
    """The results of a run, by model and tool variant."""

    def __init__(self, results: Results, out: Path) -> None:
        self.results = results
        self.out = out

    def measurement(self, model: str, variant: str) -> Measurement:
        for each in self.results.measurements:
            if each.model.endswith(f":{model}") and each.variant_name == variant:
                return each
        raise KeyError((model, variant))

    def reported(self, model: str, variant: str) -> int | None:
        return self.measurement(model, variant).reported

    def reference(self, model: str) -> Reference:
        return next(r for r in self.results.references if r.model.endswith(f":{model}"))

    def findings(self, model: str, variant: str) -> list[Finding]:
        measurement = self.measurement(model, variant)
        key = (measurement.model, measurement.inputs, measurement.tool_key)
        return [f for f in self.results.findings if (f.model, f.inputs, f.tool_key) == key]

    def causes(self, model: str, variant: str, *, params: bool = False) -> dict[str, int]:
        """Add up the difference by cause, and assert that all of it is explained."""
        found: Counter[str] = Counter()
        for finding in self.findings(model, variant):
            if (finding.quantity == "params") == params:
                found[finding.cause] += finding.amount
        assert found.pop(Cause.UNEXPLAINED) == 0
        return dict(found)

    def settlement(self, model: str) -> settlement.Settlement:
        reference = self.reference(model)
        found = settlement.find([self.out], reference.model, reference.inputs)
        assert found is not None
        return found


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """All tools, and ptflops as it is called in disputes, on the threads' own small models."""
    out = tmp_path_factory.mktemp("small")
    requests = [model_request(f"{MODELS}:{name}", inputs) for name, inputs in SMALL.items()]
    tools = tool_variants(
        ",".join([*flopaudit_adapters.NAMES, f"{TOOLS}:HOOKED", f"{TOOLS}:HOOKED_PLAIN"])
    )
    return Found(run_all(requests, tools, out, RunOptions(2, LIMITS)), out)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """The tools whose numbers are disputed, on torchvision's models."""
    out = tmp_path_factory.mktemp("large")
    requests = [model_request(name) for name in ("resnet50", "swin_t", "vit_b_16")]
    tools = tool_variants(f"fvcore,ptflops,flop_counter,{TORCHINFO},{TOOLS}:PLAIN")
    return Found(run_all(requests, tools, out, RunOptions(2, LIMITS)), out)


def millions(count: int | None) -> str:
    """Print a count as a tool does."""
    assert count is not None
    return f"{count / 10**6:.2f}"


def billions(count: int | None) -> str:
    """Print a count as a tool does."""
    assert count is not None
    return f"{count / 10**9:.2f}"


def only_bias(causes: dict[str, int], amount: int) -> dict[str, int]:
    """Return the causes, asserting that only biases differ: one addition per output."""
    assert set(causes) <= {"bias", "elementwise"}
    assert sum(causes.values()) == amount
    return causes


def traced(request: ModelRequest) -> Trace:
    specs = parse_inputs(request.inputs)
    return trace(build(request.spec), make_inputs(specs), make_kwargs(specs))


# -- what is missed --------------------------------------------------------------------------------


def test_vit_by_torchinfo(large: Found) -> None:
    """TylerYep/torchinfo#226: vit_b_16 at 173.23 M, which is not 17.56 G by any convention.

    torchinfo lists parameters times positions for the convolution, but a linear layer's parameters
    only once for each image (TylerYep/torchinfo#77), and no attention at all.
    """
    measurement = large.measurement("vit_b_16", "torchinfo")
    assert millions(measurement.reported) == "173.23"
    reference = large.reference("vit_b_16")
    assert (measurement.reported, reference.macs) == (173_232_616, 17_563_828_224)
    assert measurement.params == reference.params == 86_567_656

    times = {"Conv2d": 14 * 14, "Linear": 1, "LayerNorm": 1}
    listed = {m.path: m.params * times[m.type] for m in reference.modules if m.type in times}
    assert {row.path: row.count for row in measurement.modules if row.count} == listed
    assert sum(listed.values()) == measurement.reported
    attention = [m for m in reference.modules if m.type == "MultiheadAttention"]
    assert len(attention) == 12
    assert not {m.path for m in attention} & set(listed)


def test_swin_by_ptflops(large: Found) -> None:
    """sovrasov/flops-counter.pytorch#142: swin_t at 3.13 G by modules, 4.5 G by operators."""
    assert billions(large.reported("swin_t", "ptflops pytorch")) == "3.13"
    assert billions(large.reported("swin_t", "ptflops aten")) == "4.50"
    assert large.reference("swin_t").macs == 4_490_566_656

    # Windowed attention calls linear as a function, for queries, keys, values and its output.
    stages = [(2, 96, 56), (2, 192, 28), (6, 384, 14), (2, 768, 7)]
    missed = sum(blocks * 4 * width**2 * side**2 for blocks, width, side in stages)
    causes = large.causes("swin_t", "ptflops pytorch")
    assert causes.pop("unseen function") == -missed == -1_387_266_048
    assert causes == {
        "bias": 7_151_080 + 301_056,
        "activation": 2 * 5_720_064 + 2_189_712,
        "normalisation": 3_725_568,
        "pooling": 2 * 37_632,
    }
    added = large.causes("swin_t", "ptflops aten")
    assert added == only_bias(added, 13_172_200)


def test_attention_on_the_cpu(small: Found) -> None:
    """pytorch/pytorch#195460: 0 for scaled_dot_product_attention, for 12,582,912."""
    assert small.reported("Attention", "flop_counter") == 0
    assert small.causes("Attention", "flop_counter") == {
        "unit": 6_291_456,
        "unseen operator": -12_582_912,
    }
    (missed,) = [f for f in small.findings("Attention", "flop_counter") if f.amount < 0]
    assert missed.issue is not None
    assert missed.issue.startswith("https://github.com/pytorch/pytorch/issues/195460 ")
    assert "scaled_dot_product_attention" in missed.evidence


def test_attention_on_the_cpu_in_words(small: Found) -> None:
    """pytorch/pytorch#195460: the first screen shows it, and the details name the thread."""
    settlement = small.settlement("Attention")
    first = "\n".join(line.plain for line in settlement_report.lines(settlement))
    assert "6,291,456 MACs = 12,582,912 FLOPs" in first
    assert "-12,582,912 products (unseen operator)" in first
    details = settlement_report.lines(settlement, details=True)
    assert "see https://github.com/pytorch/pytorch/issues/195460" in "\n".join(
        line.plain for line in details
    )


# -- what is counted again -------------------------------------------------------------------------


def test_a_linear_used_more_than_once(small: Found) -> None:
    """Lyken17/pytorch-OpCounter#98: 800 where a Linear is shared, 200 where it is not."""
    assert small.reported("separate_linears", "thop") == 200
    assert small.reported("shared_linear", "thop") == 800
    assert [small.reference(name).macs for name in ("separate_linears", "shared_linear")] == [
        200, 200,
    ]  # fmt: skip
    assert small.causes("separate_linears", "thop") == {}
    assert small.causes("shared_linear", "thop") == {"shared module counted again": 600}
    for name in ("separate_linears", "shared_linear"):
        assert small.measurement(name, "thop").params == 220, name
    assert small.causes("shared_linear", "thop", params=True) == {"parameters counted again": 110}


def test_a_linear_of_two_parents(small: Found) -> None:
    """sovrasov/flops-counter.pytorch#106: 80.0 MMac for 40; each time, the bias is counted too."""
    assert small.reported("Passed", "ptflops pytorch") == 80_080_000
    assert small.reference("Passed").macs == 2 * 20 * 1000 * 1000
    assert small.causes("Passed", "ptflops pytorch") == {
        "shared module counted again": 40_000_000 + 40_000,
        "bias": 2 * 20 * 1000,
    }


def test_a_layer_with_a_rule_and_a_patched_function(small: Found) -> None:
    """sovrasov/flops-counter.pytorch#139: a layer's own rule, and its matmul counted again.

    The thread only shows pictures; the layer here is the simplest that it can be about. Without
    the counting of functions, as the author advises, the number is right.
    """
    scores, linear = 6 * 6 * 8, 6 * 8 * 8
    assert small.reference("scores").macs == linear + scores
    assert small.reported("scores", "ptflops_hooked") == linear + 2 * scores
    assert small.reported("scores", "ptflops_hooked_plain") == linear + scores
    assert small.causes("scores", "ptflops pytorch") == {}


def test_an_activation_by_its_hook_and_by_its_patch(small: Found) -> None:
    """sovrasov/flops-counter.pytorch#139: nn.ReLU is 2 an element, relu as a function is 1."""
    outputs = 16
    assert small.causes("relu_as_module", "ptflops pytorch") == {"activation": 2 * outputs}
    assert small.causes("ReluAsFunction", "ptflops pytorch") == {"activation": outputs}
    (again,) = [
        f
        for f in small.findings("relu_as_module", "ptflops pytorch")
        if f.issue and "issues/139 " in f.issue
    ]
    assert again.amount == outputs


# -- other operations, and units -------------------------------------------------------------------


def test_resnet50_by_ptflops(large: Found) -> None:
    """sovrasov/flops-counter.pytorch#76 and #94: 4.12 by ptflops, 4.09 by papers.

    ptflops reports 4.13 today, because it counts functions again (#139); without them it is the
    4.12 of the threads.
    """
    macs = large.reference("resnet50").macs
    assert macs == 4_089_184_256
    norm, relu, max_in, average_in = 2 * 11_113_984, 9_608_704, 802_816, 100_352
    assert large.causes("resnet50", "ptflops pytorch") == {
        "normalisation": norm,
        "activation": 2 * relu,
        "pooling": 2 * (max_in + average_in),
        "bias": 1000,
    }
    plain = large.reported("resnet50", "ptflops_plain")
    assert plain == macs + norm + relu + max_in + average_in + 1000 == 4_121_925_096
    assert billions(plain) == "4.12"
    assert billions(large.reported("resnet50", "ptflops pytorch")) == "4.13"

    added = large.causes("resnet50", "ptflops aten")
    assert added == only_bias(added, 1000)
    assert billions(large.reported("resnet50", "ptflops aten")) == "4.09"


def test_a_flop_of_fvcore_is_a_multiply_accumulate(large: Found) -> None:
    """facebookresearch/fvcore#69, and #133 on resnet50: 4 by fvcore, 8 by a counter of FLOPs."""
    macs = large.reference("resnet50").macs
    assert macs is not None
    by_two, by_one = (large.reported("resnet50", tool) for tool in ("flop_counter", "fvcore"))
    assert by_two == 2 * macs == 8_178_368_512
    assert by_one == 4_111_512_576
    assert large.causes("resnet50", "flop_counter") == {"unit": macs}
    assert large.causes("resnet50", "fvcore") == {
        "normalisation": 2 * 11_113_984,
        "pooling": 100_352,
    }
    assert large.measurement("resnet50", "fvcore").unit.value == "MAC"


def test_one_convolution_by_several_tools(small: Found) -> None:
    """Lyken17/pytorch-OpCounter#37: thop's 20,321,280 of then is what others report today.

    TensorFlow's 38,612,737 is twice the products, the bias, and the initialisation of 1,152
    weights.
    """
    macs, bias = 126 * 126 * 128 * 9, 126 * 126 * 128
    assert small.reference("convolution").macs == macs == 18_289_152
    for variant in ("torchstat", "ptflops pytorch", "ptflops aten"):
        assert small.reported("convolution", variant) == 20_321_280
        assert small.causes("convolution", variant) == {"bias": bias}
    for variant in ("thop", "fvcore"):
        assert small.reported("convolution", variant) == macs
        assert small.causes("convolution", variant) == {}
    assert small.reported("convolution", "flop_counter") == 2 * macs
    assert 2 * macs + bias + 2 * 128 * 9 + 1 == 38_612_737


# -- two conventions -------------------------------------------------------------------------------


def test_a_transposed_convolution_by_tools(small: Found) -> None:
    """sovrasov/flops-counter.pytorch#149: 208 by the output; 48 by the input, and bias."""
    assert small.reference("transposed").macs == 48
    expected = {
        "thop": {"transposed convolution counted by output": 192 - 48},
        "ptflops pytorch": {"bias": 16},
        "ptflops aten": {"bias": 16},
        "fvcore": {},
        "torchstat": {"unseen module type": -48},
        "flop_counter": {"unit": 48},
    }
    for variant, causes in expected.items():
        assert small.causes("transposed", variant) == causes, variant


# -- what is left behind ---------------------------------------------------------------------------


@pytest.mark.slow
def test_keys_left_in_the_state_dict() -> None:
    """Lyken17/pytorch-OpCounter#82 on resnet18, and #168 on resnet50: two keys for each block.

    The threads' version left them in every module that is not a layer; this one in the blocks and
    in the model, which have no rule.
    """
    blocks = {"resnet18": 8, "resnet50": 16}
    tools = [each for each in audit.tools(["thop"]) if each.tool.name == "thop"]
    cases = [Case(name) for name in blocks]
    found = audit.audit(tools, cases, RunOptions(2, LIMITS))
    left = {each.model.rpartition(":")[2]: each for each in found if each.check == "state_dict"}
    assert {name: each.amount for name, each in left.items()} == {
        name: 2 * (number + 1) for name, number in blocks.items()
    }
    assert all("+total_ops, +total_params" in each.detail for each in left.values())


# -- a tool from outside ---------------------------------------------------------------------------

PROBES = (
    "conv/conv2d_bias", "conv/conv2d_no_bias", "conv/conv2d_stride", "conv/conv2d_groups",
    "linear/linear_2d_bias", "linear/linear_2d_no_bias", "parameters/frozen_batch_norm2d",
)  # fmt: skip


@pytest.fixture(scope="module")
def of_torchinfo(tmp_path_factory: pytest.TempPathFactory) -> Profile:
    """The profile of torchinfo by a few probes."""
    out = tmp_path_factory.mktemp("probes")
    (variant,) = tool_variants(TORCHINFO)
    cases = [case for case in probe_tools.cases() if case.spec.location.partition("#")[0] in PROBES]
    preload = (variant.tool.package, *probe_tools.PRELOAD)
    plan = Plan(cases, (variant,), (), len(cases))
    measure(lambda: Scheduler(2, LIMITS, preload), plan, out, RunOptions(2, LIMITS))
    traces = {(str(case.spec), case.inputs): traced(case) for case in cases}
    return probe_tools.profile_from(variant, measurements_in(out / MEASUREMENTS), traces)


@pytest.mark.slow
def test_torchinfo_is_probed_as_any_tool(large: Found, of_torchinfo: Profile) -> None:
    """TylerYep/torchinfo#226: on convolutions its rule is right, and explains resnet50.

    In addition to the products it counts a bias for each position, and the parameters of a
    normalisation for each image; the probes here have one image, as resnet50 has.
    """
    measurement, reference = large.measurement("resnet50", "torchinfo"), large.reference("resnet50")
    known = Known(reference, traces_in(large.out / TRACES)[reference.key], of_torchinfo)
    found = {f.cause: f.amount for f in explain(measurement, known) if f.quantity == "macs"}
    assert measurement.reported == 4_089_238_376
    assert found == {Cause.UNEXPLAINED: 0, "normalisation": 2 * 26_560, "bias": 1000}


# -- the threads that findings name ----------------------------------------------------------------


def named(*founds: Found) -> dict[str, list[Finding]]:
    """Group findings by the thread that they name."""
    by_thread: dict[str, list[Finding]] = {}
    for found in founds:
        for finding in found.results.findings:
            if finding.issue:
                by_thread.setdefault(finding.issue, []).append(finding)
    return by_thread


@pytest.mark.parametrize("thread", THREADS, ids=lambda thread: f"{thread.url[19:]} {thread.cause}")
def test_threads_are_well_formed(thread: Thread) -> None:
    tool = flopaudit_adapters.find(thread.tool)
    assert tool is not None
    assert thread.variant in {"", *(tool.variants or ())}
    home = "https://github.com/pytorch/pytorch" if tool.name == "flop_counter" else tool.url
    assert re.fullmatch(rf"{re.escape(home)}/(issues|pull)/\d+", thread.url)
    assert str(thread).startswith(thread.url)
    assert thread.bug in str(thread)
    assert not thread.bug.endswith(".")


@pytest.mark.parametrize("thread", THREADS, ids=lambda thread: f"{thread.url[19:]} {thread.cause}")
def test_threads_are_named_by_findings(thread: Thread, small: Found, large: Found) -> None:
    found = [
        f
        for f in named(small, large)[str(thread)]
        if f.tool == thread.tool and f.cause == thread.cause
    ]
    assert found
    assert all(thread.variant in {"", f.variant} for f in found)
    assert all(f.amount for f in found)


def test_no_two_entries_are_for_the_same() -> None:
    keys = Counter((t.tool, t.variant, t.cause, t.label) for t in THREADS)
    assert max(keys.values()) == 1


def test_all_tools_ended_by_themselves(small: Found) -> None:
    ended = {Status.COUNTED, Status.UNSUPPORTED, Status.ERRORED}
    assert {m.status for m in small.results.measurements} <= ended
