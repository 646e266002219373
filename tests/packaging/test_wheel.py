"""The wheel: what it holds, and that it works in an environment of its own."""

from __future__ import annotations

import subprocess
import sys
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
