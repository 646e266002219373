"""`flopaudit tools` and `flopaudit install`: installed and kept versions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from flopaudit_adapters import NAMES

from tests.support.command_line import flopaudit


def test_tools_are_named_as_promised(tmp_path: Path) -> None:
    listed = json.loads(flopaudit("tools", "--json", cwd=tmp_path).stdout)
    promised = {"thop", "torchstat", "fvcore", "ptflops", "flop_counter"}
    named = [line["tool"] for line in listed]
    assert named == list(NAMES)
    assert promised <= set(named)
    assert all(line["version"] for line in listed if line["tool"] in promised)


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_install_says_what_pip_says(
    options: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOPAUDIT_TOOLS", str(tmp_path / "kept"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    done = flopaudit("install", "thop==0.0.1", *options, cwd=tmp_path)
    assert done.returncode == 1
    assert "No matching distribution found for thop==0.0.1" in done.stderr
    assert done.stderr.endswith("flopaudit: pip could not install thop==0.0.1.\n")
    assert not done.stdout


def test_kept_versions_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "thop-0.1.0.post22"
    info = folder / "thop-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Name: thop\nVersion: 0.1.0-22\n")
    monkeypatch.setenv("FLOPAUDIT_TOOLS", str(tmp_path))
    listed = json.loads(flopaudit("tools", "--json", cwd=tmp_path).stdout)
    assert {line["tool"]: line["kept"] for line in listed if line["kept"]} == {
        "thop": ["0.1.0.post22"]
    }
    assert "thop==0.1.0.post22" in flopaudit("tools", cwd=tmp_path).stdout
    line = flopaudit("install", "--list", cwd=tmp_path).stdout
    assert line == f"thop==0.1.0.post22  {folder}\n"
    again = flopaudit("install", "thop==0.1.0.post22", cwd=tmp_path)
    assert again.stdout == f"thop==0.1.0.post22 is already in {folder}.\n"
    kept = {"tool": "thop", "version": "0.1.0.post22", "folder": str(folder)}
    listed = json.loads(flopaudit("install", "--list", "--json", cwd=tmp_path).stdout)
    assert listed == [kept]
    again = flopaudit("install", "thop==0.1.0.post22", "--json", cwd=tmp_path)
    assert json.loads(again.stdout) == [{**kept, "new": False}]


def test_kept_version_is_listed_as_it_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "ptflops-0.7.0"
    info = folder / "ptflops-0.7.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Name: ptflops\nVersion: 0.7\n")
    monkeypatch.setenv("FLOPAUDIT_TOOLS", str(tmp_path))
    line = flopaudit("install", "--list", cwd=tmp_path).stdout
    assert line == f"ptflops==0.7.0  {folder}\n"
    again = flopaudit("install", "ptflops==0.7.0", cwd=tmp_path)
    assert again.stdout == f"ptflops==0.7.0 is already in {folder}.\n"
    assert "ptflops==0.7.0" in flopaudit("tools", cwd=tmp_path).stdout


def test_package_that_is_a_file_of_the_current_directory_is_bad_usage(tmp_path: Path) -> None:
    name = "onnx-1.0-py3-none-any.whl"
    (tmp_path / name).write_text("")
    (tmp_path / "pip.py").write_text("open('executed', 'w')\n")
    done = flopaudit("install", "thop==0.1.1", "--with", name, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"'{name}' is not a version to install. Write a released one as thop==" in done.stderr
    assert not (tmp_path / "executed").exists()
