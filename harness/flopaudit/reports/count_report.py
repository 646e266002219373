"""The count of one model: totals by convention, and a listing by module, operator or kind."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import Any

from flopaudit.reference.conventions import convention
from flopaudit.reference.cost import Work
from flopaudit.reference.ledger import Ledger, OperatorRow, sum_work
from flopaudit.reports.terminal import (
    Screen,
    padded,
    print_lines,
    print_table,
    print_wrapped,
    screen,
    wrap,
)

GROUPS = ("module", "op", "kind")
"""What a count can be listed by."""

CONVENTIONS = ("macs", "macs-layers", "flops", "flops-all")
"""The conventions that are shown by default."""

SIZES = {"fp32": 4, "fp16": 2, "int8": 1}
"""Bytes of a value in the number formats for which a model's size is shown."""


@dataclass(frozen=True)
class ModelCount:
    """The ledger of one model, with the options of the count.

    Attributes:
        model: its spec.
        inputs: shapes, as a user writes them.
        conventions: names of those to be shown.
        backward: whether the backward pass is included.
        static: whether it was counted from an exported graph.
        ledger: the reference's result.
        peak_activation_bytes: of the forward pass; None if it was not measured.
        torch: the version.
    """

    model: str
    inputs: tuple[str, ...]
    conventions: tuple[str, ...]
    backward: bool
    static: bool
    ledger: Ledger
    peak_activation_bytes: int | None
    torch: str

    def to_json(self) -> dict[str, Any]:
        """Return one object with stable keys; all counts are integers."""
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
            "conventions": self.totals(),
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

    def totals(self) -> dict[str, int]:
        """Return the total by each of the conventions."""
        return {name: self.ledger.read(name) for name in self.conventions}

    def _sizes(self) -> dict[str, int]:
        return {name: size * self.ledger.params for name, size in SIZES.items()}

    def lines(self) -> Iterator[str]:
        """Yield the totals as lines of text."""
        ledger = self.ledger
        inputs = re.sub(r"(?<=\d)x(?=\d)", "×", " + ".join(self.inputs))
        how = "train, forward and backward" if self.backward else "eval"
        way = " · exported" if self.static else ""
        yield f"{self.model} · {inputs} · {how}{way} · torch {self.torch}"
        if ledger.uncounted_ops:
            names = ", ".join(f"{op} ({n})" for op, n in sorted(ledger.uncounted_ops.items()))
            yield f"Not counted, because there is no formula: {names}"
        if ledger.fallback and not self.static:
            yield f"Run on {ledger.device}, because it does not run on meta: {ledger.fallback}"
        yield ""
        for name, number in self.totals().items():
            yield f"{padded(name, 24)}{number:>22,}   {convention(name).meaning}"
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


def show(count: ModelCount, by: str = "", depth: int = 0) -> None:
    """Print a count to standard output, with a listing of its parts if requested.

    Args:
        count: of one model.
        by: one of `GROUPS`; no listing if empty.
        depth: by module, how many levels to list; all if 0.
    """
    to = screen()
    for line in count.lines():
        print_lines(wrap(line, to, _indent(line, to)))
    if by:
        print_wrapped()
        print_table([by, *COLUMNS], listing(count.ledger, by, depth))


_TEXT = 49
"""The column at which the text next to a number begins."""

_LEAST_TEXT = 20
"""Columns that this text needs, so that its lines are set below each other."""


def _indent(line: str, to: Screen) -> int:
    """Return where a line that is wider than the screen goes on."""
    has_text = to.width is not None and to.width - _TEXT >= _LEAST_TEXT
    return _TEXT if has_text and re.match(rf"\S.{{{_TEXT - 5}}}\d {{3}}\S", line) else 4


COLUMNS = ("MACs", "% of MACs", "bias adds", "all FLOPs")
"""Columns of a listing, after that of the names."""


def listing(ledger: Ledger, by: str, depth: int = 0) -> list[list[str]]:
    """Return rows of text: a name, and the numbers of `COLUMNS`.

    By module, the rows are a tree in the order of the modules, and each includes the modules inside
    it. By operator or kind, the largest comes first.
    """
    if by == "module":
        return [_row(name, work, ledger.macs) for name, work in _tree(ledger, depth)]
    works = ledger.by("operator" if by == "op" else "kind")
    ordered = sorted(works.items(), key=lambda item: (-item[1].macs, -item[1].flops_all))
    return [_row(name, work, ledger.macs) for name, work in ordered]


def _tree(ledger: Ledger, depth: int) -> Iterator[tuple[str, Work]]:
    """The modules that did some work, each under the nearest listed one that contains it."""
    works = _work_by_module(ledger)
    types = {module.path: module.type for module in ledger.modules if module.path in works}
    children: dict[str | None, list[str]] = {}
    for path in types:
        children.setdefault(_parent(path, types), []).append(path)

    def under(path: str | None, lines: str, level: int) -> Iterator[tuple[str, Work]]:
        inside = children.get(path, []) if not depth or level <= depth else []
        for child in inside:
            last = child == inside[-1]
            branch = "" if path is None else "└─ " if last else "├─ "
            name = child[len(path) :].lstrip(".") if path else child
            yield f"{lines}{branch}{f'{name} {types[child]}'.strip()}", works[child]
            gap = "" if path is None else "   " if last else "│  "
            yield from under(child, lines + gap, level + 1)

    yield from under(None, "", 0)


def _parent(path: str, listed: Container[str]) -> str | None:
    """The nearest of the listed modules that contains one; None for the root."""
    while path:
        path = path.rpartition(".")[0]
        if path in listed:
            return path
    return None


def _work_by_module(ledger: Ledger) -> dict[str, Work]:
    """The work of each module with all that is inside it; the root's path is empty."""
    inside: dict[str, list[OperatorRow]] = {}
    for row in ledger.rows:
        path = row.path
        while path:
            inside.setdefault(path, []).append(row)
            path = path.rpartition(".")[0]
        inside.setdefault("", []).append(row)
    return {path: sum_work(rows) for path, rows in inside.items()}


def _row(name: str, work: Work, total: int) -> list[str]:
    """The texts of one row; the share is rounded half up to a decimal."""
    tenths = (work.macs * 2000 + total) // (2 * total) if total else 0
    share = f"{tenths // 10}.{tenths % 10} %" if total else "-"
    return [name, f"{work.macs:,}", share, f"{work.bias_adds:,}", f"{work.flops_all:,}"]
