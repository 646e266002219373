"""A host: holds one model at a time and forks a cell for each tool that is to run on it.

Messages in: {"build": {source, location, factory, options}, "inputs": [...]}, then {"cell": id,
"tool", "variant", "site", "task", "timeout_seconds", "memory_bytes"}. Messages out: {"pid"},
{"built": true} or {"failed": why}, and {"cell": id, "outcome": {...}} for each cell, whatever
became of it.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

from flopaudit.core.errors import UsageError
from flopaudit.core.specs import ModelSpec, parse_inputs
from flopaudit.core.text import one_line, portable
from flopaudit.isolation import tasks
from flopaudit.isolation.messages import Channel
from flopaudit.isolation.process_tree import (
    adopt_orphans,
    children,
    die_with_parent,
    end_children,
    kill_group,
    resident_bytes,
)

TICK_SECONDS = 0.02
EXCERPT_BYTES = 2000


@dataclass
class Excerpt:
    """The start and the end of a stream, the middle forgotten however long it is."""

    head: bytes = b""
    tail: bytes = b""
    dropped: int = 0

    def add(self, data: bytes) -> None:
        """Take in more of the stream."""
        room = EXCERPT_BYTES - len(self.head)
        self.head += data[:room]
        tail = self.tail + data[room:] if room < len(data) else self.tail
        self.dropped += max(len(tail) - EXCERPT_BYTES, 0)
        self.tail = tail[-EXCERPT_BYTES:]

    def text(self, site: str | None = None) -> str:
        """What is kept, as `portable` has it."""
        gap = f"\n… {self.dropped} bytes left out …\n".encode() if self.dropped else b""
        return portable((self.head + gap + self.tail).decode(errors="replace"), site)


@dataclass
class Running:
    """A cell that has been forked and has not been reaped."""

    id: int
    pid: int
    output: int
    result: int
    ended: int
    timeout_seconds: float
    memory_bytes: int
    site: str | None
    started: float = field(default_factory=time.monotonic)
    excerpt: Excerpt = field(default_factory=Excerpt)
    payload: bytearray = field(default_factory=bytearray)
    killed: dict[str, Any] | None = None


class Host:
    """Serves one channel until it is closed."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._running: dict[int, Running] = {}
        self._subject: Any = None
        self._of_model: list[int] = []

    def serve(self) -> None:
        """Answer messages and watch cells; when the channel closes, kill the cells and return."""
        os.setsid()
        adopt_orphans()
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        self._channel.send({"pid": os.getpid()})
        while self._take_messages():
            self._watch()
        for cell in self._running.values():
            kill_group(cell.pid)
        end_children()

    def _take_messages(self) -> bool:
        cells = self._running.values()
        watched = [fd for cell in cells for fd in (cell.output, cell.result, cell.ended)]
        # A cell that has handed over its result is about to end, where nothing tells when it has.
        ending = any(cell.result < 0 and cell.ended < 0 for cell in cells)
        wait = (TICK_SECONDS / 10 if ending else TICK_SECONDS) if self._running else None
        ready = select.select(
            [self._channel.fileno(), *(fd for fd in watched if fd >= 0)], [], [], wait
        )[0]
        if self._channel.fileno() not in ready:
            return True
        messages = self._channel.receive()
        for message in messages or ():
            if "build" in message:
                self._build(message)
            else:
                self._fork(message)
        return messages is not None

    def _build(self, message: dict[str, Any]) -> None:
        self._subject = None
        end_children()  # of the model before
        try:
            from flopaudit_adapters.contract import LoadedModel

            from flopaudit.models.build import build, make_inputs, make_kwargs

            specs = parse_inputs(message["inputs"])
            model = build(ModelSpec(**message["build"]))
            self._subject = LoadedModel(model, make_inputs(specs), make_kwargs(specs))
        except UsageError as error:
            self._channel.send({"failed": str(error)})
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a factory may raise anything
            self._channel.send({"failed": f"the model could not be built: {one_line(error)}"})
        else:
            self._of_model = children()
            self._channel.send({"built": True})

    def _fork(self, message: dict[str, Any]) -> None:
        output_read, output_write = os.pipe()
        result_read, result_write = os.pipe()
        host = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._channel.close()
            _become_cell(host, output_write, result_write, lambda: self._run(message))
        os.close(output_write)
        os.close(result_write)
        os.set_blocking(output_read, False)
        os.set_blocking(result_read, False)
        self._running[pid] = Running(
            message["cell"],
            pid,
            output_read,
            result_read,
            _end_of(pid),
            message["timeout_seconds"],
            message["memory_bytes"],
            message["site"],
        )

    def _run(self, message: dict[str, Any]) -> dict[str, Any]:
        from flopaudit.isolation import worker

        del worker  # registers the task `measure`
        task = tasks.find(message["task"])
        return task(
            message["tool"],
            message["variant"],
            self._subject,
            message["condition"],
            message["site"],
        )

    def _watch(self) -> None:
        for cell in list(self._running.values()):
            cell.output = _drain(cell.output, cell.excerpt.add)
            cell.result = _drain(cell.result, cell.payload.extend)
            self._enforce(cell)
            pid, status, usage = os.wait4(cell.pid, os.WNOHANG)
            if pid:
                self._reap(cell, status, usage.ru_maxrss)

    def _enforce(self, cell: Running) -> None:
        if cell.killed:
            return
        if time.monotonic() - cell.started > cell.timeout_seconds:
            cell.killed = {
                "status": "timed_out",
                "error": f"no result within {cell.timeout_seconds:g} seconds",
            }
        elif resident_bytes(cell.pid) > cell.memory_bytes:
            cell.killed = {
                "status": "crashed",
                "error": f"took more than its {cell.memory_bytes:,} bytes of memory",
            }
        if cell.killed:
            kill_group(cell.pid)

    def _reap(self, cell: Running, status: int, max_rss: int) -> None:
        for fd, sink in ((cell.output, cell.excerpt.add), (cell.result, cell.payload.extend)):
            if _drain(fd, sink) >= 0:
                os.close(fd)
        if cell.ended >= 0:
            os.close(cell.ended)
        del self._running[cell.pid]
        # What the tool may have started and left: its group now; what left the group as soon as it
        # cannot be of a tool still running. What the model's factory started stays.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(cell.pid, signal.SIGKILL)
        if not self._running:
            end_children(keep=self._of_model)
        payload = _without_place(bytes(cell.payload), cell.site)
        outcome = cell.killed or _read_result(payload, status)
        if "error" in outcome:
            outcome["error"] = portable(outcome["error"])
        outcome.setdefault("seconds", time.monotonic() - cell.started)
        # Linux counts in kibibytes, macOS in bytes.
        outcome["peak_rss_bytes"] = max_rss * (1 if sys.platform == "darwin" else 1024)
        outcome["output_excerpt"] = cell.excerpt.text(cell.site)
        self._channel.send({"cell": cell.id, "outcome": outcome})


def _become_cell(
    host: int, output: int, result: int, run: Callable[[], dict[str, Any]]
) -> NoReturn:
    """In the child: tie to the host, redirect the streams, run, hand over the outcome, end."""
    try:
        os.setsid()
        die_with_parent(host)
        cell = os.getpid()
        os.dup2(output, 1)
        os.dup2(output, 2)
        data = _outcome(run)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):  # the tool may have closed or replaced it
                stream.flush()
        while data and os.getpid() == cell:  # the tool may have forked, and returned twice
            data = data[os.write(result, data) :]
    finally:
        os._exit(0)


def _outcome(run: Callable[[], dict[str, Any]]) -> bytes:
    """What comes of a tool, as a line of JSON, whatever it raises."""
    try:
        return json.dumps(run()).encode() + b"\n"
    except SystemExit as error:
        outcome = {"status": "crashed", "error": f"called sys.exit({error.code!r:.200})"}
    except BaseException as error:  # noqa: BLE001 - KeyboardInterrupt too is the tool's own here
        outcome = {"status": "errored", "error": one_line(error)}
    return json.dumps(outcome).encode() + b"\n"


def _end_of(pid: int) -> int:
    """A descriptor that can be read once a process has ended; -1 where there is none (Linux)."""
    if sys.platform != "linux":
        return -1
    try:
        return os.pidfd_open(pid)
    except OSError:  # before Linux 5.3, or where that is forbidden
        return -1


def _drain(fd: int, sink: Callable[[bytes], object]) -> int:
    """Read what is there; the descriptor, or -1 once it is at its end and closed."""
    if fd < 0:
        return fd
    try:
        for _ in range(256):  # 16 MiB at most, so that a flood cannot keep the host from its work
            data = os.read(fd, 1 << 16)
            if not data:
                os.close(fd)
                return -1
            sink(data)
    except BlockingIOError:
        pass
    return fd


def _without_place(payload: bytes, site: str | None) -> bytes:
    """A line of JSON without the folder that the tool was imported from: it is this machine's."""
    here, gone = (json.dumps(text).strip('"').encode() for text in (site or "", "…"))
    return payload.replace(here, gone) if site else payload


def _read_result(payload: bytes, status: int) -> dict[str, Any]:
    """What the cell handed over, or how it ended without doing so."""
    if payload.endswith(b"\n"):
        outcome: dict[str, Any] = json.loads(payload)
        return outcome
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        names = {known.value: f" ({known.name})" for known in signal.Signals}
        how = f"was ended by signal {number}{names.get(number, '')}"
    else:
        how = f"exited with code {os.WEXITSTATUS(status)} before the tool returned"
    return {"status": "crashed", "error": f"the process {how}"}
