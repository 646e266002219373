"""`flopaudit study`: studies of the project's own reference, for its developers."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from flopaudit.cli.options import (
    PROCESSORS,
    Jobs,
    Json,
    Models,
    Pattern,
    Retry,
    Source,
    SourceOption,
    Timeout,
    limits,
    memory_limit,
    out,
)
from flopaudit.cli.output import (
    Command,
    Group,
    interruptible,
    print_error,
    print_json,
    require_command,
)
from flopaudit.core.errors import UsageError

study = typer.Typer(
    cls=Group,
    help="Developer's studies: measure the reference itself, and write tables.",
)


@study.callback(invoke_without_command=True)
def _studies(context: typer.Context) -> None:
    require_command(context, "flopaudit study coverage --help")


@study.command(cls=Command)
def agreement(
    model_list: Models = "",
    directory: Annotated[Path, out("Directory for the tables.")] = Path("results/static"),
    as_json: Json = False,
) -> None:
    """Compare counting the exported graph with counting a run.

    Without --models, all models of torchvision are compared.

    Example: flopaudit study agreement --models resnet18,vit_b_16
    """
    from flopaudit.reports.terminal import print_wrapped
    from flopaudit.studies import agreement as module

    outcomes = module.main(directory, model_list)
    if as_json:
        print_json([{"outcome": type(each).__name__.lower(), **asdict(each)} for each in outcomes])
    else:
        print_wrapped(module.summary(outcomes))


@study.command(cls=Command)
def coverage(  # noqa: PLR0913, PLR0917 - the options of a command
    pattern: Pattern = "*",
    source: SourceOption = Source.TORCHVISION,
    directory: Annotated[Path, out("Directory for SOURCE.csv.")] = Path("results/coverage"),
    timeout: Timeout = 120,
    memory: Annotated[str, memory_limit()] = "8G",
    retry: Retry = False,
    as_json: Json = False,
) -> None:
    """Count all models of a source, and list operators without a formula.

    Example: flopaudit study coverage 'vit_*' --source timm
    """
    from flopaudit.reports.terminal import print_line
    from flopaudit.studies import coverage as module

    if source is Source.PROBE:
        raise UsageError(
            "The probes are not a library of models.",
            "Give --source torchvision, timm or transformers.",
        )
    allowed = limits(timeout, memory, jobs=1)
    kept = f"Finished rows are in {directory}; give the same command again to continue."
    with interruptible(kept):
        rows = module.main(source.value, pattern, directory, allowed, again=retry)
    if as_json:
        print_json([asdict(row) for row in rows])
    else:
        counted = sum(not row.error for row in rows)
        print_line(f"{counted} of {len(rows)} models are counted; the rows are in {directory}.")
    raise typer.Exit(1 if any(row.error for row in rows) else 0)


@study.command(cls=Command)
def faults(  # noqa: PLR0913, PLR0917 - the options of a command
    kills: Annotated[
        int,
        typer.Option(
            "--kills",
            metavar="N",
            min=0,
            help="How many runs are killed, stopped or interrupted at a random moment.",
        ),
    ] = 200,
    seed: Annotated[
        int, typer.Option("--seed", metavar="SEED", help="Choose these moments by this number.")
    ] = 1,
    only: Annotated[
        str,
        typer.Option("--only", metavar="TEXT", help="Try only the faults with TEXT in their name."),
    ] = "",
    directory: Annotated[Path, out("Directory for the tables.")] = Path("results/faults"),
    jobs: Jobs = PROCESSORS,
    as_json: Json = False,
) -> None:
    """Disturb real runs in every way, and count what is lost, wrong or left.

    Every run is continued until it is finished, and compared with one that nothing disturbed.

    Example: flopaudit study faults --kills 200 --seed 1
    """
    from flopaudit.reports.terminal import print_table
    from flopaudit.studies import faults as module
    from flopaudit.studies.campaign_tally import HEADERS

    with interruptible():
        rows = module.main(directory, module.Campaign(kills, seed, jobs, only), print_error)
    if as_json:
        print_json([asdict(row) for row in rows])
    else:
        print_table(HEADERS, [row.row() for row in rows])
    raise typer.Exit(0 if rows[-1].is_harmless else 1)


@study.command(cls=Command)
def speed(
    directory: Annotated[Path, out("Directory for the tables.")] = Path("results/speed"),
    as_json: Json = False,
) -> None:
    """Time the reference against a bare forward pass and torch's FlopCounterMode.

    Example: flopaudit study speed --out results/speed
    """
    from flopaudit.studies import speed as module

    tables = module.main(directory)
    if as_json:
        print_json(tables)
    else:
        print_error(f"The tables are in {directory}.")
