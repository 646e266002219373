"""Reference counts for `flopaudit count`: builds the requested model and counts it.

`count_in_worker` is the task of a worker, because the model's own code runs; see `in_worker`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from flopaudit.core.errors import UsageError
from flopaudit.isolation import tasks
from flopaudit.isolation.jobs import Limits
from flopaudit.isolation.outcomes import LedgerCounted
from flopaudit.isolation.steps import Step, announce
from flopaudit.isolation.tasks import UnbuiltAssignment
from flopaudit.pipeline import in_worker
from flopaudit.pipeline.model_requests import ModelRequest
from flopaudit.reference.conventions import convention
from flopaudit.reference.ledger import Ledger
from flopaudit.reports.count_report import CONVENTIONS, ModelCount

if TYPE_CHECKING:
    from flopaudit.reference.counter import Device

TASK = "count"
"""The name of the task."""


@dataclass(frozen=True)
class CountOptions:
    """The options of a count.

    Attributes:
        conventions: names of the conventions to show.
        backward: a training step, in training mode, rather than an inference.
        static: from the exported graph rather than from a run.
        strict: fail where an operator has no formula.
    """

    conventions: tuple[str, ...] = CONVENTIONS
    backward: bool = False
    static: bool = False
    strict: bool = False


def count_in_worker(
    make_request: Callable[[], ModelRequest], options: CountOptions, limits: Limits
) -> ModelCount:
    """Count a model in a worker.

    Args:
        make_request: returns the model with its inputs, for which it may import a library.
        options: of the count.
        limits: the time and memory that building and counting may take.

    Raises:
        UsageError: as `count_model`, and if the model or an input cannot be read.
        RunError: the model's own code raises an error while it is built, ends the process, or takes
            more than the limits.
    """
    for name in options.conventions:
        convention(name)
    # The worker imports torch while the request is made, for which timm or transformers may import
    # it here.
    with in_worker.open_scheduler(limits, __name__) as scheduler:
        request = make_request()
        result = in_worker.run(scheduler, request, TASK, json.dumps(asdict(options)))
    assert isinstance(result, LedgerCounted)  # noqa: S101 - for mypy: the task returns no other
    return _model_count(request, options, result)


def _task(assignment: UnbuiltAssignment) -> LedgerCounted:
    import torch

    # For a model that does not run on meta: no thread pool was started before the fork.
    torch.set_num_threads(_processors())
    options = json.loads(assignment.condition)
    options["conventions"] = tuple(options["conventions"])
    request = ModelRequest(assignment.model, assignment.inputs)
    counted = _counted(request, CountOptions(**options))
    return replace(counted, ledger=counted.ledger.condensed())


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def count_model(request: ModelRequest, options: CountOptions | None = None) -> ModelCount:
    """Build a model and count it in this process.

    It is built on meta tensors from the start where that can be done.

    Raises:
        UsageError: the model or its factory does not exist, the model does not take the inputs,
            cannot be exported, or with `strict` an operator has no formula.
    """
    options = options or CountOptions()
    for name in options.conventions:
        convention(name)
    return _model_count(request, options, _counted(request, options))


def _model_count(request: ModelRequest, options: CountOptions, result: LedgerCounted) -> ModelCount:
    return ModelCount(
        model=str(request.spec),
        inputs=request.inputs,
        conventions=options.conventions,
        backward=options.backward,
        static=options.static,
        ledger=result.ledger,
        peak_activation_bytes=result.peak_activation_bytes,
        torch=result.torch,
    )


def _counted(request: ModelRequest, options: CountOptions) -> LedgerCounted:
    import torch

    from flopaudit.reference.counter import UncountedError
    from flopaudit.reference.graph_export import NotExportable

    try:
        ledger, peak = _count(request, options)
    except NotExportable as error:
        raise UsageError(str(error), "Leave out --static.") from error
    except UncountedError as error:
        raise UsageError(f"With --strict, {error}.", "Leave out --strict.") from error
    return LedgerCounted(ledger, peak, torch.__version__.partition("+")[0])


def _count(request: ModelRequest, options: CountOptions) -> tuple[Ledger, int | None]:
    """Return the ledger, and the peak of activations if the model runs on meta tensors."""
    import torch

    from flopaudit.core.specs import parse_inputs
    from flopaudit.models import inputs
    from flopaudit.models.build import build
    from flopaudit.reference.counter import UncountedError
    from flopaudit.reference.graph_export import NotExportable
    from flopaudit.reference.ledger_entries import floating_dtypes
    from flopaudit.reference.peak_memory import peak_activation_bytes

    specs = parse_inputs(request.inputs)
    try:
        with torch.device("meta"):
            announce(Step.BUILDING)
            model = build(request.spec)
            args, kwargs = inputs.make(specs, model)
            announce(Step.RUNNING)
            # Meta tensors go together whatever their dtypes are, and only values say if these do.
            if not floating_dtypes(model, (args, kwargs)).foreign:
                ledger = _by_either_way(model, args, kwargs, options, "meta")
                # Of an inference: a training step keeps its activations for the backward pass.
                peak = None if options.backward else peak_activation_bytes(model, *args, **kwargs)
                return ledger, peak
    except (UsageError, UncountedError, NotExportable):
        raise
    except Exception:  # noqa: BLE001, S110 - a model that fails on meta is run for real
        pass
    return _count_for_real(request, options), None


def _by_either_way(
    model: Any, args: Any, kwargs: dict[str, Any], options: CountOptions, device: Device
) -> Ledger:
    from flopaudit.reference.counter import count
    from flopaudit.reference.export_counter import count_static

    if options.static:
        return count_static(model, *args, **kwargs)
    model.train(options.backward)
    return count(
        model, *args, device=device, backward=options.backward, strict=options.strict, **kwargs
    )


def _count_for_real(request: ModelRequest, options: CountOptions) -> Ledger:
    from flopaudit.core.text import one_line
    from flopaudit.models import dtypes
    from flopaudit.models.build import load
    from flopaudit.reference.counter import UncountedError, count
    from flopaudit.reference.graph_export import NotExportable
    from flopaudit.reference.ledger_entries import floating_dtypes

    announce(Step.BUILDING)
    loaded = load(request.spec, request.inputs)
    announce(Step.RUNNING)
    model, args, kwargs = loaded.model, loaded.inputs, dict(loaded.kwargs)
    try:
        if options.static and floating_dtypes(model, (args, kwargs)).foreign:
            count(model, *args, device="own", **kwargs)  # an export does not notice
        return _by_either_way(model, args, kwargs, options, "auto")
    except (UncountedError, NotExportable):
        raise
    except Exception as error:
        mismatch = dtypes.mismatch(error, model, args, kwargs)
        if mismatch:
            raise mismatch from error
        given = " + ".join(request.inputs)
        raise UsageError(
            f"'{request.spec}' does not run on {given}: {one_line(error).rstrip('.')}.",
            "Give other --input shapes, or fix the model.",
        ) from error


tasks.register_building(TASK, partial(in_worker.outcome_of, _task))
