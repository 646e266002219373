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
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from typing_extensions import Self

from flopaudit.core.errors import RunError, UsageError
from flopaudit.core.search_path import child_environment, module_command
from flopaudit.core.specs import PROBE
from flopaudit.isolation.jobs import Cell, Job, Limits
from flopaudit.isolation.memory_share import Footprint, divided
from flopaudit.isolation.messages import (
    BuildFailed,
    BuildModel,
    CellFinished,
    Channel,
    HostStarted,
    ModelBuilt,
    RunCell,
    ZygoteFailed,
    ZygoteReady,
)
from flopaudit.isolation.outcomes import Outcome, failed
from flopaudit.isolation.process_tree import MemoryWatch, is_stopped, kill_group
from flopaudit.records.schema import ModelIdentity
from flopaudit.reference import user_formulas
from flopaudit.tools.provenance import require_libraries

Kit = Literal["tools", "harness"]
"""What a zygote imports for its workers: what tools need, or what the harness's own tasks need."""

_ZYGOTE = "flopaudit.isolation.zygote"

_GO_ON = "Finished results are kept; give the same command again to continue."

END_SECONDS = 1.0
"""How long the processes may take to end by themselves."""

GRACE_SECONDS = 5.0
"""How long a host may take to report a cell whose time is up, or the zygote to answer when stopped.

A host that was stopped, as by SIGSTOP, ends no cell; then the scheduler ends the host.
"""

HOST_START_SECONDS = 60.0
"""How long the zygote may take to fork a host, which is a matter of milliseconds."""

IMPORT_SECONDS = 300.0
"""How long the zygote may take to import torch; from a slow disk that can be minutes."""


@dataclass(frozen=True)
class Event:
    """A cell of a job started (no outcome) or finished; `cell` is None for building the model.

    `identity` is that of the model that the cell ran on, where the scheduler was asked for it.
    """

    job: Job
    cell: Cell | None
    outcome: Outcome | None
    identity: ModelIdentity | None = None


Choice = Callable[[Job, ModelIdentity], Collection[Cell]]
"""Chooses, once a model is built and known, which cells of its job are to run."""


@dataclass
class _Host:
    """The scheduler's view of a host.

    Attributes:
        waiting: the cells of the job, by number, that have not been started.
        started: when the host was last given a model to build.
        asked: when the zygote was asked for the host.
        running: the cells that have been started, and when.
    """

    job: Job
    channel: Channel
    waiting: deque[int] = field(default_factory=deque)
    pid: int = 0
    memory: MemoryWatch | None = None
    state: Literal["building", "built", "lost"] = "building"
    started: float = 0
    asked: float = field(default_factory=time.monotonic)
    running: dict[int, float] = field(default_factory=dict)
    identity: ModelIdentity | None = None

    @property
    def done(self) -> bool:
        """Whether all cells have finished."""
        return self.state == "built" and not (self.waiting or self.running)

    def build(self, job: Job, *, identify: bool) -> None:
        """Have the host build a model: its first, or the next once it is done."""
        self.job, self.waiting = job, deque(range(len(job.cells)))
        self.state, self.started, self.identity = "building", time.monotonic(), None
        with contextlib.suppress(BrokenPipeError):
            formulas = user_formulas.sources()
            self.channel.send(BuildModel(job.model, job.inputs, job.prebuilt, formulas, identify))

    def event(self, index: int, outcome: Outcome | None) -> Event:
        """Return the event of a cell that started or finished."""
        return Event(self.job, self.job.cells[index], outcome, self.identity)


class Scheduler:
    """A context manager; iterate over `run` for the events.

    For thousands of small cells of one tool, `preload` names its package and the modules that the
    models come from: they are imported once instead of in each process, forks are made cheap, and
    models of these modules share a host, one after the other. Each cell still has a process of its
    own. Such a scheduler runs that tool alone, from that `site`: an import may change torch for
    other tools. `modules` names what the cells of every tool need in addition to torch. With
    `kit="harness"` the zygote does not import what only tools need.
    """

    def __init__(  # noqa: PLR0913 - most callers give two
        self,
        slots: int,
        limits: Limits,
        preload: Sequence[str] = (),
        site: str | None = None,
        modules: Sequence[str] = (),
        *,
        kit: Kit = "tools",
    ) -> None:
        self._slots = slots
        self._limits = limits
        self._preload, self._site = frozenset(preload), site
        self._hosts: list[_Host] = []
        self._events: deque[Event] = deque()
        self._choose: Choice | None = None
        require_libraries()
        ours, theirs = socket.socketpair()
        self._zygote_channel = Channel(ours)
        self._footprint: Footprint | None = None  # until the zygote is ready
        self._asked = time.monotonic()
        self._room, self._divided = 0, limits  # as `divided` has them, once the zygote is ready
        self._zygote = subprocess.Popen(  # noqa: S603 - this interpreter, this package
            module_command(
                *(_ZYGOTE, str(theirs.fileno()), str(os.getpid()), site or "", kit),
                *(*preload, *modules),
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
        if self._footprint is None:  # it is importing torch, and has no processes below it
            self._zygote.kill()
        self._zygote_channel.close()  # this has the zygote end all that is below it, and itself
        for host in self._hosts:
            host.channel.close()
        try:
            self._zygote.wait(timeout=END_SECONDS)
        except subprocess.TimeoutExpired:
            self._zygote.kill()  # on Linux all others end with it
            self._zygote.wait()

    def run(self, jobs: list[Job], choose: Choice | None = None) -> Iterator[Event]:
        """Run all cells of all jobs, in their order as far as slots allow.

        Args:
            jobs: the models and their cells.
            choose: called for each model that has been built, with its identity; only the cells
                that it returns are run. All are if there is no such function.

        Raises:
            RunError: the zygote ended, or does not answer.
            UsageError: torch cannot be imported, or alone takes more memory than the limit.
            ValueError: modules were preloaded, and there is more than one tool.
        """
        tools = {(cell.tool, cell.site) for job in jobs for cell in job.cells}
        if self._preload and (len(tools) > 1 or any(site != self._site for _, site in tools)):
            raise ValueError("a scheduler that has preloaded a tool runs no other")
        self._choose = choose
        pending = deque(job for job in jobs if job.cells)
        self._room = 0
        while pending or self._hosts:
            if self._footprint and not self._room:
                cells = sum(len(job.cells) for job in jobs)
                self._room, self._divided = divided(
                    self._slots, cells, self._limits, self._footprint
                )
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
        while self._busy() < self._room:
            host = next((h for h in self._hosts if h.state == "built" and h.waiting), None)
            if host:
                self._start_cell(host)
            elif pending:
                self._start(pending.popleft())
            else:
                return

    def _start(self, job: Job) -> None:
        free = (host for host in self._hosts if self._can_follow(host, job))
        host = next(free, None) or self._start_host(job)
        host.build(job, identify=self._choose is not None)
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
            host.channel.send(RunCell(index, cell, self._divided))
        except BrokenPipeError:
            host.state = "lost"  # `_wait` reads its last messages, and then that it ended
            return
        host.running[host.waiting.popleft()] = time.monotonic()
        self._events.append(host.event(index, None))

    def _wait(self) -> None:
        channels = [self._zygote_channel, *(host.channel for host in self._hosts)]
        ready = select.select(channels, [], [], 0.05)[0]
        for channel in ready:
            if channel is self._zygote_channel:
                self._receive_from_zygote()
            else:
                self._receive_from(next(host for host in self._hosts if host.channel is channel))
        self._expect_zygote()
        # Those that were heard have more to say, perhaps; it is this process that may be late.
        for host in [host for host in self._hosts if host.channel not in ready]:
            if host.state == "building" and host.pid:
                self._limit_building(host)
            elif host.state == "built":
                self._limit_running(host)

    def _retire_done(self, pending: deque[Job]) -> None:
        """End the hosts that are done, except those that can build the next model too."""
        for host in [host for host in self._hosts if host.done]:
            if not (pending and self._can_follow(host, pending[0])):
                self._retire(host)

    def _receive_from_zygote(self) -> None:
        messages = self._zygote_channel.receive()
        if messages is None:
            code = self._zygote.wait()
            how = f"ended with code {code}" if code >= 0 else f"was ended by signal {-code}"
            raise RunError(f"The process that imports torch {how}.", _GO_ON)
        for message in messages:
            if isinstance(message, ZygoteFailed):
                remedy = "See what `python -c 'import torch'` says."
                raise UsageError(f"torch cannot be imported: {message.error}.", remedy)
            if isinstance(message, ZygoteReady):
                self._footprint = message.footprint

    def _expect_zygote(self) -> None:
        """Notice a zygote that should have answered by now.

        Raises:
            RunError: it has not.
        """
        asked = [(host.asked, HOST_START_SECONDS) for host in self._hosts if not host.pid]
        if not self._footprint:
            asked = [(self._asked, IMPORT_SECONDS)]
        waited = max((time.monotonic() - since, limit) for since, limit in asked) if asked else None
        if not waited or waited[0] < GRACE_SECONDS:
            return
        seconds, limit = waited
        stopped = is_stopped(self._zygote.pid)
        if stopped or seconds > limit:
            how = "was stopped" if stopped else f"has not answered for {seconds:.0f} seconds"
            raise RunError(f"The process that imports torch {how}.", _GO_ON)

    def _receive_from(self, host: _Host) -> None:
        messages = host.channel.receive()
        if messages is None:
            self._lost(host)
        for message in messages or ():
            if isinstance(message, HostStarted):
                host.pid, host.memory = message.pid, MemoryWatch(message.pid)
                host.started = time.monotonic()
            elif isinstance(message, ModelBuilt):
                self._built(host, message.identity)
            elif isinstance(message, BuildFailed):
                self._fail(host, failed(message.status, message.error))
            elif isinstance(message, CellFinished):
                host.running.pop(message.id, None)
                self._events.append(host.event(message.id, message.outcome))
            else:
                raise TypeError(f"a host sends no {type(message).__name__}")

    def _built(self, host: _Host, identity: ModelIdentity | None) -> None:
        host.state, host.identity = "built", identity
        if self._choose and identity:
            chosen = set(self._choose(host.job, identity))
            host.waiting = deque(i for i in host.waiting if host.job.cells[i] in chosen)

    def _limit_building(self, host: _Host) -> None:
        seconds, limit = self._divided.timeout_seconds, self._divided.memory_bytes
        if time.monotonic() - host.started > seconds:
            error = f"the model was not built within {seconds:g} seconds"
            self._fail(host, failed("timed_out", error))
        elif host.memory and host.memory.exceeds(limit):
            error = f"building the model took more than its {limit:,} bytes of memory"
            self._fail(host, failed("crashed", error))

    def _limit_running(self, host: _Host) -> None:
        """End a host that ends no cells, as one that was stopped, and go on without it."""
        seconds = self._divided.timeout_seconds
        first = min(host.running.values(), default=time.monotonic())
        if time.monotonic() - first > seconds + GRACE_SECONDS:
            kill_group(host.pid)
            error = f"no result within {seconds:g} seconds, and its host did not answer"
            self._lost(host, failed("timed_out", error))

    def _lost(self, host: _Host, outcome: Outcome | None = None) -> None:
        """Go on without a host, whose running cells have this outcome, or crashed."""
        if host.state == "building":
            error = "the process ended while it was building the model"
            self._fail(host, failed("crashed", error))
            return
        outcome = outcome or failed("crashed", "the process that held the model ended")
        for index in sorted(host.running):
            self._events.append(host.event(index, outcome))
        host.running.clear()
        waiting = [host.job.cells[index] for index in host.waiting]
        self._retire(host)
        if waiting:
            self._start(replace(host.job, cells=tuple(waiting)))

    def _fail(self, host: _Host, outcome: Outcome) -> None:
        for index in host.waiting:
            self._events.append(host.event(index, outcome))
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
