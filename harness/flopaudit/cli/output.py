"""Output of commands, and how they end when they are interrupted."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

INTERRUPTED = 130
"""The exit code of a command that Ctrl-C ended."""


def print_json(value: Any) -> None:
    """Print plain data as one JSON document."""
    import json

    from flopaudit.reports.terminal import print_line

    print_line(json.dumps(value, indent=2, ensure_ascii=False))


def print_error(text: str) -> None:
    """Print a line to standard error."""
    sys.stderr.write(f"{text}\n")


@contextmanager
def interruptible(message: str) -> Iterator[None]:
    """End the command with a message, and without a traceback, if the user presses Ctrl-C.

    Args:
        message: what is kept, and how to go on.
    """
    try:
        yield
    except KeyboardInterrupt:
        print_error(f"\nStopped. {message}")
        raise typer.Exit(INTERRUPTED) from None
