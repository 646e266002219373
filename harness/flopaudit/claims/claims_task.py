"""The task of a worker that settles claims: the model's own code runs there, in many variants."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial

from flopaudit.claims.parsing import parse_claims
from flopaudit.claims.settle_claims import settle_claims
from flopaudit.claims.tool_predictions import predicted_by_tools
from flopaudit.explain.settlement import Settlement
from flopaudit.isolation import tasks
from flopaudit.isolation.jobs import Limits
from flopaudit.isolation.outcomes import ClaimsSettled
from flopaudit.isolation.tasks import UnbuiltAssignment
from flopaudit.pipeline import in_worker
from flopaudit.pipeline.model_requests import ModelRequest

TASK = "claims"
"""The name of the task."""


def settle_in_worker(
    request: ModelRequest, claims: Sequence[str], known: Settlement | None, limits: Limits
) -> ClaimsSettled:
    """Answer claims about a model in a worker.

    Args:
        request: the model.
        claims: at least one, as a user writes them.
        known: a stored settlement of the model, for the numbers of tools.
        limits: the time and memory that it may take.

    Raises:
        UsageError: a claim cannot be parsed, or the model does not exist or accept its inputs.
        RunError: the model's own code raises an error while it is built, ends the process, or takes
            more than the limits.
    """
    parse_claims(claims)  # a wrong one is refused before anything is imported
    given = json.dumps({"claims": list(claims), "known": known})
    with in_worker.open_scheduler(limits, __name__) as scheduler:
        result = in_worker.run(scheduler, request, TASK, given)
    assert isinstance(result, ClaimsSettled)  # noqa: S101 - for mypy: the task returns no other
    return result


def _task(assignment: UnbuiltAssignment) -> ClaimsSettled:
    given = json.loads(assignment.condition)
    request = ModelRequest(assignment.model, assignment.inputs)
    claims = parse_claims(given["claims"])
    found = settle_claims(request, claims, predicted_by_tools(request, given["known"]))
    return ClaimsSettled(found.to_json(), tuple(found.lines()))


tasks.register_building(TASK, partial(in_worker.outcome_of, _task))
