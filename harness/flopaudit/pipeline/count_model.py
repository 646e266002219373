"""`flopaudit count`: a model that a user names comes in, its reference count in words goes out."""

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
    """How a model is to be counted.

    Attributes:
        conventions: names of the readings to show.
        backward: a training step, in training mode, rather than an inference.
        static: from the exported graph rather than from a run.
        strict: fail where an operator has no formula.
    """

    conventions: tuple[str, ...] = CONVENTIONS
    backward: bool = False
    static: bool = False
    strict: bool = False


def count_model(subject: ModelRequest, asked: CountOptions | None = None) -> ModelCount:
    """Build a model and count it, on meta tensors from the start where that can be done.

    Raises:
        UsageError: the model or its factory does not exist, the model does not take the inputs,
            cannot be exported, or with `strict` an operator has no formula.
    """
    import torch

    from flopaudit.reference.counter import UncountedError
    from flopaudit.reference.graph_export import NotExportable

    asked = asked or CountOptions()
    for name in asked.conventions:
        convention(name)
    version = torch.__version__.partition("+")[0]
    try:
        ledger, peak = _count(subject, asked)
    except NotExportable as error:
        raise UsageError(str(error), "Leave out --static.") from error
    except UncountedError as error:
        raise UsageError(f"With --strict, {error}.", "Leave out --strict.") from error
    return ModelCount(
        model=str(subject.spec),
        inputs=subject.inputs,
        conventions=asked.conventions,
        backward=asked.backward,
        static=asked.static,
        ledger=ledger,
        peak_activation_bytes=peak,
        torch=version,
    )


def _count(subject: ModelRequest, asked: CountOptions) -> tuple[Ledger, int | None]:
    """The ledger, and the peak of activations where the model runs on meta tensors."""
    import torch

    from flopaudit.core.specs import parse_inputs
    from flopaudit.models.build import build, make_inputs, make_kwargs
    from flopaudit.reference.counter import UncountedError
    from flopaudit.reference.graph_export import NotExportable
    from flopaudit.reference.peak_memory import peak_activation_bytes

    specs = parse_inputs(subject.inputs)
    try:
        with torch.device("meta"):
            model = build(subject.spec)
            args, kwargs = make_inputs(specs), make_kwargs(specs)
            ledger = _by_either_way(model, args, kwargs, asked, "meta")
            # Of an inference: a training step keeps its activations for the backward pass.
            peak = None if asked.backward else peak_activation_bytes(model, *args, **kwargs)
            return ledger, peak
    except (UsageError, UncountedError, NotExportable):
        raise
    except Exception:  # noqa: BLE001 - whatever cannot be done on meta is done for real
        return _count_for_real(subject, asked, specs), None


def _by_either_way(
    model: Any, args: Any, kwargs: dict[str, Any], asked: CountOptions, device: Device
) -> Ledger:
    from flopaudit.reference.counter import count
    from flopaudit.reference.export_counter import count_static

    if asked.static:
        return count_static(model, *args, **kwargs)
    model.train(asked.backward)
    return count(
        model, *args, device=device, backward=asked.backward, strict=asked.strict, **kwargs
    )


def _count_for_real(subject: ModelRequest, asked: CountOptions, specs: Any) -> Ledger:
    from flopaudit.core.text import one_line
    from flopaudit.models.build import build, make_inputs, make_kwargs
    from flopaudit.reference.counter import UncountedError
    from flopaudit.reference.graph_export import NotExportable

    model = build(subject.spec)
    try:
        return _by_either_way(model, make_inputs(specs), make_kwargs(specs), asked, "auto")
    except (UncountedError, NotExportable):
        raise
    except Exception as error:
        inputs = " + ".join(subject.inputs)
        raise UsageError(
            f"'{subject.spec}' does not run on {inputs}: {one_line(error)}.",
            "Give other --input shapes, or mend the model.",
        ) from error
