"""Where a run takes place: versions and processor, found without importing what they are of."""

from __future__ import annotations

import platform
from functools import lru_cache
from pathlib import Path

from flopaudit.records.schema import Environment
from flopaudit.tools.versions import version


def environment(distribution: str | None = None, site: Path | None = None) -> Environment:
    """Where this runs, and the version of a tool; imports none of what it names.

    Args:
        distribution: what the tool is installed by.
        site: the folder that the tool is in, if it is not the installed one.
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
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
