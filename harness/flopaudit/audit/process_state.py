"""States of the process around torch: streams, handlers, settings, files; imports no torch."""

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
    Same,
    Scene,
    State,
)
from flopaudit.isolation.process_tree import children as child_processes

_OF_SYS = ("stdin", "stdout", "stderr", "excepthook", "displayhook", "unraisablehook")


def streams(scene: Scene) -> Facts:
    """What sys prints and reads through, and hands exceptions to."""
    del scene
    found = {name: Same(getattr(sys, name)) for name in _OF_SYS}
    return {**found, "trace": Same(sys.gettrace()), "profile": Same(sys.getprofile())}


def signals(scene: Scene) -> Facts:
    """Who handles each signal."""
    del scene
    return {
        number.name: Same(signal.getsignal(number))
        for number in signal.valid_signals()
        if isinstance(number, signal.Signals)
    }


def logging_setup(scene: Scene) -> Facts:
    """The level and handlers of the root logger, and what is disabled for all."""
    del scene
    root = logging.getLogger()
    return {
        "level": logging.getLevelName(root.level),
        "disabled": logging.getLevelName(root.manager.disable),
        "class of loggers": Same(logging.getLoggerClass()),
        **{f"handler {handler}": Same(handler) for handler in root.handlers},
    }


def warning_filters(scene: Scene) -> Facts:
    """The filters of warnings, and what shows a warning."""
    del scene
    filters = {" ".join(map(_text, entry[:4])): "" for entry in warnings.filters}
    return {**filters, "showwarning": Same(warnings.showwarning)}


def _text(part: object) -> str:
    """One part of a filter: a word, a class or a pattern."""
    return str(getattr(part, "pattern", getattr(part, "__name__", part)))


def environ(scene: Scene) -> Facts:
    """The variables of the environment."""
    del scene
    return dict(os.environ)


def path(scene: Scene) -> Facts:
    """Where modules are looked for."""
    del scene
    finders = {f"finder {finder!r:.60}": Same(finder) for finder in sys.meta_path}
    return {**dict.fromkeys(sys.path, ""), **finders}


def directory(scene: Scene) -> Facts:
    """Where the process is."""
    here = Path.cwd()
    return {"directory": "as before" if here == scene.home else str(here)}


def interpreter(scene: Scene) -> Facts:
    """Settings of Python itself."""
    del scene
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


def children(scene: Scene) -> Facts:
    """The child processes that have not been waited for."""
    del scene
    return {f"process {pid}": "" for pid in child_processes()}


def threads(scene: Scene) -> Facts:
    """The threads of Python that are alive, daemons too."""
    del scene
    return {f"{thread.name}": Same(thread) for thread in threading.enumerate()}


def descriptors(scene: Scene) -> Facts:
    """The open file descriptors, and what they are of."""
    del scene
    return {name: where for name, where in _descriptors() if where}


def _descriptors() -> Iterator[tuple[str, str]]:
    for name in os.listdir("/dev/fd"):  # noqa: PTH208 - one descriptor is of this listing itself
        link = Path("/dev/fd", name)
        try:
            os.fstat(int(name))
        except OSError:
            continue  # which is closed by now
        yield f"descriptor {name}", str(link.readlink()) if link.is_symlink() else "open"


def files(scene: Scene) -> Facts:
    """The files in the directory the tool was called in."""
    return {str(file.relative_to(scene.home)): "" for file in scene.home.rglob("*")}


def printed(scene: Scene) -> Facts:
    """The lines on standard output and standard error."""
    for stream in (sys.stdout, sys.stderr):
        if not getattr(stream, "closed", True):
            stream.flush()
    return {
        f"{name} {number}": repr(line[:80])
        for name, file in zip(("stdout", "stderr"), scene.printed, strict=True)
        for number, line in enumerate(file.read_text(errors="replace").splitlines(), start=1)
    }


STATES: dict[str, State] = {
    "streams": State(streams),
    "signals": State(signals),
    "logging": State(logging_setup),
    "warnings": State(warning_filters),
    "environ": State(environ),
    "path": State(path),
    "directory": State(directory),
    "interpreter": State(interpreter),
    "children": State(children),
    "threads": State(threads),
    "descriptors": State(descriptors),
    "files": State(files),
    "printed": State(printed),
}
