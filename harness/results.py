"""A directory of records: reads it, works out the findings, and writes it in order with tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import probes, store
from harness.catalogue import Column, Subject
from harness.findings import FormRules, explain
from harness.schema import Finding, Measurement, Reference, ToolKey

MEASUREMENTS = "measurements.jsonl"
REFERENCES = "references.jsonl"
PROBES = "probes.jsonl"
PROBE_REFERENCES = "probe_references.jsonl"
FINDINGS = "findings.jsonl"


@dataclass(frozen=True)
class Results:
    """All that is in a directory after a run."""

    measurements: tuple[Measurement, ...]
    references: tuple[Reference, ...]
    findings: tuple[Finding, ...]

    def only(self, subjects: Sequence[Subject], columns: Sequence[Column]) -> Results:
        """Those of the models and tools that were asked for, each in the version asked for."""
        models = {(str(where.spec), where.inputs) for where in subjects}
        tools = {column.key for column in columns}
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
        )

    def to_json(self, out: Path) -> dict[str, Any]:
        """Everything but the rows of modules, which are in the files."""
        return {
            "out": str(out),
            "measurements": [
                m.model_dump(mode="json", exclude={"modules"}) for m in self.measurements
            ],
            "references": [
                r.model_dump(mode="json", exclude={"operators", "modules"}) for r in self.references
            ],
            "findings": [f.model_dump(mode="json") for f in self.findings],
        }


def measurements_in(path: Path) -> list[Measurement]:
    """The measurements in a file, none if there is no such file."""
    return [record for record in store.read(path, Measurement) if isinstance(record, Measurement)]


def references_in(path: Path) -> list[Reference]:
    """The references in a file, none if there is no such file."""
    return [record for record in store.read(path, Reference) if isinstance(record, Reference)]


def form_rules(out: Path) -> dict[ToolKey, FormRules]:
    """What the probes in a directory say of each tool, by call form."""
    references = {record.key: record for record in references_in(out / PROBE_REFERENCES)}
    by_tool: dict[ToolKey, list[Measurement]] = {}
    for record in measurements_in(out / PROBES):
        by_tool.setdefault(record.tool_key, []).append(record)
    return {tool: probes.rules(records, references) for tool, records in sorted(by_tool.items())}


def publish(out: Path) -> Results:
    """Put the records of a directory in order, and write findings and tables beside them."""
    results = collect(out)
    store.write_records(out / MEASUREMENTS, list(results.measurements))
    store.write_records(out / REFERENCES, list(results.references))
    for name, kind in ((PROBES, Measurement), (PROBE_REFERENCES, Reference)):
        if (out / name).exists():
            store.write_records(out / name, _in_order(store.read(out / name, kind)))
    store.write_records(out / FINDINGS, list(results.findings))
    from harness import tables

    tables.write(out, results.measurements, results.references, results.findings)
    return results


def collect(out: Path) -> Results:
    """Read a directory; of several records of one cell the last counts; findings are worked out."""
    measurements: list[Measurement] = _in_order(measurements_in(out / MEASUREMENTS))
    references: list[Reference] = _in_order(references_in(out / REFERENCES))
    forms = form_rules(out)
    by_key = {record.key: record for record in references}
    findings = [
        finding
        for record in measurements
        if (record.model, record.inputs) in by_key
        for finding in explain(
            record,
            by_key[record.model, record.inputs],
            forms.get(record.tool_key),
        )
    ]
    return Results(tuple(measurements), tuple(references), tuple(findings))


def _in_order(records: Iterable[Any]) -> list[Any]:
    last = {record.key: record for record in records}
    return [last[key] for key in sorted(last, key=_order)]


def _order(key: tuple[Any, ...]) -> tuple[Any, ...]:
    """By model, then inputs, then tool: the same whatever order the cells finished in."""
    *tool, model, inputs = key
    return (model, inputs, *tool)
