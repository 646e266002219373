"""A host: holds one model at a time and forks a worker for each cell that is to run on it.

It receives `BuildModel` and `RunCell`, and answers with `HostStarted`, with `ModelBuilt` or
`BuildFailed`, and with one `CellFinished` for each cell, however the cell ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NoReturn

from flopaudit_adapters.contract import LoadedModel

from flopaudit.core.errors import UsageError
from flopaudit.core.text import one_line, portable
from flopaudit.isolation import steps, tasks
from flopaudit.isolation.jobs import Cell, Limits
from flopaudit.isolation.messages import (
    BuildFailed,
    BuildModel,
    CellFinished,
    Channel,
    HostStarted,
    ModelBuilt,
    RunCell,
)
from flopaudit.isolation.outcomes import Failed, Outcome, decode_outcome, encode_outcome, failed
from flopaudit.isolation.process_tree import (
    MemoryWatch,
    adopt_orphans,
    children,
    die_with_parent,
    end_children,
    kill_group,
)
from flopaudit.records.schema import ModelIdentity
from flopaudit.reference import user_formulas

TICK_SECONDS = 0.02
EXCERPT_BYTES = 2000


@dataclass
class Excerpt:
    """The beginning and the end of a stream; the middle is dropped, however long it is."""

    head: bytes = b""
    tail: bytes = b""
    dropped: int = 0

    def add(self, data: bytes) -> None:
        """Add more of the stream."""
        room = EXCERPT_BYTES - len(self.head)
        self.head += data[:room]
        tail = self.tail + data[room:] if room < len(data) else self.tail
        self.dropped += max(len(tail) - EXCERPT_BYTES, 0)
        self.tail = tail[-EXCERPT_BYTES:]

    def text(self, site: str | None = None) -> str:
        """Return what is kept, as `portable` text."""
        gap = f"\n… {self.dropped} bytes left out …\n".encode() if self.dropped else b""
        return portable((self.head + gap + self.tail).decode(errors="replace"), site)


@dataclass
class Running:
    """A cell whose worker has been forked and has not been reaped.

    Attributes:
        id: the scheduler's number for the cell.
        pid: the worker process.
        output: descriptor of what the worker prints; -1 once it is closed.
        result: descriptor of what the worker hands over; -1 once it is closed.
        ended: descriptor that can be read once the worker has ended; -1 if there is none.
        killed: why the worker was killed, if it was.
    """

    id: int
    pid: int
    output: int
    result: int
    ended: int
    limits: Limits
    site: str | None
    memory: MemoryWatch
    started: float = field(default_factory=time.monotonic)
    excerpt: Excerpt = field(default_factory=Excerpt)
    payload: bytearray = field(default_factory=bytearray)
    killed: Outcome | None = None


class Host:
    """The host's side of one channel, which it serves until the channel is closed."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._running: dict[int, Running] = {}
        self._loaded: LoadedModel | None = None
        self._unbuilt: BuildModel | None = None
        self._of_model: list[int] = []

    def serve(self) -> None:
        """Answer messages and watch workers; when the channel closes, kill them and return."""
        os.setsid()
        adopt_orphans()
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        self._channel.send(HostStarted(os.getpid()))
        while self._take_messages():
            self._watch()
        for cell in self._running.values():
            kill_group(cell.pid)
        end_children()

    def _take_messages(self) -> bool:
        cells = self._running.values()
        watched = [fd for cell in cells for fd in (cell.output, cell.result, cell.ended)]
        # Without `ended`, nothing announces the end of a worker that has handed over its result.
        ending = any(cell.result < 0 and cell.ended < 0 for cell in cells)
        wait = (TICK_SECONDS / 10 if ending else TICK_SECONDS) if self._running else None
        ready = select.select(
            [self._channel.fileno(), *(fd for fd in watched if fd >= 0)], [], [], wait
        )[0]
        if self._channel.fileno() not in ready:
            return True
        messages = self._channel.receive()
        for message in messages or ():
            if isinstance(message, BuildModel):
                self._build(message)
            elif isinstance(message, RunCell):
                self._fork(message)
            else:
                raise TypeError(f"a host takes no {type(message).__name__}")
        return messages is not None

    def _build(self, message: BuildModel) -> None:
        self._loaded, self._unbuilt = None, None
        end_children()  # of the model before
        if not message.prebuilt:
            self._unbuilt, self._of_model = message, []
            self._channel.send(ModelBuilt())
            return
        try:
            from flopaudit.models.build import load, prepare

            prepare(message.model)
            user_formulas.install(message.formulas)
            self._loaded = load(message.model, message.inputs)
            found = _identity(message, self._loaded) if message.identify else None
        except UsageError as error:
            self._channel.send(BuildFailed(str(error)))
        except BaseException as error:  # noqa: BLE001 - a factory may raise anything
            self._channel.send(BuildFailed(_why_unbuilt(error)))
        else:
            self._of_model = children()
            self._channel.send(ModelBuilt(found))

    def _fork(self, message: RunCell) -> None:
        host = os.getpid()
        pipes: list[int] = []
        try:
            pipes = [*os.pipe()]
            pipes += os.pipe()
            pid = os.fork()
        except OSError as error:  # too many open files or processes, or too little memory
            for descriptor in pipes:
                os.close(descriptor)
            reason = f"no process could be started for it: {error.strerror}"
            self._channel.send(CellFinished(message.id, failed("crashed", reason)))
            return
        output_read, output_write, result_read, result_write = pipes
        if pid == 0:
            self._channel.close()
            steps.announce_on(result_write)
            _become_worker(host, output_write, result_write, lambda: self._run(message.cell))
        os.close(output_write)
        os.close(result_write)
        os.set_blocking(output_read, False)
        os.set_blocking(result_read, False)
        self._running[pid] = Running(
            id=message.id,
            pid=pid,
            output=output_read,
            result=result_read,
            ended=_end_of(pid),
            limits=message.limits,
            site=message.cell.site,
            memory=MemoryWatch(pid),
        )

    def _run(self, cell: Cell) -> Outcome:
        if self._unbuilt:
            unbuilt = self._unbuilt
            return tasks.find_building(cell.task)(
                tasks.UnbuiltAssignment(
                    unbuilt.model, unbuilt.inputs, cell.condition, unbuilt.formulas
                )
            )
        from flopaudit.isolation import worker

        del worker  # registers the task `measure`
        if self._loaded is None:
            raise RuntimeError("a cell was started before its model was built")
        task = tasks.find(cell.task)
        return task(
            tasks.Assignment(cell.tool, cell.variant, self._loaded, cell.condition, cell.site)
        )

    def _watch(self) -> None:
        for cell in list(self._running.values()):
            cell.output = _drain(cell.output, cell.excerpt.add)
            cell.result = _drain(cell.result, cell.payload.extend)
            _enforce(cell)
            pid, status, usage = os.wait4(cell.pid, os.WNOHANG)
            if pid:
                self._reap(cell, status, usage.ru_maxrss)

    def _reap(self, cell: Running, status: int, max_rss: int) -> None:
        for fd, take in ((cell.output, cell.excerpt.add), (cell.result, cell.payload.extend)):
            if _drain(fd, take) >= 0:
                os.close(fd)
        if cell.ended >= 0:
            os.close(cell.ended)
        del self._running[cell.pid]
        # Processes that the tool left are ended: its group now; those that left the group as soon
        # as they cannot be of a tool still running. Those of the model's factory stay.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(cell.pid, signal.SIGKILL)
        if not self._running:
            end_children(keep=self._of_model)
        self._channel.send(CellFinished(cell.id, _outcome(cell, status, max_rss)))


def _identity(message: BuildModel, loaded: LoadedModel) -> ModelIdentity:
    from flopaudit.models.identity import identity

    return identity(message.model, message.inputs, loaded.model, loaded.inputs, loaded.kwargs)


def _enforce(cell: Running) -> None:
    """Kill a worker that has used up its time or memory."""
    if cell.killed:
        return
    limits = cell.limits
    if time.monotonic() - cell.started > limits.timeout_seconds:
        cell.killed = failed("timed_out", f"no result within {limits.timeout_seconds:g} seconds")
    elif cell.memory.exceeds(limits.memory_bytes):
        cell.killed = failed(
            "crashed", f"took more than its {limits.memory_bytes:,} bytes of memory"
        )
    if cell.killed:
        kill_group(cell.pid)


def _outcome(cell: Running, status: int, max_rss: int) -> Outcome:
    """Return the outcome of a worker that has been reaped."""
    outcome = cell.killed or _handed_over(_without_site(bytes(cell.payload), cell.site), status)
    result = outcome.result
    if isinstance(result, Failed):
        result = replace(result, error=portable(result.error))
    return Outcome(
        result,
        time.monotonic() - cell.started if outcome.seconds is None else outcome.seconds,
        max_rss * (1 if sys.platform == "darwin" else 1024),  # macOS counts in bytes, Linux in KiB
        cell.excerpt.text(cell.site),
    )


def _become_worker(host: int, output: int, result: int, run: Callable[[], Outcome]) -> NoReturn:
    """Act as the child: tie to the host, redirect the streams, run, hand over the outcome, end."""
    try:
        os.setsid()
        die_with_parent(host)
        worker = os.getpid()
        os.dup2(output, 1)
        os.dup2(output, 2)
        data = _encoded_outcome(run)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):  # the tool may have closed or replaced it
                stream.flush()
        while data and os.getpid() == worker:  # the tool may have forked, and returned twice
            data = data[os.write(result, data) :]
    finally:
        os._exit(0)


def _encoded_outcome(run: Callable[[], Outcome]) -> bytes:
    """Return the outcome of a task as a line of JSON, whatever the task raises."""
    try:
        return encode_outcome(run())
    except SystemExit as error:
        outcome = failed("crashed", f"{_who()}called sys.exit({error.code!r:.200})")
    except BaseException as error:  # noqa: BLE001 - KeyboardInterrupt too is the tool's own here
        with contextlib.suppress(Exception):  # standard error may be closed
            traceback.print_exc()
        outcome = failed("errored", f"{_who('raised ')}{one_line(error)}")
    return encode_outcome(outcome)


def _who(verb: str = "") -> str:
    """Return the beginning of a sentence about what the code of a step did; "" outside of steps."""
    step = steps.current()
    return f"{step.who} {verb}" if step else ""


def _why_unbuilt(error: BaseException) -> str:
    """Return the reason for which there is no model, given what its factory raised."""
    if isinstance(error, SystemExit):
        return f"{steps.Step.BUILDING.who} called sys.exit({error.code!r:.200})"
    return f"the model could not be built: {one_line(error)}"


def _end_of(pid: int) -> int:
    """Return a descriptor that can be read once a process has ended; -1 where there is none."""
    if sys.platform != "linux":
        return -1
    try:
        return os.pidfd_open(pid)
    except OSError:  # before Linux 5.3, or where it is forbidden
        return -1


def _drain(fd: int, take: Callable[[bytes], object]) -> int:
    """Read what has arrived; return the descriptor, or -1 once it is at its end and closed."""
    if fd < 0:
        return fd
    try:
        for _ in range(256):  # 16 MiB at most, so that a flood cannot keep the host from its work
            data = os.read(fd, 1 << 16)
            if not data:
                os.close(fd)
                return -1
            take(data)
    except BlockingIOError:
        pass
    return fd


def _without_site(payload: bytes, site: str | None) -> bytes:
    """Blank the folder that the tool was imported from, which differs from machine to machine."""
    if not site:
        return payload
    here = json.dumps(site, ensure_ascii=False)[1:-1]
    return payload.replace(here.encode(), "…".encode())


def _handed_over(payload: bytes, status: int) -> Outcome:
    """Return what the worker handed over, or how it ended without doing so."""
    payload, step = steps.split(payload)
    if payload.endswith(b"\n"):
        try:
            return decode_outcome(payload)
        except ValueError as error:
            return failed("crashed", f"the process handed over something malformed: {error}")
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        names = {known.value: f" ({known.name})" for known in signal.Signals}
        how = f"was ended by signal {number}{names.get(number, '')}"
    else:
        how = f"exited with code {os.WEXITSTATUS(status)}"
        how += "" if step else " before the tool returned"
    return failed("crashed", f"the process {how}{f' while {step.doing}' if step else ''}")
