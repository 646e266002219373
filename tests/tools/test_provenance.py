"""Provenance: whether a module is of the distribution whose version is recorded."""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
from flopaudit.core.errors import UsageError
from flopaudit.tools import provenance
from flopaudit.tools.provenance import foreign, require_libraries


def module(name: str, file: Path | None, *folders: Path) -> ModuleType:
    """A module as it is after its import, from a file or, as a namespace, from folders."""
    made = ModuleType(name)
    made.__file__ = str(file) if file else None
    if folders:
        made.__path__ = [str(folder) for folder in folders]
    return made


def distribution(folder: Path, record: str | None, **texts: str) -> Path:
    """Write what pip notes of the distribution `a-tool` 1.0, and return its package's file."""
    info = folder / "a_tool-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Name: a-tool\nVersion: 1.0\n")
    for name, text in {**texts, **({"RECORD": record} if record is not None else {})}.items():
        (info / name.replace("__dot__", ".")).write_text(text)
    (folder / "tool").mkdir()
    file = folder / "tool" / "__init__.py"
    file.write_text("")
    return file


@pytest.mark.parametrize("record", ["tool/__init__.py,,\ntool/more.py,,\n", None, ""])
def test_module_is_of_its_distribution_by_its_files_or_else_by_its_place(
    tmp_path: Path, record: str | None
) -> None:
    site, other = tmp_path / "site", tmp_path / "other"
    file = distribution(site, record)
    assert foreign(module("tool", file), "a_tool", site) is None
    assert foreign(module("tool", None, file.parent), "a_tool", site) is None
    for place in (other / "tool.py", tmp_path / "tool" / "__init__.py"):
        assert foreign(module("tool", place), "a_tool", site) == (
            f"tool is imported from {place}, which is not part of a-tool 1.0 in {site}."
        )
    namespace = module("tool", None, file.parent, other / "tool")
    assert f"from {other / 'tool'}, which" in (foreign(namespace, "a_tool", site) or "")
    assert "from no file, which" in (foreign(module("tool", None), "a_tool", site) or "")
    assert foreign(module("tool", other / "tool.py"), "not-there", site) is None


def test_module_in_the_right_folder_that_no_distribution_lists_is_refused(tmp_path: Path) -> None:
    distribution(tmp_path, "tool/__init__.py,,\n")
    stray = tmp_path / "tool.py"
    stray.write_text("")
    assert f"from {stray}, which" in (foreign(module("tool", stray), "a-tool", tmp_path) or "")


def test_module_through_a_symbolic_link_is_of_its_distribution(tmp_path: Path) -> None:
    """Folders and files may be links, as installers make them that share a cache."""
    site, link = tmp_path / "site", tmp_path / "link"
    file = distribution(site, "tool/__init__.py,,\n")
    link.symlink_to(site)
    assert foreign(module("tool", link / "tool" / "__init__.py"), "a-tool", site) is None
    assert foreign(module("tool", file), "a-tool", link) is None
    cached = tmp_path / "cached.py"
    file.rename(cached)
    file.symlink_to(cached)
    assert foreign(module("tool", file), "a-tool", site) is None


def test_editable_installation_is_of_its_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, mapped, site = tmp_path / "my project", tmp_path / "mapped", tmp_path / "site"
    origin = {"url": project.as_uri(), "dir_info": {"editable": True}}
    record = "__editable__.tool.pth,,\n__editable___tool_finder.py,,\ntool.pth,,\n"
    distribution(site, record, direct_url__dot__json=json.dumps(origin))
    (site / "tool.pth").write_text(f"{tmp_path / 'by_path'}\n")
    (site / "__editable__.tool.pth").write_text("import __editable___tool_finder\n")
    finder = ModuleType("__editable___tool_finder")
    monkeypatch.setitem(vars(finder), "MAPPING", {"tool": str(mapped / "tool")})
    monkeypatch.setitem(sys.modules, finder.__name__, finder)
    for folder in (project / "src", mapped, tmp_path / "by_path"):
        assert foreign(module("tool", folder / "tool" / "__init__.py"), "a-tool", site) is None
    assert foreign(module("tool", tmp_path / "tool.py"), "a-tool", site)


def test_package_that_another_distribution_overwrote_is_refused(tmp_path: Path) -> None:
    """The files are where they should be, and yet of the other distribution."""

    def digest(text: str) -> str:
        found = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode()
        return f"tool/__init__.py,sha256={found.rstrip('=')},1\n"

    file = distribution(tmp_path, digest("COUNT = 1\n"))
    other = tmp_path / "other_tool-2.0.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Name: Other-Tool\nVersion: 2.0\n")
    (other / "RECORD").write_text(digest("COUNT = 2\n"))
    expected = {
        "COUNT = 1\n": None,
        "COUNT = 2\n": f"tool/__init__.py in {tmp_path} is that of other-tool, which overwrote "
        "a-tool 1.0.",
        "COUNT = 3\n": f"tool/__init__.py in {tmp_path} is no longer that of a-tool 1.0.",
    }
    for text, sentence in expected.items():
        file.write_text(text)
        assert foreign(module("tool", file), "a-tool", tmp_path) == sentence


def test_libraries_of_models_have_to_be_those_that_are_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_libraries()
    for name in provenance.LIBRARIES:
        with monkeypatch.context() as patch:
            patch.delitem(sys.modules, name, raising=False)
            (tmp_path / f"{name}.py").write_text("raise SystemExit\n")
            patch.syspath_prepend(str(tmp_path))
            with pytest.raises(UsageError, match=rf"{name} is imported from {tmp_path}/{name}.py"):
                require_libraries()
            (tmp_path / f"{name}.py").unlink()
