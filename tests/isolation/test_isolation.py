"""Misbehaving tools and models, run as real processes: each is recorded, and none does harm."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import tracemalloc
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from flopaudit.core.specs import ModelSpec
from flopaudit.isolation.host import Excerpt
from flopaudit.isolation.jobs import Cell, Job, Limits
from flopaudit.isolation.outcomes import Counted, Outcome, failed
from flopaudit.isolation.scheduler import Scheduler
from flopaudit.pipeline.measure import cell_of
from flopaudit.pipeline.model_requests import ModelRequest
from flopaudit.pipeline.record_builders import Finished, measurement
from flopaudit.pipeline.results import measurements_in
from flopaudit.records.schema import Measurement, Status
from flopaudit.records.store import Journal
from flopaudit.tools.registry import ToolVariant, tool_variants
from flopaudit_adapters import find

from tests.support.paths import FAKES, ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

pytestmark = pytest.mark.slow

MEMORY_MIB = 1200
TIMEOUT = 8
SMALL = ModelSpec("file", str(FAKES), "small")
NEIGHBOURS = {"thop": 32, "flop_counter": 64}
"""Tools that count well, with their numbers for the fake model `small`."""

# Those that misbehave; the one that patches torch comes first.
BAD = (
    "PATCHES_TORCH",
    "HANGS",
    "SEGFAULTS",
    "EXITS_AT_ONCE",
    "CALLS_SYS_EXIT",
    "KILLS_ITSELF",
    "thop",
    "EATS_MEMORY",
    "FLOODS",
    "RAISES",
    "LEAVES_A_CHILD",
    "NOT_IMPORTABLE",
    "RETURNS_NAN",
    "RETURNS_INF",
    "RETURNS_NEGATIVE",
    "RETURNS_TEXT",
    "RETURNS_NONE",
    "RETURNS_A_FRACTION",
    "RETURNS_TRUE",
    "flop_counter",
)
# Harder to survive: for the worker, for the host of the model, for the whole run.
ODD = (
    "BREAKS_ON_IMPORT",
    "RETURNS_NO_RESULT",
    "RETURNS_A_TENSOR",
    "RETURNS_A_LIST",
    "RETURNS_ODD_ROWS",
    "RETURNS_A_HUGE_NUMBER",
    "RETURNS_ITSELF_WITHIN",
    "RETURNS_A_SURROGATE",
    "RAISES_A_SURROGATE",
    "REFUSES_WITH_A_SURROGATE",
    "RAISES_KEYBOARD_INTERRUPT",
    "PRINTS_LINE_SEPARATORS",
    "CLOSES_STDOUT",
    "LEAVES_A_DAEMON",
    "FORKS_IN_TWO",
    "DIES_OF_A_REALTIME_SIGNAL",
)
REMEDY = "Name a function or class that returns the model, or a module object."
GOOD_FACTORIES = ("small", "leaves_a_child", "needs_a_child")
FACTORIES = ("raises", "exits", "hangs", "returns_none", "eats_memory", "missing")


@dataclass(frozen=True)
class Ran:
    """The exit code and the output of a run of the command line."""

    code: int
    stdout: str
    stderr: str

    @property
    def measurements(self) -> dict[tuple[str, str], dict[str, Any]]:
        """The measurements by the names of model and tool."""
        records = json.loads(self.stdout)["measurements"]
        return {(record["model"].rpartition(":")[2], record["tool"]): record for record in records}

    def of(self, tool: str, model: str = "small") -> dict[str, Any]:
        """The record of one cell."""
        return self.measurements[model, tool.lower()]


def run(
    out: Path,
    tools: Sequence[str],
    *options: str,
    models: Sequence[str] = ("small",),
    env: Mapping[str, str] | None = None,
) -> Ran:
    """Run the command line; names in capitals are fakes."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "flopaudit", "run", "--json", "--input", "1x8"),
            *("--out", str(out), "--memory", f"{MEMORY_MIB}M", "--jobs", "2"),
            *("--models", ",".join(f"{FAKES}:{name}" for name in models)),
            *("--tools", ",".join(f"{FAKES}:{t}" if t.isupper() else t for t in tools)),
            *options,
        ],
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def search_path(packages: Path) -> str:
    """Return the search path of this process with a directory of packages before it."""
    return os.pathsep.join(filter(None, (str(packages), os.environ.get("PYTHONPATH"))))


def is_running(pid: int) -> bool:
    """Whether there is such a process; one that has ended and was not waited for does not count."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def ended(pid: int, seconds: float = 0) -> bool:
    """Whether a process ends within some seconds; if not, it is killed here."""
    deadline = time.monotonic() + seconds
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    if not is_running(pid):
        return True
    os.kill(pid, signal.SIGKILL)
    return False


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return run(tmp_path_factory.mktemp("bad"), BAD, "--timeout", str(TIMEOUT))


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory of packages that fake tools import."""
    folder = tmp_path_factory.mktemp("packages")
    (folder / "breaks_on_import.py").write_text("raise AttributeError('no attribute long')\n")
    return folder


@pytest.fixture(scope="module")
def scheduler(packages: Path) -> Iterator[Scheduler]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(packages), prepend=os.pathsep)
        with Scheduler(2, Limits(60, MEMORY_MIB << 20)) as started:
            yield started


@pytest.fixture(scope="module")
def factories(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ran, list[int]]:
    folder = tmp_path_factory.mktemp("factories")
    models = (*GOOD_FACTORIES, *FACTORIES)
    env = {"FLOPAUDIT_TEST_LOG": str(folder / "log")}
    # The slowest to build is `hangs`, for as long as this; the time is for a cell as well.
    ran = run(folder / "out", tuple(NEIGHBOURS), "--timeout", str(TIMEOUT), models=models, env=env)
    lines = (folder / "log").read_text().splitlines()
    return ran, [int(line.split()[1]) for line in lines if line.startswith("child ")]


def test_each_tool_has_one_record(bad: Ran) -> None:
    assert sorted(bad.measurements) == sorted(("small", name.lower()) for name in BAD)
    assert len(json.loads(bad.stdout)["measurements"]) == len(BAD)
    assert bad.code == 1


@pytest.mark.parametrize("tool", NEIGHBOURS)
def test_neighbours_count_right(bad: Ran, tool: str) -> None:
    record = bad.of(tool)
    assert (record["status"], record["error"]) == ("counted", None)
    assert record["reported"] == NEIGHBOURS[tool]
    assert record["macs"] == 32


def test_reference_is_right_beside_them(bad: Ran) -> None:
    (reference,) = json.loads(bad.stdout)["references"]
    assert (reference["macs"], reference["params"]) == (32, 36)


@pytest.mark.parametrize(
    ("tool", "status", "error"),
    [
        ("HANGS", "timed_out", f"no result within {TIMEOUT} seconds"),
        ("SEGFAULTS", "crashed", "the process was ended by signal 11 (SIGSEGV)"),
        ("EXITS_AT_ONCE", "crashed", "the process exited with code 3 before the tool returned"),
        ("CALLS_SYS_EXIT", "crashed", "called sys.exit('bye')"),
        ("KILLS_ITSELF", "crashed", "the process was ended by signal 9 (SIGKILL)"),
        ("EATS_MEMORY", "crashed", f"took more than its {MEMORY_MIB << 20:,} bytes of memory"),
        ("RAISES", "errored", "ZeroDivisionError: no such luck"),
        ("RETURNS_NAN", "errored", "the tool returned count nan, which is not a whole number"),
        ("RETURNS_INF", "errored", "the tool returned count inf, which is not a whole number"),
        ("RETURNS_NEGATIVE", "errored", "the tool returned count -1, and a count is not negative"),
        ("RETURNS_TEXT", "errored", "the tool returned count 'many', which is not a number"),
        ("RETURNS_NONE", "errored", "the tool returned count None, which is not a number"),
        (
            "RETURNS_A_FRACTION",
            "errored",
            "the tool returned count 3.5, which is not a whole number",
        ),
        ("RETURNS_TRUE", "errored", "the tool returned count True, which is not a number"),
        ("PATCHES_TORCH", "counted", None),
        ("FLOODS", "counted", None),
        ("LEAVES_A_CHILD", "counted", None),
    ],
)
def test_how_a_tool_ended(bad: Ran, tool: str, status: str, error: str | None) -> None:
    record = bad.of(tool)
    assert (record["status"], record["error"]) == (status, error)
    assert record["reported"] == (7 if status == "counted" else None)


def test_package_that_is_not_there(bad: Ran) -> None:
    record = bad.of("NOT_IMPORTABLE")
    assert record["status"] == "unavailable"
    assert "cannot import no_such_package" in record["error"]


@pytest.mark.parametrize(
    ("tool", "raw"),
    [
        ("RETURNS_NAN", "nan"),
        ("RETURNS_INF", "inf"),
        ("RETURNS_NEGATIVE", -1),
        ("RETURNS_TEXT", "many"),
        ("RETURNS_NONE", None),
        ("RETURNS_A_FRACTION", 3.5),
        ("RETURNS_TRUE", True),
    ],
)
def test_what_a_tool_returned_is_kept(bad: Ran, tool: str, raw: object) -> None:
    kept = bad.of(tool)["raw"]
    assert kept == {"count": raw}
    assert type(kept["count"]) is type(raw)


def test_traceback_is_kept(bad: Ran) -> None:
    excerpt = bad.of("RAISES")["output_excerpt"]
    assert excerpt.startswith("Traceback (most recent call last):")
    assert "in _raises" in excerpt
    assert excerpt.endswith("ZeroDivisionError: no such luck\nand more\n")


def test_memory_is_watched(bad: Ran) -> None:
    record = bad.of("EATS_MEMORY")
    assert record["seconds"] < TIMEOUT
    assert MEMORY_MIB << 20 < record["peak_rss_bytes"] < 2 * MEMORY_MIB << 20


def test_hanging_tool_is_ended_on_time(bad: Ran) -> None:
    assert TIMEOUT <= bad.of("HANGS")["seconds"] < 2 * TIMEOUT


def test_flood_is_cut(bad: Ran) -> None:
    excerpt = bad.of("FLOODS")["output_excerpt"]
    assert 2000 < len(excerpt) < 5000
    assert excerpt.startswith("spamspam")
    assert excerpt.endswith("spam\n")
    assert "\n… 99996100 bytes left out …\n" in excerpt


def test_flood_does_not_fill_the_watching_process(bad: Ran) -> None:
    assert bad.of("FLOODS")["raw"]["grew_kibibytes"] < 20 << 10


def test_left_process_is_ended(bad: Ran) -> None:
    assert ended(bad.of("LEAVES_A_CHILD")["raw"]["child"])


def test_excerpt_holds_both_ends_of_any_stream() -> None:
    stream = bytes(range(256)) * (4 << 10)
    tracemalloc.start()
    excerpt = Excerpt()
    for _ in range(100):
        excerpt.add(stream)
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert excerpt.head == stream[:2000]
    assert excerpt.tail == stream[-2000:]
    assert excerpt.dropped == 100 * len(stream) - 4000
    assert kept < 100_000


@pytest.mark.parametrize(
    ("tool", "status", "error"),
    [
        ("BREAKS_ON_IMPORT", "unavailable", "cannot import breaks_on_import.*no attribute long"),
        ("RETURNS_NO_RESULT", "errored", "None"),
        ("RETURNS_A_TENSOR", "errored", "not a number"),
        ("RETURNS_A_LIST", "errored|counted", ""),
        ("RETURNS_ODD_ROWS", "errored|counted", ""),
        ("RETURNS_A_HUGE_NUMBER", "errored|crashed", "digits"),
        ("RETURNS_ITSELF_WITHIN", "counted", ""),
        ("RETURNS_A_SURROGATE", "counted", ""),
        ("RAISES_A_SURROGATE", "errored", "FileNotFoundError: weights-"),
        ("REFUSES_WITH_A_SURROGATE", "unsupported", "not weights-"),
        ("RAISES_KEYBOARD_INTERRUPT", "errored|crashed", "KeyboardInterrupt"),
        ("PRINTS_LINE_SEPARATORS", "counted", ""),
        ("CLOSES_STDOUT", "counted", ""),
        ("LEAVES_A_DAEMON", "counted", ""),
        ("FORKS_IN_TWO", "counted|errored|crashed", ""),
        ("DIES_OF_A_REALTIME_SIGNAL", "crashed", "was ended by signal 40"),
    ],
)
def test_odd_tool_harms_none(
    scheduler: Scheduler, tmp_path: Path, tool: str, status: str, error: str
) -> None:
    """Run it next to another tool; its outcome can be stored and read."""
    names = [f"{FAKES}:WAITS", f"{FAKES}:{tool}", "flop_counter"]
    job = Job(SMALL, ("1x8",), tuple(Cell(name, None) for name in names))
    outcomes = {event.cell.tool: event.outcome for event in scheduler.run([job]) if event.cell}
    assert list(outcomes) == names
    stored = stored_and_read(tmp_path / "journal", outcomes)
    assert (stored[names[0]].status, stored[names[0]].reported) == (Status.COUNTED, 7)
    assert (stored[names[2]].status, stored[names[2]].reported) == (Status.COUNTED, 64)
    assert re.fullmatch(status, stored[names[1]].status.value)
    assert re.search(error, stored[names[1]].error or "")


@pytest.mark.parametrize(
    ("tool", "problem"),
    [
        ("WRITES_RUBBISH", "Invalid JSON"),
        ("WRITES_A_WRONG_RESULT", "result.counted.reported: Input should be a valid integer"),
    ],
)
def test_malformed_outcome_is_a_crash(scheduler: Scheduler, tool: str, problem: str) -> None:
    names = [f"{FAKES}:WAITS", f"{FAKES}:{tool}", "flop_counter"]
    job = Job(SMALL, ("1x8",), tuple(Cell(name, None) for name in names))
    outcomes = {event.cell.tool: event.outcome for event in scheduler.run([job]) if event.cell}
    waits, malformed, counter = outcomes.values()
    assert malformed is not None
    assert malformed.status == "crashed"
    start = "the process handed over something malformed: "
    assert (malformed.error or "").startswith(start + problem), malformed.error
    assert (counted(waits).reported, counted(counter).reported) == (7, 64)


def test_memory_of_a_child_counts(tmp_path: Path, packages: Path) -> None:
    """What a tool's child takes is the tool's; memory that forked children share counts once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(packages), prepend=os.pathsep)
        patch.setenv("FLOPAUDIT_TEST_LOG", str(tmp_path / "log"))
        with Scheduler(2, Limits(30, MEMORY_MIB << 20)) as scheduler:
            names = [f"{FAKES}:EATS_MEMORY_IN_A_CHILD", f"{FAKES}:FORKS_MANY"]
            job = Job(SMALL, ("1x8",), tuple(Cell(name, None) for name in names))
            outcomes = {e.cell.tool: e.outcome for e in scheduler.run([job]) if e.cell}
    eater, forker = outcomes.values()
    assert eater is not None
    assert (eater.status, eater.error) == (
        "crashed", f"took more than its {MEMORY_MIB << 20:,} bytes of memory"
    )  # fmt: skip
    assert (eater.peak_rss_bytes or 0) < MEMORY_MIB << 20  # of the tool's own process alone
    assert counted(forker).raw == {"held": 300 << 20}
    lines = (tmp_path / "log").read_text().splitlines()
    (child,) = (int(line.split()[1]) for line in lines if line.startswith("child "))
    assert ended(child, 3)


def test_left_daemon_is_ended(scheduler: Scheduler) -> None:
    job = Job(SMALL, ("1x8",), (Cell(f"{FAKES}:LEAVES_A_DAEMON", None),))
    (child,) = (
        counted(event.outcome).raw["child"] for event in scheduler.run([job]) if event.outcome
    )
    assert ended(child, 3)


def stored_and_read(path: Path, outcomes: Mapping[str, Outcome | None]) -> dict[str, Measurement]:
    """The records of outcomes, by tool, written to a file and read from it."""
    journal = Journal(path)
    request = ModelRequest(SMALL, ("1x8",))
    for name, outcome in outcomes.items():
        assert outcome is not None
        finished = Finished(request, outcome, None, Limits(30, MEMORY_MIB << 20))
        journal.append(measurement(ToolVariant(name, find(name), None), finished))
    journal.close()
    return dict(zip(outcomes, measurements_in(path), strict=True))


def test_run_outlives_all_of_them(tmp_path: Path, packages: Path) -> None:
    tools = (*ODD, "flop_counter")
    ran = run(tmp_path, tools, env={"PYTHONPATH": search_path(packages)})
    assert ran.code == 1, ran.stderr
    assert sorted(ran.measurements) == sorted(("small", name.lower()) for name in tools)
    assert ran.of("flop_counter")["reported"] == NEIGHBOURS["flop_counter"]
    assert ended(ran.of("LEAVES_A_DAEMON")["raw"]["child"])


def test_host_that_is_killed_takes_no_waiting_cell_along(scheduler: Scheduler) -> None:
    names = [f"{FAKES}:KILLS_ITS_PARENT", f"{FAKES}:WAITS", "thop", "flop_counter"]
    job = Job(SMALL, ("1x8",), tuple(Cell(name, None) for name in names))
    outcomes = {event.cell.tool: event.outcome for event in scheduler.run([job]) if event.cell}
    assert list(outcomes) == names
    killer, _, thop, flop_counter = outcomes.values()
    assert killer == failed("crashed", "the process that held the model ended")
    assert (counted(thop).reported, counted(flop_counter).reported) == (32, 64)


@pytest.mark.parametrize(
    ("model", "status", "error"),
    [
        ("raises", "unavailable", "the model could not be built: ValueError: no such weights"),
        ("exits", "crashed", "the process ended while it was building the model"),
        ("hangs", "timed_out", f"the model was not built within {TIMEOUT} seconds"),
        (
            "returns_none",
            "unavailable",
            f"'{FAKES}:returns_none' gave a NoneType, not a torch.nn.Module. {REMEDY}",
        ),
        (
            "eats_memory",
            "crashed",
            f"building the model took more than its {MEMORY_MIB << 20:,} bytes of memory",
        ),
        (
            "missing",
            "unavailable",
            f"'{FAKES}' has no 'missing'. {REMEDY}",
        ),
    ],
)
def test_model_that_cannot_be_built(
    factories: tuple[Ran, list[int]], model: str, status: str, error: str
) -> None:
    for tool in NEIGHBOURS:
        record = factories[0].of(tool, model)
        assert (record["status"], record["error"]) == (status, error)
        assert record["reported"] is None
    (reference,) = (
        each
        for each in json.loads(factories[0].stdout)["references"]
        if each["model"].endswith(f":{model}")
    )
    assert (reference["macs"], reference["error"]) == (None, error)


@pytest.mark.parametrize("tool", NEIGHBOURS)
@pytest.mark.parametrize("model", GOOD_FACTORIES)
def test_other_models_are_counted(factories: tuple[Ran, list[int]], model: str, tool: str) -> None:
    assert factories[0].of(tool, model)["reported"] == NEIGHBOURS[tool]


def test_models_that_cannot_be_built_fail_the_run(factories: tuple[Ran, list[int]]) -> None:
    assert factories[0].code == 1
    cells = len(NEIGHBOURS) * len(FACTORIES + GOOD_FACTORIES)
    assert len(factories[0].measurements) == cells


def test_process_left_by_a_factory_is_ended(factories: tuple[Ran, list[int]]) -> None:
    assert len(factories[1]) == 2
    assert [child for child in factories[1] if not ended(child)] == []


def test_order_and_company_change_nothing(scheduler: Scheduler) -> None:
    """Real tools, one of which replaces `__call__` of torch's classes for good, in any order."""
    tools = [
        cell_of(variant) for variant in tool_variants("torchstat,thop,fvcore,ptflops,flop_counter")
    ]
    alone = [cell_of(variant) for variant in tool_variants("thop")]
    model = ModelSpec("torchvision", "squeezenet1_1")
    first, second, third = (
        counts(scheduler, Job(model, ("1x3x224x224",), tuple(order)))
        for order in (tools, tools[::-1], alone)
    )
    assert len(first) == len(tools) > 4
    assert all(each.reported > 0 for each in first.values())
    assert first == second
    assert third == {cell: first[cell] for cell in alone}


def counts(scheduler: Scheduler, job: Job) -> dict[Cell, Counted]:
    """Return the result of each tool, without how long it took."""
    return {
        event.cell: counted(event.outcome)
        for event in scheduler.run([job])
        if event.cell and event.outcome
    }


def counted(outcome: Outcome | None) -> Counted:
    """Return the result of a cell that has counted."""
    assert outcome is not None
    assert isinstance(outcome.result, Counted), outcome
    return outcome.result


def test_host_that_ends_unseen_takes_no_other_cell_along(scheduler: Scheduler) -> None:
    """The host ends while the caller handles one outcome, with another one waiting to be read."""
    names = [f"{FAKES}:TELLS_ITS_PARENT", f"{FAKES}:WAITS", "thop", "flop_counter"]
    job = Job(SMALL, ("1x8",), tuple(Cell(name, None) for name in names))
    outcomes = {}
    for event in scheduler.run([job]):
        if event.cell and event.outcome:
            outcomes[event.cell.tool] = event.outcome
            if event.cell.tool == names[0]:
                host = counted(event.outcome).raw["parent"]
                children = Path(f"/proc/{host}/task/{host}/children")
                while children.read_text():
                    time.sleep(0.01)
                time.sleep(0.2)  # the last of them is reaped; now its outcome is on its way
                os.kill(host, signal.SIGKILL)
                assert ended(host, 3)
    assert sorted(outcomes) == sorted(names)
    assert [counted(outcomes[name]).reported for name in names] == [7, 7, 32, 64]
