"""What commands print, their help included, and how they end when they are interrupted.

The help shows no type for a flag, because a flag takes no value.
"""

from __future__ import annotations

import codecs
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from flopaudit.core.errors import UsageError
from flopaudit.core.streams import keep_stdout, stdout
from flopaudit.reports.terminal import print_line, print_message

INTERRUPTED = 130
"""The exit code of a command that Ctrl-C ended."""


def print_json(value: Any) -> None:
    """Print plain data as one JSON document, in UTF-8.

    JSON's own escapes replace what a terminal would act on or not show and, where standard output
    has another encoding, what is not ASCII, so that every string is read back unchanged.
    """
    import json

    from flopaudit.core.text import plain, visible_json

    text = json.dumps(value, indent=2, ensure_ascii=False)
    escaped = not _is_utf_8(stdout().encoding) or plain(text) != text
    print_line(json.dumps(value, indent=2) if escaped else visible_json(text))


def _is_utf_8(encoding: str | None) -> bool:
    return codecs.lookup(encoding or "utf-8").name == "utf-8"


def print_error(text: str) -> None:
    """Print text to standard error; what is hidden in it, such as escapes, becomes visible."""
    print_message(text)


def require_command(context: typer.Context, example: str) -> None:
    """Print the help of a group of commands to standard error if none of them is given.

    Args:
        context: of the group.
        example: a command to start with.

    Raises:
        UsageError: no command is given.
    """
    if context.invoked_subcommand is None:
        with redirect_stdout(sys.stderr):
            print(context.get_help())  # with rich, typer prints it, and this ends it with a blank
        raise UsageError("A command is missing.", f"Start with `{example}`.")


@contextmanager
def interruptible(message: str = "") -> Iterator[None]:
    """End the command with a message, and without a traceback, if the user presses Ctrl-C.

    Args:
        message: what is kept, and how to go on; nothing if that goes without saying.
    """
    try:
        yield
    except KeyboardInterrupt:
        print_error(f"\nStopped. {message}".rstrip(" "))
        raise typer.Exit(INTERRUPTED) from None


# -- commands and their help -----------------------------------------------------------------------


class Command(TyperCommand):
    """A command of typer with plain flags in its help, which alone prints to standard output."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the options and arguments, `--help` included."""
        return _plain(super().get_params(ctx))

    def invoke(self, ctx: Any) -> Any:
        """Run the command; what models, tools and libraries print goes to standard error."""
        keep_stdout()
        return super().invoke(ctx)


class Group(TyperGroup):
    """A group of commands with plain flags in its help, which Ctrl-C ends in one sentence."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the options and arguments, `--help` included."""
        return _plain(super().get_params(ctx))

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was given."""
        with interruptible():
            return super().invoke(ctx)


def _plain(parameters: list[Any]) -> list[Any]:
    """Let the help show nothing where typer would show `<bool>`."""
    for each in parameters:
        if getattr(each, "is_flag", False) and each.metavar is None:
            each.metavar = ""
    return parameters
