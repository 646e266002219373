"""The project's own counter as a tool: an audit includes it, as it must have no side effects."""

from __future__ import annotations

from flopaudit_adapters.contract import LoadedModel, Tool, ToolResult


def _measure(loaded: LoadedModel, variant: str | None) -> ToolResult:
    from flopaudit.reference.counter import count

    del variant
    macs = count(loaded.model, *loaded.inputs, **loaded.kwargs).macs
    return ToolResult({"macs": macs}, macs)


TOOL = Tool(
    name="reference",
    distribution="flopaudit",
    package="flopaudit.reference.counter",
    unit="MAC",
    measure=_measure,
    summary="a ledger of all operators",
    url="",
)
