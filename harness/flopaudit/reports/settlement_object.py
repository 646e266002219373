"""A settlement as an object of Python: text, a table in a notebook, plain data, a data frame."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flopaudit.core import html_text
from flopaudit.explain.settlement import SettledReference, SettledTool, Settlement, is_explained
from flopaudit.reports import settlement_report, settlement_text
from flopaudit.reports.settlement_rows import legend, mark_of, parts, percent
from flopaudit.reports.terminal import Screen, screen

if TYPE_CHECKING:
    import pandas as pd

_HINT = "text(details=True) shows the causes."
_LARGEST = 2**63 - 1
"""Of the integers that a column of pandas holds; larger ones are kept as Python's."""


@dataclass(frozen=True, repr=False)
class SettledModel:
    """The settlement of one model: the reference, each tool's number, and its causes.

    It prints as `flopaudit settle` does, and a notebook shows it as a table.

    Attributes:
        settlement: the same plain data as `flopaudit settle --json`.
    """

    settlement: Settlement

    @property
    def reference(self) -> SettledReference:
        """The reference's count; its numbers are None if there is none, and `error` says why."""
        return self.settlement["reference"]

    @property
    def tools(self) -> list[SettledTool]:
        """Each tool's number with its causes, or how the tool failed."""
        return self.settlement["tools"]

    @property
    def verdict(self) -> str:
        """One sentence on whether the tools' numbers are explained."""
        return settlement_text.verdict(self.settlement)

    @property
    def quote(self) -> dict[str, str]:
        """Which tools to quote for MACs, FLOPs and parameters."""
        return dict(settlement_text.quote(self.settlement))

    @property
    def citation(self) -> str:
        """The number with what it counts and what it was made with, to be cited."""
        return settlement_text.citation(self.settlement)

    def text(self, *, details: bool = False, width: int | None = None) -> str:
        """Return the lines that `flopaudit settle` prints.

        Args:
            details: add every cause with its evidence, probe and thread.
            width: columns that the lines are fitted to; None for any width.
        """
        return self._text(Screen(width), details=details)

    def _text(self, to: Screen, *, details: bool = False) -> str:
        lines = settlement_report.lines(self.settlement, to, details=details, hint=_HINT)
        return "\n".join(line.plain for line in lines)

    def __str__(self) -> str:
        to = screen()
        return self._text(Screen(to.width, to.encoding))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        return html_text.block(self._html())

    def _html(self) -> Iterator[str]:
        settlement, reference = self.settlement, self.reference
        yield html_text.paragraph(settlement_text.title(settlement), "bold")
        for sentence in settlement_text.unexplained(settlement):
            yield html_text.paragraph(sentence, "alarm")
        yield html_text.paragraph(self.verdict)
        if reference["macs"] is not None:
            yield html_text.paragraph(
                f"Reference: {settlement_text.reference_in_numbers(settlement)} · "
                f"{reference['params']:,} parameters"
            )
        for sentence in settlement_text.holds_for(settlement):
            yield html_text.paragraph(sentence)
        if self.tools:
            headers = ("", "tool", "reported", "unit", "difference", "parts")
            rows = map(_html_row, self.tools)
            yield html_text.table(headers, rows, ("reported", "difference"))
            yield html_text.paragraph(legend(self.tools), "faint")
        for what, who in self.quote.items():
            yield html_text.paragraph(f"Quote {what} from: {who}.")
        yield html_text.paragraph(f"Cite: {self.citation}")

    def to_dict(self) -> dict[str, Any]:
        """Return a copy of the same plain data as `flopaudit settle --json`."""
        return dict(copy.deepcopy(self.settlement))

    def to_pandas(self) -> pd.DataFrame:
        """Return a table with a line for each tool; all counts are exact integers.

        What is unknown is missing (`pandas.NA`). A column with a count of 2**63 or more holds
        Python's integers.
        """
        import pandas as pd

        rows = [_flat(tool, self.reference["params"]) for tool in self.tools]
        columns = {name: [row[name] for row in rows] for name in _COLUMNS}
        frame: pd.DataFrame = pd.DataFrame(
            {name: _series(values, name) for name, values in columns.items()}
        )
        return frame


def _html_row(tool: SettledTool) -> Sequence[str]:
    name, unit = settlement_text.name_of(tool), settlement_text.unit_of(tool)
    if tool["reported"] is None:
        return ("", name, settlement_text.status_of(tool), "", "", tool["error"] or "")
    amounts = ", ".join(f"{amount:+,} {part}" for part, amount in parts(tool))
    return (mark_of(tool), name, f"{tool['reported']:,}", unit, percent(tool), amounts)


_TEXTS = ("tool", "variant", "version", "status", "error", "unit")
_COUNTS = (
    *("reported", "reference", "difference", "unexplained"),
    *("params", "reference_params", "params_difference", "params_unexplained"),
)
_COLUMNS = (*_TEXTS, *_COUNTS[:4], "explained", *_COUNTS[4:])


def _flat(tool: SettledTool, params: int | None) -> dict[str, Any]:
    return {
        **tool,
        "difference": _less(tool["reported"], tool["reference"]),
        "explained": None if mark_of(tool) == " " else is_explained(tool),
        "reference_params": params,
        "params_difference": _less(tool["params"], params),
    }


def _less(number: int | None, other: int | None) -> int | None:
    return None if number is None or other is None else number - other


def _series(values: list[Any], name: str) -> pd.Series[Any]:
    """Return a column in the narrowest type that holds its values exactly, and missing ones."""
    import pandas as pd

    fit = name in _COUNTS and all(abs(value or 0) <= _LARGEST for value in values)
    kind = "boolean" if name == "explained" else "Int64" if fit else "object"
    filled = [pd.NA if value is None else value for value in values]
    series: pd.Series[Any] = pd.Series(filled, dtype=kind)
    return series
