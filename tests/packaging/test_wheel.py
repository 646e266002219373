"""The wheel: what it holds, and that it works in an environment of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests.support.paths import ROOT

PROFILES = sorted(path.name for path in (ROOT / "results" / "profiles").glob("*.json"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(home)]
    copy = home / "source"
    copy.mkdir()
    for name in ("harness", "adapters", "results", "pyproject.toml", "README.md", "LICENSE"):
        (copy / name).symlink_to(ROOT / name)
    subprocess.run([*build, str(copy)], check=True, capture_output=True)
    (found,) = home.glob("*.whl")
    return found


@pytest.mark.slow
def test_wheel_has_the_two_packages_and_no_more(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {
        "flopaudit",
        "flopaudit_adapters",
    }
    assert {"flopaudit/py.typed", "flopaudit_adapters/py.typed"} <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)


@pytest.mark.slow
def test_wheel_has_the_profiles_and_the_settlements(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    published = sorted(name for name in names if name.startswith("flopaudit/published/"))
    assert PROFILES
    assert published == sorted(
        [
            "flopaudit/published/__init__.py",
            "flopaudit/published/quick/settlements.jsonl",
            "flopaudit/published/torchvision/settlements.jsonl",
            *(f"flopaudit/published/profiles/{name}" for name in PROFILES),
        ]
    )


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel and another project's package named `adapters`.

    What the wheel depends on is taken from this environment, by a line in a .pth file: torch alone
    would take minutes and gigabytes. This project's own sources are not reached through that line.
    """
    home = tmp_path_factory.mktemp("elsewhere")
    venv.create(home / "venv", with_pip=True)
    python = home / "venv" / "bin" / "python"
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = home / "venv" / "lib" / version / "site-packages"
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, "--force-reinstall", "--no-deps", str(wheel)], check=True)
    subprocess.run([*install, "adapters==1.3.0"], check=True)  # newer ones may need another torch
    return home


@pytest.mark.slow
@pytest.mark.skipif("FLOPAUDIT_TEST_INDEX" not in os.environ, reason="needs a package index")
def test_wheel_works_beside_the_adapters_package(environment: Path) -> None:
    code = (
        "import importlib, flopaudit, flopaudit_adapters\n"
        "adapters = importlib.import_module('adapters')\n"
        "print(adapters.AdapterConfig, adapters.__file__, flopaudit.__file__, sep='\\n')"
    )
    done = _run(environment, "python", "-c", code)
    named, *files = done.splitlines()
    assert named == "<class 'adapters.configuration.adapter_config.AdapterConfig'>"
    assert all(Path(file).is_relative_to(environment / "venv") for file in files)


@pytest.mark.slow
@pytest.mark.skipif("FLOPAUDIT_TEST_INDEX" not in os.environ, reason="needs a package index")
def test_wheel_answers_from_what_it_carries(environment: Path) -> None:
    answer = _run(environment, "flopaudit", "settle", "resnet18")
    assert "1,814,073,344" in answer
    assert "From the quick results that flopaudit ships" in answer
    thop = _run(environment, "flopaudit", "matrix", "conv/conv2d_bias", "--json")
    assert "thop" in thop


def _run(environment: Path, program: str, *args: str) -> str:
    """Return the output of a program of the environment in an empty directory."""
    outside = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    (environment / "empty").mkdir(exist_ok=True)
    done = subprocess.run(
        [environment / "venv" / "bin" / program, *args],
        cwd=environment / "empty", env=outside, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout
