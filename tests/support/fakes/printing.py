"""A library that prints while it is imported, and when the process ends, in every way there is."""

from __future__ import annotations

import atexit
import ctypes
import os
import subprocess
import sys

NOISE = "noise"


def print_in_every_way() -> None:
    """Print through Python, descriptor 1, C, a child process, and Python's own first stream."""
    print(NOISE, flush=True)
    os.write(1, f"{NOISE}\n".encode())
    libc = ctypes.CDLL(None)
    libc.puts(NOISE.encode())
    libc.fflush(None)
    subprocess.run(["/bin/echo", NOISE], check=True)
    print(NOISE, file=sys.__stdout__, flush=True)


print_in_every_way()
atexit.register(print_in_every_way)
