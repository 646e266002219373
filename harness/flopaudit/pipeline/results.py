"""Results directories: read the records, derive the findings, write both in order with tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flopaudit.core.errors import UsageError
from flopaudit.explain.findings import Known, explain
from flopaudit.explain.settlement import FILE, settlements, to_line
from flopaudit.isolation.jobs import REFERENCE, TRACE
from flopaudit.pipeline.measure import IDENTITIES, MEASUREMENTS, OWN
from flopaudit.pipeline.model_requests import ModelRequest
from flopaudit.pipeline.reuse import Reuse
from flopaudit.profiles import repository
from flopaudit.records import store
from flopaudit.records.schema import (
    Finding,
    Measurement,
    ModelIdentity,
    Reference,
    TraceRecord,
    first_problem,
)
from flopaudit.tools.registry import ToolVariant
from flopaudit.tracing.sites import TRACE_VERSION, Trace, from_json

REFERENCES, TRACES = (OWN[name][0] for name in (REFERENCE, TRACE))
PROFILES = "profiles"
FINDINGS = "findings.jsonl"


@dataclass(frozen=True)
class Results:
    """The records and findings in a directory after a run, and what the run measured."""

    measurements: tuple[Measurement, ...]
    references: tuple[Reference, ...]
    findings: tuple[Finding, ...]
    reuse: Reuse = field(default_factory=Reuse)

    def only(self, requests: Sequence[ModelRequest], variants: Sequence[ToolVariant]) -> Results:
        """Return those of the requested models and tools, each in the requested version."""
        models = {(str(request.spec), request.inputs) for request in requests}
        tools = {variant.key for variant in variants}
        return Results(
            tuple(
                m
                for m in self.measurements
                if (m.model, m.inputs) in models and m.tool_key in tools
            ),
            tuple(r for r in self.references if r.key in models),
            tuple(
                f for f in self.findings if (f.model, f.inputs) in models and f.tool_key in tools
            ),
            self.reuse,
        )

    def to_json(self, out: Path) -> dict[str, Any]:
        """Return everything but the rows of modules, which are in the files."""
        return {
            "out": str(out),
            "reused": self.reuse.reused,
            "measured": dict(self.reuse.measured),
            "measurements": [
                m.model_dump(mode="json", exclude={"modules"}) for m in self.measurements
            ],
            "references": [
                {
                    **r.model_dump(mode="json", exclude={"operators", "modules"}),
                    "lower_bound": r.lower_bound,
                }
                for r in self.references
            ],
            "findings": [f.model_dump(mode="json") for f in self.findings],
        }


def measurements_in(path: Path) -> list[Measurement]:
    """Return the measurements in a file; none if there is no such file."""
    return [record for record in store.read(path, Measurement) if isinstance(record, Measurement)]


def references_in(path: Path) -> list[Reference]:
    """Return the references in a file; none if there is no such file."""
    return [record for record in store.read(path, Reference) if isinstance(record, Reference)]


def traces_in(path: Path) -> dict[tuple[str, tuple[str, ...]], Trace]:
    """Return the traces in a file by model and inputs; none if there is no such file.

    Traces of another version of the format are left out; the next run makes them again.

    Raises:
        UsageError: the file cannot be read, or holds what is not a trace.
    """
    return {
        record.key: _trace(record, path)
        for record in store.read(path, TraceRecord)
        if isinstance(record, TraceRecord)
        and record.trace is not None
        and record.trace_version == TRACE_VERSION
    }


def _trace(record: TraceRecord, path: Path) -> Trace:
    try:
        return from_json(record.trace or {})
    except ValueError as error:
        raise UsageError(
            f"The trace of {record.model} in {path} is damaged: {first_problem(error)}.",
            "Remove its line; the next run makes it again.",
        ) from error


def publish(out: Path) -> Results:
    """Put the records of a directory in order, and write its findings, settlements and tables."""
    results = collect(out)
    store.write_records(out / MEASUREMENTS, _in_order(measurements_in(out / MEASUREMENTS)))
    store.write_records(out / REFERENCES, list(results.references))
    if (out / TRACES).exists():
        store.write_records(out / TRACES, _in_order(store.read(out / TRACES, TraceRecord)))
    store.write_records(out / FINDINGS, list(results.findings))
    identities = _in_order(store.read(out / IDENTITIES, ModelIdentity))
    store.write_records(out / IDENTITIES, identities)
    lines = settlements(results.measurements, results.references, results.findings, identities)
    store.write_whole(out / FILE, "".join(to_line(each) + "\n" for each in lines))
    from flopaudit.reports import tables

    tables.write(out, results.measurements, results.references, results.findings)
    return results


def collect(out: Path) -> Results:
    """Read a directory and derive its findings; of several records of one cell the last counts.

    A measurement of another model than the reference, such as an earlier state of the user's file,
    is left out: it is measured again when its tool is next run.
    """
    references: list[Reference] = _in_order(references_in(out / REFERENCES))
    by_key = {record.key: record for record in references}
    measurements: list[Measurement] = [
        record
        for record in _in_order(measurements_in(out / MEASUREMENTS))
        if _is_of(record, by_key.get((record.model, record.inputs)))
    ]
    traces = traces_in(out / TRACES)
    findings = [
        finding
        for record in measurements
        if (record.model, record.inputs) in by_key
        for finding in explain(
            record,
            Known(
                by_key[record.model, record.inputs],
                traces.get((record.model, record.inputs)),
                repository.find(record.tool_key, (out / PROFILES,)),
            ),
        )
    ]
    return Results(tuple(measurements), tuple(references), tuple(findings))


def _is_of(record: Measurement, reference: Reference | None) -> bool:
    return reference is None or record.fingerprint == reference.fingerprint


def _in_order(records: Iterable[Any]) -> list[Any]:
    last = {record.key: record for record in records}
    return [last[key] for key in sorted(last, key=_order)]


def _order(key: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a sort key by model, inputs and tool: independent of the order of finishing."""
    *tool, model, inputs = key
    return (model, inputs, *tool)
