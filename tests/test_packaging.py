"""The wheel holds what it should, and the folder of the harness comes first for a worker."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from harness.scheduler import worker_environment

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_wheel_has_the_two_packages_and_no_more(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path)]
    copy = tmp_path / "source"
    copy.mkdir()
    for name in ("harness", "adapters", "pyproject.toml", "README.md", "LICENSE"):
        (copy / name).symlink_to(ROOT / name)
    subprocess.run([*build, str(copy)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {"harness", "adapters"}
    assert "harness/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_it_cannot_be_uploaded() -> None:
    classifiers = metadata.metadata("flopaudit").get_all("Classifier") or []
    assert "Private :: Do Not Upload" in classifiers


def test_worker_finds_this_harness_first() -> None:
    import harness

    first = worker_environment()["PYTHONPATH"].split(":")[0]
    assert harness.__file__ is not None
    assert Path(first) == Path(harness.__file__).resolve().parents[1]
