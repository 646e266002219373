"""Tools come in, their profiles go out: all probes are run under each, and their rules read off.

What is measured is kept in a folder beside the profiles, so that an interrupted probing goes on
where it was; the traces of the probes, which no tool changes, serve all tools.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeGuard

from flopaudit import probes
from flopaudit.core.specs import parse_inputs
from flopaudit.isolation.scheduler import Limits, Scheduler
from flopaudit.pipeline.measure import (
    MEASUREMENTS,
    Notice,
    Plan,
    measure,
)
from flopaudit.pipeline.model_requests import ModelRequest
from flopaudit.pipeline.record_builders import is_current, trace_record
from flopaudit.pipeline.results import TRACES, measurements_in, traces_in
from flopaudit.profiles.profile_inference import ToolIdentity, infer_profile
from flopaudit.profiles.repository import file_name
from flopaudit.profiles.rule_inference import CaseResult
from flopaudit.profiles.tool_profile import COUNTED, Profile
from flopaudit.records import store
from flopaudit.records.environment import environment
from flopaudit.records.schema import (
    Environment,
    Measurement,
    Record,
    Status,
    TraceRecord,
)
from flopaudit.reports import matrix_report
from flopaudit.tools.registry import ToolVariant
from flopaudit.tracing.sites import Trace

WORK = ".probing"

BATTERY = (
    "flopaudit.probes",
    "flopaudit.probes.root_models",
    "flopaudit.probes.structure.custom_modules",
)

SYNC_EVERY = 50


def probe(
    columns: Sequence[ToolVariant], out: Path, slots: int, limits: Limits, notice: Notice
) -> list[Profile]:
    """Measure the profiles of tools, and write each into a directory as it is done.

    Raises:
        UsageError: the directory cannot be used, or holds what this program cannot read.
        KeyboardInterrupt: as usual; what is measured is kept, and the same call goes on from there.
    """
    with store.locked(out):
        work = out / WORK
        work.mkdir(exist_ok=True)
        traces = _traced(work / TRACES)
        profiles = [_probe_one(each, out, traces, slots, limits, notice) for each in columns]
        matrix_report.write(out)
        return profiles


def _traced(path: Path) -> dict[tuple[str, tuple[str, ...]], Trace]:
    """The traces of all cases; those that are missing are made here, since they change nothing."""
    here = environment()
    known = {r.key for r in store.read(path, TraceRecord) if _is_from(r, here)}
    missing = [where for where in cases() if (str(where.spec), where.inputs) not in known]
    if missing:
        _trace(missing, path)
    return traces_in(path)


def _trace(subjects: Sequence[ModelRequest], path: Path) -> None:
    import torch

    from flopaudit.models.build import build, make_inputs, make_kwargs
    from flopaudit.tracing.watcher import trace

    torch.set_num_threads(1)  # with such small tensors more would only wait for each other
    journal = store.Journal(path, SYNC_EVERY)
    try:
        for where in subjects:
            specs = parse_inputs(where.inputs)
            found = trace(build(where.spec), make_inputs(specs), make_kwargs(specs))
            journal.append(trace_record(where, {"trace": found.to_json()}))
    finally:
        journal.close()


def _is_from(record: Record, here: Environment) -> TypeGuard[TraceRecord]:
    return isinstance(record, TraceRecord) and is_current(record, here)


def cases() -> list[ModelRequest]:
    """Every case of every probe."""
    return [
        ModelRequest(probes.spec(name, number), case.inputs)
        for name, found in probes.PROBES.items()
        for number, case in enumerate(found.cases)
    ]


def _probe_one(  # noqa: PLR0913, PLR0917 - what a run is given
    column: ToolVariant,
    out: Path,
    traces: dict[tuple[str, tuple[str, ...]], Trace],
    slots: int,
    limits: Limits,
    notice: Notice,
) -> Profile:
    name = file_name(column.key)
    journals = out / WORK / name.removesuffix(".json")
    journals.mkdir(exist_ok=True)
    preload = (column.tool.package, *BATTERY)
    site = str(column.site) if column.site else None
    with Scheduler(slots, limits, preload, site) as scheduler:
        measure(scheduler, Plan(cases(), (column,), (), SYNC_EVERY), journals, notice)
    profile = read_off(column, measurements_in(journals / MEASUREMENTS), traces)
    if has_counted(profile):
        store.write_whole(out / name, json.dumps(profile.to_json(), indent=1, ensure_ascii=False))
    return profile


def has_failed(profile: Profile) -> bool:
    """Whether a tool gave no number for any probe, and not since it does not take them at all."""
    notes = (outcome.note for outcome in profile.probes)
    refused = all(note.startswith(Status.UNSUPPORTED.value) for note in notes)
    return not has_counted(profile) and not refused


def has_counted(profile: Profile) -> bool:
    """Whether the tool gave a number for any probe; if not, nothing is known of it."""
    return any(outcome.counted for outcome in profile.probes)


def read_off(
    column: ToolVariant,
    measured: Sequence[Measurement],
    traces: dict[tuple[str, tuple[str, ...]], Trace],
) -> Profile:
    """The profile that measurements of probes show, those of this environment alone."""
    here = environment(column.tool.distribution, column.site)
    identity = ToolIdentity(
        column.tool.name, here.tool or "unknown", column.variant, column.tool.unit, here.torch
    )
    known = {(r.model, r.inputs): r for r in measured if r.environment == here}
    results = []
    for where in cases():
        key = (str(where.spec), where.inputs)
        if key in known and key in traces:
            results.append(_case_result(where.spec.location, known[key], traces))
    return infer_profile(identity, results)


def _case_result(
    name: str, record: Measurement, traces: dict[tuple[str, tuple[str, ...]], Trace]
) -> CaseResult:
    counted = record.status is Status.COUNTED
    return CaseResult(
        probe=name,
        trace=traces[record.model, record.inputs],
        reported=record.reported if counted else None,
        params=record.params if counted else None,
        note="" if counted else f"{record.status.value}: {record.error}",
    )


def summary(profile: Profile) -> Iterator[str]:
    """What was found of a tool, for a person; what its profile does not give, first."""
    name = " ".join(filter(None, (profile.tool, profile.variant, profile.version)))
    if not has_counted(profile):
        [(note, _)] = Counter(outcome.note for outcome in profile.probes).most_common(1)
        yield f"{name}: counted none of the probes, and so there is no profile of it: {note}"
        return
    counted = sum(outcome.counted for outcome in profile.probes)
    exact = sum(outcome.exact for outcome in profile.probes)
    asked = sum(outcome.cases for outcome in profile.probes)
    for outcome in profile.probes:
        if outcome.exact < outcome.counted:
            yield f"{name}: not predicted: {outcome.probe} ({outcome.exact} of {outcome.counted})"
    yield (
        f"{name}: {len(profile.probes)} probes in {asked:,} sizes, {counted:,} counted, "
        f"{exact:,} of them predicted exactly; sees {profile.habits.view}; "
        f"{sum(rule.outcome == COUNTED for rule in profile.rules)} kinds of sites counted"
    )
