"""`flopaudit settle`: explain each tool's number for one model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flopaudit.cli.options import (
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
    Model,
    PhaseOption,
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
from flopaudit.cli.output import interruptible, print_error, print_json
from flopaudit.core.errors import UsageError
from flopaudit.reports.amounts import listed

if TYPE_CHECKING:
    from flopaudit.isolation.jobs import Limits
    from flopaudit.pipeline.model_requests import ModelRequest


def settle(  # noqa: PLR0913, PLR0917 - the options of a command
    model: Model,
    tool_list: Tools = "",
    inputs: Inputs = None,
    input_files: InputFile = None,
    input_functions: InputFrom = None,
    dtype: Dtype = "",
    phase: PhaseOption = None,
    context: Context = 0,
    claims: Annotated[
        list[str] | None,
        typer.Option(
            "--claim",
            metavar="CLAIM",
            help="Explain a published number instead, such as paper=3.8G, '4.12 GFLOPs' or "
            "'25.6M params'; repeat the option for several numbers.",
        ),
    ] = None,
    directory: Annotated[
        Path,
        out("Directory for measured records; a stored settlement is looked for here first."),
    ] = Path("results/settled"),
    jobs: Jobs = PROCESSORS,
    timeout: Timeout = 600,
    memory: Memory = "",
    again: Again = False,
    retry: Retry = False,
    details: Details = False,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the settlement with every detail as Markdown.")
    ] = False,
    formulas: Formulas = None,
    as_json: Json = False,
) -> None:
    """Explain each tool's number for a model, and say which one to quote.

    The answer comes from stored results where they have the model; otherwise the tools are run.

    Example: flopaudit settle resnet18
    """
    from flopaudit.pipeline import model_requests, settle_model
    from flopaudit.reports import settlement_report
    from flopaudit.reports.terminal import print_line

    if as_markdown and as_json:
        raise UsageError("--markdown and --json are both given.", "Give one of them.")
    load_formulas(formulas)
    tool_variants = variants(tool_list)  # first, because a model may import its library
    asked = given_inputs(inputs, input_files, input_functions)
    request = model_requests.model_request(
        model, asked, dtype=dtype, phase=phase_of(phase, context)
    )
    if claims:
        given = {"--tools": tool_list, "--again": again, "--retry": retry, "--details": details}
        _refuse_with_claims({**given, "--markdown": as_markdown})
        allowed = limits(timeout, memory, jobs=1)
        _settle_claims(request, claims, directory, allowed, as_json=as_json)
        return
    known = settle_model.Stored()
    if not (again or retry):
        known = settle_model.stored(
            request, tool_variants, directory, lambda: limits(timeout, memory, jobs)
        )
        for reason in known.refused:
            print_error(f"Measured again: {reason}.")
    settlement, origin = known.settlement, _from(known.place)
    if settlement is None:
        # Imported here, so that a stored answer does not wait for what only a run needs.
        from flopaudit.pipeline.measure import RunOptions
        from flopaudit.reports.progress import Bar

        with interruptible("Give the same command again to continue."), Bar() as notice:
            allowed = limits(timeout, memory, jobs)
            options = RunOptions(jobs, allowed, notice, again, retry)
            settlement, reuse = settle_model.measured(request, tool_variants, options, directory)
        origin = reuse.text() if reuse.measured else _from(str(directory))
    if as_json:
        print_json(settlement)
    elif as_markdown:
        print_line(settlement_report.markdown(settlement).rstrip())
    else:
        settlement_report.show(settlement, details=details)
        print_line(origin)
    raise typer.Exit(1 if settle_model.has_failed(settlement) else 0)


def _from(place: str) -> str:
    return f"From {place}; --again measures it again."


def _refuse_with_claims(options: Mapping[str, object]) -> None:
    """Refuse options that mean nothing for published numbers.

    Raises:
        UsageError: one of them is given.
    """
    given = [name for name, value in options.items() if value]
    if given:
        names = listed(given)
        raise UsageError(f"--claim cannot be combined with {names}.", f"Leave out {names}.")


def _settle_claims(
    request: ModelRequest, claims: list[str], directory: Path, allowed: Limits, *, as_json: bool
) -> None:
    """Explain published numbers, and print what was found."""
    from flopaudit.claims.claims_task import settle_in_worker
    from flopaudit.pipeline.settle_model import stored
    from flopaudit.reports.terminal import print_wrapped

    known = stored(request, (), directory)
    found = settle_in_worker(request, claims, known.settlement, allowed)
    if as_json:
        print_json(found.answers)
        return
    for line in found.lines:
        print_wrapped(line)
