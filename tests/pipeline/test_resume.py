"""Runs that are killed, interrupted or find a damaged directory, as real processes."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from flopaudit.pipeline.results import measurements_in, references_in
from flopaudit.records.schema import Status

from tests.support.paths import FAKES, ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

pytestmark = pytest.mark.slow

SLEEPERS = tuple(f"sleeps_{number}" for number in range(1, 9))
PATIENCE = 60
PROGRAM = ("-m", "flopaudit")
AS_INIT = (
    "-c",
    (
        "import ctypes, signal; ctypes.CDLL(None).prctl(36, 1); "
        "signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from flopaudit.cli.app import main; main()"
    ),
)
"""Run as the first process of a container is: orphans become its own, and it waits for none.

What starts the tests may have Ctrl-C ignored, as a shell does for what it runs in the background.
"""


@dataclass
class Place:
    """A directory to run in, and a mark that all processes of its runs bear."""

    path: Path
    mark: str = field(default_factory=lambda: f"flopaudit-test-{uuid.uuid4().hex}")

    @property
    def out(self) -> Path:
        """The directory for the records."""
        return self.path / "out"

    @property
    def measurements(self) -> Path:
        """The file of measurements."""
        return self.out / "measurements.jsonl"

    def start(
        self,
        tools: Sequence[str],
        models: Sequence[str] = ("small",),
        program: Sequence[str] = PROGRAM,
    ) -> subprocess.Popen[str]:
        """Start a run in a session of its own, so that a signal reaches the main process alone."""
        return subprocess.Popen(
            [
                *(sys.executable, *program, "run", "--out", str(self.out)),
                *("--jobs", str(1 + len(models)), "--timeout", "100", "--input", "1x8"),
                *("--models", ",".join(f"{FAKES}:{model}" for model in models)),
                *("--tools", ",".join(f"{FAKES}:{tool.upper()}" for tool in tools)),
            ],
            cwd=ROOT,
            env={**os.environ, "FLOPAUDIT_TEST_LOG": str(self.path / "log"), "MARK": self.mark},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, tools: Sequence[str]) -> tuple[int, str]:
        """Run to the end, and return the exit code and the standard error."""
        process = self.start(tools)
        _, stderr = process.communicate(timeout=PATIENCE)
        return process.returncode, stderr

    def kill(self, process: subprocess.Popen[str]) -> set[str]:
        """Kill the main process, see all others end, and return the tools reported as done."""
        process.kill()
        process.wait()
        assert until(lambda: not self.processes(), 2), self.processes()
        _, stderr = process.communicate(timeout=PATIENCE)
        assert process.returncode == -signal.SIGKILL
        return {tool.lower() for tool in re.findall(r":([A-Z]\w+) counted\n", stderr)}

    def began(self) -> Counter[str]:
        """How often each fake was run."""
        log = self.path / "log"
        return Counter(line.split()[0] for line in lines(log)) if log.exists() else Counter()

    def finished(self) -> list[str]:
        """The tools with a record, as often as they have one; every line is read and validated."""
        return [record.tool for record in measurements_in(self.measurements)]

    def processes(self) -> dict[int, str]:
        """What still runs of all that was started here, by process id."""
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    marked = f"MARK={self.mark}".encode() in (entry / "environ").read_bytes()
                    command = (entry / "cmdline").read_text().replace("\0", " ")
                except OSError:  # it has ended, or is not ours
                    continue
                if marked:
                    found[int(entry.name)] = command
        return found


def lines(path: Path) -> list[str]:
    """The whole lines of a file; none if there is no such file."""
    return path.read_text().split("\n")[:-1] if path.exists() else []


def until(condition: Callable[[], bool], seconds: float = PATIENCE) -> bool:
    """Wait for something to come true; whether it has."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    found = Place(tmp_path)
    yield found
    for pid in found.processes():  # what a failed test leaves
        os.kill(pid, signal.SIGKILL)


def test_killed_at_any_moment_a_run_goes_on(place: Place) -> None:
    moments = [
        lambda: len(place.processes()) > 1,  # torch is being imported
        lambda: len(lines(place.measurements)) >= 1,
        lambda: len(lines(place.measurements)) >= 4,
    ]
    kept: list[str] = []
    for number, moment in enumerate(moments):
        process = place.start(SLEEPERS)
        assert until(moment), number
        reported = place.kill(process)
        finished = place.finished()
        assert finished[: len(kept)] == kept
        assert len(finished) == len(set(finished))
        assert reported <= set(finished)
        kept = finished
    assert 4 <= len(kept) < len(SLEEPERS)

    # Half a line at the end, as a kill may leave it, is measured again as well.
    half = place.measurements.read_text().replace(kept[0], SLEEPERS[-1])[:99]
    with place.measurements.open("a") as file:
        file.write(half)
    begun = place.began()
    code, stderr = place.run(SLEEPERS)
    assert code == 0, stderr
    assert place.finished() == list(SLEEPERS)
    assert all(
        record.status is Status.COUNTED and record.reported == int(record.tool[-1])
        for record in measurements_in(place.measurements)
    )
    assert len(references_in(place.out / "references.jsonl")) == 1
    again = place.began() - begun
    assert again == Counter({"small", *SLEEPERS} - set(kept))
    assert not place.processes()


@dataclass(frozen=True)
class Interrupted:
    """A run in which tools and a factory hang, a second run next to it, and Ctrl-C to the first."""

    place: Place
    second_code: int
    second_stderr: str
    code: int
    stderr: str
    seconds: float
    left: dict[int, str]


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Interrupted:
    place = Place(tmp_path_factory.mktemp("interrupted"))
    tools = ("sleeps_1", "hangs", "hangs_with_a_child")
    process = place.start(tools, ["small", "hangs"], AS_INIT)
    assert until(lambda: {"child", "hangs", "building"} <= set(place.began()))
    second_code, second_stderr = place.run(tools)
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=PATIENCE)
    seconds = time.monotonic() - started
    until(lambda: not place.processes(), 2)
    left = place.processes()
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    return Interrupted(place, second_code, second_stderr, process.returncode, stderr, seconds, left)


def test_interrupt_ends_a_run_soon(interrupted: Interrupted) -> None:
    assert interrupted.code == 130
    assert interrupted.seconds < 3


def test_interrupt_says_how_to_go_on(interrupted: Interrupted) -> None:
    *progress, last = interrupted.stderr.splitlines()
    assert last == (
        f"Stopped. Finished records are in {interrupted.place.out}; "
        "give the same command again to continue."
    )
    numbers, cells = zip(*(line.split(" ", 1) for line in progress if line), strict=True)
    assert numbers == ("[1/10]", "[2/10]", "[3/10]")
    # Two cells run at a time, and either may be the first to finish.
    assert sorted(cells) == sorted(
        ["small: reference counted", "small: trace counted", f"small: {FAKES}:SLEEPS_1 counted"]
    )


def test_interrupt_leaves_no_process(interrupted: Interrupted) -> None:
    assert not interrupted.left


def test_interrupt_keeps_what_is_finished(interrupted: Interrupted) -> None:
    assert interrupted.place.finished() == ["sleeps_1"]


def test_second_run_on_a_directory_is_refused(interrupted: Interrupted) -> None:
    assert interrupted.second_code == 2
    assert interrupted.second_stderr == (
        f"flopaudit: Another run is writing to {interrupted.place.out}. "
        "Wait for it, or give another --out.\n"
    )
    assert interrupted.place.began()["hangs"] == 1


def test_killed_run_leaves_no_process_of_a_tool(place: Place) -> None:
    """No process is left: the tool's own, one that it had started, or one that builds a model."""
    process = place.start(["hangs_with_a_child", "hangs"], ["small", "hangs"])
    assert until(lambda: {"child", "hangs", "building"} <= set(place.began()))
    place.kill(process)
    assert not place.finished()


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A directory with two measurements in it."""
    place = Place(tmp_path_factory.mktemp("done"))
    assert place.run(SLEEPERS[:2])[0] == 0
    return place


@pytest.fixture
def copied(done: Place, place: Place) -> Place:
    shutil.copytree(done.out, place.out)
    return place


def test_finished_run_measures_nothing_again(copied: Place) -> None:
    files = {path.name: path.read_bytes() for path in copied.out.iterdir()}
    assert copied.run(SLEEPERS[:2]) == (0, "")
    assert copied.began() == Counter(["small"])  # the model is built to be recognised
    assert {path.name: path.read_bytes() for path in copied.out.iterdir()} == files


@pytest.mark.parametrize("name", ["measurements.jsonl", "references.jsonl"])
def test_other_schema_is_refused(copied: Place, name: str) -> None:
    path = copied.out / name
    first, *rest = path.read_text().splitlines(keepends=True)
    changed = json.dumps({**json.loads(first), "schema_version": 99}) + "\n"
    path.write_text("".join([changed, *rest]))
    before = path.read_bytes()
    code, stderr = copied.run(SLEEPERS[:3])
    assert code == 2
    assert stderr == (
        f"flopaudit: Line 1 of {path} is of schema version 99, and this program reads 1. "
        "Install the flopaudit that wrote it, or run again with another --out.\n"
    )
    assert path.read_bytes() == before


@pytest.mark.parametrize("line", [b'{"schema_version":1,"tool":"th', b"\xff\xfe\x00"])
def test_corrupt_line_is_refused(copied: Place, line: bytes) -> None:
    first, second = copied.measurements.read_bytes().splitlines(keepends=True)
    content = first + line + b"\n" + second
    copied.measurements.write_bytes(content)
    code, stderr = copied.run(SLEEPERS[:3])
    assert code == 2, stderr
    assert f"Line 2 of {copied.measurements} is not a measurement" in stderr
    assert stderr.endswith("Repair or remove that line, or use another --out.\n")
    assert stderr.count("\n") == 1
    assert copied.measurements.read_bytes() == content
    assert not copied.began()
    # Repaired as it says, nothing is lost.
    copied.measurements.write_bytes(first + second)
    assert copied.run(SLEEPERS[:2]) == (0, "")
    assert copied.finished() == list(SLEEPERS[:2])
    assert copied.began() == Counter(["small"])
