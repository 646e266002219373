"""The matrix of what tools count, probe by probe: for the terminal, as Markdown, CSV and JSON."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from flopaudit import probes
from flopaudit.core.errors import UsageError
from flopaudit.profiles import repository
from flopaudit.profiles.formula_text import legend
from flopaudit.profiles.matrix import (
    LEGEND,
    Matrix,
    Row,
    collapsed,
    matrix,
    only_probes,
    only_tools,
    summary,
)
from flopaudit.profiles.tool_profile import Profile
from flopaudit.records import store
from flopaudit.reports.escaping import compact_table, csv_lines, markdown_text

MARKDOWN, CSV = "matrix.md", "matrix.csv"

LABEL, FORMULA = 28, 14
"""Widths in a terminal, in columns: of the name of a probe, and of what a tool counts."""

NAMED = 80
"""The most characters that are shown of an error."""


def stored(tools: Sequence[str] = (), pattern: str = "") -> Matrix:
    """Return the matrix of the stored profiles, for some tools and probes.

    Args:
        tools: as a user names them; all if empty.
        pattern: a group of probes, a probe, or a pattern; all if empty.

    Raises:
        UsageError: no profile is stored, or no tool or probe has such a name.
    """
    profiles = list(repository.everywhere())
    if not profiles:
        raise UsageError("No profile is stored here.", "`flopaudit probe` measures profiles.")
    found = matrix(only_tools(profiles, tools))
    return only_probes(found, pattern) if pattern else found


def write(out: Path) -> None:
    """Write matrix.md and matrix.csv into a directory of profiles.

    Raises:
        UsageError: one of its files is not a profile.
    """
    found = matrix(repository.in_directory(out))
    store.write_whole(out / MARKDOWN, markdown(found))
    store.write_whole(out / CSV, as_csv(found))


# -- names -----------------------------------------------------------------------------------------


def full_name(tool: Profile) -> str:
    """Return the name of a tool with its version, variant and unit: `ptflops 0.7.5 aten (MAC)`."""
    return " ".join(filter(None, (tool.tool, tool.version, tool.variant, f"({tool.unit})")))


def brief_names(tools: Sequence[Profile]) -> list[str]:
    """Return names such as `ptflops aten`, with the version where there are several of a tool."""
    versions = Counter(tool for tool, _ in {(each.tool, each.version) for each in tools})
    return [
        " ".join(filter(None, (t.tool, t.version if versions[t.tool] > 1 else "", t.variant)))
        for t in tools
    ]


def label(row: Row) -> str:
    """Return the shortest name of a row, and how many others it has: `conv2d_bias +11`."""
    others = len(row.probes) - 1
    return min(row.names, key=len) + (f" +{others}" if others else "")


def notes(tools: Iterable[Profile], rows: Iterable[Row]) -> Iterator[str]:
    """Yield how to read rows: units and versions, symbols, and words."""
    yield f"What each tool counts, in its own unit: {', '.join(map(full_name, tools))}."
    symbols = "; ".join(symbols_in(rows))
    if symbols:
        yield f"{symbols}."
    yield LEGEND


def symbols_in(rows: Iterable[Row]) -> list[str]:
    """Return what the symbols in rows mean."""
    return list(legend(cell.formula for row in rows for cell in row.cells if cell.formula))


def about(probe: str) -> str:
    """Return a description of what a probe isolates; nothing for a probe that no longer exists."""
    found = probes.PROBES.get(probe)
    return found.about if found else ""


# -- files -----------------------------------------------------------------------------------------


def markdown(found: Matrix) -> str:
    """Return Markdown: a summary, all rows by group, and why tools gave no number."""
    rows = collapsed(found.rows)
    chosen = summary(rows)
    covered = sum(len(row.probes) for row in chosen)
    share = f"The {len(chosen)} rows of the most probes, {covered} of the {len(found.rows)}"
    parts = [
        "# What the tools count",
        f"In each tool's own unit. {LEGEND}",
        "\n".join(f"- {line}" for line in symbols_in(found.rows)),
        f"## In short\n\n{share}; the others are below, by group.",
        _table(found, ((f"{row.group}: {label(row)}", row) for row in chosen)),
    ]
    for group, every in found.groups.items():
        alike = collapsed(every)
        parts += [f"## {group}\n\n{len(every)} probes.", _names_table(found, alike)]
    errors = "\n".join(f"- {markdown_text(line)}" for line in failures(found))
    parts += ["## Where they gave no number", errors or "Nowhere."]
    return "\n\n".join(parts) + "\n"


def _names_table(found: Matrix, rows: Iterable[Row]) -> str:
    return _table(found, ((", ".join(row.names), row) for row in rows))


def _table(found: Matrix, rows: Iterable[tuple[str, Row]]) -> str:
    """A table without padding, because some rows name sixty probes."""
    headers = ["probe", *map(full_name, found.tools)]
    return compact_table(headers, ([name, *row.texts] for name, row in rows))


def failures(found: Matrix) -> Iterator[str]:
    """Yield each error of each tool, with the number of probes that raised it and one of them."""
    for index, tool in enumerate(brief_names(found.tools)):
        notes_of = [(row.cells[index].note, row.probes[0]) for row in found.rows]
        times = Counter(_error(note) for note, _ in notes_of if note)
        first = {_error(note): probe for note, probe in reversed(notes_of)}
        for error, count in times.most_common():
            yield f"{tool}: {error} ({count} probes, such as {first[error]})"


def _error(note: str) -> str:
    return textwrap.shorten(note, NAMED, placeholder=" …")


def as_csv(found: Matrix) -> str:
    """Return CSV with a row for each probe, errors included."""
    headers = ["probe", "what it isolates", *map(full_name, found.tools)]
    rows = (
        [probe, about(probe), *(cell.long for cell in row.cells)]
        for row in found.rows
        for probe in row.probes
    )
    return csv_lines([headers, *rows])


def to_json(found: Matrix) -> dict[str, Any]:
    """Return plain data, with formulas as in profiles."""
    return {
        "tools": [
            {"tool": t.tool, "version": t.version, "variant": t.variant, "unit": t.unit}
            for t in found.tools
        ],
        "probes": [_row_to_json(row) for row in found.rows],
    }


def _row_to_json(row: Row) -> dict[str, Any]:
    (probe,) = row.probes
    cells = [
        {
            "text": cell.text,
            "says": None if cell.formula is None else {k: str(v) for k, v in cell.formula.items()},
            "counted": cell.counted,
            "cases": cell.cases,
            "note": cell.note,
        }
        for cell in row.cells
    ]
    return {"probe": probe, "about": about(probe), "cells": cells}


# -- the terminal ----------------------------------------------------------------------------------


def show(found: Matrix, *, in_short: bool) -> None:
    """Print a matrix to standard output, and how to read it.

    Args:
        found: the matrix.
        in_short: print only the rows that stand for the most probes, not every row by group.
    """
    from flopaudit.reports.terminal import print_wrapped

    rows = summary(collapsed(found.rows)) if in_short else found.rows
    if in_short:
        _print(found, [(f"{row.group}/{label(row)}", row) for row in rows], "group/probe")
        others = len(found.rows) - sum(len(row.probes) for row in rows)
        print_wrapped(f"+2: with two others that are counted alike. {others} probes are not shown;")
        print_wrapped(f"`flopaudit matrix GROUP` shows all of one: {', '.join(found.groups)}.")
    else:
        for group, every in found.groups.items():
            _print(found, [(row.names[0], row) for row in every], group)
    for line in notes(found.tools, rows):
        print_wrapped(line)
    if len(found.rows) == 1:
        _print_one(found.rows[0], brief_names(found.tools))


def _print_one(row: Row, tools: Iterable[str]) -> None:
    """Print what a single probe isolates, and the errors that it raised."""
    from flopaudit.reports.terminal import print_wrapped

    print_wrapped(f"{row.probes[0]}: {about(row.probes[0])}")
    for tool, cell in zip(tools, row.cells, strict=True):
        if cell.note:
            print_wrapped(f"{tool}: {cell.long}")


def _print(found: Matrix, rows: Sequence[tuple[str, Row]], head: str) -> None:
    """Print a table; in a terminal, long texts take several lines."""
    from flopaudit.reports.terminal import print_table, width

    headers = [head, *brief_names(found.tools)]
    lines = [[name, *row.texts] for name, row in rows]
    if width() is not None:
        lines = [folded for line in lines for folded in fold(line)]
    print_table(headers, lines, left=len(headers))


def fold(line: Sequence[str]) -> Iterator[list[str]]:
    """Yield one line of a table as several, so that none of its texts is too long."""
    name, *cells = line
    parts = [_pieces(name, "_", LABEL), *(_pieces(cell, " ", FORMULA) for cell in cells)]
    yield from (list(pieces) for pieces in zip_longest(*parts, fillvalue=""))


def _pieces(text: str, between: str, most: int) -> list[str]:
    """Parts of a text, broken after blanks or underscores, later ones set in by two."""
    spaced = text.replace(between, f"{between} ") if between != " " else text
    broken = textwrap.wrap(spaced, most, subsequent_indent="  ", break_long_words=False)
    return [part.replace(f"{between} ", between) if between != " " else part for part in broken]
