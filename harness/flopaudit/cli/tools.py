"""`flopaudit tools`: list the tools."""

from __future__ import annotations

from flopaudit.cli.options import Json
from flopaudit.cli.output import print_json

_HEADERS = ("tool", "variants", "version", "unit", "how it counts")


def tools(as_json: Json = False) -> None:
    """List the tools with their installed and kept versions."""
    from flopaudit.tools import versions
    from flopaudit.tools.registry import tool_lines

    lines = tool_lines()
    if as_json:
        print_json(lines)
        return
    from flopaudit.reports.terminal import print_table, print_wrapped

    rows = [[line[header.split()[0]] or "-" for header in _HEADERS] for line in lines]
    print_table(_HEADERS, rows, left=len(_HEADERS))
    kept = versions.kept()
    if kept:
        print_wrapped(f"Kept versions: {', '.join(map(str, kept))}.")
