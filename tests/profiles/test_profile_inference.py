"""Made-up tools, functions of a trace: probes show their rules and habits exactly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import lru_cache

import pytest
from flopaudit import probes
from flopaudit.core.specs import parse_inputs
from flopaudit.models.build import build, make_inputs, make_kwargs
from flopaudit.profiles.prediction import predict
from flopaudit.profiles.profile_inference import ToolIdentity, infer_profile
from flopaudit.profiles.rule_inference import CaseResult
from flopaudit.profiles.tool_profile import (
    COUNTED,
    DISPATCHED,
    HOOKS,
    TRACED,
    Habits,
    ParamHabits,
    Profile,
)
from flopaudit.tracing.sites import (
    FUNCTION,
    OPERATOR,
    ModuleSite,
    Trace,
)
from flopaudit.tracing.watcher import trace

PROBES = """
    conv/conv2d_bias conv/conv2d_no_bias conv/conv2d_groups_bias conv/function_conv2d_bias
    conv/conv_transpose2d_stride_bias linear/linear_2d_bias linear/linear_2d_no_bias
    linear/linear_3d_bias linear/function_2d_bias norm/batch_norm2d_affine
    norm/batch_norm2d_no_affine norm/layer_norm_3d activation/relu_module activation/relu_function
    activation/relu_torch activation/gelu_module activation/softmax_module_last pool/max_pool2d
    pool/avg_pool2d matmul/operator matmul/torch_matmul matmul/torch_bmm attention/sdpa_function
    elementwise/add_operator elementwise/add_torch embedding/embedding
    structure/conv2d_called_twice structure/linear_called_twice structure/conv2d_on_three_sizes
    structure/relu_called_n_times structure/sequential subclass/conv2d subclass/linear
    subclass/relu sharing/conv2d_two_names sharing/conv2d_two_parents sharing/linear_two_parents
    sharing/relu_two_parents parameters/frozen_linear parameters/unused_linear parameters/tokens
    structure/residual whole/linear whole/conv2d
    batch/conv2d_bias batch/linear_2d batch/relu_module batch/batch_norm2d batch/conv2d_called_twice
    batch/relu_function
""".split()  # noqa: SIM905 - names read best as words

Tool = Callable[[Trace], tuple[Fraction, int | None]]
Rules = dict[str, dict[str, int]]


@lru_cache(maxsize=1)
def runs() -> tuple[tuple[str, Trace], ...]:
    """Return the traces of every case of these probes."""
    return tuple(
        (name, _traced(name, number, case.inputs))
        for name in PROBES
        for number, case in enumerate(probes.PROBES[name].cases)
    )


def _traced(name: str, number: int, inputs: tuple[str, ...]) -> Trace:
    specs = parse_inputs(inputs)
    return trace(build(probes.spec(name, number)), make_inputs(specs), make_kwargs(specs))


def measured(tool: Tool) -> Profile:
    """Infer the profile of a tool from the probes."""
    results = []
    for name, run in runs():
        reported, params = tool(run)
        results.append(CaseResult(name, run, int(reported), params))
    return infer_profile(ToolIdentity("made up", "1", None, "MAC", "2"), results)


def counted(profile: Profile) -> Rules:
    """Return the formulas of what is counted, asserting that no rule depends on traits."""
    assert all(not rule.traits for rule in profile.rules if rule.outcome == COUNTED)
    return {
        rule.site: {name: int(factor) for name, factor in rule.formula.items()}
        for rule in profile.rules
        if rule.outcome == COUNTED
    }


def of(amounts: Mapping[str, int], formula: Mapping[str, int]) -> int:
    return sum(factor * amounts.get(name, 0) for name, factor in formula.items())


# -- the tools -------------------------------------------------------------------------------------

HOOKED: Rules = {
    "torch.nn.Conv2d": {"macs": 1, "bias_adds": 1},
    "torch.nn.ReLU": {"outputs": 2},
    "torch.nn.BatchNorm2d": {"affine": 2, "outputs": 1},
}
OPERATORS: Rules = {
    "aten.convolution": {"macs": 2},
    "aten.addmm": {"macs": 2, "bias_adds": 1},
    "aten.mm": {"macs": 2},
    "aten.bmm": {"macs": 2},
}
FUNCTIONS: Rules = {
    "torch.nn.functional.conv2d": {"macs": 1},
    "torch.nn.functional.linear": {"macs": 1},
    "torch.matmul": {"macs": 1},
    "torch.Tensor.__add__": {"outputs": 3},
}
LAYERS: Rules = {"torch.nn.Linear": {"macs": 1}, "torch.nn.Conv2d": {"macs": 1}}


def hooks_tool(run: Trace) -> tuple[Fraction, int | None]:
    """Count exact types, per sample, by the last call of a module; and all parameters."""
    total = sum(
        of(module.last or module.amounts, HOOKED.get(module.name, {})) for module in run.modules
    )
    return Fraction(total, run.batch), sum(module.params for module in run.modules)


def dispatch_tool(run: Trace) -> tuple[Fraction, int | None]:
    """Count every operator that is executed; no parameters."""
    sites = [site for site in run.sites if site.level == OPERATOR]
    return Fraction(sum(of(site.amounts, OPERATORS.get(site.name, {})) for site in sites)), None


def tracing_tool(run: Trace) -> tuple[Fraction, int | None]:
    """Count functions that call no others; and trainable parameters."""
    around = {site.parent for site in run.sites if site.level == FUNCTION}
    total = sum(
        of(site.amounts, FUNCTIONS.get(site.name, {}))
        for index, site in enumerate(run.sites)
        if site.level == FUNCTION and index not in around
    )
    return Fraction(total), sum(module.trainable for module in run.modules)


def layers_tool(run: Trace) -> tuple[Fraction, int | None]:
    """Count layers and their subclasses, for each parent; and the parameters of those that ran."""
    total = params = 0
    for module in run.modules:
        name = next((n for n in (module.name, *module.bases) if n in LAYERS), "")
        if name and module.calls:
            total += _parents(module) * of(module.amounts, LAYERS[name])
            params += _parents(module) * module.own_params
    return Fraction(total), params


def _parents(module: ModuleSite) -> int:
    return len({path.rpartition(".")[0] for path in (module.path, *module.aliases)})


EXPECTED: dict[str, tuple[Tool, Habits, str, Rules]] = {
    "hooks": (hooks_tool, Habits(HOOKS, per_sample=True, last_call=True), "all", HOOKED),
    "dispatch": (dispatch_tool, Habits(DISPATCHED), "none", OPERATORS),
    "tracing": (tracing_tool, Habits(TRACED), "trainable", FUNCTIONS),
    "layers": (
        layers_tool,
        Habits(HOOKS, each_parent=1),
        "by module",
        {**LAYERS, **{f"subclass of {name}": rule for name, rule in LAYERS.items()}},
    ),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_rules_and_habits_are_recovered(name: str) -> None:
    tool, habits, params, rules = EXPECTED[name]
    profile = measured(tool)
    assert profile.habits == habits
    assert counted(profile) == rules
    assert profile.params.of == params
    for outcome in profile.probes:
        assert outcome.exact == outcome.counted == outcome.cases, outcome.probe
        assert outcome.params_exact == outcome.counted, outcome.probe


def test_parameters_by_module() -> None:
    profile = measured(layers_tool)
    seen = {"torch.nn.Linear", "torch.nn.Conv2d"}
    assert profile.params == ParamHabits(
        of="by module",
        seen=tuple(sorted({*seen, *(f"subclass of {name}" for name in seen)})),
        each_parent=1,
    )


def test_a_number_without_a_formula_shows_up_as_not_predicted() -> None:
    """A square root of the outputs is no sum of quantities: no rule fits all cases."""

    def odd(run: Trace) -> tuple[Fraction, int | None]:
        found = [module for module in run.modules if module.name == "torch.nn.BatchNorm2d"]
        return Fraction(sum(int(each.amounts["outputs"] ** 0.5) for each in found)), None

    outcomes = {each.probe: each for each in measured(odd).probes}
    missed = outcomes["norm/batch_norm2d_affine"]
    assert missed.exact < missed.counted
    assert outcomes["conv/conv2d_bias"].exact == outcomes["conv/conv2d_bias"].counted


def test_an_inferred_profile_predicts_another_model() -> None:
    """The predicted totals are right for a model that is like no probe."""
    from torch import nn, rand

    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 2, 1))
    run = trace(model.eval(), (rand(2, 3, 9, 9),), {})
    for tool in (hooks_tool, dispatch_tool, tracing_tool, layers_tool):
        assert predict(measured(tool), run).total == tool(run)[0] > 0
