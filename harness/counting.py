"""`flopaudit count`: a model that a user names comes in, its reference count in words goes out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from harness.catalogue import Subject
from harness.errors import UsageError
from harness.ledger import Ledger, OperatorRow, sum_work
from harness.work import Work

GROUPS = ("module", "op", "kind")


@dataclass(frozen=True)
class Counted:
    """A ledger and what it is of."""

    subject: Subject
    ledger: Ledger
    torch: str

    def to_json(self) -> dict[str, Any]:
        """One object with stable keys."""
        ledger = self.ledger
        return {
            "model": str(self.subject.spec),
            "inputs": list(self.subject.inputs),
            "params": ledger.params,
            "trainable_params": ledger.trainable_params,
            "macs": ledger.macs,
            "flops": ledger.flops,
            "flops_all": ledger.work.flops_all,
            "bias_adds": ledger.work.bias_adds,
            "components": ledger.components(),
            "uncounted_ops": dict(ledger.uncounted_ops),
            "device": ledger.device,
            "fallback": ledger.fallback,
            "torch": self.torch,
        }

    def lines(self) -> Iterator[str]:
        """The totals, for a person."""
        ledger = self.ledger
        inputs = re.sub(r"(?<=\d)x(?=\d)", "×", " + ".join(self.subject.inputs))
        yield f"{self.subject.spec} · {inputs} · eval · torch {self.torch}"
        if ledger.uncounted_ops:
            names = ", ".join(f"{op} ({n})" for op, n in sorted(ledger.uncounted_ops.items()))
            yield f"Not counted, for want of a formula: {names}"
        if ledger.fallback:
            yield f"Run on {ledger.device}, since meta tensors would not do: {ledger.fallback}"
        yield ""
        totals = {
            "MACs": ledger.macs,
            "FLOPs (2 × MACs)": ledger.flops,
            "all FLOPs": ledger.work.flops_all,
            "params": ledger.params,
        }
        for name, number in totals.items():
            yield f"{name:<24}{number:>22,}"
        yield ""
        for name, number in ledger.components().items():
            yield f"{name.replace('_macs', ' MACs').replace('_', ' '):<24}{number:>22,}"


def counted(subject: Subject) -> Counted:
    """Build a model and count it, on meta tensors from the start where that can be done.

    Raises:
        UsageError: the model or its factory does not exist, or the model does not take the inputs.
    """
    import torch

    from harness.counter import count
    from harness.models import build, make_inputs, make_kwargs
    from harness.specs import parse_inputs

    specs = parse_inputs(subject.inputs)
    try:
        with torch.device("meta"):
            model = build(subject.spec)
            ledger = count(model, *make_inputs(specs), device="meta", **make_kwargs(specs))
    except UsageError:
        raise
    except Exception:  # noqa: BLE001 - whatever cannot be done on meta is done for real
        ledger = _count_for_real(subject, specs)
    return Counted(subject, ledger, torch.__version__.partition("+")[0])


def _count_for_real(subject: Subject, specs: Any) -> Ledger:
    from harness.cell import one_line
    from harness.counter import count
    from harness.models import build, make_inputs, make_kwargs

    model = build(subject.spec)
    try:
        return count(model, *make_inputs(specs), device="auto", **make_kwargs(specs))
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
