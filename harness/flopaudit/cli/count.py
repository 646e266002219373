"""`flopaudit count`: count a model with the reference."""

from __future__ import annotations

from typing import Annotated

import typer

from flopaudit.cli import completion
from flopaudit.cli.options import (
    Context,
    Dtype,
    Formulas,
    Grouping,
    InputFile,
    InputFrom,
    Inputs,
    Json,
    Memory,
    Model,
    PhaseOption,
    Timeout,
    given_inputs,
    limits,
    load_formulas,
    phase_of,
)
from flopaudit.cli.output import print_json
from flopaudit.core.errors import UsageError


def count(  # noqa: PLR0913, PLR0917 - the options of a command
    model: Model,
    inputs: Inputs = None,
    input_files: InputFile = None,
    input_functions: InputFrom = None,
    dtype: Dtype = "",
    phase: PhaseOption = None,
    context: Context = 0,
    by: Annotated[
        Grouping | None, typer.Option("--by", help="Also list the counts by this grouping.")
    ] = None,
    depth: Annotated[
        int,
        typer.Option(
            "--depth", metavar="N", min=0, help="With --by module: levels to show; 0 shows all."
        ),
    ] = 0,
    conventions: Annotated[
        list[str] | None,
        typer.Option(
            "--convention",
            metavar="NAME",
            help="How to read a total from the ledger: macs, macs-layers, flops or flops-all; one "
            "of them with +bias, +norm, +activation, +pooling, +elementwise, +reduction or "
            "+interpolation; or a TOML file. Repeat the option for several totals.",
            autocompletion=completion.convention,
        ),
    ] = None,
    backward: Annotated[
        bool, typer.Option("--backward", help="Count a training step, forward and backward.")
    ] = False,
    static: Annotated[
        bool, typer.Option("--static", help="Count from the exported graph, without a run.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail if an operator has no formula.")
    ] = False,
    formulas: Formulas = None,
    timeout: Timeout = 600,
    memory: Memory = "",
    as_json: Json = False,
) -> None:
    """Count a model exactly: products and all other operations.

    Example: flopaudit count resnet50 --by module --depth 2
    """
    from flopaudit.pipeline.count_model import CountOptions, count_in_worker
    from flopaudit.pipeline.model_requests import model_request
    from flopaudit.reports import count_report

    load_formulas(formulas)
    if static and backward:
        raise UsageError("--static and --backward are both given.", "Give one of them.")
    if depth and by is not Grouping.MODULE:
        raise UsageError("--depth limits the levels of modules.", "Give it with --by module.")
    totals = tuple(conventions or count_report.CONVENTIONS)
    options = CountOptions(totals, backward, static, strict)
    given = given_inputs(inputs, input_files, input_functions)
    chosen = phase_of(phase, context)
    result = count_in_worker(
        lambda: model_request(model, given, dtype=dtype, phase=chosen),
        options,
        limits(timeout, memory, jobs=1),
    )
    group = by.value if by else ""
    if as_json:
        print_json(result.to_json(group, depth))
    else:
        count_report.show(result, group, depth)
