"""torchinfo as a tool from outside the package: hooks on all modules; counts mult-adds.

Its product for a layer is parameters × positions of the output, and so nothing where a layer has no
parameters by the names `weight` and `bias`.
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


def _measure(subject: LoadedModel, variant: str | None) -> ToolResult:
    from torchinfo import summary

    del variant
    data = [*subject.inputs] if len(subject.inputs) > 1 else subject.inputs[0]
    said = summary(subject.model, input_data=data, verbose=0, device="cpu", **subject.kwargs)
    raw = {"total_mult_adds": said.total_mult_adds, "total_params": said.total_params}
    rows = tuple(_rows(said, subject.model))
    return ToolResult(raw=raw, count=said.total_mult_adds, params=said.total_params, rows=rows)


def _rows(said: Any, model: Any) -> Iterator[ModuleCount]:
    """Its leaves, by the first name that a module has; what is called again is listed again."""
    names = {id(module): path for path, module in model.named_modules()}
    for layer in said.summary_list:
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
