"""Commands shown in pages and in the Makefile exist in the program, with their options."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from flopaudit.cli.app import app

from tests.support.documents import DOCUMENTS, commands, inline_code, name_of, read
from tests.support.paths import ROOT

PROGRAM: Any = typer.main.get_command(app)
ANY_COMMAND = "COMMAND"
OTHER_PROGRAMS = {
    "--regenerate": "of pytest",
    "--draw": "of the past, in the changes",
}
_OPTION = re.compile(r"--[a-z][a-z-]*")


def own_options(command: Any) -> set[str]:
    """Return the options of a command itself."""
    return {"--help", *(name for each in command.params for name in each.opts)}


def all_options(command: Any) -> set[str]:
    """Return the options of a command, and of all commands below it."""
    below = getattr(command, "commands", {}).values()
    return own_options(command).union(*map(all_options, below))


def what_is_wrong(text: str) -> str:
    """Return what the program would refuse of a command line; "" if it takes it all."""
    command, (_, *words) = PROGRAM, shlex.split(text)
    while words and hasattr(command, "commands"):
        word = words.pop(0)
        if word == ANY_COMMAND:
            return ""
        if word.startswith("-"):
            if word not in own_options(command):
                return f"there is no option {word}"
        elif word not in command.commands:
            return f"there is no command {word}"
        else:
            command = command.commands[word]
    given = (word.partition("=")[0] for word in words if word.startswith("--"))
    unknown = [word for word in given if word not in own_options(command)]
    takes_arguments = any(each.param_type_name == "argument" for each in command.params)
    if unknown:
        return f"there is no option {unknown[0]}"
    if words and not words[0].startswith("-") and not takes_arguments:
        return f"it takes no argument {words[0]}"
    return ""


def in_makefile() -> Iterator[str]:
    for line in read(ROOT / "Makefile").splitlines():
        if line.startswith("\t$(BIN)/flopaudit "):
            yield line.removeprefix("\t$(BIN)/")


def test_what_is_wrong_is_found() -> None:
    assert not what_is_wrong("flopaudit settle resnet50 --json")
    assert not what_is_wrong("flopaudit --traceback COMMAND")
    assert what_is_wrong("flopaudit setle resnet50") == "there is no command setle"
    assert what_is_wrong("flopaudit settle resnet50 --jsn") == "there is no option --jsn"
    assert what_is_wrong("flopaudit --jsn settle") == "there is no option --jsn"
    assert what_is_wrong("flopaudit tools thop") == "it takes no argument thop"


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_command_exists(document: Path) -> None:
    wrong = {command: what_is_wrong(command) for command in commands(document)}
    assert not {command: why for command, why in wrong.items() if why}


def test_every_command_of_the_makefile_exists() -> None:
    found = list(in_makefile())
    assert found
    assert not {command: why for command in found if (why := what_is_wrong(command))}


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_option_exists(document: Path) -> None:
    """Check options also where they stand alone, without their command."""
    alone = [code for code in inline_code(document) if code.startswith("--")]
    named = {option for code in alone for option in _OPTION.findall(code)}
    assert not named - all_options(PROGRAM) - set(OTHER_PROGRAMS)
