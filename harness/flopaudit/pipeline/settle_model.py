"""Settlements of one model: a stored one that is still right, or one that is measured now."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flopaudit import published
from flopaudit.core.checksum import ChangedError, digest
from flopaudit.core.specs import ToolKey
from flopaudit.explain.settlement import SettledTool, Settlement, find
from flopaudit.models.identity import difference, is_packaged
from flopaudit.pipeline.model_requests import ModelRequest
from flopaudit.reference import user_formulas
from flopaudit.tools.registry import ToolVariant
from flopaudit.tools.versions import version

if TYPE_CHECKING:
    from importlib.abc import Traversable

    from flopaudit.isolation.jobs import Limits
    from flopaudit.pipeline.measure import RunOptions
    from flopaudit.pipeline.reuse import Reuse

RESULTS = Path("results")
SETTLED = RESULTS / "settled"
"""The directory for records that are measured for a settlement, unless the user names another."""

_RECORDS = ("references.jsonl", "measurements.jsonl")
"""The journals that a settlement is made from, in the order of its digest."""


@dataclass
class Stored:
    """What was found among the stored settlements.

    Attributes:
        settlement: one that is still right; None if there is none.
        place: a name for where it is.
        refused: why settlements that were found are not used, in the order in which they were.
    """

    settlement: Settlement | None = None
    place: str = ""
    refused: list[str] = field(default_factory=list)


def stored(
    request: ModelRequest,
    variants: Sequence[ToolVariant],
    out: Path | None = None,
    limits: Callable[[], Limits] | None = None,
) -> Stored:
    """Find a stored settlement that is of this model and was made with the versions used here.

    It is looked for in `out`, below `results`, then among the settlements that the package carries.
    It must add up, must be as it was written, and so must be the records that it was made from,
    where they are next to it. A user's own model has to be built to be recognised, so that none is
    found here; `measured` reuses its records.

    Args:
        request: the model.
        variants: the tools that the settlement must have; it is returned with these only. All
            tools that it has if there are none.
        out: a directory to look in first.
        limits: returns the limits that cells would have now; a settlement with a cell that failed
            under lower ones is not used.

    Raises:
        UsageError: a file of settlements there cannot be read by this program.
    """
    found = Stored()
    if not is_packaged(request.spec, request.inputs):
        return found
    for directory, name in _directories(out):
        try:
            match = find([directory], str(request.spec), request.inputs)
        except ChangedError as error:
            found.refused.append(str(error))
            continue
        if match and match["torch"] == version("torch") and _has(match, variants):
            settlement = _only(match, variants) if variants else match
            reason = _outdated(match, directory) or _worth_a_retry(settlement, limits)
            if reason is None:
                return Stored(settlement, name, found.refused)
            found.refused.append(f"{name}: {reason}")
    return found


def _outdated(settlement: Settlement, directory: Traversable) -> str | None:
    """Return why a settlement is not of this model, or not of its records; None if it is."""
    known = settlement["identity"]
    if known is None:
        return "the model of the settlement is unknown"
    reference = settlement["reference"]
    if not user_formulas.still_hold(reference["uncounted_ops"], reference["user_formulas"]):
        return "the user's formulas changed"
    lines = list(_record_lines(known, directory))
    if lines and digest("\n".join(lines).encode()) != settlement["records"]:
        return "its records have changed"
    return difference(known["seed"], known["versions"], known["sources"])


def _record_lines(known: Mapping[str, Any], directory: Traversable) -> Iterator[str]:
    """Yield the lines of the records of a model, as they are in the journals of a directory."""
    marks = [_member(known, name) for name in ("model", "inputs", "fingerprint")]
    for name in _RECORDS:
        path = directory / name
        if path.is_file():
            for line in path.read_text(encoding="utf-8").split("\n"):
                if all(mark in line for mark in marks):
                    yield line


def _member(known: Mapping[str, Any], name: str) -> str:
    """Return one member of a JSON object as records have it."""
    return json.dumps({name: known[name]}, ensure_ascii=False, separators=(",", ":"))[1:-1]


def _worth_a_retry(settlement: Settlement, limits: Callable[[], Limits] | None) -> str | None:
    """Return which limit is higher than when a cell failed; None if none is."""
    failed = [tool for tool in settlement["tools"] if tool["status"] != "counted"]
    if limits is None or not failed:
        return None
    # Imported here, so that a stored answer of tools that counted does not wait for it.
    from flopaudit.pipeline.reuse import ENDED_BY_LIMITS, raised_limit
    from flopaudit.records.schema import CellLimits

    now = limits()
    for tool in failed:
        if tool["status"] in ENDED_BY_LIMITS:
            kept = tool["limits"]
            reason = raised_limit(CellLimits(**kept) if kept else None, now)
            if reason:
                return reason
    return None


def _directories(out: Path | None) -> Iterator[tuple[Traversable, str]]:
    first = [out] if out and out.is_dir() else []
    here = sorted(each for each in RESULTS.iterdir() if each.is_dir()) if RESULTS.is_dir() else []
    yield from ((directory, str(directory)) for directory in (*first, *here))
    for directory in published.settlements():
        yield directory, f"the {directory.name} results that flopaudit ships"


def _key(tool: SettledTool) -> ToolKey:
    return (tool["tool"], tool["version"] or "", tool["variant"] or "")


def _has(found: Settlement, variants: Iterable[ToolVariant]) -> bool:
    return {variant.key for variant in variants} <= {_key(tool) for tool in found["tools"]}


def _only(found: Settlement, variants: Iterable[ToolVariant]) -> Settlement:
    wanted = {variant.key for variant in variants}
    return {**found, "tools": [tool for tool in found["tools"] if _key(tool) in wanted]}


def has_failed(settlement: Settlement) -> bool:
    """Whether the model was not counted, or one of the tools did not get to answer."""
    from flopaudit.records.schema import FAILURES

    ended = {tool["status"] for tool in settlement["tools"]}
    return settlement["reference"]["macs"] is None or not ended.isdisjoint(FAILURES)


def measured(
    request: ModelRequest,
    variants: Sequence[ToolVariant],
    options: RunOptions,
    out: Path = SETTLED,
) -> tuple[Settlement, Reuse]:
    """Run the tools on the model, and return the settlement of their numbers.

    Records of the same model, tools and environment are reused.

    Args:
        request: the model.
        variants: the tools to run.
        options: how the cells are run.
        out: the directory to keep the records in.

    Returns:
        The settlement, and how many cells were reused and measured.

    Raises:
        UsageError: the records cannot be kept.
        KeyboardInterrupt: as usual; the records of finished cells are kept.
    """
    from flopaudit.pipeline.run import run_all

    results = run_all([request], variants, out, options)
    found = find([out], str(request.spec), request.inputs)
    if found is None:
        raise RuntimeError(f"the run in {out} left no settlement of {request.spec}")
    return _only(found, variants), results.reuse
