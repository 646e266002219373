"""torchinfo as a tool from outside the package: it hooks all modules, and counts mult-adds.

For a layer it counts parameters × positions of the output, and so nothing if the layer has no
parameters with the names `weight` and `bias`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flopaudit_adapters.contract import (
    LoadedModel,
    ModuleCount,
    Tool,
    ToolResult,
)


def _measure(loaded: LoadedModel, variant: str | None) -> ToolResult:
    from torchinfo import summary

    del variant
    data = [*loaded.inputs] if len(loaded.inputs) > 1 else loaded.inputs[0]
    found = summary(loaded.model, input_data=data, verbose=0, device="cpu", **loaded.kwargs)
    raw = {"total_mult_adds": found.total_mult_adds, "total_params": found.total_params}
    rows = tuple(_rows(found, loaded.model))
    return ToolResult(raw=raw, count=found.total_mult_adds, params=found.total_params, rows=rows)


def _rows(found: Any, model: Any) -> Iterator[ModuleCount]:
    """Yield its leaves, each by the module's first name, and once for each call."""
    names = {id(module): path for path, module in model.named_modules()}
    for layer in found.summary_list:
        if layer.is_leaf_layer:
            params = 0 if layer.is_recursive else layer.num_params
            yield ModuleCount(names[layer.layer_id], layer.class_name, layer.macs, params)


TOOL = Tool(
    name="torchinfo",
    distribution="torchinfo",
    package="torchinfo",
    unit="MAC",
    measure=_measure,
    summary="forward hooks; parameters times output positions",
    url="https://github.com/TylerYep/torchinfo",
)
