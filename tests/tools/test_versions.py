"""Several versions of a tool side by side: fakes in folders, installs, and two real old ones."""

from __future__ import annotations

import json
import os
import textwrap
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from flopaudit.core.errors import UsageError
from flopaudit.core.specs import ModelSpec
from flopaudit.isolation.jobs import Cell, Job, Limits
from flopaudit.isolation.outcomes import Counted, Outcome
from flopaudit.isolation.scheduler import Scheduler
from flopaudit.pipeline.measure import MEASUREMENTS, RunOptions, cell_of
from flopaudit.pipeline.model_requests import model_request
from flopaudit.pipeline.results import FINDINGS, Results, measurements_in
from flopaudit.pipeline.run import run_all
from flopaudit.profiles import repository
from flopaudit.records import store
from flopaudit.records.environment import environment
from flopaudit.records.schema import (
    Finding,
    Measurement,
    Record,
    Reference,
    SideEffect,
    Status,
    TraceRecord,
)
from flopaudit.reports import tables
from flopaudit.tools import versions
from flopaudit.tools.registry import ToolVariant, tool_variants

from tests.support.paths import FAKES, ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

SMALL = model_request(f"{FAKES}:small", ["1x8"])
LIMITS = Limits(timeout_seconds=120, memory_bytes=4 << 30)
KINDS: dict[str, type[Record]] = {
    "audit": SideEffect,
    "findings": Finding,
    "measurements": Measurement,
    "references": Reference,
    "traces": TraceRecord,
}
LOCAL = {"latest", "models", "settled"}
"""Results that are not committed."""

ADAPTER = """
    from flopaudit_adapters.contract import Tool, ToolResult

    def measure(loaded, variant):
        import fake_counter
        return ToolResult({"where": fake_counter.__file__}, fake_counter.COUNT)

    TOOL = Tool("fake", "Fake.Counter", "fake_counter", "MAC", measure, "", "https://example.org")
"""


def package(folder: Path, count: int, version: str | None = None) -> Path:
    """A folder as pip leaves it, with a version of a tool that reports this count always."""
    (folder / "fake_counter").mkdir(parents=True)
    (folder / "fake_counter" / "__init__.py").write_text(f"COUNT = {count}\n")
    return folder if version is None else metadata(folder, version)


def metadata(folder: Path, version: str) -> Path:
    info = folder / "fake_counter.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text(f"Name: Fake.Counter\nVersion: {version}\n")
    versions.version.cache_clear()
    return folder


def wheel(folder: Path, version: str, name: str = "fake_counter") -> None:
    """A wheel of the fake tool, or of a package that is installed with it."""
    info, named = f"{name}-{version}.dist-info", name.title().replace("_", ".")
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as file:
        file.writestr(f"{name}/__init__.py", "COUNT = 1\n")
        file.writestr(f"{info}/METADATA", f"Name: {named}\nVersion: {version}\n")
        file.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr(f"{info}/RECORD", "")


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of kept versions, for one test."""
    monkeypatch.setenv(versions.VARIABLE, str(tmp_path / "kept"))
    versions.version.cache_clear()
    yield tmp_path / "kept"
    versions.version.cache_clear()


@pytest.mark.parametrize("system", ["linux", "macos"])
def test_folder_of_kept_versions_follows_the_system_and_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str
) -> None:
    from platformdirs import macos, unix

    folders = {"linux": unix.Unix, "macos": macos.MacOS}[system]
    expected = {"linux": ".cache", "macos": "Library/Caches"}[system]
    monkeypatch.setattr("platformdirs.PlatformDirs", folders)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv(versions.VARIABLE)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert versions.home() == tmp_path / expected / "flopaudit" / "tools"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert versions.home() == tmp_path / "xdg" / "flopaudit" / "tools"
    monkeypatch.setenv(versions.VARIABLE, str(tmp_path / "own"))
    assert versions.home() == tmp_path / "own"


@pytest.fixture
def tool(tmp_path: Path) -> str:
    """The fake tool, as it is named."""
    path = tmp_path / "adapter.py"
    path.write_text(textwrap.dedent(ADAPTER))
    return f"{path}:TOOL"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install version 3 of the package, for this process and for workers."""
    folder = package(tmp_path / "environment", 3, "3.0")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
    versions.version.cache_clear()
    return folder


def run(out: Path, *tools: str) -> Results:
    """Run versions on a small model, and return their results."""
    variants = tool_variants(",".join(tools))
    return run_all([SMALL], variants, out, RunOptions(2, LIMITS)).only([SMALL], variants)


def reported(results: Results) -> dict[str | None, int | None]:
    return {m.tool_version: m.reported for m in results.measurements}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("thop", ("thop", None, None)),
        ("thop@folder", ("thop", None, "folder")),
        ("ptflops:aten@a/b", ("ptflops:aten", None, "a/b")),
        ("ptflops:aten==0.7", ("ptflops:aten", "0.7", None)),
        ("ptflops==0.7:aten", ("ptflops:aten", "0.7", None)),
        ("thop==0.1.0.post2206102148", ("thop", "0.1.0.post2206102148", None)),
        ("ptflops:aten==0.6.9", ("ptflops:aten", "0.6.9", None)),
        ("me@home/file.py:TOOL", ("me@home/file.py:TOOL", None, None)),
        ("me@home/file.py:TOOL@folder", ("me@home/file.py:TOOL", None, "folder")),
        ("a==b/file.py:TOOL==1", ("a==b/file.py:TOOL", "1", None)),
        ("thop@", ("thop", None, "")),
    ],
)
def test_names(text: str, named: tuple[str, str | None, str | None]) -> None:
    assert versions.parse(text) == versions.Named(*named)


@pytest.mark.parametrize(
    ("text", "message", "remedy"),
    [
        ("thop==0.0.1", "There is no thop 0.0.1 here", "flopaudit install thop==0.0.1"),
        ("ptflops:aten==0.1", "There is no ptflops 0.1 here", "flopaudit install ptflops==0.1"),
        ("thop@nowhere", "There is no folder 'nowhere'", "pip install --no-deps --target"),
        ("thop@", "There is no folder ''", "pip install"),
        ("thop==", "There is no thop  here", "flopaudit install"),
        ("flop_counter@.", "of torch", "Run flopaudit where"),
        ("thopp@.", "no tool 'thopp'", "flopaudit tools"),
    ],
)
def test_version_that_cannot_be_had(text: str, message: str, remedy: str) -> None:
    with pytest.raises(UsageError) as caught:
        tool_variants(text)
    assert message in caught.value.message
    assert remedy in caught.value.remedy


def test_installed_version_is_taken_however_it_is_spelled() -> None:
    (plain,) = tool_variants("thop")
    assert tool_variants(f"thop,thop=={plain.version},thop==0.1.1.post2209072238") == [plain]


def test_two_places_of_one_version_are_refused(tmp_path: Path, tool: str) -> None:
    for name in ("one", "two"):
        package(tmp_path / name, 1, "1.0")
        package(tmp_path / f"bare_{name}", 1)
    for prefix, words in (("", "fake 1.0"), ("bare_", "of unknown version")):
        with pytest.raises(UsageError, match=f"{words} is named with two places"):
            tool_variants(",".join(f"{tool}@{tmp_path}/{prefix}{name}" for name in ("one", "two")))


@pytest.mark.slow
def test_versions_side_by_side(tmp_path: Path, tool: str, installed: Path, kept: Path) -> None:
    """One installed, one kept, one in a folder, one without metadata, one that is not there."""
    package(kept / "fake-counter-1.0", 1, "1.0")
    package(tmp_path / "two", 2, "2.0")
    bare = package(tmp_path / "bare", 4)
    empty = metadata(tmp_path / "empty", "5.0")
    names = (f"{tool}==1", tool, f"{tool}@{tmp_path / 'two'}", f"{tool}@{bare}", f"{tool}@{empty}")
    out = tmp_path / "out"
    results = run(out, *names)
    assert reported(results) == {"1.0": 1, "2.0": 2, "3.0": 3, None: 4, "5.0": None}
    (missing,) = (m for m in results.measurements if m.tool_version == "5.0")
    assert missing.status is Status.UNAVAILABLE
    assert missing.error == (
        "cannot import fake_counter: ImportError: the folder given for it does not hold it"
    )
    assert {m.environment.tool for m in results.measurements} == set(reported(results))
    header = (out / "table.md").read_text().splitlines()[4]
    assert [cell.strip() for cell in header.split("|")[4:-1]] == [
        "fake unknown", "fake 1.0", "fake 2.0", "fake 3.0", "fake 5.0",
    ]  # fmt: skip
    assert {f.tool_version for f in results.findings} == {"1.0", "2.0", "3.0", None}
    texts = {path: path.read_text() for path in out.iterdir()}
    for folder in (kept, tmp_path / "two", bare, empty):
        assert not [path for path, text in texts.items() if str(folder) in text], folder
    # What was not available is tried again; nothing else is.
    assert dict(run(out, *names).reuse.measured) == {"not available before": 1}
    results = run(out, *names[:-1])
    files = {path: path.read_text() for path in out.iterdir()}
    assert dict(results.reuse.measured) == {}
    assert run(out, *names[:-1]) == results
    assert {path: path.read_text() for path in out.iterdir()} == files
    assert reported(run(out, names[0])) == {"1.0": 1}
    assert installed.is_dir()


@pytest.mark.slow
def test_new_version_in_the_environment_is_measured_beside_the_old(
    tmp_path: Path, tool: str, installed: Path
) -> None:
    out = tmp_path / "out"
    assert reported(run(out, tool)) == {"3.0": 3}
    assert "| fake " in (out / "table.md").read_text()
    metadata(installed, "3.1")
    (installed / "fake_counter" / "__init__.py").write_text("COUNT = 31\n")
    assert reported(run(out, tool)) == {"3.1": 31}
    stored = measurements_in(out / MEASUREMENTS)
    assert [(m.tool_version, m.reported) for m in stored] == [("3.0", 3), ("3.1", 31)]
    table = (out / "table.md").read_text()
    assert "| fake 3.0 " in table
    assert "| fake 3.1 " in table


@pytest.mark.slow
def test_version_that_is_preloaded(tmp_path: Path, tool: str, installed: Path) -> None:
    folder = package(tmp_path / "two", 2, "2.0")
    (variant,) = tool_variants(f"{tool}@{folder}")
    (other,) = tool_variants(tool)
    with Scheduler(1, LIMITS, preload=("fake_counter",), site=cell_of(variant).site) as scheduler:
        assert counted(outcome(scheduler, variant)).reported == 2
        with pytest.raises(ValueError, match="runs no other"):
            outcome(scheduler, other)
    with Scheduler(1, LIMITS, preload=("fake_counter",)) as scheduler:
        assert counted(outcome(scheduler, other)).reported == 3
    # Imported before another version is requested, as by a model that uses it.
    model = installed / "model.py"
    model.write_text("import fake_counter\nfrom torch.nn import ReLU\n")
    with Scheduler(1, LIMITS) as scheduler:
        failed = outcome(scheduler, variant, ModelSpec("file", str(model), "ReLU"))
    assert failed.status == "unavailable"
    assert "another version of it has already been imported" in (failed.error or "")


def outcome(scheduler: Scheduler, variant: ToolVariant, model: ModelSpec = SMALL.spec) -> Outcome:
    """Run one cell."""
    events = scheduler.run([Job(model, ("1x8",), (cell_of(variant),))])
    (found,) = (event.outcome for event in events if event.outcome)
    return found


def counted(outcome: Outcome) -> Counted:
    """Return the result of a cell that has counted."""
    assert isinstance(outcome.result, Counted), outcome
    return outcome.result


@pytest.mark.slow
def test_models_of_a_preloaded_module_share_a_host_and_no_cell() -> None:
    cell = Cell(f"{FAKES}:TELLS_ITS_PARENT", None)
    home = "flopaudit.probes.structure.custom_modules"
    probes = [ModelSpec("module", home, name) for name in ("Imported", "LeafDict")]
    own = [ModelSpec("file", str(FAKES), "small")] * 2
    with Scheduler(1, LIMITS, preload=(home,)) as scheduler:
        jobs = [Job(model, ("1x8",), (cell, cell)) for model in (*probes, *own)]
        events = [event for event in scheduler.run(jobs) if event.cell and event.outcome]
    outcomes = [event.outcome for event in events if event.outcome]
    hosts = [counted(each).raw["parent"] for each in outcomes]
    assert [event.job for event in events] == [job for job in jobs for _ in job.cells]
    assert len(set(hosts[:4])) == 1
    assert len(set(hosts)) == 3
    with Scheduler(1, LIMITS) as scheduler:
        events = [event for event in scheduler.run(jobs[:2]) if event.outcome]
    assert len({counted(event.outcome).raw["parent"] for event in events if event.outcome}) == 2


def test_install(tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch, tool: str) -> None:
    wheel(tmp_path, "1.0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    folder = kept / "fake-counter-1.0"
    there = versions.Kept("fake-counter", "1.0", folder)
    assert versions.install("fake_counter==1.0") == (there, True)
    assert versions.install("Fake.Counter==1") == (there, False)
    assert versions.kept() == [there]
    assert tool_variants(f"{tool}==1")[0].site == folder
    with pytest.raises(versions.PipError, match="No matching distribution"):
        versions.install("fake_counter==2")
    assert list(kept.iterdir()) == [folder]
    wheel(tmp_path, "1.0", "companion")
    assert versions.install("Fake.Counter==1", ["companion"]) == (there, True)
    assert versions.install("Fake.Counter==1", ["companion"]) == (there, False)
    assert {path.name for path in folder.iterdir()} >= {"fake_counter", "companion"}
    assert list(kept.iterdir()) == [folder]


@pytest.mark.parametrize("text", ["thop", "thop>=1", "--upgrade", "../thop==1", "thop==../x", ""])
def test_what_cannot_be_installed(text: str, kept: Path) -> None:
    with pytest.raises(UsageError, match="is not a version to install"):
        versions.install(text)
    with pytest.raises(UsageError, match="is not a version to install"):
        versions.install("thop==1", ["onnx", text or "-e"]) if text != "thop" else (
            versions.install("thop")
        )
    assert not kept.exists()


@pytest.mark.parametrize(
    "text",
    [
        "companion-1.0-py3-none-any.whl", "./companion-1.0-py3-none-any.whl", "companion.zip",
        "companion @ file:companion-1.0-py3-none-any.whl", "file:companion", ".", "./companion",
        "companion>=1", "companion==1.*", "companion==1.0; python_version>'3'", "companion[more]",
        "-rrequirements.txt", "--index-url=x", "companion==1.0\n--pre", "companion==one",
    ],
)  # fmt: skip
def test_only_released_versions_are_installed_by_name(
    text: str, tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    wheel(tmp_path, "1.0")
    wheel(tmp_path, "1.0", "companion")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    for requirement, added in (("fake_counter==1.0", [text]), (text, [])):
        with pytest.raises(UsageError, match="is not a version to install") as caught:
            versions.install(requirement, added)
        assert "thop==0.1.1" in caught.value.remedy
    assert not kept.exists()


def test_pip_neither_imports_nor_installs_what_is_in_the_current_directory(
    tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, index = tmp_path / "here", tmp_path / "index"
    index.mkdir()
    wheel(index, "1.0")
    wheel(index, "2.0")
    for name in ("pip", "setuptools", "companion", "fake_counter", "sitecustomize", "json"):
        (here / name).mkdir(parents=True)
        for file in ("__init__.py", "__main__.py", "setup.py"):
            (here / name / file).write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\n")
    wheel(here, "3.0")
    wheel(here, "1.0", "companion")
    (here / "requirements.txt").write_text("./companion\n")
    monkeypatch.chdir(here)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((".", "", os.environ.get("PYTHONPATH", ""))))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_REQUIREMENT", "requirements.txt")
    monkeypatch.setenv("PIP_FIND_LINKS", ".")
    with pytest.raises(versions.PipError, match="No matching distribution"):
        versions.install("fake_counter==3.0")
    monkeypatch.delenv("PIP_FIND_LINKS")
    (here / "pip.conf").write_text(f"[global]\nfind-links = {index}\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", "pip.conf")  # the user's configuration applies
    assert versions.install("fake_counter==1.0")[1]
    with pytest.raises(versions.PipError, match="No matching distribution"):
        versions.install("fake_counter==2.0", ["companion"])
    (here / "pip.conf").write_text(
        f"[global]\nfind-links = {index}\n[install]\nrequirement = {here / 'more.txt'}\n"
    )
    (here / "more.txt").write_text(f"{here / 'companion-1.0-py3-none-any.whl'}\n")
    with pytest.raises(versions.PipError, match="pip installed Companion, which is no release"):
        versions.install("fake_counter==2.0")
    assert [each.name for each in kept.iterdir()] == ["fake-counter-1.0"]
    assert not (tmp_path / "executed").exists()


def test_kept_version_is_spelled_as_it_was_asked_for(
    tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch, tool: str
) -> None:
    """The distribution may spell it otherwise, as ptflops 0.7; one version is never kept twice."""
    wheel(tmp_path, "0.7")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    there = versions.Kept("fake-counter", "0.7.0", kept / "fake-counter-0.7.0")
    assert versions.install("fake_counter==0.7.0") == (there, True)
    assert versions.install("fake_counter==0.7") == (there, False)
    assert versions.kept() == [there]
    for asked in ("0.7.0", "0.7", "0.7.0.0"):
        (variant,) = tool_variants(f"{tool}=={asked}")
        assert (variant.version, variant.site) == ("0.7.0", there.folder)
    assert environment("Fake.Counter", there.folder).tool == "0.7.0"
    (tmp_path / "fake-0.7.json").write_text((ROOT / PROFILE).read_text())
    profile = repository.find(("fake", "0.7.0", ""), [tmp_path])
    assert profile is not None
    assert repository.find(("fake", "0.7.1", ""), [tmp_path]) is None
    assert str(there) == "fake-counter==0.7.0"


PROFILE = Path("results") / "profiles" / "torchstat-0.0.7.json"


def committed() -> list[Path]:
    found = sorted((ROOT / "results").glob("*/*.jsonl"))
    return [path for path in found if path.parent.name not in LOCAL and path.stem in KINDS]


@pytest.mark.parametrize("path", committed(), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_committed_records_load(path: Path) -> None:
    records = store.read(path, KINDS[path.stem])
    assert len(records) == len(path.read_text().splitlines()) > 10


def test_findings_from_before_versions_have_none(tmp_path: Path) -> None:
    old = {
        "schema_version": 1, "tool": "thop", "variant": None, "model": "m", "inputs": ["1x8"],
        "quantity": "macs", "cause": "unexplained", "amount": 0, "evidence": "",
    }  # fmt: skip
    (tmp_path / FINDINGS).write_text(json.dumps(old) + "\n")
    (found,) = store.read(tmp_path / FINDINGS, Finding)
    assert isinstance(found, Finding)
    assert found.tool_key == ("thop", "", "")


OLD = {
    "thop==0.1.0.post2206102148": ["onnx", "protobuf", "ml_dtypes"],
    "ptflops==0.6.9": [],
}
"""Each with what it imports and does not bring."""


@pytest.mark.slow
def test_real_old_versions(tmp_path: Path) -> None:
    try:
        for requirement, added in OLD.items():
            versions.install(requirement, added)
    except versions.PipError as error:
        if os.environ.get("FLOPAUDIT_TEST_INDEX"):  # where there is one, as continuous integration
            raise
        pytest.skip(f"no package index: {str(error).splitlines()[-1]}")
    request = model_request("resnet18")
    variants = tool_variants(",".join(("thop", "ptflops", *OLD)))
    results = run_all([request], variants, tmp_path / "out", RunOptions(2, LIMITS))
    names = tables.variant_names(results.measurements)
    found = {names[m.tool_key]: (m.status, m.reported) for m in results.measurements}
    thop, ptflops = (
        next(each for each in variants if each.tool.name == n) for n in ("thop", "ptflops")
    )
    # 20 batch norms of 2,483,712 elements, ReLUs of 2,308,096, pools that take 802,816 and 25,088.
    macs, bias, norm, rest = 1_814_073_344, 1_000, 2_483_712, 2_308_096 + 802_816 + 25_088
    assert found == {
        "thop 0.1.0.post2206102148": (Status.COUNTED, macs + 4 * norm + 25_600),
        f"thop {versions.canonical(thop.version)}": (Status.COUNTED, macs + 4 * norm + 25_600),
        "ptflops 0.6.9 aten": (Status.UNSUPPORTED, None),
        "ptflops 0.6.9 pytorch": (Status.COUNTED, macs + bias + 2 * norm + rest),
        f"ptflops {ptflops.version} aten": (Status.COUNTED, macs + bias),
        f"ptflops {ptflops.version} pytorch": (Status.COUNTED, macs + bias + 2 * norm + 2 * rest),
    }
    assert all(not f.amount for f in results.findings if f.cause == "unexplained")
    rows = {names[m.tool_key]: len(m.modules) for m in results.measurements if m.reported}
    assert min(rows.values()) > 5
