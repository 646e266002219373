"""Cells of real tools on a few models, which tests change in one place."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from flopaudit.core.causes import Cause
from flopaudit.explain.findings import Known, explain
from flopaudit.isolation.jobs import Limits
from flopaudit.pipeline.measure import RunOptions
from flopaudit.pipeline.model_requests import model_request
from flopaudit.pipeline.results import measurements_in, references_in, traces_in
from flopaudit.pipeline.run import run_all
from flopaudit.profiles import repository
from flopaudit.profiles.tool_profile import Profile
from flopaudit.records.schema import Measurement, Status
from flopaudit.tools.registry import tool_variants
from flopaudit.tracing.sites import Trace
from flopaudit_adapters import NAMES

from tests.support.paths import SMALL_MODELS

REQUESTS = [
    model_request("resnet18"),
    *(
        model_request(f"{SMALL_MODELS}:{name}", [inputs])
        for name, inputs in [
            ("alone", "1x10"),
            ("branches", "1x3x16x16"),
            ("encoder", "4x5x16"),
            ("functions", "1x3x8x8"),
            ("reused", "1x4x16x16"),
            ("transposed", "4x3x6x6"),
            ("unused", "1x8"),
        ]
    ),
]
LIMITS = Limits(timeout_seconds=300, memory_bytes=8 << 30)
VARIANTS = tool_variants(",".join(NAMES))


@dataclass(frozen=True)
class Cell:
    """A tool's measurement of a model, and what is known to explain it."""

    measurement: Measurement
    known: Known

    @property
    def trace(self) -> Trace:
        assert self.known.trace is not None
        return self.known.trace

    @property
    def profile(self) -> Profile:
        assert self.known.profile is not None
        return self.known.profile

    @cached_property
    def unexplained(self) -> dict[str, tuple[int, int]]:
        """The unexplained amounts by quantity, and for how many modules, if there is anything."""
        return {
            finding.quantity: (finding.amount, finding.rows_that_differ)
            for finding in explain(self.measurement, self.known)
            if finding.cause == Cause.UNEXPLAINED and (finding.amount or finding.rows_that_differ)
        }

    def notices(self, wrong: Cell) -> bool:
        """Whether anything else is unexplained of a mutant."""
        return wrong.unexplained != self.unexplained

    def with_profile(self, profile: Profile) -> Cell:
        """Return the same cell with another profile."""
        return replace(self, known=replace(self.known, profile=profile))

    def reporting(self, **changes: Any) -> Cell:
        """Return the same cell with other numbers of the tool."""
        return replace(self, measurement=self.measurement.model_copy(update=changes))

    def with_reference(self, **changes: Any) -> Cell:
        """Return the same cell with another reference."""
        reference = self.known.reference.model_copy(update=changes)
        return replace(self, known=replace(self.known, reference=reference))

    def with_trace(self, **changes: Any) -> Cell:
        """Return the same cell with another trace."""
        return replace(self, known=replace(self.known, trace=replace(self.trace, **changes)))


Cells = list[Cell]


def measured_cells(out: Path) -> Cells:
    """Run all tools on the models, and return the cells that they counted."""
    run_all(REQUESTS, VARIANTS, out, RunOptions(2, LIMITS))
    references = {record.key: record for record in references_in(out / "references.jsonl")}
    traces = traces_in(out / "traces.jsonl")
    return [
        Cell(
            record,
            Known(
                references[record.model, record.inputs],
                traces[record.model, record.inputs],
                repository.find(record.tool_key),
            ),
        )
        for record in measurements_in(out / "measurements.jsonl")
        if record.status is Status.COUNTED
    ]
