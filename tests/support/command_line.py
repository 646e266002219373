"""The command as a user runs it, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

Done = subprocess.CompletedProcess[str]


def flopaudit(*args: str, cwd: Path, columns: int | None = None) -> Done:
    """Run the command in a directory, piped, or as in a terminal of that width."""
    environment = {name: text for name, text in os.environ.items() if name != "COLUMNS"}
    environment |= {"NO_COLOR": "1", **({"COLUMNS": str(columns)} if columns else {})}
    return subprocess.run(
        [sys.executable, "-m", "flopaudit", *args],
        cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
