"""The help of each command: its content, its width in a terminal, and its speed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from flopaudit.cli.options import Grouping, Preset, Source
from flopaudit.core.specs import LIBRARIES, PROBE
from flopaudit.models.torchvision_zoo import PRESETS
from flopaudit.reports.count_report import GROUPS

from tests.support.command_line import COMMANDS, flopaudit, modules_imported_by

SLOW = {"torch", "torchvision", "numpy", "pandas"}
NAMES = [" ".join(name) for name in COMMANDS]


def test_all_commands_are_there() -> None:
    assert set(NAMES) == {
        "settle", "run", "count", "models", "tools", "install", "matrix", "probe", "audit", "bench",
        "study agreement", "study coverage", "study faults", "study speed",
    }  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_help_has_a_summary_and_json(name: str, tmp_path: Path) -> None:
    done = flopaudit(*name.split(), "--help", cwd=tmp_path, columns=80)
    assert done.returncode == 0
    assert f"Usage: flopaudit {name} [OPTIONS]" in done.stdout
    assert "--json" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    summary = COMMANDS[tuple(name.split())].help.split("\n")[0]
    assert re.fullmatch(r"[A-Z][a-z]+ .{10,70}\.", summary)


def test_help_imports_nothing_slow(tmp_path: Path) -> None:
    assert not (SLOW | {"pydantic"}) & modules_imported_by(["--help"], cwd=tmp_path)
    each = [[*name, "--help"] for name in COMMANDS]
    assert not SLOW & modules_imported_by(*each, cwd=tmp_path)


def test_the_list_of_commands_has_one_line_for_each(tmp_path: Path) -> None:
    lines = flopaudit("--help", cwd=tmp_path, columns=100).stdout.splitlines()
    for name in COMMANDS:
        if len(name) == 1:
            assert sum(line.startswith(f"│ {name[0]} ") and "." in line for line in lines) == 1


@pytest.mark.parametrize("name", NAMES)
def test_examples_can_be_typed(name: str) -> None:
    command = COMMANDS[tuple(name.split())]
    examples = re.findall(r"^Example: flopaudit (.*)$", command.help, re.MULTILINE)
    assert len(examples) == (name != "tools")
    for example in examples:
        words = shlex.split(example)
        assert " ".join(words[: len(name.split())]) == name
        command.make_context(name, words[len(name.split()) :])


LIMITED = {("run",), ("settle",), ("count",), ("probe",), ("audit",)}
"""Commands that run foreign code in workers, within limits."""


def test_an_option_is_spelled_in_one_way() -> None:
    spelled: dict[str, set[tuple[str, ...]]] = {
        "--tools": {("run",), ("settle",), ("probe",), ("audit",), ("matrix",)},
        "--models": {("run",), ("audit",), ("study", "agreement")},
        "--memory": {*LIMITED, ("study", "coverage")},
        "--timeout": {*LIMITED, ("study", "coverage")},
        "--details": {("run",), ("settle",)},
        "--json": set(COMMANDS),
        "--draw": set(),
    }
    for option, names in spelled.items():
        having = {
            name
            for name, command in COMMANDS.items()
            if any(option in parameter.opts for parameter in command.params)
        }
        assert having == names, option
    with_out = {
        name
        for name, c in COMMANDS.items()
        if any("--out" in parameter.opts for parameter in c.params)
    }
    assert with_out == set(COMMANDS) - {
        ("count",),
        ("models",),
        ("tools",),
        ("install",),
        ("matrix",),
    }


def test_an_option_of_several_commands_is_the_same_in_each() -> None:
    described: dict[str, dict[tuple[object, ...], list[str]]] = {}
    for name, command in COMMANDS.items():
        for each in (each for each in command.params if each.opts[0].startswith("--")):
            # What a command writes to its directory is its own matter.
            text = each.help if each.opts[0] != "--out" else each.help[: len("Directory for ")]
            same = (
                *each.opts,
                each.type_descriptor.annotation,
                each.multiple,
                each.metavar or "",
                text,
            )
            described.setdefault(each.opts[0], {}).setdefault(same, []).append(" ".join(name))
    several = {option: found for option, found in described.items() if len(found) > 1}
    assert not several
    shared = {
        option for option, found in described.items() for names in found.values() if names[1:]
    }
    assert shared >= {"--tools", "--models", "--json", "--out", "--jobs", "--timeout", "--memory",
                      "--input", "--input-file", "--input-from", "--dtype", "--phase", "--context",
                      "--preset", "--source", "--again", "--details"}  # fmt: skip


def test_flags_show_no_type(tmp_path: Path) -> None:
    for name in ((), ("settle",), ("study",), ("study", "coverage")):
        shown = flopaudit(*name, "--help", cwd=tmp_path, columns=100).stdout
        assert "--help" in shown
        assert "bool" not in shown


def test_help_can_be_shown_in_any_encoding(tmp_path: Path) -> None:
    for name, command in COMMANDS.items():
        texts = [command.help, *(each.help for each in command.params)]
        assert all(map(str.isascii, filter(None, texts))), name
        assert all((each.metavar or "").isascii() for each in command.params), name
    done = flopaudit("install", "-h", cwd=tmp_path, variables={"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "TOOL==VERSION" in done.stdout


def test_choices_are_those_that_the_program_knows() -> None:
    assert {each.value for each in Preset} == set(PRESETS)
    assert [each.value for each in Grouping] == list(GROUPS)
    assert [each.value for each in Source] == ["torchvision", *LIBRARIES, PROBE]


@pytest.mark.parametrize(("pattern", "last"), [("vit_b_16", "1 model"), ("vit_b_", "2 models")])
def test_models_are_numbered(pattern: str, last: str, tmp_path: Path) -> None:
    assert flopaudit("models", pattern, cwd=tmp_path).stdout.splitlines()[-1] == last


def test_models_and_tools_import_no_torch(tmp_path: Path) -> None:
    imported = modules_imported_by(["models"], ["tools"], cwd=tmp_path)
    assert not {"torch", "torchvision"} & imported


@pytest.mark.parametrize("columns", [80, 160])
def test_tables_fit_the_terminal(columns: int, tmp_path: Path) -> None:
    for args in (["models"], ["tools"], ["count", "resnet18", "--by", "module"]):
        done = flopaudit(*args, cwd=tmp_path, columns=columns)
        assert done.returncode == 0, done.stderr
        assert max(map(len, done.stdout.splitlines())) <= columns, args
