"""Where a run takes place: versions and processor, found without importing what they are of."""

from __future__ import annotations

import platform
from functools import cache, lru_cache
from importlib import metadata
from pathlib import Path

from harness.schema import Environment


def environment(distribution: str | None = None) -> Environment:
    """Where this runs, and the version of a tool; imports none of what it names."""
    return Environment(
        flopaudit=_version("flopaudit") or "unknown",
        python=platform.python_version(),
        torch=_version("torch") or "none",
        torchvision=_version("torchvision"),
        tool=_version(distribution) if distribution else None,
        processor=_processor(),
    )


@cache
def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


@lru_cache(maxsize=1)
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
