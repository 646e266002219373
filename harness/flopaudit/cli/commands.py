"""Commands and groups of commands: their help, and their end after Ctrl-C.

The help shows no type for a flag, because a flag takes no value.
"""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup

from flopaudit.cli.output import interruptible


class Command(TyperCommand):
    """A command of typer with plain flags in its help."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the options and arguments, `--help` included."""
        return _plain(super().get_params(ctx))


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
