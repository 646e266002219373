"""A model's count as a person reads it: totals by convention, and a listing by module or kind."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from flopaudit.reference.conventions import convention
from flopaudit.reference.cost import Work
from flopaudit.reference.ledger import Ledger, OperatorRow, sum_work
from flopaudit.reports.terminal import print_table, print_wrapped

GROUPS = ("module", "op", "kind")


CONVENTIONS = ("macs", "macs-layers", "flops", "flops-all")
"""Those that are shown when none is asked for."""

SIZES = {"fp32": 4, "fp16": 2, "int8": 1}
"""Bytes of a value in the number formats that a model's size is told for."""


@dataclass(frozen=True)
class ModelCount:
    """A ledger, what it is of, and how it was asked for."""

    model: str
    inputs: tuple[str, ...]
    conventions: tuple[str, ...]
    backward: bool
    static: bool
    ledger: Ledger
    peak_activation_bytes: int | None
    torch: str

    def to_json(self) -> dict[str, Any]:
        """One object with stable keys; counts are integers, only the intensity is not."""
        ledger = self.ledger
        return {
            "model": self.model,
            "inputs": list(self.inputs),
            "mode": "train" if self.backward else "eval",
            "backward": self.backward,
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
        return {name: self.ledger.read(name) for name in self.conventions}

    def _sizes(self) -> dict[str, int]:
        return {name: size * self.ledger.params for name, size in SIZES.items()}

    def lines(self) -> Iterator[str]:
        """The totals, for a person."""
        ledger = self.ledger
        inputs = re.sub(r"(?<=\d)x(?=\d)", "×", " + ".join(self.inputs))
        how = "train, forward and backward" if self.backward else "eval"
        way = " · exported" if self.static else ""
        yield f"{self.model} · {inputs} · {how}{way} · torch {self.torch}"
        if ledger.uncounted_ops:
            names = ", ".join(f"{op} ({n})" for op, n in sorted(ledger.uncounted_ops.items()))
            yield f"Not counted, for want of a formula: {names}"
        if ledger.fallback and not self.static:
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


def show(found: ModelCount, by: str = "", depth: int = 0) -> None:
    """Print a count to standard output, and below it what it consists of.

    Args:
        found: the count.
        by: one of `GROUPS`; no listing if empty.
        depth: by module, how many levels to list; all if 0.
    """
    for line in found.lines():
        print_wrapped(line)
    if by:
        print_wrapped()
        print_table([by, "MACs", "bias adds", "all FLOPs"], listing(found.ledger, by, depth))


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
