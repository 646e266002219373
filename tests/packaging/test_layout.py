"""The layout of the sources: the size and names of folders, and what the contracts cover."""

from __future__ import annotations

import ast
import re
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from flopaudit_adapters import NAMES, find

from tests.support.paths import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found,unused-ignore] # 3.10 only

TESTED_ELSEWHERE = {
    "published": "the wheel in tests/packaging, what it answers in tests/pipeline",
}
"""Folders that have no folder of tests of their own, and where their tests are."""

PACKAGES = (ROOT / "harness" / "flopaudit", ROOT / "adapters" / "flopaudit_adapters")
FOLDERS = sorted(
    file.parent for package in PACKAGES for file in package.rglob("__init__.py")
)  # fmt: skip
MOST_MODULES = 15
ENDINGS = re.compile(r"(y|ies|s|es|ed|ing|er|d)$")


def modules(folder: Path) -> list[str]:
    return sorted(file.stem for file in folder.glob("*.py") if file.stem != "__init__")


def contracts() -> list[dict[str, Any]]:
    """Return the contracts that lint-imports checks."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    found: list[dict[str, Any]] = settings["tool"]["importlinter"]["contracts"]
    return found


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(ROOT)))
def test_folder_is_small_and_says_what_it_is_for(folder: Path) -> None:
    assert len(modules(folder)) <= MOST_MODULES
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
    assert text
    assert re.search(r"\bIn: .+ Out: ", text, re.DOTALL), "what comes in, and what goes out"


def test_no_two_modules_differ_by_an_ending() -> None:
    """`profile` and `profiles`, `claims` and `claimed` are one word to a reader.

    Modules of the command line are named after the commands.
    """
    folders = [folder for folder in FOLDERS if folder.name != "cli"]
    names = {name for folder in folders for name in modules(folder)}
    names |= {folder.name for folder in folders}
    alike = [
        (one, other)
        for one, other in combinations(sorted(names), 2)
        if ENDINGS.sub("", one) == ENDINGS.sub("", other) or ENDINGS.sub("", other) == one
    ]
    assert alike == []


def test_no_module_lies_in_a_source_root_under_a_name_of_the_standard_library() -> None:
    """Such a module would shadow the standard one wherever that root is on the path."""
    for package in PACKAGES:
        names = {path.stem for path in package.parent.iterdir() if not path.name.startswith("_")}
        assert names & sys.stdlib_module_names == set()


def test_every_folder_is_in_a_layer() -> None:
    (layers,) = (each for each in contracts() if each["type"] == "layers")
    assert layers["exhaustive"], "lint-imports fails for a folder in no layer"
    listed = {name.strip() for layer in layers["layers"] for name in layer.split("|")}
    folders = {path.parent.name for path in PACKAGES[0].glob("*/__init__.py")}
    assert listed == folders


def test_reference_and_traces_may_import_no_registered_tool() -> None:
    (contract,) = (
        each for each in contracts() if "flopaudit.reference" in each.get("source_modules", ())
    )
    packages = {find(name).package.partition(".")[0] for name in NAMES}
    allowed = {"torch"}  # it has a counter of its own, and is what the reference runs models with
    assert set(contract["forbidden_modules"]) == {"flopaudit_adapters"} | packages - allowed


def test_every_folder_has_its_tests() -> None:
    folders = {path.parent.name for path in PACKAGES[0].glob("*/__init__.py")}
    tested = {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}
    assert folders - tested == set(TESTED_ELSEWHERE)
    assert tested - folders == {"packaging", "docs"}
