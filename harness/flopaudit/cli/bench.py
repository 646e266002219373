"""`flopaudit bench`: time the isolated run against a plain script."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from flopaudit.cli.options import PRESET, PROCESSORS, Jobs, Json, Preset, out
from flopaudit.cli.output import print_error, print_json


def bench(
    preset: Annotated[Preset, PRESET] = Preset.QUICK,
    repeats: Annotated[
        int,
        typer.Option("--repeats", metavar="N", min=1, help="How often each way is run, in turn."),
    ] = 3,
    jobs: Jobs = PROCESSORS,
    directory: Annotated[Path, out("Directory for the tables.")] = Path("results/bench"),
    as_json: Json = False,
) -> None:
    """Time a run against a plain script with all tools in one process.

    Example: flopaudit bench --preset quick --repeats 5
    """
    from flopaudit.reports.terminal import print_table
    from flopaudit.studies import bench as study

    headers, *rows = study.bench(preset.value, repeats, jobs, directory, print_error)
    if as_json:
        print_json([_to_json(headers, row) for row in rows])
    else:
        print_table(headers, rows)


def _to_json(headers: list[str], row: list[str]) -> dict[str, Any]:
    """Return a row by its headers; all but the first are seconds or a ratio."""
    way, *numbers = row
    return dict(zip(headers, [way, *map(float, numbers)], strict=True))
