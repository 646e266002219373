"""Process trees: children are listed and ended, and their memory is compared with a limit."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psutil
import pytest
from flopaudit.isolation import memory_share, process_tree
from flopaudit.isolation.process_tree import MemoryWatch, children, end_children

if TYPE_CHECKING:
    from pathlib import Path

FAR = 1 << 50
SLEEPER = [sys.executable, "-c", "import time; time.sleep(600)"]
EATER = """
import subprocess, sys, time
eat = "import time; held = b'x' * (200 << 20); time.sleep(600)"
subprocess.run([sys.executable, "-c", eat])
"""


def test_memory_of_a_process_is_compared_with_a_limit() -> None:
    watch = MemoryWatch(os.getpid())
    assert watch.exceeds(1 << 20)
    assert not watch.exceeds(FAR)


def test_process_that_has_ended_holds_nothing() -> None:
    child = subprocess.Popen(SLEEPER)
    running = MemoryWatch(child.pid)
    assert running.exceeds(1 << 10)
    child.kill()
    child.wait()
    assert not running.exceeds(0)
    assert not MemoryWatch(child.pid).exceeds(0)


def test_memory_of_the_processes_below_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_tree, "TREE_SECONDS", 0)
    parent = subprocess.Popen([sys.executable, "-c", EATER])
    watch, limit = MemoryWatch(parent.pid), 150 << 20
    deadline = time.monotonic() + 60
    while not (exceeded := watch.exceeds(limit)) and time.monotonic() < deadline:
        time.sleep(0.02)
    below = psutil.Process(parent.pid).children()
    alone = psutil.Process(parent.pid).memory_info().rss
    for process in below:
        process.kill()
    parent.wait()
    assert exceeded
    assert len(below) == 1
    assert alone < limit
    assert not watch.exceeds(limit)


CHILDREN = """
import os, subprocess, sys, time
from flopaudit.isolation.process_tree import adopt_orphans, children, end_children
assert children() == []
adopt_orphans()
kept = subprocess.Popen(["sleep", "600"])
parent = subprocess.Popen([sys.executable, "-c", (
    "import subprocess; print(subprocess.Popen(['sleep', '600']).pid, flush=True); input()"
)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
grandchild = int(parent.stdout.readline())
assert sorted(children()) == sorted([kept.pid, parent.pid])
end_children(keep=[kept.pid])
assert children() == [kept.pid]
try:
    os.kill(grandchild, 0)
except ProcessLookupError:
    print("ended")
end_children()
assert children() == []
parent.returncode = kept.returncode = 0
"""


@pytest.mark.skipif(sys.platform != "linux", reason="orphans are adopted on Linux only")
def test_children_and_their_orphans_are_ended() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHILDREN], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.stdout, done.stderr) == ("ended\n", "")


def test_children_are_listed() -> None:
    child = subprocess.Popen(SLEEPER)
    assert child.pid in children()
    end_children(keep=children())
    assert child.poll() is None
    child.kill()
    child.wait()
    assert child.pid not in children()


@pytest.mark.parametrize(
    ("written", "total"), [("1000000\n", 1_000_000), ("max\n", 0), ("9223372036854771712\n", 0)]
)
def test_memory_of_a_cell_is_a_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str, total: int
) -> None:
    """The share is of the machine's memory, or of a container's limit if there is one."""
    (tmp_path / "memory.max").write_text(written)
    limits = (str(tmp_path / "memory.max"), str(tmp_path / "missing"))
    monkeypatch.setattr(memory_share, "_CGROUP_LIMITS", limits)
    share = (total or psutil.virtual_memory().total) * 4 // 5
    assert memory_share.default_memory_bytes(1) == share
    assert memory_share.default_memory_bytes(4) == share // 4
