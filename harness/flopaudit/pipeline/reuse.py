"""Reuse of records: which cells have a record of this model, this tool and this environment.

A record is reused if its environment, its adapter and the fingerprint of its model are what they
would be now. A model of a library is compared by versions and source files, without building it. A
user's own model is built first, because its factory may read anything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from flopaudit.isolation.jobs import Cell, Limits
from flopaudit.models import identity
from flopaudit.pipeline.model_requests import ModelRequest
from flopaudit.records.schema import (
    CellLimits,
    Environment,
    Measurement,
    ModelIdentity,
    Reference,
    Status,
    TraceRecord,
)
from flopaudit.tracing.sites import TRACE_VERSION

CellRecord = Measurement | Reference | TraceRecord

ENDED_BY_LIMITS = (Status.TIMED_OUT, Status.CRASHED)
"""How a cell may end because of its limits; a crash may be due to memory that ran out."""


@dataclass
class Reuse:
    """How many cells of a run were reused, and how many were measured for each reason."""

    reused: int = 0
    measured: Counter[str] = field(default_factory=Counter)

    def text(self) -> str:
        """Return a sentence, such as `Reused 5 results, measured 2: net.py changed (2).`."""
        total = self.measured.total()
        reasons = ", ".join(f"{reason} ({n:,})" for reason, n in self.measured.most_common())
        return (
            f"Reused {self.reused:,} results, measured {total:,}{': ' if total else ''}{reasons}."
        )


@dataclass(frozen=True)
class Now:
    """What a record of a cell must be from to be reused.

    Attributes:
        environment: that in which the cell would run.
        adapter: the digest of the tool's adapter; None for the harness's own cells.
        limits: those that the cell would have.
        retry: whether cells that failed are measured again.
    """

    environment: Environment
    adapter: str | None
    limits: Limits
    retry: bool = False


def obstacle(record: CellRecord | None, known: ModelIdentity | None, now: Now) -> str | None:
    """Return why a record cannot be reused, whatever the model is; None if it may be.

    Args:
        record: the last record of the cell.
        known: the last recorded identity of the cell's model.
        now: what the record must be from.
    """
    if record is None:
        return "not measured before"
    if record.environment != now.environment:
        return _changed_environment(record.environment, now.environment)
    if record.fingerprint is None or known is None or known.fingerprint != record.fingerprint:
        return "the model of the record is unknown"
    return _changed_program(record, now) or _worth_a_retry(record, now)


def _changed_program(record: CellRecord, now: Now) -> str | None:
    if isinstance(record, Measurement) and record.adapter != now.adapter:
        return "the adapter changed"
    if isinstance(record, TraceRecord) and record.trace_version != TRACE_VERSION:
        return "the trace has another format"
    return None


def _worth_a_retry(record: CellRecord, now: Now) -> str | None:
    """Return why a cell that failed may succeed now; None if it did not fail, or may not."""
    if record.status is Status.COUNTED:
        return None
    if now.retry:
        return "--retry"
    if record.status is Status.UNAVAILABLE:
        return "not available before"
    return raised_limit(record.limits, now.limits) if record.status in ENDED_BY_LIMITS else None


def _changed_environment(before: Environment, now: Environment) -> str:
    changed = (
        f"{name} {old or 'none'} → {new or 'none'}"
        for name, old in before
        if (new := getattr(now, name)) != old
    )
    return next(changed)


def raised_limit(before: CellLimits | None, now: Limits) -> str | None:
    """Return the limit that is higher than when the cell failed; None if none is."""
    if before is None:
        return "its limits are unknown"
    if now.timeout_seconds > before.timeout_seconds:
        return f"time limit {before.timeout_seconds:g} s → {now.timeout_seconds:g} s"
    if now.memory_bytes > before.memory_bytes:
        return f"memory limit {before.memory_bytes:,} → {now.memory_bytes:,} bytes"
    return None


@dataclass
class Candidates:
    """The cells of one model in a run, and why each is measured if it is.

    Attributes:
        request: the model.
        obstacles: for each cell why it is to be measured; None for one whose record may be reused.
        known: the recorded identity of the model, if there is one.
    """

    request: ModelRequest
    obstacles: Mapping[Cell, str | None]
    known: ModelIdentity | None

    def to_start(self) -> tuple[Cell, ...]:
        """Return the cells for which the model has to be built: to be measured, or to be checked.

        A library's model that has not changed need not be built to be checked.
        """
        if self.known is not None and identity.is_packaged(self.request.spec, self.request.inputs):
            changed = identity.difference(self.known.seed, self.known.versions, self.known.sources)
            if changed:
                return tuple(self.obstacles)
            return tuple(cell for cell, reason in self.obstacles.items() if reason)
        return tuple(self.obstacles)

    def to_measure(self, now: ModelIdentity) -> dict[Cell, str]:
        """Return the cells to measure, each with the reason, once the model has been built."""
        if self.known is None or self.known.fingerprint == now.fingerprint:
            return {cell: reason for cell, reason in self.obstacles.items() if reason}
        changed = identity.changes(self.known, now)
        return {cell: reason or changed for cell, reason in self.obstacles.items()}
