"""ARCHITECTURE.md and the glossary against the code that they describe."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from flopaudit.probes import PROBES

from tests.support.documents import CHINESE, ENGLISH, links, name_of, read, section
from tests.support.paths import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found,unused-ignore] # for Python 3.10 alone

ARCHITECTURE, GLOSSARY = ROOT / "ARCHITECTURE.md", ROOT / "docs" / "GLOSSARY.md"
STEPS, MOST_TERMS = 10, 40
SOURCES = (ROOT / "harness" / "flopaudit", ROOT / "adapters" / "flopaudit_adapters")


def test_the_trace_of_a_number_has_ten_lines_with_one_file_each() -> None:
    text = section(ARCHITECTURE, "How one number travels")
    lines = re.findall(r"^(\d+)\. (.+)$", text, re.MULTILINE)
    assert [int(number) for number, _ in lines] == list(range(1, STEPS + 1))
    files = [links(line) for _, line in lines]
    assert [len(named) for named in files] == [1] * STEPS
    assert all((ROOT / name).is_file() for (name,) in files)
    assert len({name for (name,) in files}) == STEPS


def test_the_table_of_folders_has_every_folder() -> None:
    named = set(re.findall(r"^\| `(\w+)/` \|", section(ARCHITECTURE, "Folders"), re.MULTILINE))
    package = SOURCES[0]
    assert named == {path.parent.name for path in package.glob("*/__init__.py")}


def test_the_picture_of_the_layers_is_the_contract() -> None:
    config: dict[str, Any] = tomllib.loads(read(ROOT / "pyproject.toml"))
    contracts = config["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    text = section(ARCHITECTURE, "Import contracts")
    (picture,) = re.findall(r"```text\n(.*?)```", text, re.DOTALL)
    assert picture.splitlines() == layers


def test_the_glossary_has_few_terms_and_each_once() -> None:
    terms = re.findall(r"^\| \*\*(.+?)\*\* \|", read(GLOSSARY), re.MULTILINE)
    assert 20 <= len(terms) <= MOST_TERMS
    assert len(set(terms)) == len(terms)


def test_every_name_in_the_glossary_is_defined_in_the_code() -> None:
    names = set(re.findall(r"`([A-Z]\w+)`", read(GLOSSARY))) - {"NAME"}
    code = "\n".join(read(path) for source in SOURCES for path in source.rglob("*.py"))
    assert len(names) > MOST_TERMS // 4
    defined = set(re.findall(r"^(?:class )?([A-Z]\w+)(?:\(| = |:)", code, re.MULTILINE))
    assert names <= defined


@pytest.mark.parametrize("page", [ENGLISH, CHINESE, ROOT / "docs" / "USAGE.md"], ids=name_of)
def test_the_number_of_probes_is_the_present_one(page: Path) -> None:
    """Counted with timm installed, because its layers have probes too."""
    found = re.findall(r"\b(\d+) (?:small|个小模型)", read(page))
    assert found == [str(len(PROBES))]
