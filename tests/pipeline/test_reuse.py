"""Reuse of records: a stored count is of this model, this tool and these limits, or is not used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from flopaudit.core.checksum import State, add, check
from flopaudit.core.errors import UsageError
from flopaudit.isolation.jobs import Limits
from flopaudit.models import identity
from flopaudit.pipeline.measure import MEASUREMENTS, RunOptions
from flopaudit.pipeline.model_requests import model_request
from flopaudit.pipeline.results import REFERENCES, Results, measurements_in
from flopaudit.pipeline.run import run_all
from flopaudit.pipeline.settle_model import measured, stored
from flopaudit.records.schema import Status
from flopaudit.tools.registry import tool_variants
from flopaudit.tools.versions import version

from tests.support.command_line import flopaudit

NET = """
import json
from pathlib import Path

import torch
from sizes import WIDTH


class Net(torch.nn.Module):
    def __init__(self, repeats):
        super().__init__()
        self.layer = torch.nn.Linear(8, 8)
        self.repeats = repeats

    def forward(self, x):
        for _ in range(self.repeats * WIDTH):
            x = self.layer(x)
        return x


def net():
    return Net(json.loads(Path("net.json").read_text())["repeats"])


def other():
    return torch.nn.Linear(8, 3)
"""
TOOL = """
import time
from pathlib import Path

from flopaudit_adapters.contract import Tool, ToolResult


def measure(loaded, variant):
    time.sleep(float(Path("seconds").read_text()))
    return ToolResult({}, 64)


TOOL = Tool("sleeper", "none", "json", "MAC", measure, "", "")
"""
LIMITS = Limits(60, 8 << 30)


@dataclass(frozen=True)
class Project:
    """A user's folder with a model in a file, a module next to it, and a configuration."""

    path: Path

    def write(self, name: str, text: str) -> None:
        (self.path / name).write_text(text)

    def replace(self, name: str, old: str, new: str) -> None:
        text = (self.path / name).read_text()
        assert old in text
        self.write(name, text.replace(old, new))

    def run(
        self, *models: str, tools: str = "flop_counter", options: RunOptions | None = None
    ) -> Results:
        """Run tools on models of `net.py`."""
        requests = [model_request(f"net.py:{name}", ["1x8"]) for name in models or ("net",)]
        out = self.path / "out"
        return run_all(requests, tool_variants(tools), out, options or RunOptions(2, LIMITS))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.chdir(tmp_path)
    found = Project(tmp_path)
    found.write("net.py", NET)
    found.write("sizes.py", "WIDTH = 1\n")
    found.write("net.json", '{"repeats": 1}')
    found.write("tool.py", TOOL)
    return found


def macs(results: Results) -> list[int | None]:
    return [each.macs for each in results.references] + [each.macs for each in results.measurements]


@pytest.mark.slow
def test_a_model_is_recognised_by_what_it_is(project: Project) -> None:
    first = project.run()
    assert macs(first) == [64, 64]
    assert dict(first.reuse.measured) == {"not measured before": 3}

    same = project.run()
    assert macs(same) == [64, 64]
    assert (same.reuse.reused, dict(same.reuse.measured)) == (3, {})

    # Its own file, a file that it imports, and what its factory reads.
    for name, old, new, count, reason in (
        ("net.py", "Linear(8, 8)", "Linear(8, 8, bias=False)", 64, "net.py changed"),
        ("sizes.py", "1", "3", 192, "sizes.py changed"),
        ("net.json", "1", "2", 384, "the model has another structure"),
    ):
        project.replace(name, old, new)
        changed = project.run()
        assert macs(changed) == [count, count], name
        assert (changed.reuse.reused, dict(changed.reuse.measured)) == (0, {reason: 3})

    settlement, reuse = measured(
        model_request("net.py:net", ["1x8"]),
        tool_variants("flop_counter"),
        RunOptions(2, LIMITS),
        project.path / "out",
    )
    assert settlement["reference"]["macs"] == 384
    assert reuse.text() == "Reused 3 results, measured 0."


@pytest.mark.slow
def test_another_model_of_the_same_name_is_not_mixed_up(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same command in another folder, with the same directory of results."""
    project.run(tools="flop_counter,thop")
    other = Project(project.path / "other")
    other.path.mkdir()
    for name in ("net.json", "sizes.py", "net.py"):
        other.write(name, (project.path / name).read_text())
    other.replace("net.py", "Linear(8, 8)", "Linear(8, 8, bias=False)")
    (other.path / "out").symlink_to(project.path / "out")
    monkeypatch.chdir(other.path)
    results = other.run()
    assert dict(results.reuse.measured) == {"net.py changed": 3}
    # The count of thop is of the model in the first folder, and so is not shown with this one.
    assert [record.tool for record in results.measurements] == ["flop_counter"]
    assert {record.tool for record in measurements_in(other.path / "out" / MEASUREMENTS)} == {
        "flop_counter", "thop",
    }  # fmt: skip


@pytest.mark.slow
def test_again_replaces_only_what_is_named_and_measured(project: Project) -> None:
    project.run("net", "other", tools="flop_counter,thop")
    before = {record.key: record for record in measurements_in(project.path / "out" / MEASUREMENTS)}

    def interrupt(event: object, done: int, _total: int) -> None:
        del event
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        project.run(
            tools="flop_counter,thop",
            options=RunOptions(1, LIMITS, interrupt, again=True),
        )
    interrupted = measurements_in(project.path / "out" / MEASUREMENTS)
    last = {record.key: record for record in interrupted}
    assert len(interrupted) == 5
    assert [key for key in before if last[key] != before[key]] == [interrupted[-1].key]

    results = project.run(options=RunOptions(2, LIMITS, again=True))
    assert dict(results.reuse.measured) == {"--again": 3}
    after = {record.key: record for record in results.measurements}
    kept = {key for key in before if after[key] == last[key]}
    assert len(after) == 4
    assert {(key[0], key[3]) for key in before.keys() - kept} == {("flop_counter", "net.py:net")}


@pytest.mark.slow
def test_a_failure_is_tried_again_under_a_higher_limit(project: Project) -> None:
    def run(seconds: float, *, retry: bool = False) -> tuple[Status, dict[str, int]]:
        options = RunOptions(2, Limits(seconds, 8 << 30), retry=retry)
        results = project.run(tools="tool.py:TOOL", options=options)
        return results.measurements[0].status, dict(results.reuse.measured)

    project.write("seconds", "600")
    assert run(8)[0] is Status.TIMED_OUT
    project.write("seconds", "0")
    assert run(8) == (Status.TIMED_OUT, {})
    assert run(30) == (Status.COUNTED, {"time limit 8 s → 30 s": 1})
    assert run(60) == (Status.COUNTED, {})

    # The adapter is a part of what was measured; what raises is not tried again by itself.
    project.replace("tool.py", "    time.sleep", "    raise OSError\n    time.sleep")
    assert run(60) == (Status.ERRORED, {"the adapter changed": 1})
    assert run(90) == (Status.ERRORED, {})
    assert run(90, retry=True) == (Status.ERRORED, {"--retry": 1})


# -- what is stored --------------------------------------------------------------------------------


def settlement_in(folder: Path) -> tuple[Path, dict[str, object], str]:
    """The shipped settlement of resnet18 in a folder of its own, with its records."""
    source = Path(__file__).parents[2] / "results" / "quick"
    folder.mkdir()
    for name in ("settlements.jsonl", REFERENCES, MEASUREMENTS):
        lines = (source / name).read_text().splitlines()
        mine = [line for line in lines if "torchvision:resnet18" in line]
        (folder / name).write_text("".join(line + "\n" for line in mine))
    path = folder / "settlements.jsonl"
    text, state = check(path.read_text().strip())
    assert state is State.INTACT
    return path, json.loads(text), text


@pytest.mark.parametrize(
    ("edit", "seal", "reason"),
    [
        ({"macs": 1_999_999_999}, False, "was changed after it was written"),
        ({"macs": 1_999_999_999, "flops": 3_999_999_998}, True, "do not add up"),
        ({"flops": 7}, True, "do not add up"),
        ({"params": 7}, True, "do not add up"),
    ],
)
def test_an_edited_settlement_is_not_shown(
    edit: dict[str, int], seal: object, reason: str, tmp_path: Path
) -> None:
    path, content, _ = settlement_in(tmp_path / "out")
    request = model_request("resnet18")
    assert stored(request, (), path.parent).place == str(path.parent)
    reference = content["reference"]
    assert isinstance(reference, dict)
    changed = json.dumps({**content, "reference": {**reference, **edit}}, ensure_ascii=False)
    kept = path.read_text().strip()[-len(', "checksum": "0123456789abcdef"}') :]
    path.write_text((add(changed) if seal else changed[:-1] + kept) + "\n")
    found = stored(request, (), path.parent)
    assert found.place != str(path.parent)
    assert [reason in each and str(path) in each for each in found.refused] == [True]


@pytest.mark.parametrize("place", ["identity", "reference", "tools", "lower_bound"])
def test_a_settlement_of_an_earlier_version_is_not_shown(place: str, tmp_path: Path) -> None:
    path, content, _ = settlement_in(tmp_path / "out")
    reference = content["reference"]
    assert isinstance(reference, dict)
    part = reference if place in reference else content
    del part[place]
    path.write_text(add(json.dumps(content, ensure_ascii=False)) + "\n")
    found = stored(model_request("resnet18"), (), path.parent)
    assert found.refused == [f"a settlement in {path} is of an earlier version of flopaudit"]


def test_a_settlement_without_its_checksum_is_not_shown(tmp_path: Path) -> None:
    path, _, text = settlement_in(tmp_path / "out")
    path.write_text(text + "\n")
    found = stored(model_request("resnet18"), (), path.parent)
    assert found.refused == [f"a settlement in {path} was changed after it was written"]


def test_a_settlement_of_other_records_is_not_shown(tmp_path: Path) -> None:
    path, content, _ = settlement_in(tmp_path / "out")
    content["records"] = "0" * 16
    path.write_text(add(json.dumps(content, ensure_ascii=False)) + "\n")
    found = stored(model_request("resnet18"), (), path.parent)
    assert found.refused == [f"{path.parent}: its records have changed"]


def test_a_settlement_of_another_version_of_the_library_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, content, _ = settlement_in(tmp_path / "out")
    known = content["identity"]
    assert isinstance(known, dict)
    now = known["versions"]["torchvision"]
    known["versions"]["torchvision"] = "0.1"
    path.write_text(add(json.dumps(content, ensure_ascii=False)) + "\n")
    found = stored(model_request("resnet18"), (), path.parent)
    assert found.refused == [f"{path.parent}: torchvision 0.1 → {now}"]

    # The same version, but with a file that was edited in place.
    monkeypatch.setattr(identity, "_installed_digest", lambda _name: "changed")
    known["versions"]["torchvision"] = now
    path.write_text(add(json.dumps(content, ensure_ascii=False)) + "\n")
    found = stored(model_request("resnet18"), (), path.parent)
    assert found.refused[0] == f"{path.parent}: torchvision/models/resnet.py changed"


@pytest.mark.parametrize("name", [REFERENCES, MEASUREMENTS])
def test_an_edited_record_is_refused(name: str, tmp_path: Path) -> None:
    path, *_ = settlement_in(tmp_path / "out")
    journal = path.parent / name
    text = journal.read_text()
    assert '"macs":1814073344' in text
    journal.write_text(text.replace('"macs":1814073344', '"macs":1999999999'))
    assert stored(model_request("resnet18"), (), path.parent).place != str(path.parent)
    with pytest.raises(UsageError, match=r"Line \d+ of .* was changed after it was written"):
        run_all([model_request("resnet18")], (), path.parent, RunOptions(1, LIMITS))


@pytest.mark.slow
@pytest.mark.skipif("FLOPAUDIT_TEST_INDEX" not in os.environ, reason="needs a package index")
def test_a_model_of_an_upgraded_library_is_measured_again(tmp_path: Path) -> None:
    """Another version of timm, in a folder that comes first on the path, as an overlay."""
    overlay = tmp_path / "overlay"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
    subprocess.run([*pip, str(overlay), "timm==1.0.20"], check=True, cwd=tmp_path)
    first = os.environ.get("PYTHONPATH")
    variables = {"PYTHONPATH": os.pathsep.join(filter(None, (str(overlay), first)))}

    def run(**environment: str) -> dict[str, int]:
        done = flopaudit(
            *("run", "--models", "timm:test_resnet", "--tools", "flop_counter", "--json"),
            cwd=tmp_path,
            variables=environment,
        )
        assert done.returncode == 0, done.stderr
        result = json.loads(done.stdout)
        assert isinstance(result["measured"], dict)
        return result["measured"]

    assert run(**variables) == {"not measured before": 3}
    assert run(**variables) == {}
    assert run() == {f"timm 1.0.20 → {version('timm')}": 3}
    assert run() == {}
