"""The wheel holds what it should, and the folder of the harness comes first for a worker."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from harness.scheduler import worker_environment

ROOT = Path(__file__).resolve().parents[1]


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
    assert {name for name in top if not name.endswith((".dist-info", ".data"))} == {
        "harness",
        "adapters",
    }
    assert "harness/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)


@pytest.mark.slow
def test_wheel_has_the_profiles_and_nothing_else_beside_the_packages(wheel: Path) -> None:
    data = [name for name in zipfile.ZipFile(wheel).namelist() if ".data/" in name]
    assert PROFILES
    assert sorted(data) == [
        f"{data[0].split('/')[0]}/data/share/flopaudit/profiles/{name}" for name in PROFILES
    ]


@pytest.mark.slow
def test_what_is_installed_finds_its_profiles_from_any_directory(
    wheel: Path, tmp_path: Path
) -> None:
    target, elsewhere = tmp_path / "target", tmp_path / "elsewhere"
    elsewhere.mkdir()
    offline = ["--no-deps", "--no-index", "--disable-pip-version-check"]
    install = [sys.executable, "-m", "pip", "install", *offline, "--target", str(target)]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True)
    code = (
        "from harness import profiles\n"
        "for each in profiles.everywhere(): print(profiles.file_name(each.key))\n"
        "print(profiles.__file__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=elsewhere, env={**os.environ, "PYTHONPATH": str(target)},
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    *found, module = done.stdout.split()
    assert Path(module).is_relative_to(target)
    assert found == PROFILES


def test_it_cannot_be_uploaded() -> None:
    classifiers = metadata.metadata("flopaudit").get_all("Classifier") or []
    assert "Private :: Do Not Upload" in classifiers


def test_worker_finds_this_harness_first() -> None:
    import harness

    first = worker_environment()["PYTHONPATH"].split(":")[0]
    assert harness.__file__ is not None
    assert Path(first) == Path(harness.__file__).resolve().parents[1]
