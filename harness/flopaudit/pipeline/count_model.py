"""`flopaudit count`: a model that a user names comes in, its reference count in words goes out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flopaudit.core.errors import UsageError
from flopaudit.pipeline.model_requests import ModelRequest
from flopaudit.reference.conventions import convention
from flopaudit.reference.cost import Work
from flopaudit.reference.ledger import Ledger, OperatorRow, sum_work

if TYPE_CHECKING:
    from flopaudit.reference.counter import Device

GROUPS = ("module", "op", "kind")


CONVENTIONS = ("macs", "macs-layers", "flops", "flops-all")
"""Those that are shown when none is asked for."""

SIZES = {"fp32": 4, "fp16": 2, "int8": 1}
"""Bytes of a value in the number formats that a model's size is told for."""


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


@dataclass(frozen=True)
class ModelCount:
    """A ledger, what it is of, and how it was asked for."""

    subject: ModelRequest
    asked: CountOptions
    ledger: Ledger
    peak_activation_bytes: int | None
    torch: str

    def to_json(self) -> dict[str, Any]:
        """One object with stable keys; counts are integers, only the intensity is not."""
        ledger = self.ledger
        return {
            "model": str(self.subject.spec),
            "inputs": list(self.subject.inputs),
            "mode": "train" if self.asked.backward else "eval",
            "backward": self.asked.backward,
            "params": ledger.params,
            "trainable_params": ledger.trainable_params,
            "params_by_dtype": ledger.params_by_dtype,
            "buffers": ledger.buffers,
            "model_bytes": ledger.model_bytes,
            "model_bytes_as": self._sizes(),
            "macs": ledger.macs,
            "flops": ledger.flops,
            "flops_all": ledger.flops_all,
            "bias_adds": ledger.work.bias_adds,
            "conventions": self.readings(),
            "components": ledger.components(),
            "elements_accessed": ledger.elements_accessed,
            "bytes_accessed": ledger.bytes_accessed,
            "flops_per_byte": float(ledger.intensity),
            "peak_activation_bytes": self.peak_activation_bytes,
            "uncounted_ops": dict(ledger.uncounted_ops),
            "device": ledger.device,
            "fallback": ledger.fallback,
            "torch": self.torch,
        }

    def readings(self) -> dict[str, int]:
        """The total under each convention that was asked for."""
        return {name: self.ledger.read(name) for name in self.asked.conventions}

    def _sizes(self) -> dict[str, int]:
        return {name: size * self.ledger.params for name, size in SIZES.items()}

    def lines(self) -> Iterator[str]:
        """The totals, for a person."""
        ledger = self.ledger
        inputs = re.sub(r"(?<=\d)x(?=\d)", "×", " + ".join(self.subject.inputs))
        how = "train, forward and backward" if self.asked.backward else "eval"
        way = " · exported" if self.asked.static else ""
        yield f"{self.subject.spec} · {inputs} · {how}{way} · torch {self.torch}"
        if ledger.uncounted_ops:
            names = ", ".join(f"{op} ({n})" for op, n in sorted(ledger.uncounted_ops.items()))
            yield f"Not counted, for want of a formula: {names}"
        if ledger.fallback and not self.asked.static:
            yield f"Run on {ledger.device}, since meta tensors would not do: {ledger.fallback}"
        yield ""
        for name, number in self.readings().items():
            yield f"{name:<24}{number:>22,}   {convention(name).meaning}"
        yield ""
        for name, number in ledger.components().items():
            yield f"{name.replace('_macs', ' MACs').replace('_', ' '):<24}{number:>22,}"
        yield ""
        yield f"{'params':<24}{ledger.params:>22,}   trainable {ledger.trainable_params:,}"
        sizes = ", ".join(f"{name} {size:,}" for name, size in self._sizes().items())
        yield f"{'model bytes':<24}{ledger.model_bytes:>22,}   params alone: {sizes}"
        yield f"{'bytes accessed':<24}{ledger.bytes_accessed:>22,}   read and written, uncached"
        yield f"{'FLOPs per byte':<24}{float(ledger.intensity):>22,.2f}"
        if self.peak_activation_bytes is not None:
            yield f"{'peak activation bytes':<24}{self.peak_activation_bytes:>22,}"


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
    return ModelCount(subject, asked, ledger, peak, version)


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


def listing(ledger: Ledger, by: str, depth: int = 0) -> list[list[str]]:
    """Rows of text: what it is, MACs, bias adds, all FLOPs.

    By module, a row holds what is inside the module too, and modules stand in their order.
    """
    if by == "module":
        return list(_by_module(ledger, depth))
    works = ledger.by("operator" if by == "op" else "kind")
    ordered = sorted(works.items(), key=lambda item: (-item[1].macs, -item[1].flops_all))
    return [_texts(name, work) for name, work in ordered]


def _by_module(ledger: Ledger, depth: int) -> Iterator[list[str]]:
    inside: dict[str, list[OperatorRow]] = {}
    for row in ledger.rows:
        path = row.path
        while path:
            inside.setdefault(path, []).append(row)
            path = path.rpartition(".")[0]
        inside.setdefault("", []).append(row)
    for module in ledger.modules:
        level = module.path.count(".") + 1 if module.path else 0
        if module.path in inside and (not depth or level <= depth):
            name = "  " * level + f"{module.path.rpartition('.')[2]} {module.type}".strip()
            yield _texts(name, sum_work(inside[module.path]))


def _texts(name: str, work: Work) -> list[str]:
    return [name, f"{work.macs:,}", f"{work.bias_adds:,}", f"{work.flops_all:,}"]
