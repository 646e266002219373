"""Named faults: files that are no files or are damaged, exhausted systems, and odd limits.

Each is made in a copy of a finished directory, or for a run that begins. The command must then say
in a sentence what is wrong, and the same command, once that is repaired, must give every cell.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flopaudit.core.errors import UsageError
from flopaudit.explain import settlement
from flopaudit.pipeline.measure import MEASUREMENTS
from flopaudit.pipeline.results import REFERENCES, TRACES
from flopaudit.profiles.repository import file_name
from flopaudit.studies.campaign_places import (
    MODEL_FILE,
    Cells,
    Done,
    Place,
    Started,
    cells_in,
    differing,
)
from flopaudit.studies.campaign_tally import Tally
from flopaudit.tools.versions import version

Break = Callable[[Path], object]
"""What puts something in place of a file."""


@dataclass(frozen=True)
class Fault:
    """One fault, and what the command must say.

    Attributes:
        name: as it stands in the table.
        file: what is broken, below the folder of the place; "" if nothing is.
        make: what breaks it.
        arguments: of the command, in place of those of the usual run.
        options: of the usual run, in addition.
        variables: of the environment.
        limit: a limit of the system, as Python sets it before the command begins.
        codes: the exit codes that the command may have.
        says: what it must print; the name of the broken file in addition, if it ends it.
        fresh: whether the run begins, so that nothing is there yet.
        during: what happens in the middle of the run.
        forgives: whether the fault itself takes the cells away.
        repair: options of the run that repairs, in addition.
    """

    name: str
    file: str = ""
    make: Break = lambda _: None
    arguments: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    limit: str = ""
    codes: tuple[int, ...] = (2,)
    says: tuple[str, ...] = ()
    fresh: bool = False
    during: Callable[[Path], object] | None = None
    forgives: bool = False
    repair: tuple[str, ...] = ()


def try_fault(fault: Fault, place: Place, finished: Path, expected: Cells) -> Tally:
    """Make a fault, run the command, repair it, run it again, and return what that did.

    Args:
        fault: the fault.
        place: an empty place.
        finished: the directory of an undisturbed run, to be copied.
        expected: its cells.
    """
    if not fault.fresh:
        shutil.copytree(finished, place.out)
    path = place.folder / fault.file
    kept = path.read_bytes() if fault.file and path.is_file() else None
    if fault.file:
        remove(path)
        path.parent.mkdir(exist_ok=True)
        fault.make(path)
    started = place.start(
        fault.arguments or place.run_arguments(*fault.options),
        fault.variables,
        program(fault.limit),
    )
    if fault.during:
        _wait_for_cells(place, started)
        fault.during(place.out)
    done = place.finish(started)
    left = place.left()
    unclear = [*_unclear(fault, done)]
    if fault.file:
        remove(path)
        if kept is not None:
            path.write_bytes(kept)
    lost, wrong = [], []
    try:
        reported = set() if fault.forgives else done.reported
        before = cells_in(place.out, findings=False)
        again = place.run(place.run_arguments(*fault.repair))
        unclear += [] if again.code == 0 else [f"repaired, it ended with {again.code}"]
        left += place.left()
        found = cells_in(place.out)
        lost = [name for name in {*before, *reported, *expected} if name not in found]
        wrong = list(differing(found, expected))
    except UsageError as error:
        unclear.append(str(error))
    notes = (*unclear, *(f"lost: {n}" for n in lost), *(f"wrong: {n}" for n in wrong))
    return Tally(fault.name, 1, len(lost), len(wrong), left, len(unclear), notes)


_CELLS_BEFORE = 5
"""How many cells are there before something happens in the middle of a run."""


def _wait_for_cells(place: Place, started: Started) -> None:
    """Wait until a run has some cells, or is over."""
    while started.process.poll() is None:
        with contextlib.suppress(OSError):
            if (place.out / MEASUREMENTS).read_bytes().count(b"\n") >= _CELLS_BEFORE:
                return
        time.sleep(0.005)


def _unclear(fault: Fault, done: Done) -> list[str]:
    """Return what is unclear about how a command ended."""
    if done.code is None:
        return ["the command hung"]
    problems = [] if done.code in fault.codes else [f"the exit code was {done.code}"]
    messages = [line for line in done.stderr.splitlines() if line and not line.startswith("[")]
    if done.code == 2 and len(messages) != 1:  # noqa: PLR2004 - the exit code of bad usage
        problems.append(f"it printed {len(messages)} lines of errors: {done.stderr[-300:]}")
    if "Traceback" in done.stderr:
        problems.append("it showed a traceback")
    printed = " ".join((done.stdout + done.stderr).split())
    named = (Path(fault.file).name,) if fault.file and 0 not in fault.codes else ()
    missing = [text for text in (*fault.says, *named) if text not in printed]
    return problems + [f"it did not say '{text}': {done.stderr[-300:]}" for text in missing]


def program(limit: str) -> tuple[str, ...]:
    """Return what Python runs: the command line, below a limit of the system if there is one."""
    if not limit:
        return ("-m", "flopaudit")
    code = (
        "import os, resource, sys; resource.setrlimit(resource.{0}); "
        "os.execv(sys.executable, [sys.executable, '-m', 'flopaudit', *sys.argv[1:]])"
    )
    return ("-c", code.format(limit))


def remove(path: Path) -> None:
    """Remove what is at a path, whatever it is."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


# -- what stands in place of a file ----------------------------------------------------------------


def _socket(path: Path) -> None:
    # Made elsewhere, because the path that a socket is bound to is short.
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as made:
        made.bind(f"{folder}/s")
        Path(folder, "s").replace(path)


NO_FILES: dict[str, tuple[Break, str]] = {
    "a FIFO": (os.mkfifo, "is a FIFO, not a file"),
    "a directory": (Path.mkdir, "is a directory, not a file"),
    "a socket": (_socket, "is a socket, not a file"),
    "a device": (lambda path: path.symlink_to("/dev/zero"), "is a device, not a file"),
    "a loop of links": (lambda path: path.symlink_to(path.name), "Too many levels"),
}


def _text(text: str) -> Break:
    return lambda path: path.write_text(text)


_DEEP = '{"schema_version": 1, "raw": ' + "[" * 100_000 + "]" * 100_000 + "}\n"
_DIGITS = '{"schema_version": 1, "macs": ' + "9" * 5_000 + "}\n"

DAMAGES: dict[str, Break] = {
    "half a line in the middle": _text('{"schema_version": 1, "tool": "th\n{}\n'),
    "binary garbage": lambda path: path.write_bytes(bytes(range(256)) * 20 + b"\n"),
    "NUL bytes": lambda path: path.write_bytes(b"\0" * 5_000 + b"\n"),
    "deep nesting": _text(_DEEP),
    "a long number": _text(_DIGITS),
    "a huge line": _text('"' + "x" * 20_000_000 + '"\n'),
    "another schema": _text('{"schema_version": 99}\n'),
}

_ENVIRONMENT = {
    "flopaudit": "0", "python": "3", "torch": "2", "torchvision": None, "tool": None,
    "processor": "x",
}  # fmt: skip


def _trace(trace: object) -> Break:
    record = {
        "trace_version": 2, "model": f"{MODEL_FILE}:other", "inputs": ["1x8"], "trace": trace,
        "environment": _ENVIRONMENT,
    }  # fmt: skip
    return _text(json.dumps(record) + "\n")


_SITE = ["function", "f", "", -1, {}, {"macs": 1}, "linear"]
TRACE_DAMAGES = {
    "a trace without sites": {"batch": 1, "modules": [], "work": []},
    "a trace of wrong types": {"batch": "1", "modules": [], "sites": [], "work": []},
    "a trace that is its own parent": {
        "batch": 1, "modules": [], "sites": [[*_SITE[:3], 0, *_SITE[4:]]], "work": [],
    },
}  # fmt: skip


# -- all of them -----------------------------------------------------------------------------------

_NOBODY = "import os, pwd\ndef _nobody(_uid):\n    raise KeyError('uid not found')\n"
_NOBODY += "pwd.getpwuid = _nobody\nfor name in ('HOME', 'USER', 'LOGNAME', 'XDG_CACHE_HOME'):\n"
_NOBODY += "    os.environ.pop(name, None)\n"


def _python_path() -> str:
    return os.pathsep.join(filter(None, (".", os.environ.get("PYTHONPATH"))))


def faults(largest: int) -> list[Fault]:
    """Return all named faults.

    Args:
        largest: the size of the largest file of the undisturbed run, in bytes.
    """
    return [
        *_broken_records(), *_broken_inputs(), *_exhausted(largest), *_removed(), *_odd_limits()
    ]  # fmt: skip


def _broken_records() -> list[Fault]:
    found = [
        Fault(f"{kind} for {name}", f"out/{name}", make, says=(says,))
        for name in (MEASUREMENTS, REFERENCES, TRACES)
        for kind, (make, says) in NO_FILES.items()
    ]
    found += [
        Fault(f"{kind} in {name}", f"out/{name}", make, says=("Line 1 of",))
        for name in (MEASUREMENTS, REFERENCES, TRACES)
        for kind, make in DAMAGES.items()
    ]
    found += [
        Fault(f"{kind} in {TRACES}", f"out/{TRACES}", _trace(trace), says=("is damaged",))
        for kind, trace in TRACE_DAMAGES.items()
    ]
    profile = f"out/profiles/{file_name(('thop', version('thop') or '', ''))}"
    found += [
        Fault(f"{kind} for a profile", profile, make, says=(says,))
        for kind, (make, says) in NO_FILES.items()
    ]
    found += [
        Fault(f"{kind} in a profile", profile, make, says=("Move it away",))
        for kind, make in {**DAMAGES, "another format": _text('{"profile_version": 9}')}.items()
    ]
    return found


def _broken_inputs() -> list[Fault]:
    settle = ("settle", f"{MODEL_FILE}:small", "--input", "1x8", "--out", "out")
    settled = f"out/{settlement.FILE}"
    start = f'{{"settlement_version": 1, "model": "{MODEL_FILE}:small", "inputs": '
    count = ("count", f"{MODEL_FILE}:small", "--input", "1x8")
    return [
        *(
            Fault(f"{kind} for {settlement.FILE}", settled, make, settle, says=(says,))
            for kind, (make, says) in NO_FILES.items()
        ),
        *(
            Fault(f"{kind} in {settlement.FILE}", settled, _text(start + text), settle)
            for kind, text in {
                "half a line": '["1x8',
                "deep nesting": "[" * 100_000,
                "a long number": "9" * 5_000 + "}",
            }.items()
        ),
        Fault(
            f"another format of {settlement.FILE}",
            settled,
            _text(start.replace("1", "99", 1) + '["1x8"]}'),
            settle,
            says=("format 99",),
        ),
        *(
            Fault(f"{kind} for a model's file", MODEL_FILE, make, count, codes=(1, 2))
            for kind, (make, _) in NO_FILES.items()
        ),
        *(
            Fault(
                f"{kind} for a convention",
                "own.toml",
                make,
                (*count, "--convention", "own.toml"),
                says=(says,),
            )
            for kind, (make, says) in NO_FILES.items()
        ),
        Fault(
            "binary garbage in a convention",
            "own.toml",
            DAMAGES["binary garbage"],
            (*count, "--convention", "own.toml"),
        ),
    ]


_FULL = """\
import os, resource
from torch import nn

def small():
    held = os.open(os.devnull, os.O_RDONLY)
    resource.setrlimit(resource.RLIMIT_NOFILE, (held + 1, held + 1))
    return nn.Sequential(nn.Linear(8, 4), nn.ReLU())

normed = shared = wide = small
"""


def _removed() -> list[Fault]:
    apart = "apart"
    return [
        Fault(
            "a directory that is removed in the middle",
            says=("Cannot write",),
            fresh=True,
            during=shutil.rmtree,
            forgives=True,
        ),
        Fault(
            "a directory that is renamed in the middle",
            says=("Cannot write",),
            fresh=True,
            during=lambda out: out.rename(out.with_name(apart)),
            forgives=True,
        ),
        Fault(
            "a journal that is removed in the middle",
            says=("Cannot write", MEASUREMENTS),
            fresh=True,
            during=lambda out: (out / MEASUREMENTS).unlink(),
            forgives=True,
        ),
    ]


def _exhausted(largest: int) -> list[Fault]:
    sizes = {
        "at once": 0,
        "after a tenth": largest // 10,
        "after a half": largest // 2,
        "at nine tenths": largest * 9 // 10,
    }
    return [
        *(
            Fault(
                f"a disk that is full {when}",
                limit=f"RLIMIT_FSIZE, ({size}, {size})",
                says=("ulimit -f",),
                fresh=True,
            )
            for when, size in sizes.items()
        ),
        *(
            Fault(
                f"{number} open files",
                limit=f"RLIMIT_NOFILE, ({number}, {number})",
                codes=(0, 2),
                fresh=True,
            )
            for number in (8, 10, 12, 16)
        ),
        Fault(
            "a host that can open no more files",
            MODEL_FILE,
            _text(_FULL),
            codes=(1,),
            says=("no process could be started for it: Too many open files",),
            fresh=True,
            repair=("--again",),
        ),
        Fault(
            "a directory that cannot be written",
            options=("--out", "/proc/flopaudit"),
            says=("Cannot write to /proc/flopaudit",),
        ),
        Fault(
            "a file for the directory",
            "taken",
            _text(""),
            options=("--out", "taken"),
            says=("Cannot write to",),
        ),
        Fault(
            "no place for temporary files",
            variables={"TMPDIR": "/nonexistent", "TMP": "/nonexistent", "TEMP": "/nonexistent"},
            codes=(0,),
            fresh=True,
        ),
        Fault(
            "a user without a name and a home",
            "sitecustomize.py",
            _text(_NOBODY),
            variables={"PYTHONPATH": _python_path()},
            codes=(0,),
            fresh=True,
        ),
    ]


def _odd_limits() -> list[Fault]:
    refused = {
        "--memory": ("0", "0G", "-1G", "1e9", "inf", "nan", "9" * 400),
        "--timeout": ("0", "-1", "inf", "nan"),
        "--jobs": ("0", "-1", "1e9"),
    }
    return [
        *(
            Fault(f"{option} {value:.8}", options=(option, value))
            for option, values in refused.items()
            for value in values
        ),
        Fault("--memory 100M", options=("--memory", "100M"), says=("Give --memory",), fresh=True),
        Fault("--jobs 1000", options=("--jobs", "1000"), codes=(0,), fresh=True),
    ]
