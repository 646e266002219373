"""Runs cells, each in a process of its own: jobs come in, outcomes go out as they finish.

The processes: this one, which imports no torch; one zygote, which has imported it; a host for each
model, forked off the zygote; a cell for each tool on it, forked off the host. Up to `slots` of them
work at a time, the building of a model counting as one. Closing the scheduler, for whatever
reason, ends them all.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from typing_extensions import Self

from flopaudit.core.specs import PROBE, ModelSpec
from flopaudit.isolation.messages import Channel
from flopaudit.isolation.process_tree import kill_group, resident_bytes
from flopaudit.isolation.tasks import MEASURE

_ZYGOTE = (sys.executable, "-m", "flopaudit.isolation.zygote")

REFERENCE, TRACE = "reference", "trace"
"""Names of the cells that are not tools: the reference's count, and what a tool could see."""

END_SECONDS = 1.0
"""How long the processes may take to end by themselves."""


@dataclass(frozen=True)
class Cell:
    """One tool, by the name `adapters.find` knows it by, to be run on one model.

    `site` is the folder to import it from, if not from where everything is installed.
    `task` is what the worker is to do (see `tasks`), under `condition` if that can be chosen.
    """

    tool: str
    variant: str | None
    site: str | None = None
    task: str = MEASURE
    condition: str = ""


@dataclass(frozen=True)
class Job:
    """One model and the cells that are to run on it."""

    model: ModelSpec
    inputs: tuple[str, ...]
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Limits:
    """What a cell, and the building of a model, may take."""

    timeout_seconds: float
    memory_bytes: int


@dataclass(frozen=True)
class Event:
    """Something happened to a cell: it started (no outcome) or finished.

    `cell` is None for the building of the model.
    """

    job: Job
    cell: Cell | None
    outcome: dict[str, Any] | None


@dataclass
class _Host:
    job: Job
    channel: Channel
    waiting: deque[int] = field(default_factory=deque)
    pid: int = 0
    state: str = "building"
    started: float = 0
    running: set[int] = field(default_factory=set)

    @property
    def done(self) -> bool:
        """Whether all cells have been heard of."""
        return self.state == "built" and not (self.waiting or self.running)

    def build(self, job: Job) -> None:
        """Have it build a model: the first, or the next when it is done."""
        self.job, self.waiting = job, deque(range(len(job.cells)))
        self.state, self.started = "building", time.monotonic()
        with contextlib.suppress(BrokenPipeError):
            self.channel.send({"build": vars(job.model), "inputs": list(job.inputs)})


class Scheduler:
    """Use as a context manager; iterate over `run`.

    For thousands of small cells of one tool, `preload` names its package, and the modules that the
    models come from: they are imported once, not in each process, forks are made cheap, and models
    of these modules share a host, one after the other. Each cell has a process of its own as ever.
    Such a scheduler runs that tool alone, from that `site`: an import may change torch for others.
    What all cells of any tool need, beside torch, is named by `modules`.
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
        ours, theirs = socket.socketpair()
        self._zygote_channel = Channel(ours)
        self._ready = False
        self._zygote = subprocess.Popen(  # noqa: S603 - this interpreter, this package
            [*_ZYGOTE, str(theirs.fileno()), str(os.getpid()), site or "", *preload, *modules],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # so that Ctrl-C reaches only this process
            env=worker_environment(),
        )
        theirs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End every process, whatever it is doing."""
        self._zygote_channel.close()  # this has the zygote end all that is below it, and itself
        for host in self._hosts:
            host.channel.close()
        try:
            self._zygote.wait(timeout=END_SECONDS)
        except subprocess.TimeoutExpired:
            self._zygote.kill()  # it is importing torch; where the kernel can, all end with it
            self._zygote.wait()

    def run(self, jobs: list[Job]) -> Iterator[Event]:
        """Run all cells of all jobs, in their order as far as slots allow.

        Raises:
            RuntimeError: the zygote ended, which is a fault of this program or of its setup.
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
        """Whether a model may be built where another one was: they come from what all share."""
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
            host.channel.send({"cell": index, **vars(cell), **vars(self._limits)})
        except BrokenPipeError:
            host.state = "lost"  # `_wait` hears what it had still said, and then that it ended
            return
        host.running.add(host.waiting.popleft())
        self._events.append(Event(host.job, cell, None))

    def _wait(self) -> None:
        channels = [self._zygote_channel, *(host.channel for host in self._hosts)]
        for ready in select.select(channels, [], [], 0.05)[0]:
            if ready is self._zygote_channel:
                self._hear_zygote()
            else:
                self._hear(next(host for host in self._hosts if host.channel is ready))
        for host in [host for host in self._hosts if host.state == "building"]:
            self._limit_building(host)

    def _retire_done(self, pending: deque[Job]) -> None:
        """End the hosts that are done, but for those that can take the next model as well."""
        for host in [host for host in self._hosts if host.done]:
            if not (pending and self._can_follow(host, pending[0])):
                self._retire(host)

    def _hear_zygote(self) -> None:
        if self._zygote_channel.receive() is None:
            code = self._zygote.wait()
            raise RuntimeError(f"the process that imports torch ended with code {code}")
        self._ready = True

    def _hear(self, host: _Host) -> None:
        messages = host.channel.receive()
        if messages is None:
            self._lost(host)
        for message in messages or ():
            if "pid" in message:
                host.pid = message["pid"]
            elif "built" in message:
                host.state = "built"
            elif "failed" in message:
                self._fail(host, {"status": "unavailable", "error": message["failed"]})
            else:
                host.running.discard(message["cell"])
                cell = host.job.cells[message["cell"]]
                self._events.append(Event(host.job, cell, message["outcome"]))

    def _limit_building(self, host: _Host) -> None:
        seconds, limit = self._limits.timeout_seconds, self._limits.memory_bytes
        if time.monotonic() - host.started > seconds:
            error = f"the model was not built within {seconds:g} seconds"
            self._fail(host, {"status": "timed_out", "error": error})
        elif host.pid and resident_bytes(host.pid) > limit:
            error = f"building the model took more than its {limit:,} bytes of memory"
            self._fail(host, {"status": "crashed", "error": error})

    def _lost(self, host: _Host) -> None:
        if host.state == "building":
            error = "the process ended while it was building the model"
            self._fail(host, {"status": "crashed", "error": error})
            return
        error = "the process that held the model ended"
        for index in sorted(host.running):
            outcome = {"status": "crashed", "error": error}
            self._events.append(Event(host.job, host.job.cells[index], outcome))
        host.running.clear()
        waiting = [host.job.cells[index] for index in host.waiting]
        self._retire(host)
        if waiting:
            self._start(Job(host.job.model, host.job.inputs, tuple(waiting)))

    def _fail(self, host: _Host, outcome: dict[str, Any]) -> None:
        for index in host.waiting:
            self._events.append(Event(host.job, host.job.cells[index], dict(outcome)))
        host.waiting.clear()
        self._retire(host)

    def _retire(self, host: _Host) -> None:
        if host in self._hosts:
            self._hosts.remove(host)
            host.channel.close()
            if host.state == "building" and host.pid:
                kill_group(host.pid)


def _home(job: Job) -> str:
    """The module that a model comes from."""
    return "flopaudit.probes" if job.model.source == PROBE else job.model.location


def worker_environment() -> dict[str, str]:
    """One thread a process: a process with a pool of threads cannot be forked safely."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    return {**os.environ, **threads}


def default_memory_bytes(slots: int) -> int:
    """A cell's share of four fifths of the machine's memory."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return total * 4 // 5 // slots
