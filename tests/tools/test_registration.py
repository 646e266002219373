"""Registrations: each tool and each library of models is registered once, in one place."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import flopaudit
import flopaudit_adapters
import pytest
import typer
from flopaudit.cli.app import app
from flopaudit.cli.study import study
from flopaudit.core import specs
from flopaudit.tools.registry import tool_variants
from flopaudit_adapters import NAMES, find

ADAPTERS = Path(flopaudit_adapters.__file__).parent
PACKAGE = Path(flopaudit.__file__).parent
MODELS = PACKAGE / "models"


def command_names(commands: typer.Typer) -> list[str]:
    """Return the names of the commands that are registered, in order."""
    registered = (
        each.name or getattr(each.callback, "__name__", "") for each in commands.registered_commands
    )
    return [*registered, *(each.name or "" for each in commands.registered_groups)]


def repeated(names: list[str]) -> list[str]:
    """Return the names that stand in a list more than once; typer takes the last of them."""
    return [name for name, times in Counter(names).items() if times > 1]


def test_each_adapter_is_registered_once() -> None:
    modules = {path.stem for path in ADAPTERS.glob("*.py")} - {
        "__init__",
        "contract",
        "user_modules",
    }
    assert sorted(NAMES) == sorted(modules)
    assert [find(name).name for name in NAMES] == list(NAMES)


def test_adapter_with_the_tool_of_another_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from flopaudit_adapters import thop

    monkeypatch.setattr(thop, "TOOL", replace(thop.TOOL, name="fvcore"))
    with pytest.raises(ValueError, match="the adapter 'thop' has a tool that is named 'fvcore'"):
        find("thop")


def test_name_that_is_registered_twice_is_refused(tmp_path: Path) -> None:
    package = tmp_path / "flopaudit_adapters"
    package.mkdir()
    source = (ADAPTERS / "__init__.py").read_text()
    twice = source.replace('NAMES = ("thop",', 'NAMES = ("thop", "thop",')
    assert twice != source
    (package / "__init__.py").write_text(twice)
    for name in ("contract.py", "user_modules.py"):
        (package / name).write_text((ADAPTERS / name).read_text())
    done = subprocess.run(
        [sys.executable, "-c", "import flopaudit_adapters"],
        cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "ValueError: a tool is registered twice: thop, thop, torchstat" in done.stderr


def test_adapters_import_no_tool() -> None:
    packages = {find(name).package.partition(".")[0] for name in NAMES}
    code = (
        "import sys; from flopaudit_adapters import NAMES, find; list(map(find, NAMES)); "
        "print(' '.join(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )  # fmt: skip
    assert "flopaudit_adapters.thop" in done.stdout.split()
    assert not packages & set(done.stdout.split())


def test_tools_are_found_by_what_is_registered() -> None:
    found = tool_variants(",".join(NAMES))
    assert list(dict.fromkeys(each.name for each in found)) == list(NAMES)
    assert len({each.key for each in found}) == len(found)


@pytest.mark.parametrize(
    ("source", "member"),
    [
        ("core/causes.py", 'AGAIN = "bias", Category.OTHER_OPERATIONS, "the same name twice"'),
        ("reference/kinds.py", 'AGAIN = "pooling"'),
    ],
)
def test_two_causes_or_kinds_of_one_name_are_refused(source: str, member: str) -> None:
    text = (PACKAGE / source).read_text()
    lines = text.splitlines(keepends=True)
    place = next(number for number, line in enumerate(lines) if line.startswith("    UNKNOWN = "))
    twice = "".join([*lines[:place], f"    {member}\n", *lines[place:]])
    exec(compile(text, source, "exec"), {"__name__": "once"})  # noqa: S102 - our own source
    with pytest.raises(ValueError, match="duplicate values found in <enum"):
        exec(compile(twice, source, "exec"), {"__name__": "twice"})  # noqa: S102 - the same


@pytest.mark.parametrize("commands", [app, study], ids=["commands", "studies"])
def test_two_commands_or_studies_of_one_name_are_found(commands: typer.Typer) -> None:
    names = command_names(commands)
    assert repeated(names) == []
    made = typer.Typer()
    for name in (*names, names[-1]):
        made.command(name)(lambda: None)
    assert repeated(command_names(made)) == [names[-1]]


def test_each_library_is_registered_once() -> None:
    modules = {path.stem.removesuffix("_zoo") for path in MODELS.glob("*_zoo.py")}
    assert sorted(specs.LIBRARIES) == sorted(modules - {"torchvision"})
    sources = ("torchvision", "module", "file", specs.PROBE, *specs.LIBRARIES)
    assert len(set(sources)) == len(sources)


def test_package_has_a_public_face_that_imports_no_torch() -> None:
    code = (
        "import sys, flopaudit; assert 'torch' not in sys.modules; "
        "print(flopaudit.__all__, flopaudit.Ledger.__module__, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == (
        "['Ledger', 'SettledModel', 'UsageError', 'Work', 'count', 'register_formula', 'settle'] "
        "flopaudit.reference.ledger False\n"
    )
    with pytest.raises(AttributeError, match="has no attribute 'settles'"):
        _ = flopaudit.settles
