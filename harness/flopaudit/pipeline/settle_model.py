"""Settlements of one model: a stored one, or one that is measured now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flopaudit import published
from flopaudit.core.specs import ToolKey
from flopaudit.explain.settlement import SettledTool, Settlement, find
from flopaudit.pipeline.model_requests import ModelRequest
from flopaudit.reference import user_formulas
from flopaudit.tools.registry import ToolVariant
from flopaudit.tools.versions import version

if TYPE_CHECKING:
    from importlib.abc import Traversable

    from flopaudit.pipeline.measure import RunOptions

RESULTS = Path("results")
SETTLED = RESULTS / "settled"
"""The directory for records that are measured for a settlement, unless the user names another."""


def stored(
    request: ModelRequest, variants: Sequence[ToolVariant], out: Path | None = None
) -> tuple[Settlement, str] | None:
    """Return a stored settlement made with the versions installed here, and the name of its place.

    It is looked for in `out`, below `results`, then among the settlements that the package carries.

    Args:
        request: the model.
        variants: the tools that the settlement must have; it is returned with these only. All
            tools that it has if there are none.
        out: a directory to look in first.

    Raises:
        UsageError: a file of settlements there cannot be read by this program.
    """
    for directory, name in _directories(out):
        found = find([directory], str(request.spec), request.inputs)
        if (
            found
            and found["torch"] == version("torch")
            and _has(found, variants)
            and _same_formulas(found)
        ):
            return (_only(found, variants) if variants else found), name
    return None


def _same_formulas(found: Settlement) -> bool:
    """Whether the reference would be counted with the same formulas of users now."""
    reference = found["reference"]
    return user_formulas.still_hold(reference["uncounted_ops"], reference["user_formulas"])


def _directories(out: Path | None) -> Iterator[tuple[Traversable, str]]:
    first = [out] if out and out.is_dir() else []
    here = sorted(RESULTS.iterdir()) if RESULTS.is_dir() else []
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


def measured(
    request: ModelRequest,
    variants: Sequence[ToolVariant],
    options: RunOptions,
    out: Path = SETTLED,
) -> Settlement:
    """Run the tools on the model now, and return the settlement of their numbers.

    Args:
        request: the model.
        variants: the tools to run.
        options: how the cells are run.
        out: the directory to keep the records in.

    Raises:
        UsageError: the records cannot be kept.
        KeyboardInterrupt: as usual; the records of finished cells are kept.
    """
    from flopaudit.pipeline.run import run_all

    run_all([request], variants, out, options)
    found = find([out], str(request.spec), request.inputs)
    if found is None:
        raise RuntimeError(f"the run in {out} left no settlement of {request.spec}")
    return _only(found, variants)
