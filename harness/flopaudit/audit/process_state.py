"""Readers of the states of the process: streams, handlers, settings, files; imports no torch."""

from __future__ import annotations

import gc
import locale
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

from flopaudit.audit.snapshot import (
    Facts,
    Identity,
    SnapshotContext,
    StateReader,
)
from flopaudit.isolation.process_tree import children as child_processes

_OF_SYS = ("stdin", "stdout", "stderr", "excepthook", "displayhook", "unraisablehook")


def streams(context: SnapshotContext) -> Facts:
    """Return the streams and hooks of sys."""
    del context
    found = {name: Identity(getattr(sys, name)) for name in _OF_SYS}
    return {**found, "trace": Identity(sys.gettrace()), "profile": Identity(sys.getprofile())}


def signals(context: SnapshotContext) -> Facts:
    """Return the handler of each signal."""
    del context
    return {
        number.name: Identity(signal.getsignal(number))
        for number in signal.valid_signals()
        if isinstance(number, signal.Signals)
    }


def logging_setup(context: SnapshotContext) -> Facts:
    """Return the level and handlers of the root logger, and the level disabled for all loggers."""
    del context
    root = logging.getLogger()
    return {
        "level": logging.getLevelName(root.level),
        "disabled": logging.getLevelName(root.manager.disable),
        "class of loggers": Identity(logging.getLoggerClass()),
        **{f"handler {handler}": Identity(handler) for handler in root.handlers},
    }


def warning_filters(context: SnapshotContext) -> Facts:
    """Return the filters of warnings, and the function that shows a warning."""
    del context
    filters = {" ".join(map(_text, entry[:4])): "" for entry in warnings.filters}
    return {**filters, "showwarning": Identity(warnings.showwarning)}


def _text(part: object) -> str:
    """Return one part of a filter as text: a word, a class or a pattern."""
    return str(getattr(part, "pattern", getattr(part, "__name__", part)))


def environ(context: SnapshotContext) -> Facts:
    """Return the environment variables."""
    del context
    return dict(os.environ)


def path(context: SnapshotContext) -> Facts:
    """Return the entries of sys.path and sys.meta_path."""
    del context
    finders = {f"finder {finder!r:.60}": Identity(finder) for finder in sys.meta_path}
    return {**dict.fromkeys(sys.path, ""), **finders}


def directory(context: SnapshotContext) -> Facts:
    """Return the current directory."""
    here = Path.cwd()
    return {"directory": "as before" if here == context.home else str(here)}


def interpreter(context: SnapshotContext) -> Facts:
    """Return the settings of the interpreter."""
    del context
    return {
        "recursion limit": sys.getrecursionlimit(),
        "switch interval": sys.getswitchinterval(),
        "garbage collector": gc.isenabled(),
        "locale": str(locale.setlocale(locale.LC_ALL)),
        "umask": _umask(),
    }


def _umask() -> str:
    mask = os.umask(0)  # the only way to read it is to set it
    os.umask(mask)
    return oct(mask)


def children(context: SnapshotContext) -> Facts:
    """Return the child processes that have not been waited for."""
    del context
    return {f"process {pid}": "" for pid in child_processes()}


def threads(context: SnapshotContext) -> Facts:
    """Return the living threads of Python, daemons included."""
    del context
    return {f"{thread.name}": Identity(thread) for thread in threading.enumerate()}


def descriptors(context: SnapshotContext) -> Facts:
    """Return the open file descriptors and the files they refer to."""
    del context
    return {name: where for name, where in _descriptors() if where}


def _descriptors() -> Iterator[tuple[str, str]]:
    for name in os.listdir("/dev/fd"):  # noqa: PTH208 - one descriptor is of this listing itself
        link = Path("/dev/fd", name)
        try:
            os.fstat(int(name))
        except OSError:
            continue  # the descriptor of this listing, closed by now
        yield f"descriptor {name}", str(link.readlink()) if link.is_symlink() else "open"


def files(context: SnapshotContext) -> Facts:
    """Return the files in the directory in which the tool was called."""
    return {str(file.relative_to(context.home)): "" for file in context.home.rglob("*")}


def printed(context: SnapshotContext) -> Facts:
    """Return the lines on standard output and standard error."""
    for stream in (sys.stdout, sys.stderr):
        if not getattr(stream, "closed", True):
            stream.flush()
    return {
        f"{name} {number}": repr(line[:80])
        for name, file in zip(("stdout", "stderr"), context.printed, strict=True)
        for number, line in enumerate(file.read_text(errors="replace").splitlines(), start=1)
    }


STATES: dict[str, StateReader] = {
    "streams": StateReader(streams),
    "signals": StateReader(signals),
    "logging": StateReader(logging_setup),
    "warnings": StateReader(warning_filters),
    "environ": StateReader(environ),
    "path": StateReader(path),
    "directory": StateReader(directory),
    "interpreter": StateReader(interpreter),
    "children": StateReader(children),
    "threads": StateReader(threads),
    "descriptors": StateReader(descriptors),
    "files": StateReader(files),
    "printed": StateReader(printed),
}
