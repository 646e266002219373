"""Named faults: files that are no files or are damaged, exhausted systems, and odd limits."""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
from pathlib import Path

from flopaudit.explain import settlement
from flopaudit.pipeline.measure import MEASUREMENTS
from flopaudit.pipeline.results import REFERENCES, TRACES
from flopaudit.profiles.repository import file_name
from flopaudit.studies.campaign_places import MODEL_FILE
from flopaudit.studies.fault_trial import Break, Fault
from flopaudit.tools.versions import version


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
    # A library's model: that of a user is measured, or its records are reused, in any case.
    settle = ("settle", "alexnet", "--out", "out")
    settled = f"out/{settlement.FILE}"
    start = '{"settlement_version": 1, "model": "torchvision:alexnet", "inputs": '
    count = ("count", f"{MODEL_FILE}:small", "--input", "1x8")
    return [
        *(
            Fault(f"{kind} for {settlement.FILE}", settled, make, settle, says=(says,))
            for kind, (make, says) in NO_FILES.items()
        ),
        *(
            Fault(f"{kind} in {settlement.FILE}", settled, _text(start + text), settle)
            for kind, text in {
                "half a line": '["1x3x',
                "deep nesting": "[" * 100_000,
                "a long number": "9" * 5_000 + "}",
            }.items()
        ),
        Fault(
            f"another format of {settlement.FILE}",
            settled,
            _text(start.replace("1", "99", 1) + '["1x3x224x224"]}'),
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
    next_one = os.open(os.devnull, os.O_RDONLY)
    os.close(next_one)  # files can still be read, one at a time
    resource.setrlimit(resource.RLIMIT_NOFILE, (next_one + 2, next_one + 2))
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
