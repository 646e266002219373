"""Small models that each call one function, and what a tool's numbers for them say of it.

`PROBES` names the probes; a probe's name is also the name of the factory in this module that builds
it, so that a worker can build it like any other model. `rules` turns what a tool said of them into
rules by call form. Torch is imported only when one is built.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.explain import Rule, fit
from harness.schema import Measurement, Reference, Status

if TYPE_CHECKING:
    import torch

# Two sizes, so that what is counted can be told apart: inputs and outputs, elements and products.
_IMAGES = ("1x4x6x6", "1x6x10x8")
_MATRICES = ("1x5x5", "1x7x7")


@dataclass(frozen=True)
class Probe:
    """A call of one form, and the inputs it is measured on.

    Attributes:
        form: how the ledger names it.
        inputs: two or more, in the notation of the command line.
        call: called with torch and the input tensor.
    """

    form: str
    inputs: tuple[str, ...]
    call: Callable[[Any, Any], Any]


PROBES: dict[str, Probe] = {
    "function_relu": Probe(
        "torch.nn.functional.relu", _IMAGES, lambda torch, x: torch.nn.functional.relu(x)
    ),
    "torch_relu": Probe("torch.relu", _IMAGES, lambda torch, x: torch.relu(x)),
    "function_relu6": Probe(
        "torch.nn.functional.relu6", _IMAGES, lambda torch, x: torch.nn.functional.relu6(x)
    ),
    "function_hardtanh": Probe(
        "torch.nn.functional.hardtanh", _IMAGES, lambda torch, x: torch.nn.functional.hardtanh(x)
    ),
    "function_leaky_relu": Probe(
        "torch.nn.functional.leaky_relu",
        _IMAGES,
        lambda torch, x: torch.nn.functional.leaky_relu(x),
    ),
    "function_elu": Probe(
        "torch.nn.functional.elu", _IMAGES, lambda torch, x: torch.nn.functional.elu(x)
    ),
    "function_gelu": Probe(
        "torch.nn.functional.gelu", _IMAGES, lambda torch, x: torch.nn.functional.gelu(x)
    ),
    "function_silu": Probe(
        "torch.nn.functional.silu", _IMAGES, lambda torch, x: torch.nn.functional.silu(x)
    ),
    "function_hardswish": Probe(
        "torch.nn.functional.hardswish", _IMAGES, lambda torch, x: torch.nn.functional.hardswish(x)
    ),
    "function_hardsigmoid": Probe(
        "torch.nn.functional.hardsigmoid",
        _IMAGES,
        lambda torch, x: torch.nn.functional.hardsigmoid(x),
    ),
    "torch_sigmoid": Probe("torch.sigmoid", _IMAGES, lambda torch, x: torch.sigmoid(x)),
    "torch_tanh": Probe("torch.tanh", _IMAGES, lambda torch, x: torch.tanh(x)),
    "function_softmax": Probe(
        "torch.nn.functional.softmax",
        _IMAGES,
        lambda torch, x: torch.nn.functional.softmax(x, dim=-1),
    ),
    "method_softmax": Probe("torch.Tensor.softmax", _IMAGES, lambda torch, x: x.softmax(dim=-1)),
    "function_max_pool2d": Probe(
        "torch.nn.functional.max_pool2d",
        _IMAGES,
        lambda torch, x: torch.nn.functional.max_pool2d(x, 3),
    ),
    "function_avg_pool2d": Probe(
        "torch.nn.functional.avg_pool2d",
        _IMAGES,
        lambda torch, x: torch.nn.functional.avg_pool2d(x, 3),
    ),
    "function_adaptive_avg_pool2d": Probe(
        "torch.nn.functional.adaptive_avg_pool2d",
        _IMAGES,
        lambda torch, x: torch.nn.functional.adaptive_avg_pool2d(x, 1),
    ),
    "function_max_pool3d": Probe(
        "torch.nn.functional.max_pool3d",
        ("1x4x4x6x6", "1x2x6x4x8"),
        lambda torch, x: torch.nn.functional.max_pool3d(x, 2),
    ),
    "function_avg_pool3d": Probe(
        "torch.nn.functional.avg_pool3d",
        ("1x4x4x6x6", "1x2x6x4x8"),
        lambda torch, x: torch.nn.functional.avg_pool3d(x, 2),
    ),
    "function_adaptive_avg_pool3d": Probe(
        "torch.nn.functional.adaptive_avg_pool3d",
        ("1x4x4x6x6", "1x2x6x4x8"),
        lambda torch, x: torch.nn.functional.adaptive_avg_pool3d(x, 1),
    ),
    "method_mean": Probe("torch.Tensor.mean", _IMAGES, lambda torch, x: x.mean([2, 3])),
    "function_interpolate_nearest": Probe(
        "torch.nn.functional.interpolate",
        _IMAGES,
        lambda torch, x: torch.nn.functional.interpolate(x, size=(12, 20), mode="nearest"),
    ),
    "function_interpolate_bilinear": Probe(
        "torch.nn.functional.interpolate",
        _IMAGES,
        lambda torch, x: torch.nn.functional.interpolate(
            x, size=(12, 20), mode="bilinear", align_corners=False
        ),
    ),
    "function_layer_norm": Probe(
        "torch.nn.functional.layer_norm",
        _IMAGES,
        lambda torch, x: torch.nn.functional.layer_norm(x, x.shape[-1:]),
    ),
    "operator_add": Probe("torch.Tensor.__add__", _IMAGES, lambda torch, x: x + x),
    "operator_add_in_place": Probe(
        "torch.Tensor.__iadd__", _IMAGES, lambda torch, x: _add_in_place(x.clone(), x)
    ),
    "method_add": Probe("torch.Tensor.add", _IMAGES, lambda torch, x: x.add(x)),
    "torch_add": Probe("torch.add", _IMAGES, lambda torch, x: torch.add(x, x)),
    "operator_mul": Probe("torch.Tensor.__mul__", _IMAGES, lambda torch, x: x * x),
    "method_mul": Probe("torch.Tensor.mul", _IMAGES, lambda torch, x: x.mul(x)),
    "torch_mul": Probe("torch.mul", _IMAGES, lambda torch, x: torch.mul(x, x)),
    "operator_sub": Probe("torch.Tensor.__sub__", _IMAGES, lambda torch, x: x - x),
    "operator_div": Probe("torch.Tensor.__div__", _IMAGES, lambda torch, x: x / x),
    "operator_matmul": Probe("torch.Tensor.__matmul__", _MATRICES, lambda torch, x: x @ x),
    "method_matmul": Probe("torch.Tensor.matmul", _MATRICES, lambda torch, x: x.matmul(x)),
    "torch_matmul": Probe("torch.matmul", _MATRICES, lambda torch, x: torch.matmul(x, x)),
    "torch_bmm": Probe("torch.bmm", _MATRICES, lambda torch, x: torch.bmm(x, x)),
    "torch_mm": Probe("torch.spmm", _MATRICES, lambda torch, x: torch.mm(x[0], x[0])),
    "torch_einsum": Probe(
        "torch.functional.einsum", _MATRICES, lambda torch, x: torch.einsum("bij,bjk->bik", x, x)
    ),
    "function_linear": Probe(
        "torch.nn.functional.linear",
        _MATRICES,
        lambda torch, x: torch.nn.functional.linear(x, x[0]),
    ),
    "function_scaled_dot_product_attention": Probe(
        "torch.nn.functional.scaled_dot_product_attention",
        ("1x2x5x4", "1x3x7x6"),
        lambda torch, x: torch.nn.functional.scaled_dot_product_attention(x, x, x),
    ),
}


def _add_in_place(x: Any, y: Any) -> Any:
    x += y
    return x


def __getattr__(name: str) -> Callable[[], torch.nn.Module]:
    """The factory of the probe of that name."""
    if name not in PROBES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return lambda: _build(PROBES[name].call)


def _build(call: Callable[[Any, Any], Any]) -> torch.nn.Module:
    import torch

    class Calls(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return call(torch, x)

    return Calls()


def rules(
    measurements: Iterable[Measurement], references: Mapping[tuple[str, tuple[str, ...]], Reference]
) -> dict[str, list[Rule]]:
    """How a tool counts each call form outside of modules, as its probes show.

    A form that is measured by several probes can have several rules. One whose probes fit no rule
    has none, and stays unexplained.
    """
    samples: dict[str, list[tuple[str, tuple[int, int, int, int]]]] = {}
    for measured in measurements:
        found = references.get((measured.model, measured.inputs))
        if measured.status is Status.COUNTED and found and measured.reported is not None:
            outside = measured.reported - sum(row.count for row in measured.modules)
            samples.setdefault(measured.model, []).append(_sample(found, outside))
    by_form: dict[str, list[Rule]] = {}
    for pairs in samples.values():
        rule = fit([sample for _, sample in pairs])
        known = by_form.setdefault(pairs[0][0], [])
        if rule is not None and rule not in known:
            known.append(rule)
    return {form: found for form, found in by_form.items() if found}


def _sample(reference: Reference, outside: int) -> tuple[str, tuple[int, int, int, int]]:
    """The form the probe is for, with inputs, outputs, products and what the tool said."""
    main = max(reference.operators, key=lambda total: (total.flops_all, total.output_elements))
    same = [total for total in reference.operators if total.form == main.form]
    ins = sum(total.input_elements for total in same)
    outs = sum(total.output_elements for total in same)
    return main.form, (ins, outs, sum(total.macs for total in same), outside)
