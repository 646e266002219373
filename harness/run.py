"""A run: models and tools come in, the records in a directory go out, one for each cell.

What is already in the directory, measured in the same environment, is not measured again; that is
how an interrupted run goes on. The records are appended as cells finish and put in order, with
findings and tables beside them, at the end.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from adapters import find
from adapters.contract import Tool
from harness import probes, store
from harness.errors import UsageError
from harness.findings import FormRules, explain
from harness.scheduler import Cell, Event, Job, Limits, Scheduler
from harness.schema import (
    Conditions,
    Environment,
    Finding,
    Measurement,
    Reference,
    Status,
    Unit,
)
from harness.specs import ModelSpec, parse_input, parse_model, split_list

REFERENCE = "reference"
MEASUREMENTS = "measurements.jsonl"
REFERENCES = "references.jsonl"
PROBES = "probes.jsonl"
PROBE_REFERENCES = "probe_references.jsonl"
FINDINGS = "findings.jsonl"


@dataclass(frozen=True)
class Column:
    """A tool with one of its variants; `name` is what `adapters.find` knows the tool by."""

    name: str
    tool: Tool
    variant: str | None

    @property
    def cell(self) -> Cell:
        """What the scheduler is told."""
        return Cell(self.name, self.variant)


@dataclass(frozen=True)
class Subject:
    """A model and the inputs it is to be run on."""

    spec: ModelSpec
    inputs: tuple[str, ...]

    def job(self, cells: Iterable[Cell]) -> Job:
        """What the scheduler is told."""
        return Job(self.spec, self.inputs, tuple(cells))


@dataclass(frozen=True)
class Results:
    """All that is in a directory after a run."""

    measurements: tuple[Measurement, ...]
    references: tuple[Reference, ...]
    findings: tuple[Finding, ...]


# -- what the user names ---------------------------------------------------------------------------


def columns(names: str) -> list[Column]:
    """The tools of a comma-separated list, each with all its variants, or `NAME:VARIANT` alone.

    Raises:
        UsageError: there is no such tool or variant.
    """
    return [column for name in split_list(names) for column in _columns(name)]


def _columns(name: str) -> Iterator[Column]:
    base, _, variant = name.rpartition(":")
    try:
        known = _find(base)
    except LookupError:
        known = None
    if known and variant in known.variants:
        yield Column(base, known, variant)
        return
    try:
        tool = find(name)
    except LookupError as error:
        raise UsageError(f"{str(error)[:1].upper()}{str(error)[1:]}.", "`flopaudit tools` lists them.") from error
    yield from (Column(name, tool, variant) for variant in tool.variants or (None,))


def _find(name: str) -> Tool | None:
    return find(name) if name else None


def subject(text: str, inputs: Sequence[str] = ()) -> Subject:
    """A model by its spec; without inputs, those of the zoo.

    Raises:
        UsageError: the spec or an input cannot be read, the zoo has no such model, or a model from
            elsewhere comes without inputs.
    """
    spec = parse_model(text)
    given = tuple(str(parse_input(each)) for each in inputs)
    if spec.source == "torchvision":
        from harness.zoo import CatalogueError, matching, torchvision_models

        try:
            catalogue = torchvision_models()
        except CatalogueError as error:
            raise UsageError(str(error), "") from error
        if spec.location not in catalogue:
            near = [model.name for model in matching(spec.location)][:5]
            hint = f"Did you mean {', '.join(near)}?" if near else "`flopaudit models` lists them."
            raise UsageError(f"There is no torchvision model '{spec.location}'.", hint)
        given = given or catalogue[spec.location].inputs
    if not given:
        raise UsageError(f"'{text}' comes without an input.", "Add --input 1x3x224x224.")
    if spec.source == "file" and not Path(spec.location).is_file():
        raise UsageError(f"There is no file '{spec.location}'.", "Check the path before the colon.")
    return Subject(spec, given)


# -- the environment -------------------------------------------------------------------------------


def environment(distribution: str | None = None) -> Environment:
    """Where this runs, and the version of a tool; imports none of what it names."""
    return Environment(
        flopaudit=_version("flopaudit") or "unknown",
        python=platform.python_version(),
        torch=_version("torch") or "none",
        torchvision=_version("torchvision"),
        tool=_version(distribution) if distribution else None,
        processor=_processor(),
    )


@lru_cache(maxsize=None)
def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


@lru_cache(maxsize=1)
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


# -- records ---------------------------------------------------------------------------------------


def measurement(column: Column, where: Subject, outcome: dict[str, Any]) -> Measurement:
    """The record of one cell."""
    reported = outcome.get("reported")
    unit = Unit(column.tool.unit)
    env = environment(column.tool.distribution)
    return Measurement(
        tool=column.tool.name,
        tool_version=env.tool,
        variant=column.variant,
        model=str(where.spec),
        inputs=where.inputs,
        conditions=Conditions(dtype=parse_input(where.inputs[0]).dtype),
        status=Status(outcome["status"]),
        raw=outcome.get("raw"),
        unit=unit,
        reported=reported,
        macs=_macs(reported, unit),
        params=outcome.get("params"),
        modules=tuple(outcome.get("modules", ())),
        seconds=outcome.get("seconds"),
        peak_rss_bytes=outcome.get("peak_rss_bytes"),
        output_excerpt=outcome.get("output_excerpt", ""),
        error=outcome.get("error"),
        environment=env,
    )


def _macs(reported: int | None, unit: Unit) -> int | None:
    if reported is None or unit is Unit.MAC:
        return reported
    return None if reported % 2 else reported // 2


def reference(where: Subject, outcome: dict[str, Any]) -> Reference:
    """The record of the reference on one model."""
    shape = parse_input(where.inputs[0]).shape
    fields = {
        key: value
        for key, value in outcome.items()
        if key in Reference.model_fields and value is not None
    }
    return Reference(
        model=str(where.spec),
        inputs=where.inputs,
        batch=shape[0] if len(shape) > 1 else 1,
        environment=environment(),
        **{"device": "none", **fields},
    )


# -- running ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Files:
    """The two journals that a set of cells is recorded in."""

    measurements: Path
    references: Path


Notice = Callable[[Event, int, int], None]
"""Told of each event, how many cells are done, and how many there are."""


def run(  # noqa: PLR0913 - what a run is given
    subjects: Sequence[Subject],
    tools: Sequence[Column],
    out: Path,
    slots: int,
    limits: Limits,
    notice: Notice,
) -> Results:
    """Measure all tools on all models into a directory, and write findings and tables there.

    Raises:
        UsageError: the directory cannot be used, or holds what this program cannot read.
        KeyboardInterrupt: as usual; all child processes are ended first, and what is finished is
            in the directory.
    """
    with store.locked(out):
        files = Files(out / MEASUREMENTS, out / REFERENCES)
        probe_files = Files(out / PROBES, out / PROBE_REFERENCES)
        with Scheduler(slots, limits) as scheduler:
            _measure(scheduler, subjects, tools, files, notice)
            for column, asked in _to_be_probed(files, tools):
                _measure(scheduler, asked, [column], probe_files, notice)
        return publish(out)


def _measure(
    scheduler: Scheduler,
    subjects: Sequence[Subject],
    tools: Sequence[Column],
    files: Files,
    notice: Notice,
) -> None:
    """Run the cells that the journals do not have yet, and append their records."""
    wanted = {where.job(()): where for where in subjects}
    jobs = _open_jobs(subjects, tools, files)
    total = sum(len(job.cells) for job in jobs)
    if not total:
        return
    by_cell = {column.cell: column for column in tools}
    done = 0
    measured, referred = store.Journal(files.measurements), store.Journal(files.references)
    try:
        for event in scheduler.run(jobs):
            if event.cell is not None and event.outcome is not None:
                where = wanted[Job(event.job.model, event.job.inputs, ())]
                done += 1
                if event.cell.tool == REFERENCE:
                    referred.append(reference(where, event.outcome))
                else:
                    column = by_cell[event.cell]
                    measured.append(measurement(column, where, event.outcome))
            notice(event, done, total)
    finally:
        measured.close()
        referred.close()


def _open_jobs(
    subjects: Sequence[Subject], tools: Sequence[Column], files: Files
) -> list[Job]:
    """What is still to be done: all cells without a record from this environment."""
    measured = {
        (record.key, record.environment) for record in _measurements(files.measurements)
    }
    referred = {(record.key, record.environment) for record in _references(files.references)}
    jobs = []
    for where in subjects:
        model = str(where.spec)
        cells = [
            column.cell
            for column in tools
            if (
                (column.tool.name, column.variant or "", model, where.inputs),
                environment(column.tool.distribution),
            )
            not in measured
        ]
        if ((model, where.inputs), environment()) not in referred:
            cells.insert(0, Cell(REFERENCE, None))
        jobs.append(where.job(cells))
    return jobs


def _measurements(path: Path) -> list[Measurement]:
    return [record for record in store.read(path, Measurement) if isinstance(record, Measurement)]


def _references(path: Path) -> list[Reference]:
    return [record for record in store.read(path, Reference) if isinstance(record, Reference)]


# -- probes ----------------------------------------------------------------------------------------


def _to_be_probed(files: Files, tools: Sequence[Column]) -> list[tuple[Column, list[Subject]]]:
    """Tools whose totals hold more than their rows, with probes for the forms their models call."""
    forms = {
        record.key: {total.form for total in record.operators}
        for record in _references(files.references)
    }
    called: dict[tuple[str, str | None], set[str]] = {}
    for record in _measurements(files.measurements):
        if record.modules and sum(row.count for row in record.modules) != record.reported:
            seen = forms.get((record.model, record.inputs), set())
            called.setdefault((record.tool, record.variant), set()).update(seen)
    return [
        (column, _probes_of(called[key]))
        for column in tools
        if (key := (column.tool.name, column.variant)) in called
    ]


def _probes_of(forms: set[str]) -> list[Subject]:
    return [
        Subject(ModelSpec("module", probes.__name__, name), (shape,))
        for name, probe in probes.PROBES.items()
        if probe.form in forms
        for shape in probe.inputs
    ]


def form_rules(out: Path) -> dict[tuple[str, str | None], FormRules]:
    """What the probes in a directory say of each tool, by call form."""
    references = {record.key: record for record in _references(out / PROBE_REFERENCES)}
    by_tool: dict[tuple[str, str | None], list[Measurement]] = {}
    for record in _measurements(out / PROBES):
        by_tool.setdefault((record.tool, record.variant), []).append(record)
    return {
        tool: probes.rules(records, references) for tool, records in sorted(by_tool.items(), key=str)
    }


# -- results ---------------------------------------------------------------------------------------


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
    measurements: list[Measurement] = _in_order(_measurements(out / MEASUREMENTS))
    references: list[Reference] = _in_order(_references(out / REFERENCES))
    forms = form_rules(out)
    by_key = {record.key: record for record in references}
    findings = [
        finding
        for record in measurements
        if (record.model, record.inputs) in by_key
        for finding in explain(
            record,
            by_key[record.model, record.inputs],
            forms.get((record.tool, record.variant)),
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
