"""The command line: reads what the user asks for, calls what does it, prints what came of it.

Whatever needs torch, pandas or pydantic is imported by the command that needs it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from flopaudit.core.errors import UsageError

if TYPE_CHECKING:
    from flopaudit.explain.settlement import Settlement
    from flopaudit.pipeline.model_requests import ModelRequest
    from flopaudit.tools.registry import ToolVariant

app = typer.Typer(
    name="flopaudit",
    help="Run the counters of neural-network complexity side by side, compare them with a proven "
    "reference, and say where each differs and why.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

PROCESSORS = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a machine.")]
Inputs = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        help="Shape of an input, such as 1x3x224x224, int64:1x128 or input_ids=int64:1x128; "
        "once for each.",
    ),
]

_options = {"traceback": False}


@app.callback(invoke_without_command=True)
def common(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    traceback: Annotated[
        bool, typer.Option("--traceback", help="Show the traceback of an error.")
    ] = False,
) -> None:
    """Options of all commands."""
    _options["traceback"] = traceback
    if version:
        from importlib import metadata

        print(metadata.version("flopaudit"))
        raise typer.Exit
    del context


@app.command()
def tools(as_json: Json = False) -> None:
    """List the tools under audit, with the versions installed here and those kept beside them."""
    from flopaudit.tools import versions
    from flopaudit.tools.registry import tool_lines

    lines = tool_lines()
    if as_json:
        _print_json(lines)
        return
    from flopaudit.reports.terminal import print_table, print_wrapped

    headers = ["tool", "variants", "version", "unit", "how it counts"]
    print_table(
        headers, [[line[header.split()[0]] or "-" for header in headers] for line in lines], left=5
    )
    kept = versions.kept()
    if kept:
        print_wrapped(f"Kept beside them: {', '.join(map(str, kept))}.")


@app.command()
def install(
    requirements: Annotated[
        list[str] | None,
        typer.Argument(metavar="TOOL==VERSION…", help="Such as thop==0.1.0.post2206102148."),
    ] = None,
    beside: Annotated[
        list[str] | None,
        typer.Option("--with", help="What it imports and is not here; once for each."),
    ] = None,
    as_list: Annotated[bool, typer.Option("--list", help="List what is kept.")] = False,
) -> None:
    """Keep another version of a tool, apart from what is installed, to be named TOOL==VERSION."""
    from flopaudit.reports.terminal import print_line
    from flopaudit.tools import versions

    if bool(requirements) == as_list:
        raise UsageError(
            "`flopaudit install` takes versions, or --list.",
            "`flopaudit install thop==0.1.0.post2206102148` is an example.",
        )
    for requirement in requirements or ():
        try:
            version, new = versions.install(requirement, beside or ())
        except versions.PipError as error:
            sys.stderr.write(f"{error}\nflopaudit: pip could not install {requirement}.\n")
            raise typer.Exit(1) from None
        print_line(f"{version} is {'now' if new else 'already'} in {version.folder}.")
    for version in versions.kept() if as_list else ():
        print_line(f"{version}  {version.folder}")


@app.command()
def models(
    pattern: Annotated[str, typer.Argument(help="A name, a part of one, or res*50.")] = "*",
    source: Annotated[
        str, typer.Option(help="torchvision, timm, transformers or probe.")
    ] = "torchvision",
    as_json: Json = False,
) -> None:
    """List the models of a library; torchvision's with the input that their weights imply."""
    from flopaudit.pipeline.model_requests import model_lines

    lines = model_lines(pattern, source)
    if as_json:
        _print_json(lines)
        return
    from flopaudit.reports.terminal import print_table, print_wrapped

    if source == "torchvision":
        headers = ["model", "family", "input", "published GMACs", "published params"]
        print_table(headers, [_published(line) for line in lines], left=3)
    else:
        print_table(
            ["model", "family"], [[line["model"], line["family"]] for line in lines], left=2
        )
    print_wrapped(f"{len(lines)} models")


@app.command()
def count(  # noqa: PLR0913, PLR0917 - the options of a command
    model: Annotated[
        str,
        typer.Argument(
            help="resnet50, timm:NAME, transformers:TYPE, probe:NAME, a.module:factory or "
            "file.py:factory."
        ),
    ],
    inputs: Inputs = None,
    by: Annotated[str, typer.Option(help="Also list by module, op or kind.")] = "",
    depth: Annotated[int, typer.Option(help="With --by module: levels of modules to show.")] = 0,
    conventions: Annotated[
        list[str] | None,
        typer.Option(
            "--convention",
            help="How to read the ledger: macs, macs-layers, flops, flops-all, one of them with "
            "+bias, +norm, +activation, +pooling or +elementwise, or a TOML file; once for each.",
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
    as_json: Json = False,
) -> None:
    """Count a model with the reference: multiply-accumulates and everything else, exactly."""
    from flopaudit.pipeline.count_model import (
        CountOptions,
        count_model,
    )
    from flopaudit.pipeline.model_requests import model_request
    from flopaudit.reports.count_report import CONVENTIONS, GROUPS

    if by and by not in GROUPS:
        raise UsageError(f"Cannot list by '{by}'.", f"--by takes {', '.join(GROUPS)}.")
    if static and backward:
        raise UsageError("--static and --backward are both given.", "Give one of them.")
    asked = CountOptions(tuple(conventions or CONVENTIONS), backward, static, strict)
    result = count_model(model_request(model, inputs or ()), asked)
    if as_json:
        _print_json(result.to_json())
        return
    from flopaudit.reports import count_report

    count_report.show(result, by, depth)


@app.command()
def run(  # noqa: PLR0913, PLR0917 - the options of the main command
    model_list: Annotated[
        str, typer.Option("--models", help="Comma-separated models, as for `count`.")
    ] = "",
    tool_list: Annotated[
        str, typer.Option("--tools", help="Comma-separated tools; all if left out.")
    ] = "",
    preset: Annotated[str, typer.Option(help="quick or torchvision.")] = "",
    draw: Annotated[
        str,
        typer.Option(
            help="SOURCE:NUMBER:SEED: so many models of a library at random, such as timm:60:4."
        ),
    ] = "",
    inputs: Inputs = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Directory for the records; results/PRESET or results/models."),
    ] = None,
    jobs: Annotated[
        int, typer.Option(min=1, help="Cells at a time; the number of processors if left out.")
    ] = PROCESSORS,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for a cell.")] = 600,
    memory: Annotated[
        str,
        typer.Option(help="Memory for a cell, such as 8G; a share of this machine's if left out."),
    ] = "",
    again: Annotated[bool, typer.Option("--again", help="Measure anew what is there.")] = False,
    as_json: Json = False,
) -> None:
    """Run the tools on models, each in a process of its own, and say where they differ and why."""
    from flopaudit_adapters import NAMES

    from flopaudit.core.specs import parse_bytes
    from flopaudit.isolation.scheduler import Limits, default_memory_bytes
    from flopaudit.pipeline import model_requests
    from flopaudit.pipeline.measure import RunOptions, discard
    from flopaudit.pipeline.run import run_all
    from flopaudit.reports import run_report
    from flopaudit.reports.progress import Bar
    from flopaudit.reports.terminal import print_line
    from flopaudit.tools import registry

    if draw and (model_list or preset or inputs):
        raise UsageError("--draw is given with other models.", "Give it without --models.")
    subjects = (
        model_requests.sampled_models(draw)
        if draw
        else model_requests.model_requests(model_list, preset, inputs or ())
    )
    columns = registry.tool_variants(tool_list or ",".join(NAMES))
    where = out or Path("results") / (preset or draw.replace(":", "-") or "models")
    limits = Limits(timeout, parse_bytes(memory) if memory else default_memory_bytes(jobs))
    if again:
        discard(where)
    try:
        with Bar() as notice:
            results = run_all(subjects, columns, where, RunOptions(jobs, limits, notice))
    except KeyboardInterrupt:
        sys.stderr.write(
            f"\nStopped. What is finished is in {where}; the same command goes on from there.\n"
        )
        raise typer.Exit(130) from None
    chosen = results.only(subjects, columns)
    failed = run_report.failures(chosen.measurements, chosen.references)
    if as_json:
        _print_json(chosen.to_json(where))
    else:
        run_report.show(chosen.measurements, chosen.references, chosen.findings)
        print_line(f"\nRecords and tables are in {where}.")
    raise typer.Exit(1 if failed else 0)


@app.command()
def settle(  # noqa: PLR0913, PLR0917 - the options of a command
    model: Annotated[
        str,
        typer.Argument(
            help="resnet50, timm:NAME, transformers:TYPE, a.module:factory or file.py:factory."
        ),
    ],
    tool_list: Annotated[
        str, typer.Option("--tools", help="Comma-separated tools; all if left out.")
    ] = "",
    inputs: Inputs = None,
    claims: Annotated[
        list[str] | None,
        typer.Option(
            "--claim",
            help="Instead, find the reading that gives a published number, such as paper=3.8G, "
            "'4.12 GFLOPs' or '25.6M params'; once for each.",
        ),
    ] = None,
    jobs: Annotated[
        int, typer.Option(min=1, help="Cells at a time; the number of processors if left out.")
    ] = PROCESSORS,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for a cell.")] = 600,
    again: Annotated[
        bool, typer.Option("--again", help="Measure anew, also where it is stored.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Say what the tools make of a model, where each differs and why, and which to quote."""
    from flopaudit_adapters import NAMES

    from flopaudit.pipeline import model_requests, settle_model
    from flopaudit.reports import settlement_report
    from flopaudit.reports.terminal import print_line
    from flopaudit.tools import registry

    subject = model_requests.model_request(model, inputs or ())
    if claims:
        _claimed(subject, claims, as_json=as_json)
        return
    columns = registry.tool_variants(tool_list or ",".join(NAMES))
    found = None if again else settle_model.stored(subject, columns)
    where = f"From {found[1]}; --again measures anew." if found else ""
    settlement = found[0] if found else _settled(subject, columns, jobs, timeout, again=again)
    if as_json:
        _print_json(settlement)
        return
    settlement_report.show(settlement)
    if where:
        print_line()
        print_line(where)


def _claimed(subject: ModelRequest, claims: list[str], *, as_json: bool) -> None:
    from flopaudit.claims.parsing import parse_claims
    from flopaudit.claims.settle_claims import settle_claims
    from flopaudit.claims.tool_predictions import predicted_by_tools
    from flopaudit.pipeline.settle_model import stored
    from flopaudit.reports.terminal import print_wrapped

    asked = parse_claims(claims)
    known = stored(subject, ())
    found = settle_claims(subject, asked, predicted_by_tools(subject, known[0] if known else None))
    if as_json:
        _print_json(found.to_json())
        return
    for line in found.lines():
        print_wrapped(line)


def _settled(
    subject: ModelRequest, columns: list[ToolVariant], jobs: int, timeout: float, *, again: bool
) -> Settlement:
    from flopaudit.isolation.scheduler import Limits, default_memory_bytes
    from flopaudit.pipeline import settle_model
    from flopaudit.pipeline.measure import RunOptions
    from flopaudit.reports.progress import Bar

    try:
        with Bar() as notice:
            limits = Limits(timeout, default_memory_bytes(jobs))
            options = RunOptions(jobs, limits, notice, again)
            return settle_model.measured(subject, columns, options)
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped. The same command goes on from there.\n")
        raise typer.Exit(130) from None


@app.command()
def probe(
    tool_list: Annotated[
        str, typer.Argument(help="Comma-separated tools; all if left out.", metavar="[TOOLS]")
    ] = "",
    out: Annotated[Path, typer.Option(help="Directory for the profiles.")] = Path(
        "results/profiles"
    ),
    jobs: Annotated[
        int, typer.Option(min=1, help="Cells at a time; the number of processors if left out.")
    ] = PROCESSORS,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for a cell.")] = 60,
) -> None:
    """Measure what tools count, on small models that each isolate one thing."""
    from flopaudit_adapters import NAMES

    from flopaudit.isolation.scheduler import Limits, default_memory_bytes
    from flopaudit.pipeline import probe_tools
    from flopaudit.pipeline.measure import RunOptions
    from flopaudit.reports.progress import Bar
    from flopaudit.reports.terminal import print_wrapped
    from flopaudit.tools import registry

    columns = registry.tool_variants(tool_list or ",".join(NAMES))
    limits = Limits(timeout, default_memory_bytes(jobs))
    try:
        with Bar() as notice:
            profiles = probe_tools.probe(columns, out, RunOptions(jobs, limits, notice))
    except KeyboardInterrupt:
        sys.stderr.write(
            f"\nStopped. What is measured is in {out}; the same command goes on from there.\n"
        )
        raise typer.Exit(130) from None
    for profile in profiles:
        for line in probe_tools.summary(profile):
            print_wrapped(line)
    raise typer.Exit(1 if any(map(probe_tools.has_failed, profiles)) else 0)


@app.command()
def matrix(
    pattern: Annotated[
        str,
        typer.Argument(
            metavar="GROUP|PATTERN",
            help="Such as conv, norm/layer_norm_3d or '*relu*'; a summary if left out.",
        ),
    ] = "",
    tool_list: Annotated[
        str,
        typer.Option(
            "--tools", help="Comma-separated tools, such as thop,ptflops:aten; all if left out."
        ),
    ] = "",
    as_json: Json = False,
) -> None:
    """Show what tools count, by their stored profiles: probes down, tools across."""
    from flopaudit.core.specs import split_list
    from flopaudit.reports import matrix_report

    found = matrix_report.stored(split_list(tool_list), pattern)
    if as_json:
        _print_json(matrix_report.to_json(found))
    else:
        matrix_report.show(found, in_short=not pattern)


@app.command()
def audit(  # noqa: PLR0913, PLR0917 - the options of a command
    tool: Annotated[
        list[str] | None,
        typer.Argument(help="Tools, or path/to/file.py:TOOL; all if left out."),
    ] = None,
    models: Annotated[
        str, typer.Option(help="Comma-separated models; those made for it if left out.")
    ] = "",
    out: Annotated[Path | None, typer.Option(help="Directory for the records and tables.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Cells at a time.")] = PROCESSORS,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for a cell.")] = 300,
    as_json: Json = False,
) -> None:
    """Measure what tools leave behind: in the model, in torch and in the process."""
    from flopaudit.audit import audit_report, audit_run
    from flopaudit.isolation.scheduler import Limits, default_memory_bytes
    from flopaudit.reports.progress import Bar

    columns, cases = audit_run.tools(tool or ()), audit_run.cases(models)
    limits = Limits(timeout, default_memory_bytes(jobs))
    try:
        with Bar() as notice:
            effects = audit_run.audit(columns, cases, jobs, limits, notice)
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped. Nothing is kept of an audit that is not finished.\n")
        raise typer.Exit(130) from None
    if out:
        audit_run.publish(out, effects)
    if as_json:
        _print_json([each.model_dump(mode="json") for each in effects])
    else:
        audit_report.show(effects)


@app.command()
def bench(
    preset: Annotated[str, typer.Option(help="quick or torchvision.")] = "quick",
    repeats: Annotated[int, typer.Option(min=1, help="Runs of each way, in turn.")] = 3,
    jobs: Annotated[int, typer.Option(min=1, help="Cells at a time.")] = PROCESSORS,
    out: Annotated[Path, typer.Option(help="Directory for the table.")] = Path("results/bench"),
) -> None:
    """Time the isolated run against a plain script that runs the tools in one process."""
    from flopaudit.reports.terminal import print_table
    from flopaudit.studies.bench import bench as run_bench

    try:
        headers, *rows = run_bench(
            preset, repeats, jobs, out, lambda text: typer.echo(text, err=True)
        )
    except ValueError as error:
        raise UsageError(f"{error}.", "Give --preset quick.") from error
    print_table(headers, rows)


def _published(line: dict[str, Any]) -> list[str]:
    return [
        line["model"],
        line["family"],
        "+".join(line["inputs"]),
        line["published_gmacs"] or "-",
        _grouped(line["published_params"]),
    ]


def _grouped(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"


def _print_json(value: Any) -> None:
    import json

    from flopaudit.reports.terminal import print_line

    print_line(json.dumps(value, indent=2, ensure_ascii=False))


def main() -> None:
    """Run the command line; the entry point of `flopaudit`.

    Exits with 0; 1 for a run in which something failed that matters; 2 for bad usage; 130 when
    interrupted.
    """
    try:
        sys.exit(app(standalone_mode=False) or 0)
    except typer.Abort:
        sys.exit(130)
    except UsageError as error:
        _fail(f"flopaudit: {error}", 2)
    except Exception as error:  # noqa: BLE001 - no traceback reaches a user unasked
        if hasattr(error, "format_message"):  # what typer says of bad options
            _fail(_of_options(error), 2)
        where = "`flopaudit --traceback …` shows where."
        _fail(f"flopaudit: {type(error).__name__}: {error}. {where}", 1)


def _of_options(error: Any) -> str:
    """What is wrong with the options, in a line; nothing where the help was shown instead."""
    message = error.format_message().rstrip(".")
    command = error.ctx.command_path if error.ctx else "flopaudit"
    return f"flopaudit: {message}. `{command} --help` lists what there is." if message else ""


def _fail(text: str, code: int) -> NoReturn:
    """Say what went wrong and exit; with the traceback, of what is being handled, if asked for."""
    if _options["traceback"]:
        raise  # noqa: PLE0704 - called while an exception is handled
    if text:
        sys.stderr.write(f"{text}\n")
    sys.exit(code)
