"""Shadowing: files of the current directory, or beside a model, take the place of no module."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from importlib import metadata
from pathlib import Path

import pytest

from tests.support.command_line import Done, flopaudit
from tests.support.paths import ROOT

MODULES = (
    "thop", "ptflops", "torch", "torchvision", "timm", "numpy", "pandas", "json", "typing", "copy",
    "adapters", "flopaudit_adapters", "pip", "setuptools", "psutil", "linecache", "runpy", "random",
    "sitecustomize", "usercustomize",
)  # fmt: skip
PACKAGES = ("fvcore", "torchstat", "packaging", "rich", "pydantic", "logging")

MODEL = """
    import json, random, torch
    from torch import nn
    from helper import WIDTH

    def make():
        assert json.dumps([]) == "[]"
        return nn.Sequential(nn.Linear(8, WIDTH, bias=False))
"""

OURS = 8 * 32
"""Products of the model, which every tool counts alike."""


def hostile(folder: Path) -> Path:
    """Fill a folder with modules that note that they were executed, and return the note."""
    folder.mkdir(parents=True, exist_ok=True)
    note = folder.parent / f"executed_in_{folder.name}"
    code = f"open({str(note)!r}, 'a').write(__file__ + '\\n')\nprofile = lambda *_, **__: (7, 7)\n"
    for name in MODULES:
        (folder / f"{name}.py").write_text(code)
    for name in PACKAGES:
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(code)
    info = folder / "thop-9.9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: thop\nVersion: 9.9\n")
    return note


def model(folder: Path) -> Path:
    """Write a model that imports what lies next to it."""
    (folder / "helper.py").write_text("WIDTH = 32\n")
    path = folder / "net.py"
    path.write_text(textwrap.dedent(MODEL))
    return path


def path_with(*entries: str) -> dict[str, str]:
    """Return PYTHONPATH with entries before those of the tests."""
    return {"PYTHONPATH": os.pathsep.join((*entries, os.environ.get("PYTHONPATH", "")))}


def counts(done: Done) -> dict[str, tuple[str | None, int | None]]:
    """Return each tool's version and number."""
    assert done.returncode in {0, 1}, done.stderr
    listed = json.loads(done.stdout)["measurements"]
    return {each["tool"]: (each["tool_version"], each["reported"]) for each in listed}


TOOLS = "thop,fvcore,ptflops:pytorch,torchstat,flop_counter"


def run(where: Path, spec: object, *, tools: str = TOOLS, path: dict[str, str]) -> Done:
    arguments = ("run", "--models", str(spec), "--input", "1x8", "--tools", tools, "--json")
    return flopaudit(*arguments, "--out", str(where.parent / "out"), cwd=where, variables=path)


IMPORTED_BY_PYTHON = (
    "sitecustomize", "usercustomize", "typing", "copy", "linecache", "runpy", "random",
)  # fmt: skip
"""What Python itself may import from a relative PYTHONPATH, before a program begins."""


@pytest.mark.parametrize(
    ("spec", "entries"), [("net.py:make", ()), ("net:make", (".", ""))], ids=["cwd", "relative"]
)
def test_nothing_in_the_current_directory_is_taken_for_a_module(
    tmp_path: Path, spec: str, entries: tuple[str, ...]
) -> None:
    where = tmp_path / "here"
    note = hostile(where)
    for name in IMPORTED_BY_PYTHON if entries else ():
        (where / f"{name}.py").unlink()
    model(where)
    found = counts(run(where, spec, path=path_with(*entries)))
    assert not note.exists(), note.read_text()
    assert {tool: version for tool, (version, _) in found.items()} == {
        tool: metadata.version("torch" if tool == "flop_counter" else tool) for tool in found
    }
    assert found["thop"][1] == found["fvcore"][1] == OURS
    assert found["flop_counter"][1] == 2 * OURS


def test_nothing_beside_a_model_is_taken_for_a_module(tmp_path: Path) -> None:
    """Not even if the model puts its folder first on the search path, as many do."""
    beside, where = tmp_path / "beside", tmp_path / "here"
    note = hostile(beside)
    where.mkdir()
    path = model(beside)
    first = "import sys; sys.path.insert(0, __file__.rpartition('/')[0])\n"
    path.write_text(first + path.read_text())
    found = counts(run(where, f"{path}:make", tools="thop,fvcore", path={}))
    assert not note.exists(), note.read_text()
    assert found["thop"] == (metadata.version("thop"), OURS)
    assert found["fvcore"][1] == OURS


def test_tool_from_another_place_than_its_distribution_is_refused(tmp_path: Path) -> None:
    """A folder on PYTHONPATH is meant, but a module without a distribution has no version."""
    overlay = tmp_path / "overlay"
    overlay.mkdir()
    (overlay / "thop.py").write_text("def profile(*_, **__): return 7, 7\n")
    done = run(tmp_path, f"{model(tmp_path)}:make", tools="thop,fvcore", path=path_with("overlay"))
    assert done.returncode == 1
    assert counts(done)["fvcore"][1] == OURS
    (failed,) = (each for each in json.loads(done.stdout)["measurements"] if each["error"])
    assert (failed["tool"], failed["status"], failed["reported"]) == ("thop", "unavailable", None)
    assert failed["error"].startswith(f"thop is imported from {overlay}/thop.py, which is not part")
    assert f"of thop {metadata.version('thop')} in " in failed["error"]


def test_overlay_that_pip_made_is_measured_as_its_own_version(tmp_path: Path) -> None:
    overlay = tmp_path / "overlay"
    (overlay / "thop").mkdir(parents=True)
    (overlay / "thop" / "__init__.py").write_text("def profile(*_, **__): return 7, 7\n")
    info = overlay / "thop-9.9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: thop\nVersion: 9.9\n")
    (info / "RECORD").write_text("thop/__init__.py,,\nthop-9.9.dist-info/RECORD,,\n")
    spec = f"{model(tmp_path)}:make"
    found = counts(run(tmp_path, spec, tools="thop", path=path_with(str(overlay))))
    assert found == {"thop": ("9.9", 7)}


def test_tool_that_the_model_brings_is_refused(tmp_path: Path) -> None:
    """A model that registers a module of its own under a tool's name, or is named like one."""
    path = tmp_path / "net.py"
    path.write_text(
        "import sys, types\n"
        "sys.modules['thop'] = types.ModuleType('thop')\n"
        "from torch.nn import ReLU as make\n"
    )
    done = run(tmp_path, f"{path}:make", tools="thop", path={})
    (failed,) = json.loads(done.stdout)["measurements"]
    assert failed["status"] == "unavailable"
    assert failed["error"].startswith("thop is imported from no file, which is not part of thop ")


def test_torch_from_another_place_is_refused(tmp_path: Path) -> None:
    overlay = tmp_path / "overlay"
    overlay.mkdir()
    (overlay / "torch.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\n")
    done = run(tmp_path, "resnet18", tools="thop", path=path_with(str(overlay)))
    assert done.returncode == 2
    assert f"torch is imported from {overlay}/torch.py, which is not part of torch" in done.stderr
    assert f"Take {overlay} off the module search path." in done.stderr
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("entries", [(), (".", "")], ids=["beside", "relative"])
def test_program_imports_nothing_from_the_folder_of_its_script(
    tmp_path: Path, entries: tuple[str, ...]
) -> None:
    where = tmp_path / "here"
    note = hostile(where)
    for name in IMPORTED_BY_PYTHON:
        (where / f"{name}.py").unlink()
    entry = re.search(
        r'^flopaudit = "(.*):(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE
    )
    assert entry
    script = where / "flopaudit"
    script.write_text(f"import sys\nfrom {entry[1]} import {entry[2]}\nsys.exit({entry[2]}())\n")
    done = subprocess.run(
        [sys.executable, str(script), "tools", "--json"],
        cwd=where, env={**os.environ, **path_with(*entries)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert not note.exists(), note.read_text()
    assert done.returncode == 0, done.stderr
    listed = {line["tool"]: line["version"] for line in json.loads(done.stdout)}
    assert listed["thop"] == metadata.version("thop")


CHILD = """
import os, sys
from flopaudit.core import search_path
search_path.leave_current_directory()
import subprocess
command = search_path.module_command("tells_its_path", "argument")
if "as-in-3.10" in sys.argv:
    command = [each for each in command if each != "-P"]
sys.exit(subprocess.run(command, env=search_path.child_environment()).returncode)
"""


@pytest.mark.parametrize("version", ["as-in-3.10", "as-it-is"])
def test_children_search_where_the_program_does_without_the_current_directory(
    tmp_path: Path, version: str
) -> None:
    here, other, sub = tmp_path / "here", tmp_path / "other", tmp_path / "here" / "sub"
    sub.mkdir(parents=True)
    other.mkdir()
    (other / "tells_its_path.py").write_text(
        "import json, os, sys\nprint(json.dumps([os.environ['PYTHONPATH'], sys.path, sys.argv]))\n"
    )
    for name in ("json", "runpy", "linecache", "subprocess"):
        (here / f"{name}.py").write_text("raise SystemExit('executed')\n")
    environment = path_with("", ".", "../here", "sub", str(other))
    done = subprocess.run(
        [sys.executable, "-c", CHILD, version],
        cwd=here, env={**os.environ, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    variable, path, arguments = json.loads(done.stdout)
    assert variable.split(os.pathsep)[:2] == path[:2] == [str(sub), str(other)]
    assert str(here) not in path
    assert all(path), "an empty entry is the current directory"
    assert arguments[1:] == ["argument"]


def test_current_directory_stays_where_pythonpath_has_it_as_an_absolute_path(
    tmp_path: Path,
) -> None:
    (tmp_path / "tells_its_path.py").write_text("import sys\nprint(sys.path[0])\n")
    done = subprocess.run(
        [sys.executable, "-c", CHILD, "as-it-is"],
        cwd=tmp_path, env={**os.environ, **path_with(str(tmp_path))},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == f"{tmp_path}\n", done.stderr
