"""The command as a user runs it, and its commands as the program knows them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from flopaudit.cli.app import app, main
from typer.main import get_command

Done = subprocess.CompletedProcess[str]


def flopaudit(
    *args: str, cwd: Path, columns: int | None = None, variables: Mapping[str, str] | None = None
) -> Done:
    """Run the command in a directory, piped, or as in a terminal of that width.

    Args:
        args: of the command.
        cwd: the directory to run it in.
        columns: the width of the terminal.
        variables: of the environment, in addition to those of the tests.
    """
    environment = {name: text for name, text in os.environ.items() if name != "COLUMNS"}
    environment |= {"NO_COLOR": "1", **({"COLUMNS": str(columns)} if columns else {})}
    return subprocess.run(
        [sys.executable, "-m", "flopaudit", *args],
        cwd=cwd, env={**environment, **(variables or {})},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


def flopaudit_here(*args: str, capsys: pytest.CaptureFixture[str]) -> Done:
    """Run the command in this process, which has imported already what it needs.

    Args:
        args: of the command.
        capsys: what the test captures its output with.
    """
    code: object = None
    with mock.patch.object(sys, "argv", ["flopaudit", *args]):
        try:
            main()
        except SystemExit as done:
            code = done.code
    assert isinstance(code, int)
    return Done(args, code, *capsys.readouterr())


def modules_imported_by(*commands: Sequence[str], cwd: Path) -> set[str]:
    """Run commands in one process, and return the modules that they have imported.

    Args:
        commands: the arguments of each.
        cwd: the directory to run them in.
    """
    code = (
        "import sys\n"
        "from flopaudit.cli.app import main\n"
        f"for arguments in {[list(each) for each in commands]!r}:\n"
        "    sys.argv = ['flopaudit', *arguments]\n"
        "    try: main()\n"
        "    except SystemExit as done: assert not done.code, done.code\n"
        "print(*sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, check=True, capture_output=True, text=True
    )
    assert done.stdout, "each command prints something"
    return set(done.stderr.splitlines()[-1].split())


def _leaves(command: Any, name: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the commands below one, each with the words that name it."""
    below = getattr(command, "commands", None)
    if below is None:
        yield name, command
    for word, each in (below or {}).items():
        yield from _leaves(each, (*name, word))


COMMANDS: dict[tuple[str, ...], Any] = dict(_leaves(get_command(app), ()))
"""All commands by the words that name them, such as `("study", "speed")`."""
