"""The zygote: imports torch once, then forks a host for each socket that it is sent.

Started by `scheduler.py` as the program `flopaudit.isolation.zygote FD PARENT SITE KIT MODULE…`:
one end of a socket as FD, the process to end with as PARENT, a key of `PRELOAD` as KIT, and further
modules to import. Its module search path lacks the current directory (see `core/search_path.py`),
and begins with SITE unless that is empty. Each message carries the new host's socket and nothing
else. Torch stays on one thread here: a process that has started a thread pool cannot be forked
safely.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import io
import os
import select
import signal
import socket
import sys
from pathlib import Path

from flopaudit.core.text import one_line
from flopaudit.isolation.memory_share import own_footprint
from flopaudit.isolation.messages import BuildFailed, Channel, ZygoteFailed, ZygoteReady
from flopaudit.isolation.process_tree import (
    adopt_orphans,
    die_with_parent,
    end_children,
    outlive_parent,
)

_HARNESS = (
    "torch",
    "flopaudit.isolation.host",
    "flopaudit.reference.counter",
    "flopaudit.models.build",
    "flopaudit.models.structure",
)

PRELOAD = {
    # Modules that most tools import anyway; the tools themselves are imported by their workers.
    "tools": (
        "torch",
        "torchvision",
        "pandas",
        "torch.utils.flop_counter",
        "torch.utils._python_dispatch",
        "torch.jit",
        "timm.models.vision_transformer",  # ptflops looks for it
        *_HARNESS,
        "flopaudit.isolation.worker",
        "flopaudit.reference.summary",
    ),
    "harness": _HARNESS,
}
"""The modules to import first, by kit (see `scheduler.Kit`)."""

REAP_SECONDS = 0.2

_HUGE_PAGE_BYTES = 2 << 20
_COLLAPSE = 25  # of madvise(2)


def main(argv: list[str]) -> None:
    """Serve until the other end of the socket is closed; then end every process below this one."""
    die_with_parent(int(argv[2]))
    adopt_orphans()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for stream in (sys.stdout, sys.stderr):  # what models print does not depend on the locale
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    control = socket.socket(fileno=int(argv[1]))
    site, kit, modules = argv[3], argv[4], argv[5:]
    if site:
        sys.path.insert(0, site)
    for name in (*PRELOAD[kit], *modules):
        with contextlib.suppress(Exception):  # a tool that needs it fails in its worker
            importlib.import_module(name)
    try:
        import torch
    except Exception as error:  # noqa: BLE001 - whatever it is, the scheduler reports it
        _tell(control, ZygoteFailed(one_line(error)))
        sys.exit(1)

    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()  # keeps the collector from touching, and so copying, the pages that forks share
    if modules and kit == "tools":
        _share_in_large_pages()
    outlive_parent()  # from here on, the closing of the socket ends all processes below
    _tell(control, ZygoteReady(own_footprint()))
    serve(control)


def _tell(control: socket.socket, message: ZygoteReady | ZygoteFailed) -> None:
    """Send a message to the scheduler; one that has gone is no error, and `serve` ends then."""
    with contextlib.suppress(ConnectionError):
        Channel(control).send(message)


def _share_in_large_pages() -> None:
    """Put this process's memory into large pages, where the kernel can (Linux 6.1).

    A fork copies an entry for each page, and the end of the process drops them again: for some
    hundred megabytes, that takes most of the time of a small cell. Collapsing the pages takes as
    long as about fifty forks.
    """
    if sys.platform != "linux":
        return
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for line in Path("/proc/self/maps").read_bytes().decode(errors="replace").splitlines():
        extent, rights, _, _, inode, *name = line.split()
        if rights == "rw-p" and inode == "0" and name in ([], ["[heap]"]):
            start, end = (int(address, 16) for address in extent.split("-"))
            first = -(-start // _HUGE_PAGE_BYTES) * _HUGE_PAGE_BYTES
            for address in range(first, end - _HUGE_PAGE_BYTES + 1, _HUGE_PAGE_BYTES):
                madvise(address, _HUGE_PAGE_BYTES, _COLLAPSE)  # or stays


def serve(control: socket.socket) -> None:
    """Fork a host for each socket that arrives."""
    hosts: set[int] = set()
    while True:
        ready = select.select([control], [], [], REAP_SECONDS)[0]
        data, descriptors, _, _ = socket.recv_fds(control, 1, 1) if ready else (b"-", [], 0, None)
        if not data:
            end_children()
            os._exit(0)
        for descriptor in descriptors:
            host = _fork_host(control, descriptor)
            hosts |= {host} if host else set()
            os.close(descriptor)
        gone = {host for host in hosts if os.waitpid(host, os.WNOHANG)[0]}
        if gone:  # only then can there be orphans: a host adopts those of its workers
            hosts -= gone
            end_children(keep=hosts)


def _fork_host(control: socket.socket, descriptor: int) -> int | None:
    """Fork a host, and return its process id; None if the system refuses, which it is told."""
    zygote = os.getpid()
    try:
        pid = os.fork()
    except OSError as error:  # too many processes, or too little memory
        reason = f"no process could be started for the model: {error.strerror}"
        channel = Channel(socket.socket(fileno=os.dup(descriptor)))
        channel.send(BuildFailed(reason, "crashed"))
        channel.close()
        return None
    if pid:
        return pid
    try:
        control.close()
        die_with_parent(zygote)
        from flopaudit.isolation.host import Host

        Host(Channel(socket.socket(fileno=descriptor))).serve()
    finally:
        os._exit(0)


if __name__ == "__main__":
    main(sys.argv)
