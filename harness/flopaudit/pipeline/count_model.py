"""Reference counts for `flopaudit count`: builds the requested model and counts it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flopaudit.core.errors import UsageError
from flopaudit.pipeline.model_requests import ModelRequest
from flopaudit.reference.conventions import convention
from flopaudit.reference.ledger import Ledger
from flopaudit.reports.count_report import CONVENTIONS, ModelCount

if TYPE_CHECKING:
    from flopaudit.reference.counter import Device


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


def count_model(request: ModelRequest, options: CountOptions | None = None) -> ModelCount:
    """Build a model and count it, on meta tensors from the start where that can be done.

    Raises:
        UsageError: the model or its factory does not exist, the model does not take the inputs,
            cannot be exported, or with `strict` an operator has no formula.
    """
    import torch

    from flopaudit.reference.counter import UncountedError
    from flopaudit.reference.graph_export import NotExportable

    options = options or CountOptions()
    for name in options.conventions:
        convention(name)
    version = torch.__version__.partition("+")[0]
    try:
        ledger, peak = _count(request, options)
    except NotExportable as error:
        raise UsageError(str(error), "Leave out --static.") from error
    except UncountedError as error:
        raise UsageError(f"With --strict, {error}.", "Leave out --strict.") from error
    return ModelCount(
        model=str(request.spec),
        inputs=request.inputs,
        conventions=options.conventions,
        backward=options.backward,
        static=options.static,
        ledger=ledger,
        peak_activation_bytes=peak,
        torch=version,
    )


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
            model = build(request.spec)
            args, kwargs = inputs.make(specs, model)
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

    loaded = load(request.spec, request.inputs)
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
            f"'{request.spec}' does not run on {given}: {one_line(error)}.",
            "Give other --input shapes, or fix the model.",
        ) from error
