"""`flopaudit audit`: measure the side effects of tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flopaudit.cli.options import (
    PROCESSORS,
    Jobs,
    Json,
    Memory,
    Models,
    Timeout,
    Tools,
    limits,
    out,
    refuse_positional_tools,
)
from flopaudit.cli.output import interruptible, print_json


def audit(  # noqa: PLR0913, PLR0917 - the options of a command
    context: typer.Context,
    tool_list: Tools = "",
    model_list: Models = "",
    directory: Annotated[
        Path | None, out("Directory for records and tables.", "nothing is written")
    ] = None,
    jobs: Jobs = PROCESSORS,
    timeout: Timeout = 300,
    memory: Memory = "",
    as_json: Json = False,
) -> None:
    """Measure the side effects of tools on the model, torch and the process.

    Without --models, small models are used that were made to show side effects.

    Example: flopaudit audit --tools thop,path/to/file.py:TOOL
    """
    from flopaudit.audit import audit_report, audit_run
    from flopaudit.core.specs import split_list
    from flopaudit.pipeline.measure import RunOptions
    from flopaudit.reports.progress import Bar

    refuse_positional_tools(context)
    tool_variants = audit_run.tools(split_list(tool_list))
    cases = audit_run.cases(model_list)
    allowed = limits(timeout, memory, jobs)
    with interruptible("An audit that is not finished keeps no records."), Bar() as notice:
        effects = audit_run.audit(tool_variants, cases, RunOptions(jobs, allowed, notice))
    if directory:
        audit_run.publish(directory, effects)
    if as_json:
        print_json([each.model_dump(mode="json") for each in effects])
    else:
        audit_report.show(effects)
    raise typer.Exit(1 if audit_run.has_failed(effects) else 0)
