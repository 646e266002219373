"""A program run with a pseudo-terminal as its standard output."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence

_CLEARED = ("COLUMNS", "NO_COLOR", "FORCE_COLOR", "COLORTERM", "PYTHONIOENCODING", "LC_ALL")


def in_terminal(
    command: Sequence[str], columns: int, environment: Mapping[str, str] | None = None
) -> str:
    """Return what a command writes to a terminal of that width, escape codes included.

    Raises:
        RuntimeError: the command fails.
    """
    main, secondary = pty.openpty()
    fcntl.ioctl(secondary, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    inherited = {name: text for name, text in os.environ.items() if name not in _CLEARED}
    with subprocess.Popen(
        command,
        stdout=secondary,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        env={**inherited, "TERM": "xterm-256color", **(environment or {})},
    ) as process:
        os.close(secondary)
        written = b"".join(iter(lambda: _read(main), b""))
        os.close(main)
        errors = process.stderr.read() if process.stderr else b""
    if process.returncode:
        raise RuntimeError(errors.decode())
    return written.decode().replace("\r\n", "\n")


def _read(descriptor: int) -> bytes:
    """Read what is available; nothing at the end, for which Linux raises an error."""
    try:
        return os.read(descriptor, 65536)
    except OSError:
        return b""
