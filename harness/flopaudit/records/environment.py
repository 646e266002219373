"""The environment of a run: versions and processor, read without importing any of the packages."""

from __future__ import annotations

import platform
from functools import lru_cache
from pathlib import Path

from flopaudit.records.schema import Environment
from flopaudit.tools.versions import version


def environment(distribution: str | None = None, site: Path | None = None) -> Environment:
    """Return this environment, with the version of a tool if one is given.

    Args:
        distribution: the distribution of the tool.
        site: the folder that the tool is in, unless it is the installed one.
    """
    return Environment(
        flopaudit=version("flopaudit") or "unknown",
        python=platform.python_version(),
        torch=version("torch") or "none",
        torchvision=version("torchvision"),
        tool=version(distribution, site) if distribution else None,
        processor=_processor(),
    )


@lru_cache(maxsize=1)
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
