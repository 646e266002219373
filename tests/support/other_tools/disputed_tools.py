"""ptflops as it is called in disputes, as tools from outside the package.

`PLAIN` does not count functions; `HOOKED` has a rule for a layer of the user; `HOOKED_PLAIN` does
both.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from flopaudit_adapters.contract import LoadedModel, Tool, ToolResult


def _measure(
    loaded: LoadedModel, variant: str | None, *, hooked: bool, functions: bool
) -> ToolResult:
    from ptflops import get_model_complexity_info

    del variant
    own = [type(m) for m in loaded.model.modules() if type(m).__name__ == "Scores"]
    macs, params = get_model_complexity_info(
        loaded.model,
        tuple(loaded.inputs[0].shape[1:]),
        backend="pytorch",
        as_strings=False,
        print_per_layer_stat=False,
        input_constructor=lambda _: loaded.inputs[0],
        custom_modules_hooks=dict.fromkeys(own, _count_scores) if hooked else {},
        backend_specific_config={"count_functional": functions},
    )
    return ToolResult(raw={"macs": macs, "params": params}, count=macs, params=params)


def _count_scores(module: Any, inputs: Any, output: Any) -> None:
    """Count a multiply-accumulate for each feature of each score, as a user's own rule."""
    module.__flops__ += output.numel() * inputs[0].shape[-1]


def _tool(name: str, *, hooked: bool, functions: bool) -> Tool:
    return Tool(
        name=name,
        distribution="ptflops",
        package="ptflops",
        unit="MAC",
        measure=partial(_measure, hooked=hooked, functions=functions),
        summary="ptflops with its backend pytorch",
        url="https://github.com/sovrasov/flops-counter.pytorch",
    )


PLAIN = _tool("ptflops_plain", hooked=False, functions=False)
HOOKED = _tool("ptflops_hooked", hooked=True, functions=True)
HOOKED_PLAIN = _tool("ptflops_hooked_plain", hooked=True, functions=False)
