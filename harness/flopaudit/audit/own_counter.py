"""The project's own counter as a tool among the others: it too must leave nothing behind."""

from __future__ import annotations

from flopaudit_adapters.contract import LoadedModel, Tool, ToolResult


def _measure(subject: LoadedModel, variant: str | None) -> ToolResult:
    from flopaudit.reference.counter import count

    del variant
    macs = count(subject.model, *subject.inputs, **subject.kwargs).macs
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
