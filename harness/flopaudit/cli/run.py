"""`flopaudit run`: run tools on models and compare them with the reference."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flopaudit.cli.options import (
    PRESET,
    PROCESSORS,
    Again,
    Context,
    Details,
    Dtype,
    Formulas,
    InputFile,
    InputFrom,
    Inputs,
    Jobs,
    Json,
    Memory,
    Models,
    PhaseOption,
    Preset,
    Retry,
    Timeout,
    Tools,
    given_inputs,
    limits,
    load_formulas,
    out,
    phase_of,
    variants,
)
from flopaudit.cli.output import interruptible, print_json
from flopaudit.core.errors import UsageError

if TYPE_CHECKING:
    from flopaudit.pipeline.model_requests import ModelRequest, Phase


def run(  # noqa: PLR0913, PLR0917 - the options of the main command
    model_list: Models = "",
    tool_list: Tools = "",
    preset: Annotated[Preset | None, PRESET] = None,
    sample: Annotated[
        str,
        typer.Option(
            "--sample",
            metavar="SOURCE:N:SEED",
            help="Sample N models of a source at random, such as timm:60:4.",
        ),
    ] = "",
    inputs: Inputs = None,
    input_files: InputFile = None,
    input_functions: InputFrom = None,
    dtype: Dtype = "",
    phase: PhaseOption = None,
    context: Context = 0,
    directory: Annotated[
        Path | None,
        out(
            "Directory for records and tables.", "results/PRESET, results/SAMPLE or results/models"
        ),
    ] = None,
    jobs: Jobs = PROCESSORS,
    timeout: Timeout = 600,
    memory: Memory = "",
    again: Again = False,
    retry: Retry = False,
    details: Details = False,
    formulas: Formulas = None,
    as_json: Json = False,
) -> None:
    """Run tools on models in isolated processes, and explain every difference.

    A run that was stopped continues where it was when the same command is given again.

    Example: flopaudit run --models resnet50,vit_b_16 --tools thop,fvcore
    """
    from flopaudit.pipeline.measure import RunOptions
    from flopaudit.pipeline.run import run_all
    from flopaudit.reports import run_report
    from flopaudit.reports.progress import Bar
    from flopaudit.reports.terminal import print_line

    load_formulas(formulas)
    tool_variants = variants(tool_list)  # first, because models may import their libraries
    given = given_inputs(inputs, input_files, input_functions)
    chosen_phase = phase_of(phase, context)
    requests = _requests(model_list, preset, sample, given, dtype=dtype, phase=chosen_phase)
    name = preset.value if preset else sample.replace(":", "-") or "models"
    folder = directory or Path("results") / name
    allowed = limits(timeout, memory, jobs)
    kept = f"Finished records are in {folder}; give the same command again to continue."
    with interruptible(kept), Bar() as notice:
        options = RunOptions(jobs, allowed, notice, again, retry)
        results = run_all(requests, tool_variants, folder, options)
    chosen = results.only(requests, tool_variants)
    if as_json:
        print_json(chosen.to_json(folder))
    else:
        run_report.show(chosen.measurements, chosen.references, chosen.findings, details=details)
        print_line(f"\n{results.reuse.text()} Records and tables are in {folder}.")
    failed = run_report.failures(chosen.measurements, chosen.references)
    raise typer.Exit(1 if failed else 0)


def _requests(  # noqa: PLR0913 - the options that say what is run
    model_list: str,
    preset: Preset | None,
    sample: str,
    inputs: Sequence[str],
    *,
    dtype: str,
    phase: Phase | None,
) -> list[ModelRequest]:
    from flopaudit.pipeline import model_requests

    if not sample:
        name = preset.value if preset else ""
        return model_requests.model_requests(model_list, name, inputs, dtype=dtype, phase=phase)
    if model_list or preset or inputs or phase:
        raise UsageError(
            "--sample cannot be combined with --models, --preset, --input or --phase.",
            "Give --sample alone.",
        )
    return model_requests.sampled_models(sample, dtype)
