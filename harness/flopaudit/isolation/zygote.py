"""The zygote: imports torch once, then forks a host for each socket that it is sent.

Started by `scheduler.py` as `python -m flopaudit.isolation.zygote FD PARENT SITE MODULE…`: one end
of a socket as FD, the process to end with as PARENT, and further modules to import; SITE comes
first on the path unless it is empty. Each message carries the new host's socket and nothing else.
Torch stays on one thread here: a process that has started a thread pool cannot be forked safely.
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

from flopaudit.isolation.messages import Channel, ZygoteReady
from flopaudit.isolation.process_tree import (
    adopt_orphans,
    die_with_parent,
    end_children,
    outlive_parent,
)

# Modules that most tools import anyway; the tools themselves are imported by their workers.
PRELOAD = (
    "torch",
    "torchvision",
    "pandas",
    "torch.utils.flop_counter",
    "torch.utils._python_dispatch",
    "torch.jit",
    "timm.models.vision_transformer",  # ptflops looks for it
    "flopaudit.isolation.host",
    "flopaudit.isolation.worker",
    "flopaudit.reference.counter",
    "flopaudit.reference.summary",
    "flopaudit.models.build",
)

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
    site, modules = argv[3], argv[4:]
    if site:
        sys.path.insert(0, site)
    for name in (*PRELOAD, *modules):
        with contextlib.suppress(Exception):  # a tool that needs it fails in its worker
            importlib.import_module(name)
    import torch

    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()  # keeps the collector from touching, and so copying, the pages that forks share
    if modules:
        _share_in_large_pages()
    outlive_parent()  # from here on, the closing of the socket ends all processes below
    Channel(control).send(ZygoteReady())
    serve(control)


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
            hosts.add(_fork_host(control, descriptor))
            os.close(descriptor)
        gone = {host for host in hosts if os.waitpid(host, os.WNOHANG)[0]}
        if gone:  # only then can there be orphans: a host adopts those of its workers
            hosts -= gone
            end_children(keep=hosts)


def _fork_host(control: socket.socket, descriptor: int) -> int:
    zygote = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    control.close()
    die_with_parent(zygote)
    from flopaudit.isolation.host import Host

    try:
        Host(Channel(socket.socket(fileno=descriptor))).serve()
    finally:
        os._exit(0)


if __name__ == "__main__":
    main(sys.argv)
