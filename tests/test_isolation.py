"""Tools and models that misbehave in every way, run for real: each is recorded, none does harm."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tracemalloc
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.host import Excerpt
from harness.scheduler import Cell, Job, Limits, Scheduler
from harness.specs import ModelSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FAKES = Path(__file__).with_name("fakes.py")
ROOT = FAKES.parents[1]
MEMORY_MIB = 1500
TIMEOUT = 8
NEIGHBOURS = {"thop": 32, "flop_counter": 64}
"""Tools that count well, with what they say of `fakes.small`."""

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
# What a tool does by mistake, and what only a careful harness survives.
ODD = (
    "BREAKS_ON_IMPORT",
    "RETURNS_NO_READING",
    "RETURNS_A_TENSOR",
    "CLOSES_STDOUT",
    "RAISES_KEYBOARD_INTERRUPT",
    "LEAVES_A_DAEMON",
    "flop_counter",
)
# What ends the harness, or the process that holds the model, if it is taken as it comes.
FATAL = (
    "FORKS_IN_TWO",
    "DIES_OF_A_REALTIME_SIGNAL",
    "RETURNS_A_LIST",
    "RAISES_A_SURROGATE",
    "RETURNS_A_SURROGATE",
    "PRINTS_LINE_SEPARATORS",
)
FACTORIES = ("raises", "exits", "hangs", "returns_none", "eats_memory", "missing")


@dataclass(frozen=True)
class Ran:
    """How a run of the command line ended, and what it printed."""

    code: int
    stdout: str
    stderr: str

    @property
    def measurements(self) -> dict[tuple[str, str], dict[str, Any]]:
        """By what the model and the tool are called."""
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
            *(sys.executable, "-m", "harness", "run", "--json", "--input", "1x8"),
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


def is_running(pid: int) -> bool:
    """Whether there is such a process; one that has ended and was not waited for does not count."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return run(tmp_path_factory.mktemp("bad"), BAD, "--timeout", str(TIMEOUT))


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    packages = tmp_path_factory.mktemp("packages")
    (packages / "breaks_on_import.py").write_text("raise AttributeError('no attribute long')\n")
    return run(tmp_path_factory.mktemp("odd"), ODD, env={"PYTHONPATH": str(packages)})


@pytest.fixture(scope="module")
def factories(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ran, list[int]]:
    where = tmp_path_factory.mktemp("factories")
    models = ("small", *FACTORIES, "leaves_a_child")
    env = {"FLOPAUDIT_TEST_LOG": str(where / "log")}
    # The slowest to build is `hangs`, for as long as this; the time is for a cell as well.
    ran = run(where / "out", tuple(NEIGHBOURS), "--timeout", str(TIMEOUT), models=models, env=env)
    lines = (where / "log").read_text().splitlines()
    return ran, [int(line.split()[1]) for line in lines if line.startswith("child ")]


@pytest.mark.slow
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
        ("RETURNS_A_FRACTION", "errored", "the tool returned count 3.5, which is not a whole number"),
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
    assert "… 100096100 bytes left out …" in excerpt or "bytes left out …" in excerpt


def test_flood_does_not_fill_the_watching_process(bad: Ran) -> None:
    assert bad.of("FLOODS")["raw"]["grew_kibibytes"] < 20 << 10


def test_left_process_is_ended(bad: Ran) -> None:
    assert not is_running(bad.of("LEAVES_A_CHILD")["raw"]["child"])


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


@pytest.mark.slow
@pytest.mark.parametrize("tool", [name for name in ODD if name.isupper()])
def test_odd_tool_is_recorded(odd: Ran, tool: str) -> None:
    statuses = {"unavailable", "errored", "counted", "crashed"}
    assert odd.of(tool)["status"] in statuses
    assert odd.of("flop_counter")["reported"] == NEIGHBOURS["flop_counter"]


def test_package_that_breaks_on_import_is_unavailable(odd: Ran) -> None:
    record = odd.of("BREAKS_ON_IMPORT")
    assert record["status"] == "unavailable"
    assert "cannot import breaks_on_import" in record["error"]
    assert "no attribute long" in record["error"]


@pytest.mark.parametrize("tool", ["RETURNS_NO_READING", "RETURNS_A_TENSOR"])
def test_what_is_no_reading_is_an_error(odd: Ran, tool: str) -> None:
    record = odd.of(tool)
    assert record["status"] == "errored"
    assert "None" in record["error"] or "Tensor" in record["error"] or "tensor" in record["error"]


def test_tool_may_close_stdout(odd: Ran) -> None:
    record = odd.of("CLOSES_STDOUT")
    assert (record["status"], record["reported"]) == ("counted", 7)


def test_keyboard_interrupt_of_a_tool_is_named(odd: Ran) -> None:
    record = odd.of("RAISES_KEYBOARD_INTERRUPT")
    assert record["status"] in ("errored", "crashed")
    assert "KeyboardInterrupt" in record["error"]


def test_left_daemon_is_ended(odd: Ran) -> None:
    assert not is_running(odd.of("LEAVES_A_DAEMON")["raw"]["child"])


@pytest.mark.slow
@pytest.mark.parametrize("tool", FATAL)
def test_run_outlives_a_tool(tmp_path: Path, tool: str) -> None:
    """Beside another that is at work in the same moment; and the directory can be read again."""
    ran = run(tmp_path, ["WAITS", tool, "flop_counter"])
    assert ran.code in (0, 1), ran.stderr
    assert ran.of("WAITS")["reported"] == 7
    assert ran.of("flop_counter")["reported"] == NEIGHBOURS["flop_counter"]
    assert ran.of(tool)["status"] in ("counted", "errored", "crashed")
    assert len((tmp_path / "measurements.jsonl").read_bytes().split(b"\n")) == 4
