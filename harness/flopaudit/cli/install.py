"""`flopaudit install`: keep another version of a tool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from flopaudit.cli.options import Json
from flopaudit.cli.output import print_error, print_json
from flopaudit.core.errors import UsageError

if TYPE_CHECKING:
    from flopaudit.tools.versions import Kept


def install(
    requirements: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TOOL==VERSION", help="Versions to keep, such as thop==0.1.0.post2206102148."
        ),
    ] = None,
    added: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            metavar="PACKAGE",
            help="A package that the version imports and that is not installed here, as NAME or "
            "NAME==VERSION; repeat the option for several packages.",
        ),
    ] = None,
    as_list: Annotated[bool, typer.Option("--list", help="List the kept versions.")] = False,
    as_json: Json = False,
) -> None:
    """Keep another version of a tool, apart from the installed one.

    A kept version is used by its name: `flopaudit run --tools thop==0.1.0.post2206102148`.

    Example: flopaudit install ptflops==0.6.9
    """
    from flopaudit.tools import versions

    if bool(requirements) == as_list:
        raise UsageError(
            "`flopaudit install` takes versions, or --list.",
            "Write, for example, `flopaudit install thop==0.1.0.post2206102148`.",
        )
    lines = [_line(each) for each in versions.kept()] if as_list else []
    lines += [_installed(each, added or (), as_json=as_json) for each in requirements or ()]
    if as_json:
        print_json(lines)
    elif as_list:
        _print_kept(lines)


def _installed(requirement: str, added: list[str] | tuple[()], *, as_json: bool) -> dict[str, Any]:
    """Keep a version, and print where it is unless JSON is wanted."""
    from flopaudit.reports.terminal import print_line
    from flopaudit.tools import versions

    try:
        version, new = versions.install(requirement, added)
    except versions.PipError as error:
        print_error(f"{error}\nflopaudit: pip could not install {requirement}.")
        raise typer.Exit(1) from None
    if not as_json:
        print_line(f"{version} is {'now' if new else 'already'} in {version.folder}.")
    return {**_line(version), "new": new}


def _line(version: Kept) -> dict[str, Any]:
    return {
        "tool": version.distribution,
        "version": version.version,
        "folder": str(version.folder),
    }


def _print_kept(lines: list[dict[str, Any]]) -> None:
    from flopaudit.reports.terminal import print_line

    for line in lines:
        print_line(f"{line['tool']}=={line['version']}  {line['folder']}")
