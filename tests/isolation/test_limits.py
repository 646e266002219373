"""Limits hold whatever is stopped, however many cells run, and whatever the system refuses."""

from __future__ import annotations

import dataclasses
import logging
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from flopaudit.core.errors import RunError, UsageError
from flopaudit.core.specs import ModelSpec
from flopaudit.isolation import scheduler as scheduling
from flopaudit.isolation.jobs import Cell, Job, Limits
from flopaudit.isolation.memory_share import Footprint, divided
from flopaudit.isolation.scheduler import Scheduler
from flopaudit.pipeline.results import measurements_in

from tests.support.command_line import flopaudit
from tests.support.paths import FAKES

if TYPE_CHECKING:
    from collections.abc import Iterator

GIB = 1 << 30
NEEDED = Footprint(resident=GIB, private=GIB // 2)


def share(total: int) -> Limits:
    """Limits of which the memory is a share of this total."""
    return Limits(60, 1, divided_bytes=total)


@pytest.mark.parametrize(
    ("slots", "cells", "total", "running", "each"),
    [
        (2, 10, 16 * GIB, 2, 8 * GIB),
        (100, 4, 16 * GIB, 4, 4 * GIB),
        (100, 1000, 16 * GIB, 16, GIB),
        (100, 1000, GIB // 4, 1, GIB // 4),
        (3, 0, 16 * GIB, 1, 16 * GIB),
    ],
)
def test_memory_is_divided_by_what_runs_at_once(
    slots: int, cells: int, total: int, running: int, each: int
) -> None:
    found, limits = divided(slots, cells, share(total), NEEDED)
    assert (found, limits.memory_bytes) == (running, each)
    assert limits.timeout_seconds == 60


def test_fewer_cells_than_were_asked_for_are_announced(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        divided(100, 10, share(16 * GIB), NEEDED)
        assert not caplog.messages
        divided(100, 50, share(16 * GIB), NEEDED)
    assert caplog.messages == [
        (
            "16 cells run at a time, not 50: each needs 1,024 MiB of memory for torch, "
            "and there are 16,384 MiB."
        )
    ]


def test_limit_that_was_given_is_kept_or_refused() -> None:
    assert divided(8, 100, Limits(60, GIB), NEEDED) == (8, Limits(60, GIB))
    with pytest.raises(UsageError, match="A limit of 100 MiB of memory ends every cell") as caught:
        divided(8, 100, Limits(60, 100 << 20), NEEDED)
    assert caught.value.remedy == "Give --memory 1024M or more."


MODEL = ModelSpec("file", str(FAKES), "small")


@pytest.mark.slow
def test_many_jobs_leave_each_cell_enough(tmp_path: Path) -> None:
    names = "thop,fvcore,flop_counter"
    where = ("--models", f"{FAKES}:small", "--input", "1x8", "--out", str(tmp_path))
    done = flopaudit("run", *where, "--tools", names, "--jobs", "1000", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    counted = {m.tool: m.macs for m in measurements_in(tmp_path / "measurements.jsonl")}
    assert counted == {"thop": 32, "fvcore": 32, "flop_counter": 32}

    again = ("--memory", "100M", "--again")
    refused = flopaudit("run", *where, "--tools", names, *again, cwd=tmp_path)
    assert refused.returncode == 2
    assert "flopaudit: A limit of 100 MiB of memory ends every cell at its start" in refused.stderr
    needed = int(refused.stderr.rpartition("Give --memory ")[2].partition("M")[0])
    assert 100 < needed < 2000


@pytest.fixture(scope="module")
def with_zygote() -> Iterator[tuple[Scheduler, psutil.Process]]:
    """A scheduler with a short time limit and a short grace, and its zygote."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scheduling, "GRACE_SECONDS", 0.5)
        before = psutil.Process().children()
        with Scheduler(2, Limits(1.5, 2 * GIB)) as started:
            (zygote,) = set(psutil.Process().children()) - set(before)
            yield started, zygote


@pytest.fixture
def ready(with_zygote: tuple[Scheduler, psutil.Process]) -> Scheduler:
    """The scheduler alone."""
    return with_zygote[0]


def outcomes(scheduler: Scheduler, model: str, *tools: str) -> dict[str, tuple[str, str | None]]:
    """How each tool ended on a model of the fakes."""
    names = {f"{FAKES}:{name}" if name.isupper() else name: name for name in tools}
    spec = dataclasses.replace(MODEL, factory=model)
    job = Job(spec, ("1x8",), tuple(Cell(name, None) for name in names))
    return {
        names[event.cell.tool]: (event.outcome.status, event.outcome.error)
        for event in scheduler.run([job])
        if event.cell and event.outcome
    }


@pytest.mark.slow
def test_stopped_host_is_ended_at_the_time_limit(ready: Scheduler) -> None:
    assert outcomes(ready, "small", "thop") == {"thop": ("counted", None)}  # torch is imported
    started = time.monotonic()
    found = outcomes(ready, "small", "STOPS_ITS_PARENT", "HANGS", "thop", "flop_counter")
    late = "no result within 1.5 seconds, and its host did not answer"
    assert found == {
        "STOPS_ITS_PARENT": ("timed_out", late),
        "HANGS": ("timed_out", late),
        "thop": ("counted", None),
        "flop_counter": ("counted", None),
    }
    assert 1.5 + 0.5 < time.monotonic() - started < 10
    stopped = [p for p in psutil.Process().children(recursive=True) if p.status() == "stopped"]
    assert not stopped


@pytest.mark.slow
def test_stopped_worker_and_stopped_factory_are_ended_at_the_time_limit(ready: Scheduler) -> None:
    assert outcomes(ready, "small", "STOPS_ITSELF", "thop") == {
        "STOPS_ITSELF": ("timed_out", "no result within 1.5 seconds"),
        "thop": ("counted", None),
    }
    assert outcomes(ready, "stops", "thop") == {
        "thop": ("timed_out", "the model was not built within 1.5 seconds")
    }


@pytest.mark.slow
def test_worker_that_cannot_be_started_fails_its_cell(ready: Scheduler) -> None:
    reason = "no process could be started for it: Too many open files"
    found = outcomes(ready, "leaves_no_files", "thop", "flop_counter")
    assert found == dict.fromkeys(("thop", "flop_counter"), ("crashed", reason))
    assert outcomes(ready, "small", "thop") == {"thop": ("counted", None)}


@pytest.mark.slow
def test_main_process_that_was_stopped_itself_takes_the_outcomes_that_arrived(
    ready: Scheduler,
) -> None:
    """A caller that is slow, or a run after Ctrl-Z and fg: nothing is late that has finished."""
    job = Job(MODEL, ("1x8",), (Cell("thop", None), Cell("flop_counter", None)))
    found: dict[str, str] = {}
    for event in ready.run([job]):
        if event.cell and event.outcome is None and not found:
            time.sleep(2.5)
        elif event.cell and event.outcome:
            found[event.cell.tool] = event.outcome.status
    assert found == {"thop": "counted", "flop_counter": "counted"}


@pytest.mark.slow
def test_zygote_that_is_stopped_while_it_imports_torch_ends_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scheduling, "GRACE_SECONDS", 0.5)
    before = psutil.Process().children()
    with Scheduler(1, Limits(60, 2 * GIB)) as scheduler:
        (zygote,) = set(psutil.Process().children()) - set(before)
        stopped(scheduler, zygote)
    assert not zygote.is_running()


@pytest.mark.slow
def test_zygote_that_is_stopped_when_it_is_to_start_a_host_ends_the_run(
    with_zygote: tuple[Scheduler, psutil.Process],
) -> None:
    """The last test of this scheduler, which is of no use afterwards."""
    scheduler, zygote = with_zygote
    assert outcomes(scheduler, "small", "thop") == {"thop": ("counted", None)}
    stopped(scheduler, zygote)


def stopped(scheduler: Scheduler, zygote: psutil.Process) -> None:
    """Stop a zygote, and see that a run says so."""
    zygote.send_signal(signal.SIGSTOP)
    with pytest.raises(RunError, match="imports torch was stopped") as caught:
        outcomes(scheduler, "small", "thop")
    assert "give the same command again" in caught.value.remedy


@pytest.mark.slow
def test_zygote_ends_without_a_word_if_the_run_is_over_before_it_is_ready(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As after Ctrl-C while torch is imported."""
    monkeypatch.setattr(scheduling, "END_SECONDS", 60)
    before = psutil.Process().children()
    with Scheduler(1, Limits(60, 2 * GIB)):
        (zygote,) = set(psutil.Process().children()) - set(before)
    assert not zygote.is_running()
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_run_without_files_to_open_says_so(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flopaudit", "run", "--models", f"{FAKES}:small", "--input", "1x8"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (8, 8)),
        cwd=tmp_path, env=os.environ, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "Too many open files. Raise the limit on open files (`ulimit -n`)" in done.stderr


UNKNOWN_USER = """
import os, pwd
def _nobody(_uid):
    raise KeyError("uid not found")
pwd.getpwuid = _nobody
for name in ("HOME", "USER", "LOGNAME", "XDG_CACHE_HOME", "FLOPAUDIT_TOOLS"):
    os.environ.pop(name, None)
"""


@pytest.mark.slow
def test_user_without_a_name_and_a_home_can_do_all_but_keep_tools(tmp_path: Path) -> None:
    """As in a container that runs under any user id; all processes of a run are like that."""
    (tmp_path / "sitecustomize.py").write_text(UNKNOWN_USER)
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))

    def run(*args: str) -> tuple[int, str, str]:
        done = flopaudit(*args, cwd=tmp_path, variables={"PYTHONPATH": path})
        return done.returncode, done.stdout, done.stderr

    code, stdout, stderr = run("tools")
    assert (code, stderr) == (0, "")
    assert "thop" in stdout
    small = (f"{FAKES}:small", "--input", "1x8")
    code, stdout, stderr = run("settle", *small, "--tools", "thop,fvcore")
    assert code == 0, stderr
    assert "32 MACs" in stdout
    code, stdout, stderr = run("install", "thop==0.1.0")
    assert (code, stdout) == (2, "")
    assert stderr == (
        "flopaudit: This user has no home directory to keep tools in. "
        "Name a folder in $FLOPAUDIT_TOOLS, or set HOME.\n"
    )
    code, _, stderr = run("run", "--models", *small, "--tools", "thop@~/thop")
    assert (code, "no home directory" in stderr) == (2, True)
