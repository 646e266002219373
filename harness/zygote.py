"""The zygote: imports torch once, then forks a host for each model it is told of.

Started by `scheduler.py` as `python -m harness.zygote FD`, with one end of a socket as FD. Each
message comes with the host's own socket and says nothing more. Torch stays on one thread here: a
process that has started a thread pool cannot be forked safely.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import signal
import socket
import sys

from harness.wire import Channel, die_with_parent

# What torch's users among the tools import anyway; the tools themselves are left to their cells.
PRELOAD = (
    "torch",
    "torchvision",
    "pandas",
    "torch.utils.flop_counter",
    "torch.utils._python_dispatch",
    "torch.jit",
    "harness.host",
    "harness.cell",
    "harness.counter",
)


def main(argv: list[str]) -> None:
    """Serve until the other end of the socket is closed."""
    die_with_parent(os.getppid())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    control = socket.socket(fileno=int(argv[1]))
    for name in PRELOAD:
        with contextlib.suppress(ImportError):  # a tool that needs it will say so in its cell
            importlib.import_module(name)
    import torch

    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()  # keeps the collector from touching, and so copying, the pages that forks share
    Channel(control).send({"ready": True})
    serve(control)


def serve(control: socket.socket) -> None:
    """Fork a host for each socket that arrives."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    while True:
        data, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not data:
            os._exit(0)
        zygote = os.getpid()
        if os.fork() == 0:
            control.close()
            die_with_parent(zygote)
            from harness.host import Host

            Host(Channel(socket.socket(fileno=descriptors[0]))).serve()
            os._exit(0)
        os.close(descriptors[0])
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


if __name__ == "__main__":
    main(sys.argv)
