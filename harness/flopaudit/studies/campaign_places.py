"""Places of the fault campaign: folders in which the real command line runs, and what it leaves.

Every process that a place starts, and every process below, has the place's mark in its environment,
so that none can hide from the search for processes that were left.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from flopaudit.core.specs import parse_model
from flopaudit.isolation.jobs import REFERENCE, TRACE
from flopaudit.pipeline.measure import MEASUREMENTS
from flopaudit.pipeline.results import FINDINGS, REFERENCES, TRACES, measurements_in, references_in
from flopaudit.records import store
from flopaudit.records.schema import Finding, Record, TraceRecord

MARK = "FLOPAUDIT_FAULTS_MARK"
"""The environment variable that all processes of the campaign have."""

PATIENCE_SECONDS = 120.0
"""How long a command may take before it counts as hanging."""

END_SECONDS = 2.0
"""How long processes may take to end after the main process has ended."""

TIMEOUT_SECONDS = 12
"""The time limit of each cell; a cell takes less than a second."""

MODEL_FILE = "net.py"
FACTORIES = ("small", "normed", "shared", "wide")
TOOLS = ("thop", "fvcore", "ptflops", "flop_counter")

MODELS = """\
from torch import nn


def small():
    return nn.Sequential(nn.Linear(8, 4), nn.ReLU())


def normed():
    return nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16), nn.GELU(), nn.Linear(16, 8))


def shared():
    layer = nn.Linear(8, 8)
    return nn.Sequential(layer, nn.Tanh(), layer, nn.Tanh(), layer)


def wide():
    return nn.Sequential(nn.Linear(8, 256), nn.ReLU(), nn.Linear(256, 2))
"""

_COMPARED = {
    "measurements": ("status", "raw", "unit", "reported", "macs", "params", "modules", "error"),
    "references": (
        "macs", "params", "trainable_params", "components", "uncounted_ops", "operators", "modules",
        "error",
    ),
    "traces": ("trace", "error"),
}  # fmt: skip
"""What must be the same after a fault: all but times, memory and printed output."""

_REPORTED = re.compile(
    r"^\[\d+/\d+\] (.*?) (?:counted|unsupported|errored|crashed|timed_out|unavailable)\b",
    re.MULTILINE,
)

Cells = dict[str, str]
"""The content of each cell, as text, by the name under which its progress is reported."""


@dataclass(frozen=True)
class Done:
    """A command that has ended; `code` is None if it had to be ended, because it hung."""

    code: int | None
    stdout: str
    stderr: str
    seconds: float

    @property
    def reported(self) -> set[str]:
        """The cells that were reported as finished."""
        return set(_REPORTED.findall(self.stderr))


@dataclass
class Started:
    """A command that runs, and what it has printed so far.

    What is printed is read by threads: a process that is left would keep a pipe open, and a limit
    on the size of files would hold for files.
    """

    process: subprocess.Popen[bytes]
    began: float = field(default_factory=time.monotonic)
    stdout: bytearray = field(default_factory=bytearray)
    stderr: bytearray = field(default_factory=bytearray)

    def __post_init__(self) -> None:
        pairs = ((self.process.stdout, self.stdout), (self.process.stderr, self.stderr))
        self._readers = [
            threading.Thread(target=_read, args=(pipe.fileno(), text), daemon=True)
            for pipe, text in pairs
            if pipe
        ]
        for reader in self._readers:
            reader.start()

    def done(self, code: int | None) -> Done:
        """Return how it ended."""
        for reader in self._readers:
            reader.join(END_SECONDS)
        stdout, stderr = (bytes(t).decode(errors="replace") for t in (self.stdout, self.stderr))
        return Done(code, stdout, stderr, time.monotonic() - self.began)


def _read(descriptor: int, text: bytearray) -> None:
    with open(descriptor, "rb", buffering=0, closefd=False) as pipe:
        while data := pipe.read(1 << 16):
            text.extend(data)


@dataclass
class Place:
    """A folder with models, in which commands run, and their mark."""

    folder: Path
    mark: str
    stopped: threading.Event
    out_name: str = "out"

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / MODEL_FILE).write_text(MODELS)

    @property
    def out(self) -> Path:
        """The directory for the records."""
        return self.folder / self.out_name

    def run_arguments(self, *options: str) -> list[str]:
        """Return the arguments of the run that the campaign disturbs."""
        models = ",".join(f"{MODEL_FILE}:{name}" for name in FACTORIES)
        return [
            *("run", "--models", models, "--input", "1x8", "--tools", ",".join(TOOLS)),
            *("--out", self.out_name, "--jobs", "2", "--timeout", str(TIMEOUT_SECONDS), *options),
        ]

    def start(
        self,
        arguments: Sequence[str],
        variables: Mapping[str, str] | None = None,
        program: Sequence[str] = ("-m", "flopaudit"),
    ) -> Started:
        """Start the command line in the folder, in a session of its own.

        Raises:
            RuntimeError: the campaign was stopped.

        Args:
            arguments: of the command line.
            variables: of the environment, in addition.
            program: what Python runs.
        """
        if self.stopped.is_set():
            raise RuntimeError("the campaign was stopped")
        return Started(
            subprocess.Popen(  # noqa: S603 - this interpreter, this package
                [sys.executable, *program, *arguments],
                cwd=self.folder,
                env={**os.environ, MARK: self.mark, "NO_COLOR": "1", **(variables or {})},
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                start_new_session=True,
            )
        )  # fmt: skip

    def finish(self, started: Started) -> Done:
        """Wait for a command, end it if it hangs, and return how it ended."""
        try:
            code: int | None = started.process.wait(timeout=PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.end_processes()
            started.process.wait()
            code = None
        return started.done(code)

    def run(
        self,
        arguments: Sequence[str],
        variables: Mapping[str, str] | None = None,
        program: Sequence[str] = ("-m", "flopaudit"),
    ) -> Done:
        """Run the command line in the folder to its end."""
        return self.finish(self.start(arguments, variables, program))

    def processes(self) -> list[psutil.Process]:
        """Return what runs with the mark of this place."""
        return _marked(lambda mark: mark == self.mark)

    def left(self) -> int:
        """Return how many processes have not ended in time, and end them."""
        deadline = time.monotonic() + END_SECONDS
        while (found := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.02)
        self.end_processes()
        return len(found)

    def end_processes(self) -> None:
        """Kill all that runs with the mark of this place."""
        for process in self.processes():
            send(process, signal.SIGKILL)


@dataclass(frozen=True)
class Grounds:
    """The folder in which all places of a campaign are, and what stops them all."""

    folder: Path
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    stopped: threading.Event = field(default_factory=threading.Event)

    def place(self, name: str) -> Place:
        """Return a new place."""
        return Place(self.folder / name, f"{self.mark}/{name}", self.stopped)

    def stop(self) -> None:
        """Start no more commands, and end those that run."""
        self.stopped.set()
        for process in _marked(lambda mark: mark.startswith(self.mark)):
            send(process, signal.SIGKILL)


def _marked(is_meant: Callable[[str], bool]) -> list[psutil.Process]:
    """Return the processes that run with such a mark."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):  # it has ended, or is not ours
            mark = process.environ().get(MARK, "")
            if mark and is_meant(mark) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def send(process: psutil.Process, number: int) -> bool:
    """Send a signal; whether the process was there to take it."""
    try:
        process.send_signal(number)
    except psutil.Error:
        return False
    return True


def cells_in(out: Path, *, findings: bool = True) -> Cells:
    """Return the cells of a directory; of several records of a cell, the last counts.

    Args:
        out: the directory.
        findings: whether the findings belong to what a cell says.

    Raises:
        UsageError: a file there is damaged.
    """
    causes = _findings(out) if findings else {}
    found: Cells = {}
    for record in measurements_in(out / MEASUREMENTS):
        about = (*record.tool_key, record.model, record.inputs)
        found[_name(record, record.variant_name)] = _content(
            record, "measurements", causes.get(about, ())
        )
    for each in references_in(out / REFERENCES):
        found[_name(each, REFERENCE)] = _content(each, "references")
    for trace in store.read(out / TRACES, TraceRecord):
        found[_name(trace, TRACE)] = _content(trace, "traces")
    return found


def _findings(out: Path) -> dict[tuple[Any, ...], list[str]]:
    found: dict[tuple[Any, ...], list[str]] = {}
    for finding in store.read(out / FINDINGS, Finding):
        if isinstance(finding, Finding):
            key = (*finding.tool_key, finding.model, finding.inputs)
            found.setdefault(key, []).append(finding.line())
    return found


def _name(record: Any, tool: str) -> str:
    """Return the name of a cell as `flopaudit.reports.progress` has it."""
    spec = parse_model(record.model)
    return f"{spec.factory or spec.location}: {tool}"


def _content(record: Record, kind: str, findings: Sequence[str] = ()) -> str:
    data = record.model_dump(mode="json", include=set(_COMPARED[kind]))
    return json.dumps([data, sorted(findings)], sort_keys=True)


def without_findings(cells: Cells) -> Cells:
    """Return cells as they are before their findings are made."""
    return {
        name: json.dumps([json.loads(content)[0], []], sort_keys=True)
        for name, content in cells.items()
    }


def error_of(content: str) -> str:
    """Return why a cell has no result, as its record has it; "" if it has one."""
    return str(json.loads(content)[0]["error"] or "")


def differing(found: Cells, expected: Cells) -> Iterator[str]:
    """Yield the cells that are there and not as expected."""
    return (name for name, content in found.items() if content != expected.get(name))


def below(process: psutil.Process, levels: int) -> list[psutil.Process]:
    """Return the processes some levels below one: 1 its children, 2 their children.

    Each of them leads a session, which tells them from what the import of torch starts, and from a
    zygote that has not become its own program yet: if that were stopped, the kernel would have the
    main process wait for it (vfork).
    """
    found = [process]
    for level in range(levels):
        found = [child for each in found for child in _children(each) if _leads_session(child)]
        if level == 0:
            found = [each for each in found if _command(each) != _command(process)]
    return found


def _leads_session(process: psutil.Process) -> bool:
    try:
        return os.getsid(process.pid) == process.pid
    except ProcessLookupError:
        return False


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children()
    except psutil.Error:
        return []
