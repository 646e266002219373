"""The project's own counter as a tool among the others: it too must leave nothing behind."""

from __future__ import annotations

from adapters.contract import Reading, Subject, Tool


def _measure(subject: Subject, variant: str | None) -> Reading:
    from harness.counter import count

    del variant
    macs = count(subject.model, *subject.inputs, **subject.kwargs).macs
    return Reading({"macs": macs}, macs)


TOOL = Tool(
    name="reference",
    distribution="flopaudit",
    package="harness.counter",
    unit="MAC",
    measure=_measure,
    summary="a ledger of all operators",
    url="",
)
