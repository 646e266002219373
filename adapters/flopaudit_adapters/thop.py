"""thop (pytorch-OpCounter): forward hooks on exact module types; counts MACs, called ops."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flopaudit_adapters.contract import (
    LoadedModel,
    ModuleCount,
    Tool,
    ToolResult,
    known_to,
    positional,
)


def _measure(loaded: LoadedModel, variant: str | None) -> ToolResult:
    from thop import profile

    del variant
    options = known_to(profile, verbose=False, ret_layer_info=True)
    macs, params, *layers = profile(loaded.model, inputs=positional(loaded), **options)
    types = {path: type(module).__name__ for path, module in _paths(loaded.model)}
    found = _rows(layers[0]) if layers else ()
    rows = tuple(ModuleCount(path, types[path], ops, own) for path, ops, own in found)
    return ToolResult(raw={"macs": macs, "params": params}, count=macs, params=params, rows=rows)


def _paths(model: Any) -> Iterator[tuple[str, Any]]:
    # thop walks the tree by attribute, so a shared module appears under each of its names.
    return iter(model.named_modules(remove_duplicate=False))


def _rows(layers: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, float, float]]:
    """Yield the leaves of thop's nested {name: (ops, params, {children})}."""
    for name, (ops, params, children) in layers.items():
        if children:
            yield from _rows(children, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", ops, params


TOOL = Tool(
    name="thop",
    distribution="thop",
    package="thop",
    unit="MAC",
    measure=_measure,
    summary="forward hooks on exact module types",
    url="https://github.com/Lyken17/pytorch-OpCounter",
)
