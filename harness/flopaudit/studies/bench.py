"""`flopaudit bench`: times the isolated run against the plain script, each as whole processes."""

from __future__ import annotations

import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from flopaudit.core.search_path import child_environment, module_command
from flopaudit.models import torchvision_zoo
from flopaudit.studies.table_files import machine, write_csv, write_markdown

DECIMALS = 3
"""Of the seconds in the table."""

HEADERS = ["way", "wall seconds (median)", "fastest", "slowest", "processor seconds", "ratio"]


def bench(
    preset: str, repeats: int, jobs: int, out: Path, notice: Callable[[str], None]
) -> list[list[str]]:
    """Time both ways on the models of a preset, and write bench.md and bench.csv.

    Args:
        preset: the name of a list of models.
        repeats: the number of runs of each way, in turn; the medians are compared.
        jobs: the number of cells at a time in the isolated run.
        out: directory for the tables.
        notice: called with a line of text before each run.

    Returns:
        Headers and rows: the way, the seconds of wall clock and of processor, and the ratio.

    Raises:
        ValueError: the preset does not exist.
        subprocess.CalledProcessError: one of the ways failed.
    """
    models = ",".join(torchvision_zoo.preset(preset))
    seconds: dict[str, list[tuple[float, float]]] = {"isolated": [], "plain script": []}
    for repeat in range(repeats):
        for way, runs in seconds.items():
            notice(f"{way}, {repeat + 1} of {repeats}")
            with tempfile.TemporaryDirectory() as directory:
                runs.append(_timed(_command(way, models, jobs, directory)))
    base = statistics.median(wall for wall, _ in seconds["plain script"])
    rows = [[way, *_cells(runs, base)] for way, runs in seconds.items()]
    title = f"{preset}: {models}; {repeats} runs each, in turn; {jobs} jobs"
    write_markdown(out / "bench.md", title, machine(), HEADERS, rows)
    write_csv(out / "bench.csv", HEADERS, rows)
    return [HEADERS, *rows]


def _command(way: str, models: str, jobs: int, directory: str) -> list[str]:
    if way == "plain script":
        return module_command("flopaudit.studies.plain_script", models)
    run = ["run", "--models", models, "--out", directory, "--jobs", str(jobs)]
    return module_command("flopaudit", *run)


def _timed(command: Sequence[str]) -> tuple[float, float]:
    """Run a command; return its seconds of wall clock and of processor, children included."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(  # noqa: S603 - this interpreter, this package
        command,
        env=child_environment(), check=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - started, processor


def _cells(runs: list[tuple[float, float]], base: float) -> list[str]:
    walls = [wall for wall, _ in runs]
    median = statistics.median(walls)
    numbers = (
        median,
        min(walls),
        max(walls),
        statistics.median(processor for _, processor in runs),
        median / base,
    )
    return [f"{number:.{DECIMALS}f}" for number in numbers]
