"""The `flopaudit` program: registers the commands, and turns errors into one line and a code.

What needs torch, pandas or pydantic is imported by the command that needs it.
"""

from __future__ import annotations

import os
import re
import sys
import traceback
from difflib import get_close_matches
from functools import partial
from typing import Annotated, Any, NoReturn

import typer

from flopaudit.cli.audit import audit
from flopaudit.cli.bench import bench
from flopaudit.cli.completion import complete_in_bash, is_bash
from flopaudit.cli.count import count
from flopaudit.cli.install import install
from flopaudit.cli.matrix import matrix
from flopaudit.cli.models import models
from flopaudit.cli.options import EXTRA_ARGUMENTS
from flopaudit.cli.output import INTERRUPTED, Command, Group, print_error, require_command
from flopaudit.cli.probe import probe
from flopaudit.cli.run import run
from flopaudit.cli.settle import settle
from flopaudit.cli.study import study
from flopaudit.cli.tools import tools
from flopaudit.core import guarded_streams, streams
from flopaudit.core.errors import UsageError, closest, suggestion
from flopaudit.core.files import of_system
from flopaudit.core.first_line import named
from flopaudit.core.guarded_streams import OutputLost
from flopaudit.core.text import visible

NAME = "flopaudit"

app = typer.Typer(
    name=NAME,
    cls=Group,
    help="Run FLOP counters on PyTorch models side by side, compare them with an exact reference, "
    "and explain every difference.",
    epilog="Start with: flopaudit settle resnet18",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _command in (settle, run, count, models, tools, install, matrix):
    app.command(cls=Command)(_command)
for _command_of_tools in (probe, audit):
    app.command(cls=Command, context_settings=EXTRA_ARGUMENTS)(_command_of_tools)
app.command(cls=Command)(bench)
app.add_typer(study, name="study")

_options = {"traceback": False}


@app.callback(invoke_without_command=True)
def common(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version of flopaudit and exit.")
    ] = False,
    show_traceback: Annotated[
        bool, typer.Option("--traceback", help="Show the Python traceback of an error.")
    ] = False,
) -> None:
    """Options of all commands."""
    _options["traceback"] = show_traceback
    if version:
        from importlib import metadata

        print(metadata.version(NAME))
        raise typer.Exit
    require_command(context, "flopaudit settle resnet18")


def main() -> NoReturn:
    """Run the command line; the entry point of `flopaudit`.

    Exits with 0; 1 if a run failed or the output cannot be written; 2 after bad usage; 130 after an
    interrupt. A reader that has seen enough, as `head` has, is not an error.
    """
    guarded_streams.prepare()
    try:
        code = _run()
        streams.stdout().flush()
    except OutputLost as lost:
        code = 0 if lost.reader_left else 1
        if code:
            print_error(f"{NAME}: Cannot write to standard output: {lost}.")
    sys.exit(code)


def _run() -> int:
    """Run the program and return its exit code; an error is a sentence on standard error."""
    program = partial(app, prog_name=NAME, standalone_mode=False)
    try:
        if is_bash(os.environ):
            complete_in_bash(program)
        return program() or 0
    except SystemExit as done:  # the shell's completion ends in this way
        return done.code if isinstance(done.code, int) else 0
    except OutputLost:
        raise
    except Exception as error:  # noqa: BLE001 - a traceback is shown only with --traceback
        return _failed(*_sentence(error))


def _sentence(error: Exception) -> tuple[str, int]:
    """Return what to say about an error, and the exit code."""
    refused = of_system(error) if isinstance(error, OSError) else error
    if isinstance(error, typer.Abort):
        return "Stopped.", INTERRUPTED
    if isinstance(refused, UsageError):
        return f"{NAME}: {visible(str(refused))}", refused.exit_code
    if hasattr(error, "format_message"):  # an error of typer's about the arguments
        return visible(_about_arguments(error)), 2
    remedy = f"`{NAME} --traceback …` shows the traceback."
    return f"{NAME}: {visible(named(error)).rstrip('.')}. {remedy}", 1


def _about_arguments(error: Any) -> str:
    """Describe an error in the arguments in one line."""
    message = _NO_OPTION.sub(_about_option, error.format_message().rstrip("."))
    wrong = _WRONG_CHOICE.match(message)
    if wrong:
        return f"{NAME}: {_about_choice(**wrong.groupdict())}"
    command = error.ctx.command_path if error.ctx else NAME
    stop = "" if message.endswith("?") else "."
    return f"{NAME}: {message}{stop} `{command} --help` lists the options and arguments."


_WRONG_CHOICE = re.compile(
    r"Invalid value for '(?P<option>[^']*)': .*'(?P<given>[^']*)' is not one of (?P<listed>.*)"
)
"""Typer's message for a value that is not one of the choices, in any of its versions."""


_NO_OPTION = re.compile(
    r"No such option: (?P<given>\S+) \((?:Possible options: |Did you mean )(?P<listed>[^)]*?)\??\)"
)
"""What typer says of an option that is not there and of those that look like it."""


def _about_option(found: re.Match[str]) -> str:
    """Describe an option that is not there, and suggest the nearest if it is near."""
    near = get_close_matches(found["given"], found["listed"].split(", "), n=1, cutoff=0.75)
    hint = f". Did you mean {near[0]}?" if near else ""
    return f"No such option: {found['given']}{hint}"


def _about_choice(option: str, given: str, listed: str) -> str:
    """Describe a value that is not one of the choices, and suggest the nearest of them."""
    choices = re.findall(r"'([^']*)'", listed)
    message = f"{option} takes {', '.join(choices[:-1])} or {choices[-1]}, not '{given}'."
    return f"{message} {suggestion(closest(given, choices))}".rstrip()


def _failed(text: str, code: int) -> int:
    """Print what went wrong and return the exit code; with --traceback, print the traceback."""
    if _options["traceback"]:
        print_error(traceback.format_exc().rstrip())
        return 1
    print_error(text)
    return code
