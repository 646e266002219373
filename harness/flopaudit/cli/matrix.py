"""`flopaudit matrix`: show what tools count, by their stored profiles."""

from __future__ import annotations

from typing import Annotated

import typer

from flopaudit.cli import completion
from flopaudit.cli.options import Json, Tools
from flopaudit.cli.output import print_json


def matrix(
    pattern: Annotated[
        str,
        typer.Argument(
            metavar="GROUP|PATTERN",
            help="A group such as conv, a probe such as norm/layer_norm_3d, or a pattern such as "
            "'*relu*'; a summary by default.",
            autocompletion=completion.probe_pattern,
        ),
    ] = "",
    tool_list: Tools = "",
    as_json: Json = False,
) -> None:
    """Show what each tool counts for each probe, from stored profiles.

    Example: flopaudit matrix conv --tools thop,fvcore
    """
    from flopaudit.core.specs import split_list
    from flopaudit.reports import matrix_report

    found = matrix_report.stored(split_list(tool_list), pattern)
    if as_json:
        print_json(matrix_report.to_json(found))
    else:
        matrix_report.show(found, in_short=not pattern)
