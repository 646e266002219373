"""The zygote: imports torch once, then forks a host for each model it is told of.

Started by `scheduler.py` as `python -m harness.zygote FD PARENT [MODULE…]`: one end of a socket as
FD, the process to end with as PARENT, what else to import as MODULE. Each message comes with the
host's own socket and says no more.
Torch stays on one thread here: a process that has started a thread pool cannot be forked safely.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import select
import signal
import socket
import sys

from harness.wire import (
    Channel,
    adopt_orphans,
    die_with_parent,
    end_children,
    outlive_parent,
)

# What torch's users among the tools import anyway; the tools themselves are left to their cells.
PRELOAD = (
    "torch",
    "torchvision",
    "pandas",
    "torch.utils.flop_counter",
    "torch.utils._python_dispatch",
    "torch.jit",
    "timm.models.vision_transformer",  # ptflops looks for it
    "harness.host",
    "harness.cell",
    "harness.counter",
    "harness.reference",
    "harness.models",
)

REAP_SECONDS = 0.2


def main(argv: list[str]) -> None:
    """Serve until the other end of the socket is closed; then end every process below this one."""
    die_with_parent(int(argv[2]))
    adopt_orphans()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    control = socket.socket(fileno=int(argv[1]))
    for name in (*PRELOAD, *argv[3:]):
        with contextlib.suppress(ImportError):  # a tool that needs it will say so in its cell
            importlib.import_module(name)
    import torch

    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()  # keeps the collector from touching, and so copying, the pages that forks share
    outlive_parent()  # from here on the closing of the socket is heard, and all below ended
    Channel(control).send({"ready": True})
    serve(control)


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
        hosts -= gone
        end_children(keep=hosts)


def _fork_host(control: socket.socket, descriptor: int) -> int:
    zygote = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    control.close()
    die_with_parent(zygote)
    from harness.host import Host

    try:
        Host(Channel(socket.socket(fileno=descriptor))).serve()
    finally:
        os._exit(0)


if __name__ == "__main__":
    main(sys.argv)
