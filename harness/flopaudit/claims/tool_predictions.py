"""The numbers of tools for a model: stored ones, or predictions of profiles; no tool is run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from flopaudit.claims.interpretations import reported_by
from flopaudit.pipeline.model_requests import ModelRequest
from flopaudit.profiles import repository
from flopaudit.profiles.prediction import predict, predict_params

if TYPE_CHECKING:
    from flopaudit.claims.search import Interpretation
    from flopaudit.explain.settlement import SettledTool, Settlement


def predicted_by_tools(
    request: ModelRequest, stored: Settlement | None
) -> Iterator[Interpretation]:
    """Yield the stored numbers of tools, and the predictions of the profiles of other tools.

    A tool is left out if its profile has no formula for some site of the model.
    """
    seen = set()
    for tool in stored["tools"] if stored else ():
        if tool["status"] == "counted":
            seen.add((tool["tool"], tool["version"], tool["variant"]))
            yield from reported_by(_names(tool), tool["reported"], tool["unit"], tool["params"])
    missing = [profile for profile in repository.everywhere() if profile.key not in seen]
    if not missing:
        return
    trace = _trace(request)
    for profile in missing:
        prediction = predict(profile, trace)
        if not prediction.open:
            names = (
                profile.tool,
                profile.variant or "",
                f"{profile.version}, predicted by its profile",
            )
            total = int(prediction.total)
            yield from reported_by(names, total, profile.unit, predict_params(profile, trace))


def _names(tool: SettledTool) -> tuple[str, str, str]:
    return (tool["tool"], tool["variant"] or "", tool["version"] or "")


def _trace(request: ModelRequest) -> Any:
    from flopaudit.models.build import load
    from flopaudit.tracing.watcher import trace

    loaded = load(request.spec, request.inputs)
    return trace(loaded.model, loaded.inputs, loaded.kwargs)
