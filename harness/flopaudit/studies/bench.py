"""`flopaudit bench`: the isolated run against the plain script, in turn, as whole processes."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from flopaudit.models import torchvision_zoo
from flopaudit.records import store
from flopaudit.records.environment import environment

ROUND = 3  # decimals of seconds in the table


def bench(
    preset: str, repeats: int, jobs: int, out: Path, notice: Callable[[str], None]
) -> list[list[str]]:
    """Time both ways over a preset, and write bench.md and bench.csv.

    Args:
        preset: which models.
        repeats: how often each way is run, in turn; the medians are compared.
        jobs: cells at a time in the isolated run.
        out: directory for the tables.
        notice: told of each run before it starts.

    Returns:
        Headers and rows: the way, then seconds of wall clock and of processor, and the ratio.

    Raises:
        ValueError: there is no such preset.
        subprocess.CalledProcessError: one of the ways failed.
    """
    models = ",".join(torchvision_zoo.preset(preset))
    taken: dict[str, list[tuple[float, float]]] = {"isolated": [], "plain script": []}
    for repeat in range(repeats):
        for way, seconds in taken.items():
            notice(f"{way}, {repeat + 1} of {repeats}")
            with tempfile.TemporaryDirectory() as directory:
                seconds.append(_timed(_command(way, models, jobs, directory)))
    rows = [["way", "wall seconds (median)", "fastest", "slowest", "processor seconds", "ratio"]]
    base = statistics.median(wall for wall, _ in taken["plain script"])
    rows += [[way, *_texts(seconds, base)] for way, seconds in taken.items()]
    _write(out, rows, f"{preset}: {models}; {repeats} runs each, in turn; {jobs} jobs")
    return rows


def _command(way: str, models: str, jobs: int, directory: str) -> list[str]:
    if way == "plain script":
        return [sys.executable, "-m", "flopaudit.studies.plain_script", models]
    run = ["run", "--models", models, "--out", directory, "--jobs", str(jobs)]
    return [sys.executable, "-m", "flopaudit", *run]


def _timed(command: Sequence[str]) -> tuple[float, float]:
    """Seconds of wall clock and of processor of a process and all its children."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603 - this interpreter, this package
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - started, processor


def _texts(seconds: list[tuple[float, float]], base: float) -> list[str]:
    walls = [wall for wall, _ in seconds]
    median = statistics.median(walls)
    numbers = (
        median,
        min(walls),
        max(walls),
        statistics.median(p for _, p in seconds),
        median / base,
    )
    return [f"{number:.{ROUND}f}" for number in numbers]


def _write(out: Path, rows: list[list[str]], title: str) -> None:
    from tabulate import tabulate

    where = environment()
    out.mkdir(parents=True, exist_ok=True)
    text = tabulate(rows[1:], rows[0], tablefmt="github", disable_numparse=True)
    note = f"torch {where.torch}, Python {where.python}, {where.processor}"
    store.write_whole(out / "bench.md", f"# {title}\n\n{note}\n\n{text}\n")
    lines = (",".join(row) for row in rows)
    store.write_whole(out / "bench.csv", "\n".join(lines) + "\n")
