"""The count of one model: totals by convention, and a listing by module, operator or kind."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from flopaudit.core.specs import has_own_values
from flopaudit.reference.conventions import convention
from flopaudit.reference.cost import Work
from flopaudit.reference.ledger import Ledger, OperatorRow, sum_work
from flopaudit.reports import certainty
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

    def to_json(self, by: str = "", depth: int = 0) -> dict[str, Any]:
        """Return one object with stable keys; all counts are integers.

        Args:
            by: one of `GROUPS`, to add the keys `by`, `depth` and `rows`.
            depth: by module, how many levels to list; all if 0.
        """
        ledger = self.ledger
        listed = {"by": by, "depth": depth, "rows": json_rows(ledger, by, depth)} if by else {}
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
            "lower_bound": ledger.lower_bound,
            "uncounted_ops": dict(ledger.uncounted_ops),
            "user_formulas": ledger.user_formulas,
            "data_dependent": list(ledger.data_dependent),
            "device": ledger.device,
            "fallback": ledger.fallback,
            "torch": self.torch,
            **listed,
        }

    def totals(self) -> dict[str, int]:
        """Return the total by each of the conventions."""
        return {name: self.ledger.read(name) for name in self.conventions}

    def _total(self, number: int) -> str:
        return certainty.at_least(f"{number:,}", lower_bound=self.ledger.lower_bound)

    def _sizes(self) -> dict[str, int]:
        return {name: size * self.ledger.params for name, size in SIZES.items()}

    def lines(self) -> Iterator[str]:
        """Yield the totals as lines of text."""
        ledger = self.ledger
        inputs = " + ".join(map(_shown, self.inputs))
        how = "train, forward and backward" if self.backward else "eval"
        way = " · exported" if self.static else ""
        yield f"{self.model} · {inputs} · {how}{way} · torch {self.torch}"
        yield from certainty.lower_bound(ledger.uncounted_ops)
        yield from certainty.formulas(ledger.user_formulas)
        yield from certainty.dependence(
            ledger.data_dependent, own_values=has_own_values(self.inputs)
        )
        if ledger.fallback and not self.static:
            yield f"Run on {ledger.device}, because it does not run on meta: {ledger.fallback}"
        yield ""
        for name, number in self.totals().items():
            yield f"{padded(name, 24)}{self._total(number):>22}   {convention(name).meaning}"
        yield ""
        for name, number in ledger.components().items():
            words = name.replace("_macs", " MACs").replace("_", " ")
            yield f"{words:<24}{self._total(number):>22}"
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
    return [_row(part.label, part.work, ledger.macs) for part in _parts(ledger, by, depth)]


def json_rows(ledger: Ledger, by: str, depth: int = 0) -> list[dict[str, Any]]:
    """Return the rows of a listing for a program: the whole name, and exact counts.

    By module, each row also has the class and the parameters of the module, with those of the
    modules inside it.
    """
    params = _params_by_module(ledger) if by == "module" else {}
    return [
        {
            by: part.name,
            **({"type": part.type, "params": params[part.name]} if by == "module" else {}),
            "macs": part.work.macs,
            "flops": 2 * part.work.macs,
            "bias_adds": part.work.bias_adds,
            "flops_all": part.work.flops_all,
        }
        for part in _parts(ledger, by, depth)
    ]


class _Part(NamedTuple):
    """A row of a listing: its whole name, that in the tree, the class of a module, and its work."""

    name: str
    label: str
    type: str
    work: Work


def _parts(ledger: Ledger, by: str, depth: int) -> Iterator[_Part]:
    """Yield the rows of a listing in order."""
    if by == "module":
        yield from _tree(ledger, depth)
        return
    works = ledger.by("operator" if by == "op" else "kind")
    ordered = sorted(works.items(), key=lambda item: (-item[1].macs, -item[1].flops_all))
    yield from (_Part(str(name), str(name), "", work) for name, work in ordered)


def _tree(ledger: Ledger, depth: int) -> Iterator[_Part]:
    """The modules that did some work, each under the nearest listed one that contains it."""
    works = _work_by_module(ledger)
    types = {module.path: module.type for module in ledger.modules if module.path in works}
    children: dict[str | None, list[str]] = {}
    for path in types:
        children.setdefault(_parent(path, types), []).append(path)

    def under(path: str | None, lines: str, level: int) -> Iterator[_Part]:
        inside = children.get(path, []) if not depth or level <= depth else []
        for child in inside:
            last = child == inside[-1]
            branch = "" if path is None else "└─ " if last else "├─ "
            name = child[len(path) :].lstrip(".") if path else child
            label = f"{lines}{branch}{f'{name} {types[child]}'.strip()}"
            yield _Part(child, label, types[child], works[child])
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


def _params_by_module(ledger: Ledger) -> dict[str, int]:
    """The parameters of each module with those of all that is inside it."""
    inside: Counter[str] = Counter()
    for module in ledger.modules:
        for path in _with_parents(module.path):
            inside[path] += module.params
    return inside


def _work_by_module(ledger: Ledger) -> dict[str, Work]:
    """The work of each module with all that is inside it; the root's path is empty."""
    inside: dict[str, list[OperatorRow]] = {}
    for row in ledger.rows:
        for path in _with_parents(row.path):
            inside.setdefault(path, []).append(row)
    return {path: sum_work(rows) for path, rows in inside.items()}


def _with_parents(path: str) -> Iterator[str]:
    """Yield the path of a module, and of all that contain it; the root's, which is empty, last."""
    while path:
        yield path
        path = path.rpartition(".")[0]
    yield ""


def _row(name: str, work: Work, total: int) -> list[str]:
    """The texts of one row; the share is rounded half up to a decimal."""
    tenths = (work.macs * 2000 + total) // (2 * total) if total else 0
    share = f"{tenths // 10}.{tenths % 10} %" if total else "-"
    return [name, f"{work.macs:,}", share, f"{work.bias_adds:,}", f"{work.flops_all:,}"]


_AS_WRITTEN = re.compile(r'((?:(?:file|call):)?"(?:[^"\\]|\\.)*"|(?:file|call):[^,\])}]+)')


def _shown(text: str) -> str:
    """Return an input with × in its shapes; names of files and quoted text stay as they are."""
    parts = _AS_WRITTEN.split(text)
    parts[::2] = [re.sub(r"(?<=\d)x(?=\d)", "×", part) for part in parts[::2]]
    return "".join(parts)
