"""Probing: runs all probes under each tool, and infers the tool's profile from its numbers.

The measurements are kept in a folder below that of the profiles, so that an interrupted probing
continues where it was. The traces of the probes are the same for all tools.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from flopaudit import probes
from flopaudit.core import files
from flopaudit.core.specs import parse_inputs
from flopaudit.core.text import visible_json
from flopaudit.isolation.outcomes import Outcome, Traced
from flopaudit.isolation.scheduler import Scheduler
from flopaudit.models.identity import difference, identity
from flopaudit.pipeline.measure import (
    IDENTITIES,
    MEASUREMENTS,
    Plan,
    RunOptions,
    last,
    measure,
)
from flopaudit.pipeline.model_requests import ModelRequest
from flopaudit.pipeline.record_builders import Finished, trace_record
from flopaudit.pipeline.results import TRACES, measurements_in, traces_in
from flopaudit.pipeline.reuse import Now, obstacle
from flopaudit.profiles.profile_inference import ToolIdentity, infer_profile
from flopaudit.profiles.repository import file_name
from flopaudit.profiles.rule_inference import CaseResult
from flopaudit.profiles.tool_profile import COUNTED, Profile
from flopaudit.records import store
from flopaudit.records.environment import environment
from flopaudit.records.schema import Measurement, ModelIdentity, Status, TraceRecord
from flopaudit.reports import matrix_report
from flopaudit.tools.registry import ToolVariant
from flopaudit.tracing.sites import Trace

WORK = ".probing"

PRELOAD = (
    "flopaudit.probes",
    "flopaudit.probes.root_models",
    "flopaudit.probes.structure.custom_modules",
)
"""Modules that the probes need, imported once for all."""

SYNC_EVERY = 50


def probe(variants: Sequence[ToolVariant], out: Path, options: RunOptions) -> list[Profile]:
    """Measure the profiles of tools, and write each into a directory as it is done.

    Raises:
        UsageError: the directory cannot be used, or holds what this program cannot read.
        KeyboardInterrupt: as usual; the measurements are kept, and the same call continues there.
    """
    with store.locked(out):
        work = out / WORK
        files.make_directory(work)
        traces = _traced(work, options)
        profiles = [_probe_one(each, out, traces, options) for each in variants]
        matrix_report.write(out)
        return profiles


def _traced(work: Path, options: RunOptions) -> dict[tuple[str, tuple[str, ...]], Trace]:
    """Return the traces of all cases; missing ones are made in this process, as no tool is run."""
    now = Now(environment(), None, options.limits)
    records = last(work / TRACES, TraceRecord)
    known = last(work / IDENTITIES, ModelIdentity)
    missing = []
    for case in cases():
        key = (str(case.spec), case.inputs)
        found = known.get(key)
        if obstacle(records.get(key), found, now) or (
            found and difference(found.seed, found.versions, found.sources)
        ):
            missing.append(case)
    if missing:
        _trace(missing, work, options)
    return traces_in(work / TRACES)


def _trace(requests: Sequence[ModelRequest], work: Path, options: RunOptions) -> None:
    import torch

    from flopaudit.models.build import build, make_inputs, make_kwargs
    from flopaudit.tracing.watcher import trace

    torch.set_num_threads(1)  # with such small tensors more would only wait for each other
    with ExitStack() as stack:
        traces, identities = (
            stack.enter_context(closing(store.Journal(work / name, SYNC_EVERY)))
            for name in (TRACES, IDENTITIES)
        )
        for request in requests:
            specs = parse_inputs(request.inputs)
            model, inputs, kwargs = build(request.spec), make_inputs(specs), make_kwargs(specs)
            this = identity(request.spec, request.inputs, model, inputs, kwargs)
            identities.append(this)
            outcome = Outcome(Traced(trace(model, inputs, kwargs).to_json()))
            traces.append(
                trace_record(Finished(request, outcome, this.fingerprint, options.limits))
            )


def cases() -> list[ModelRequest]:
    """Return every case of every probe, as a model request."""
    return [
        ModelRequest(probes.spec(name, number), case.inputs)
        for name, found in probes.PROBES.items()
        for number, case in enumerate(found.cases)
    ]


def _probe_one(
    variant: ToolVariant,
    out: Path,
    traces: dict[tuple[str, tuple[str, ...]], Trace],
    options: RunOptions,
) -> Profile:
    name = file_name(variant.key)
    journals = out / WORK / name.removesuffix(".json")
    files.make_directory(journals)
    preload = (variant.tool.package, *PRELOAD)
    site = str(variant.site) if variant.site else None
    plan = Plan(cases(), (variant,), (), SYNC_EVERY)
    measure(
        lambda: Scheduler(options.slots, options.limits, preload, site), plan, journals, options
    )
    profile = profile_from(variant, measurements_in(journals / MEASUREMENTS), traces)
    if has_counted(profile):
        text = json.dumps(profile.to_json(), indent=1, ensure_ascii=False)
        store.write_whole(out / name, visible_json(text))
    return profile


def has_failed(profile: Profile) -> bool:
    """Whether a tool gave no number for any probe, although it takes such models."""
    notes = (outcome.note for outcome in profile.probes)
    refused = all(note.startswith(Status.UNSUPPORTED.value) for note in notes)
    return not has_counted(profile) and not refused


def has_counted(profile: Profile) -> bool:
    """Whether the tool gave a number for any probe; if not, nothing is known about it."""
    return any(outcome.counted for outcome in profile.probes)


def profile_from(
    variant: ToolVariant,
    measured: Sequence[Measurement],
    traces: dict[tuple[str, tuple[str, ...]], Trace],
) -> Profile:
    """Infer a profile from measurements of probes, those of this environment only."""
    here = environment(variant.tool.distribution, variant.site)
    identity = ToolIdentity(
        variant.tool.name, here.tool or "unknown", variant.variant, variant.tool.unit, here.torch
    )
    known = {(r.model, r.inputs): r for r in measured if r.environment == here}
    results = []
    for request in cases():
        key = (str(request.spec), request.inputs)
        if key in known and key in traces:
            results.append(_case_result(request.spec.location, known[key], traces))
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
    """Describe a tool's profile in lines of text, beginning with what it does not predict."""
    name = " ".join(filter(None, (profile.tool, profile.variant, profile.version)))
    if not has_counted(profile):
        [(note, _)] = Counter(outcome.note for outcome in profile.probes).most_common(1)
        yield f"{name}: counted none of the probes, and so there is no profile of it: {note}"
        return
    counted = sum(outcome.counted for outcome in profile.probes)
    exact = sum(outcome.exact for outcome in profile.probes)
    sizes = sum(outcome.cases for outcome in profile.probes)
    for outcome in profile.probes:
        if outcome.exact < outcome.counted:
            yield f"{name}: not predicted: {outcome.probe} ({outcome.exact} of {outcome.counted})"
    yield (
        f"{name}: {len(profile.probes)} probes in {sizes:,} sizes, {counted:,} counted, "
        f"{exact:,} of them predicted exactly; sees {profile.habits.view}; "
        f"{sum(rule.outcome == COUNTED for rule in profile.rules)} kinds of sites counted"
    )
