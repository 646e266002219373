"""`flopaudit probe`: measure the profiles of tools."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flopaudit.cli.options import (
    PROCESSORS,
    Jobs,
    Json,
    Memory,
    Timeout,
    Tools,
    limits,
    out,
    refuse_positional_tools,
    variants,
)
from flopaudit.cli.output import interruptible, print_json

if TYPE_CHECKING:
    from flopaudit.profiles.tool_profile import Profile


def probe(  # noqa: PLR0913, PLR0917 - the options of a command
    context: typer.Context,
    tool_list: Tools = "",
    directory: Annotated[Path, out("Directory for the profiles.")] = Path("results/profiles"),
    jobs: Jobs = PROCESSORS,
    timeout: Timeout = 60,
    memory: Memory = "",
    as_json: Json = False,
) -> None:
    """Measure what tools count, on small models that isolate one thing each.

    Example: flopaudit probe --tools ptflops==0.6.9
    """
    from flopaudit.pipeline import probe_tools
    from flopaudit.pipeline.measure import RunOptions
    from flopaudit.reports.progress import Bar
    from flopaudit.reports.terminal import print_wrapped

    refuse_positional_tools(context)
    tool_variants = variants(tool_list)
    allowed = limits(timeout, memory, jobs)
    kept = f"Measured records are in {directory}; give the same command again to continue."
    with interruptible(kept), Bar() as notice:
        profiles = probe_tools.probe(tool_variants, directory, RunOptions(jobs, allowed, notice))
    if as_json:
        print_json([_to_json(profile, directory) for profile in profiles])
    else:
        for profile in profiles:
            for line in probe_tools.summary(profile):
                print_wrapped(line)
    raise typer.Exit(1 if any(map(probe_tools.has_failed, profiles)) else 0)


def _to_json(profile: Profile, directory: Path) -> dict[str, Any]:
    """Return a summary of a profile, and the file that holds all of it."""
    from flopaudit.pipeline import probe_tools
    from flopaudit.profiles.repository import file_name

    key = (profile.tool, profile.version, profile.variant or "")
    outcomes = profile.probes
    return {
        "tool": profile.tool,
        "version": profile.version,
        "variant": profile.variant,
        "unit": profile.unit,
        "probes": len(outcomes),
        "cases": sum(each.cases for each in outcomes),
        "counted": sum(each.counted for each in outcomes),
        "exact": sum(each.exact for each in outcomes),
        "not_predicted": [each.probe for each in outcomes if each.exact < each.counted],
        "profile": str(directory / file_name(key)) if probe_tools.has_counted(profile) else None,
    }
