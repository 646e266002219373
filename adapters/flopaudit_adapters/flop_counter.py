"""torch.utils.flop_counter: torch's own FlopCounterMode, a dispatch mode; counts FLOPs."""

from __future__ import annotations

from flopaudit_adapters.contract import (
    LoadedModel,
    Tool,
    ToolResult,
    own_rows,
)


def _measure(loaded: LoadedModel, variant: str | None) -> ToolResult:
    from torch.utils.flop_counter import FlopCounterMode

    del variant
    counter = FlopCounterMode(display=False)
    with counter:
        loaded.model(*loaded.inputs, **loaded.kwargs)
    total = counter.get_total_flops()
    types = {path: type(module).__name__ for path, module in loaded.model.named_modules()}
    # The mode names modules from the root's class on.
    root = type(loaded.model).__name__
    counted = counter.get_flop_counts()
    by_module = {
        path: {str(op): flops for op, flops in counted[name].items()}
        for path, name in ((path, f"{root}.{path}" if path else root) for path in types)
        if name in counted
    }
    return ToolResult(
        raw={"total_flops": total}, count=total, rows=tuple(own_rows(by_module, types))
    )


TOOL = Tool(
    name="flop_counter",
    distribution="torch",
    package="torch.utils.flop_counter",
    unit="FLOP",
    measure=_measure,
    summary="dispatched operators",
    url="https://docs.pytorch.org",
)
