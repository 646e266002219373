"""Files of the studies' tables: Markdown for people, CSV for programs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from flopaudit.core.files import make_directory
from flopaudit.records import store
from flopaudit.records.environment import environment
from flopaudit.reports.escaping import Row, csv_lines, markdown_table, markdown_text


def machine() -> str:
    """Describe the versions and the processor that measure."""
    found = environment()
    return f"torch {found.torch}, Python {found.python}, {found.processor}"


def write_markdown(  # noqa: PLR0913, PLR0917 - the parts of a file
    path: Path,
    title: str,
    note: str,
    headers: Sequence[str],
    rows: Iterable[Row],
    align: Sequence[str] | None = None,
) -> None:
    """Write a title, a note and a table.

    Args:
        path: the file; its directory is made if need be.
        title: the heading.
        note: the paragraph below it.
        headers: the names of the columns.
        rows: the cells, as they are printed.
        align: left or right for each column; all left if left out.
    """
    parts = (f"# {markdown_text(title)}", markdown_text(note), markdown_table(headers, rows, align))
    make_directory(path.parent)
    store.write_whole(path, "\n\n".join(parts) + "\n")


def write_csv(path: Path, headers: Sequence[str], rows: Iterable[Row]) -> None:
    """Write headers and rows; the directory is made if need be."""
    make_directory(path.parent)
    store.write_whole(path, csv_lines([headers, *rows]))
