"""fvcore: a torch.jit trace with a handle for each operator; counts MACs, called flops."""

from __future__ import annotations

from flopaudit_adapters.contract import (
    LoadedModel,
    Tool,
    ToolResult,
    own_rows,
    positional,
)


def _measure(loaded: LoadedModel, variant: str | None) -> ToolResult:
    from fvcore.nn import FlopCountAnalysis, parameter_count

    del variant
    analysis = FlopCountAnalysis(loaded.model, positional(loaded))
    total = analysis.total()
    params = parameter_count(loaded.model)
    raw = {
        "total": total,
        "by_operator": dict(analysis.by_operator()),
        "unsupported_ops": dict(analysis.unsupported_ops()),
        "parameter_count": params[""],
    }
    types = {path: type(module).__name__ for path, module in loaded.model.named_modules()}
    rows = tuple(own_rows(analysis.by_module_and_operator(), types))
    return ToolResult(raw=raw, count=total, params=params[""], rows=rows)


TOOL = Tool(
    name="fvcore",
    distribution="fvcore",
    package="fvcore",
    unit="MAC",
    measure=_measure,
    summary="operators of a torch.jit trace",
    url="https://github.com/facebookresearch/fvcore",
)
