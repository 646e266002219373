"""torch.utils.flop_counter: torch's own FlopCounterMode, a dispatch mode; counts FLOPs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from adapters.contract import Reading, Row, Subject, Tool


def _measure(subject: Subject, variant: str | None) -> Reading:
    from torch.utils.flop_counter import FlopCounterMode

    del variant
    counter = FlopCounterMode(display=False)
    with counter:
        subject.model(*subject.inputs)
    total = counter.get_total_flops()
    by_module = {
        name: sum(operators.values()) for name, operators in counter.get_flop_counts().items()
    }
    rows = tuple(_rows(by_module, subject.model))
    return Reading(raw={"total_flops": total}, count=total, rows=rows)


def _rows(by_module: dict[str, int], model: Any) -> Iterator[Row]:
    """The mode's counts hold descendants and are named from the root's class on."""
    root = type(model).__name__
    types = {path: type(module).__name__ for path, module in model.named_modules()}
    names = {path: f"{root}.{path}" if path else root for path in types}
    own = {path: by_module.get(name, 0) for path, name in names.items()}
    for path in list(types):
        if path:
            parent = path.rpartition(".")[0]
            while parent not in types:
                parent = parent.rpartition(".")[0]
            own[parent] -= by_module.get(names[path], 0)
    return (Row(path, types[path], flops) for path, flops in own.items() if flops)


TOOL = Tool(
    name="flop_counter",
    distribution="torch",
    package="torch.utils.flop_counter",
    unit="FLOP",
    measure=_measure,
    summary="dispatched operators",
    url="https://docs.pytorch.org",
)
