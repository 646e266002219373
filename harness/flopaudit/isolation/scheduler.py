"""The scheduler: runs the cells of jobs, each in a process of its own, and yields their outcomes.

The processes: this one, which imports no torch; one zygote, which has imported it; a host for each
model, forked off the zygote; a worker for each cell, forked off the host. Up to `slots` of them
work at a time; building a model takes a slot too. Closing the scheduler, for whatever reason, ends
them all.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import psutil
from typing_extensions import Self

from flopaudit.core.search_path import child_environment, module_command
from flopaudit.core.specs import PROBE
from flopaudit.isolation.jobs import Cell, Job, Limits
from flopaudit.isolation.messages import (
    BuildFailed,
    BuildModel,
    CellFinished,
    Channel,
    HostStarted,
    ModelBuilt,
    RunCell,
)
from flopaudit.isolation.outcomes import Outcome, failed
from flopaudit.isolation.process_tree import MemoryWatch, kill_group
from flopaudit.tools.provenance import require_libraries

_ZYGOTE = "flopaudit.isolation.zygote"

END_SECONDS = 1.0
"""How long the processes may take to end by themselves."""

_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Where a container's memory limit is written, by version 2 and version 1 of control groups."""


@dataclass(frozen=True)
class Event:
    """A cell of a job started (no outcome) or finished; `cell` is None for building the model."""

    job: Job
    cell: Cell | None
    outcome: Outcome | None


@dataclass
class _Host:
    job: Job
    channel: Channel
    waiting: deque[int] = field(default_factory=deque)
    pid: int = 0
    memory: MemoryWatch | None = None
    state: Literal["building", "built", "lost"] = "building"
    started: float = 0
    running: set[int] = field(default_factory=set)

    @property
    def done(self) -> bool:
        """Whether all cells have finished."""
        return self.state == "built" and not (self.waiting or self.running)

    def build(self, job: Job) -> None:
        """Have the host build a model: its first, or the next once it is done."""
        self.job, self.waiting = job, deque(range(len(job.cells)))
        self.state, self.started = "building", time.monotonic()
        with contextlib.suppress(BrokenPipeError):
            self.channel.send(BuildModel(job.model, job.inputs))


class Scheduler:
    """A context manager; iterate over `run` for the events.

    For thousands of small cells of one tool, `preload` names its package and the modules that the
    models come from: they are imported once instead of in each process, forks are made cheap, and
    models of these modules share a host, one after the other. Each cell still has a process of its
    own. Such a scheduler runs that tool alone, from that `site`: an import may change torch for
    other tools. `modules` names what the cells of every tool need in addition to torch.
    """

    def __init__(
        self,
        slots: int,
        limits: Limits,
        preload: Sequence[str] = (),
        site: str | None = None,
        modules: Sequence[str] = (),
    ) -> None:
        self._slots = slots
        self._limits = limits
        self._preload, self._site = frozenset(preload), site
        self._hosts: list[_Host] = []
        self._events: deque[Event] = deque()
        require_libraries()
        ours, theirs = socket.socketpair()
        self._zygote_channel = Channel(ours)
        self._ready = False
        self._zygote = subprocess.Popen(  # noqa: S603 - this interpreter, this package
            module_command(
                _ZYGOTE, str(theirs.fileno()), str(os.getpid()), site or "", *preload, *modules
            ),
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # so that Ctrl-C reaches only this process
            env=_worker_environment(),
        )
        theirs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End every process, whatever state it is in."""
        self._zygote_channel.close()  # this has the zygote end all that is below it, and itself
        for host in self._hosts:
            host.channel.close()
        try:
            self._zygote.wait(timeout=END_SECONDS)
        except subprocess.TimeoutExpired:
            self._zygote.kill()  # it is importing torch; on Linux all others end with it
            self._zygote.wait()

    def run(self, jobs: list[Job]) -> Iterator[Event]:
        """Run all cells of all jobs, in their order as far as slots allow.

        Raises:
            RuntimeError: the zygote ended, because of a fault in this program or in its setup.
            ValueError: modules were preloaded, and there is more than one tool.
        """
        tools = {(cell.tool, cell.site) for job in jobs for cell in job.cells}
        if self._preload and (len(tools) > 1 or any(site != self._site for _, site in tools)):
            raise ValueError("a scheduler that has preloaded a tool runs no other")
        pending = deque(job for job in jobs if job.cells)
        while pending or self._hosts:
            self._fill(pending)
            while self._events:
                yield self._events.popleft()
            self._wait()
            self._retire_done(pending)
            while self._events:
                yield self._events.popleft()

    def _busy(self) -> int:
        return sum((host.state == "building") + len(host.running) for host in self._hosts)

    def _fill(self, pending: deque[Job]) -> None:
        while self._ready and self._busy() < self._slots:
            host = next((h for h in self._hosts if h.state == "built" and h.waiting), None)
            if host:
                self._start_cell(host)
            elif pending:
                self._start(pending.popleft())
            else:
                return

    def _start(self, job: Job) -> None:
        free = (host for host in self._hosts if self._can_follow(host, job))
        (next(free, None) or self._start_host(job)).build(job)
        self._events.append(Event(job, None, None))

    def _can_follow(self, host: _Host, job: Job) -> bool:
        """Whether a host may build another model: both come from preloaded modules."""
        return host.done and {_home(host.job), _home(job)} <= self._preload

    def _start_host(self, job: Job) -> _Host:
        ours, theirs = socket.socketpair()
        socket.send_fds(self._zygote_channel.sock, [b"h"], [theirs.fileno()])
        theirs.close()
        self._hosts.append(_Host(job, Channel(ours)))
        return self._hosts[-1]

    def _start_cell(self, host: _Host) -> None:
        index = host.waiting[0]
        cell = host.job.cells[index]
        try:
            host.channel.send(RunCell(index, cell, self._limits))
        except BrokenPipeError:
            host.state = "lost"  # `_wait` reads its last messages, and then that it ended
            return
        host.running.add(host.waiting.popleft())
        self._events.append(Event(host.job, cell, None))

    def _wait(self) -> None:
        channels = [self._zygote_channel, *(host.channel for host in self._hosts)]
        for ready in select.select(channels, [], [], 0.05)[0]:
            if ready is self._zygote_channel:
                self._receive_from_zygote()
            else:
                self._receive_from(next(host for host in self._hosts if host.channel is ready))
        for host in [host for host in self._hosts if host.state == "building"]:
            self._limit_building(host)

    def _retire_done(self, pending: deque[Job]) -> None:
        """End the hosts that are done, except those that can build the next model too."""
        for host in [host for host in self._hosts if host.done]:
            if not (pending and self._can_follow(host, pending[0])):
                self._retire(host)

    def _receive_from_zygote(self) -> None:
        if self._zygote_channel.receive() is None:
            code = self._zygote.wait()
            raise RuntimeError(f"the process that imports torch ended with code {code}")
        self._ready = True

    def _receive_from(self, host: _Host) -> None:
        messages = host.channel.receive()
        if messages is None:
            self._lost(host)
        for message in messages or ():
            if isinstance(message, HostStarted):
                host.pid, host.memory = message.pid, MemoryWatch(message.pid)
            elif isinstance(message, ModelBuilt):
                host.state = "built"
            elif isinstance(message, BuildFailed):
                self._fail(host, failed("unavailable", message.error))
            elif isinstance(message, CellFinished):
                host.running.discard(message.id)
                self._events.append(Event(host.job, host.job.cells[message.id], message.outcome))
            else:
                raise TypeError(f"a host sends no {type(message).__name__}")

    def _limit_building(self, host: _Host) -> None:
        seconds, limit = self._limits.timeout_seconds, self._limits.memory_bytes
        if time.monotonic() - host.started > seconds:
            error = f"the model was not built within {seconds:g} seconds"
            self._fail(host, failed("timed_out", error))
        elif host.memory and host.memory.exceeds(limit):
            error = f"building the model took more than its {limit:,} bytes of memory"
            self._fail(host, failed("crashed", error))

    def _lost(self, host: _Host) -> None:
        if host.state == "building":
            error = "the process ended while it was building the model"
            self._fail(host, failed("crashed", error))
            return
        outcome = failed("crashed", "the process that held the model ended")
        for index in sorted(host.running):
            self._events.append(Event(host.job, host.job.cells[index], outcome))
        host.running.clear()
        waiting = [host.job.cells[index] for index in host.waiting]
        self._retire(host)
        if waiting:
            self._start(Job(host.job.model, host.job.inputs, tuple(waiting)))

    def _fail(self, host: _Host, outcome: Outcome) -> None:
        for index in host.waiting:
            self._events.append(Event(host.job, host.job.cells[index], outcome))
        host.waiting.clear()
        self._retire(host)

    def _retire(self, host: _Host) -> None:
        if host in self._hosts:
            self._hosts.remove(host)
            host.channel.close()
            if host.state == "building" and host.pid:
                kill_group(host.pid)


def _home(job: Job) -> str:
    """Return the module that a model comes from."""
    return "flopaudit.probes" if job.model.source == PROBE else job.model.location


def _worker_environment() -> dict[str, str]:
    """Return an environment for one thread a process: a pool of threads cannot be forked safely."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    return {**child_environment(), **threads}


def default_memory_bytes(slots: int) -> int:
    """Return a cell's share of four fifths of the memory of this machine, or of its container."""
    limits = [psutil.virtual_memory().total]
    for path in _CGROUP_LIMITS:
        with contextlib.suppress(OSError, ValueError):  # no such file, or "max"
            limits.append(int(Path(path).read_text()))
    return min(limits) * 4 // 5 // slots
