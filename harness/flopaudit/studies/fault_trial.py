"""A trial of the fault campaign: makes a fault, runs the command, repairs the fault, runs it again.

The command must say in a sentence what is wrong, and the same command must give every cell once the
fault is repaired.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flopaudit.core.errors import UsageError
from flopaudit.pipeline.measure import MEASUREMENTS
from flopaudit.studies.campaign_places import Cells, Done, Place, Started, cells_in, differing
from flopaudit.studies.campaign_tally import Tally

Break = Callable[[Path], object]
"""What puts something in place of a file."""


@dataclass(frozen=True)
class Fault:
    """One fault, and what the command must say.

    Attributes:
        name: as it stands in the table.
        file: what is broken, below the folder of the place; "" if nothing is.
        make: what breaks it.
        arguments: of the command, in place of those of the usual run.
        options: of the usual run, in addition.
        variables: of the environment.
        limit: a limit of the system, as Python sets it before the command begins.
        codes: the exit codes that the command may have.
        says: what it must print; the name of the broken file in addition, if it ends it.
        fresh: whether the run begins, so that nothing is there yet.
        during: what happens in the middle of the run.
        forgives: whether the fault itself takes the cells away.
        repair: options of the run that repairs, in addition.
    """

    name: str
    file: str = ""
    make: Break = lambda _: None
    arguments: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    limit: str = ""
    codes: tuple[int, ...] = (2,)
    says: tuple[str, ...] = ()
    fresh: bool = False
    during: Callable[[Path], object] | None = None
    forgives: bool = False
    repair: tuple[str, ...] = ()


def try_fault(fault: Fault, place: Place, finished: Path, expected: Cells) -> Tally:
    """Make a fault, run the command, repair it, run it again, and return what that did.

    Args:
        fault: the fault.
        place: an empty place.
        finished: the directory of an undisturbed run, to be copied.
        expected: its cells.
    """
    if not fault.fresh:
        shutil.copytree(finished, place.out)
    path = place.folder / fault.file
    kept = path.read_bytes() if fault.file and path.is_file() else None
    if fault.file:
        remove(path)
        path.parent.mkdir(exist_ok=True)
        fault.make(path)
    started = place.start(
        fault.arguments or place.run_arguments(*fault.options),
        fault.variables,
        program(fault.limit),
    )
    if fault.during:
        _wait_for_cells(place, started)
        fault.during(place.out)
    done = place.finish(started)
    left = place.left()
    unclear = [*_unclear(fault, done)]
    if fault.file:
        remove(path)
        if kept is not None:
            path.write_bytes(kept)
    lost, wrong = [], []
    try:
        reported = set() if fault.forgives else done.reported
        before = cells_in(place.out, findings=False)
        again = place.run(place.run_arguments(*fault.repair))
        unclear += [] if again.code == 0 else [f"repaired, it ended with {again.code}"]
        left += place.left()
        found = cells_in(place.out)
        lost = [name for name in {*before, *reported, *expected} if name not in found]
        wrong = list(differing(found, expected))
    except UsageError as error:
        unclear.append(str(error))
    notes = (*unclear, *(f"lost: {n}" for n in lost), *(f"wrong: {n}" for n in wrong))
    return Tally(fault.name, 1, len(lost), len(wrong), left, len(unclear), notes)


_CELLS_BEFORE = 5
"""How many cells are there before something happens in the middle of a run."""


def _wait_for_cells(place: Place, started: Started) -> None:
    """Wait until a run has some cells, or is over."""
    while started.process.poll() is None:
        with contextlib.suppress(OSError):
            if (place.out / MEASUREMENTS).read_bytes().count(b"\n") >= _CELLS_BEFORE:
                return
        time.sleep(0.005)


def _unclear(fault: Fault, done: Done) -> list[str]:
    """Return what is unclear about how a command ended."""
    if done.code is None:
        return ["the command hung"]
    problems = [] if done.code in fault.codes else [f"the exit code was {done.code}"]
    messages = [line for line in done.stderr.splitlines() if line and not line.startswith("[")]
    if done.code == 2 and len(messages) != 1:  # noqa: PLR2004 - the exit code of bad usage
        problems.append(f"it printed {len(messages)} lines of errors: {done.stderr[-300:]}")
    if "Traceback" in done.stderr:
        problems.append("it showed a traceback")
    printed = " ".join((done.stdout + done.stderr).split())
    named = (Path(fault.file).name,) if fault.file and 0 not in fault.codes else ()
    missing = [text for text in (*fault.says, *named) if text not in printed]
    return problems + [f"it did not say '{text}': {done.stderr[-300:]}" for text in missing]


def program(limit: str) -> tuple[str, ...]:
    """Return what Python runs: the command line, below a limit of the system if there is one."""
    if not limit:
        return ("-m", "flopaudit")
    code = (
        "import os, resource, sys; resource.setrlimit(resource.{0}); "
        "os.execv(sys.executable, [sys.executable, '-m', 'flopaudit', *sys.argv[1:]])"
    )
    return ("-c", code.format(limit))


def remove(path: Path) -> None:
    """Remove what is at a path, whatever it is."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
