"""torchstat: replaces `__call__` of every leaf module class; "Flops" (about MACs) and "MAdd".

`stat` counts, then formats a report with `DataFrame.append`, which pandas 2 removed. Here the
report's formatter is replaced by one that keeps the exact counts it receives, so the tool counts as
its README says and only the printing is left out.
"""

from __future__ import annotations

from typing import Any

from flopaudit_adapters.contract import (
    LoadedModel,
    ModuleCount,
    Tool,
    ToolResult,
    Unsupported,
    positional,
)


def _measure(loaded: LoadedModel, variant: str | None) -> ToolResult:
    from torchstat import stat, statistics

    del variant
    shape = _image_shape(loaded)
    kept: list[Any] = []

    def keep(nodes: list[Any]) -> str:
        kept.extend(nodes)
        return ""

    statistics.report_format = keep
    stat(loaded.model, shape)
    types = {path: type(module).__name__ for path, module in loaded.model.named_modules()}
    rows = tuple(
        ModuleCount(node.name, types[node.name], int(node.Flops), int(node.parameter_quantity))
        for node in kept
    )
    raw = {
        "Flops": sum(int(node.Flops) for node in kept),
        "MAdd": sum(int(node.MAdd) for node in kept),
        "params": sum(int(node.parameter_quantity) for node in kept),
    }
    return ToolResult(raw=raw, count=raw["Flops"], params=raw["params"], rows=rows)


def _image_shape(loaded: LoadedModel) -> tuple[int, ...]:
    """Return the C, H, W tuple from which `stat` makes the one image that it feeds."""
    import torch

    inputs = positional(loaded)
    image = inputs[0] if len(inputs) == 1 else None
    if not isinstance(image, torch.Tensor) or image.ndim != len("NCHW") or image.shape[0] != 1:
        raise Unsupported("torchstat takes one image of shape 1xCxHxW and nothing else")
    if image.dtype != torch.float32:
        raise Unsupported("torchstat feeds float32 and nothing else")
    return tuple(image.shape[1:])


TOOL = Tool(
    name="torchstat",
    distribution="torchstat",
    package="torchstat",
    unit="MAC",
    measure=_measure,
    summary="replaced __call__ of leaf module classes",
    url="https://github.com/Swall0w/torchstat",
)
