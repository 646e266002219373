"""The fault campaign: real runs that are killed, starved and misled, and what that did to them.

Every command is the real command line, on small models, with real tools. What is compared is all
that a run keeps, with that of an undisturbed run.
"""

from __future__ import annotations

import re
import signal
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import Empty, Queue

from flopaudit.core.errors import RunError, UsageError
from flopaudit.studies.broken_files import faults
from flopaudit.studies.campaign_places import Cells, Grounds, Place, cells_in
from flopaudit.studies.campaign_tally import Tally, by_fault, write
from flopaudit.studies.fault_trial import try_fault
from flopaudit.studies.hostile_names import NAMES, SHADOWS, try_name, try_shadow
from flopaudit.studies.killed_runs import CONTINUED, KINDS, Chain, Kind, moments

Say = Callable[[str], None]

Trial = Callable[[], Iterable[Tally]]
"""A part of the campaign, of some seconds or many."""

_LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class Undisturbed:
    """The run that all others are compared with.

    Attributes:
        out: its directory.
        cells: what is in it.
        seconds: how long it took.
        largest: the size of its largest file, in bytes.
    """

    out: Path
    cells: Cells
    seconds: float
    largest: int


@dataclass(frozen=True)
class Campaign:
    """The extent of a campaign.

    Attributes:
        kills: how many runs are killed, stopped or interrupted.
        seed: of the moments at which that happens.
        jobs: how many runs go on at the same time.
        only: a part of the names of the faults to try; "" for all.
    """

    kills: int
    seed: int
    jobs: int
    only: str = ""


def main(out: Path, campaign: Campaign, say: Say) -> list[Tally]:
    """Run a campaign, write its table, and return the rows; the last is the total.

    Args:
        out: the directory for faults.md and faults.csv.
        campaign: what is tried.
        say: called with a line of progress after each fault.

    Raises:
        UsageError: no fault has such a name.
        RunError: the undisturbed run failed.
        KeyboardInterrupt: as usual; all processes are ended first.
    """
    kinds = [kind for kind in KINDS if campaign.only in kind.name]
    if not kinds and not named_trials(Undisturbed(out, {}, 0, 1), campaign.only):
        raise UsageError(f"No fault has '{campaign.only}' in its name.", "Leave out --only.")
    with tempfile.TemporaryDirectory(prefix="flopaudit-") as folder, _interruptible():
        grounds = Grounds(Path(folder))
        try:
            undisturbed = undisturbed_run(grounds)
            chains = _chains(grounds, undisturbed, campaign, kinds) if kinds else []
            named = named_trials(undisturbed, campaign.only)
            trials: list[Trial] = [partial(_in_a_place, grounds, *each) for each in named.items()]
            tallies = list(_tried([*chains, *trials], campaign.jobs, grounds, say))
        finally:
            grounds.stop()
    rows = by_fault(tallies, [*(kind.name for kind in (*KINDS, CONTINUED)), *named])
    write(out, rows, campaign.kills, campaign.seed)
    return rows


def undisturbed_run(grounds: Grounds) -> Undisturbed:
    """Run the command that the campaign disturbs, and let it finish.

    Raises:
        RunError: it failed.
    """
    place = grounds.place("undisturbed")
    done = place.run(place.run_arguments())
    if done.code != 0:
        raise RunError(
            f"The undisturbed run ended with code {done.code}: {done.stderr[-300:]}.",
            "Run `flopaudit run --preset quick` to see what is wrong.",
        )
    sizes = [path.stat().st_size for path in place.out.iterdir()]
    return Undisturbed(place.out, cells_in(place.out), done.seconds, max(sizes))


def _chains(
    grounds: Grounds, undisturbed: Undisturbed, campaign: Campaign, kinds: Sequence[Kind]
) -> list[Trial]:
    """Return the runs to be disturbed, in as many chains as there are jobs."""
    planned = moments(campaign.kills, campaign.seed, kinds)
    return [
        partial(
            Chain(f"chain-{number}", grounds, undisturbed.cells, undisturbed.seconds).disturb,
            planned[number :: campaign.jobs],
        )
        for number in range(min(campaign.jobs, len(planned)))
    ]


def named_trials(undisturbed: Undisturbed, only: str) -> dict[str, Callable[[Place], Tally]]:
    """Return the trials of the faults with a name, by that name; each needs a place.

    Args:
        undisturbed: what the runs are compared with.
        only: a part of the names; "" for all.
    """
    cells = undisturbed.cells
    found: dict[str, Callable[[Place], Tally]] = {
        fault.name: partial(try_fault, fault, finished=undisturbed.out, expected=cells)
        for fault in faults(undisturbed.largest)
    }
    found |= {f"names: {name}": partial(try_name, name, expected=cells) for name in NAMES}
    found |= {
        f"shadowing: {name}.py": partial(try_shadow, name, expected=cells) for name in SHADOWS
    }
    return {name: trial for name, trial in found.items() if only in name}


def _in_a_place(grounds: Grounds, name: str, trial: Callable[[Place], Tally]) -> list[Tally]:
    folder = re.sub(r"\W+", "-", name)
    return [trial(grounds.place(folder))]


def _tried(trials: Sequence[Trial], jobs: int, grounds: Grounds, say: Say) -> Iterator[Tally]:
    """Run trials, several at a time, and yield their tallies as they come."""
    arrived: Queue[Tally] = Queue()

    def run(trial: Trial) -> None:
        for tally in trial():
            arrived.put(tally)

    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(run, trial) for trial in trials]
        try:
            yield from _arriving(futures, arrived, say)
        finally:
            grounds.stopped.set()
            for future in futures:
                future.cancel()
            grounds.stop()


def _arriving(futures: Sequence[Future[None]], arrived: Queue[Tally], say: Say) -> Iterator[Tally]:
    number = 0
    while not (all(future.done() for future in futures) and arrived.empty()):
        try:
            tally = arrived.get(timeout=_LOOK_SECONDS)
        except Empty:
            continue
        number += 1
        what = "; ".join(tally.notes) or "nothing lost, wrong or left"
        ended = sum(future.done() for future in futures)
        say(f"[{number}; {ended}/{len(futures)} parts done] {tally.fault}: {what}")
        yield tally
    for future in futures:
        future.result()


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C reach the runs also if what started this process ignores it, as a shell does.

    A process that a shell runs in the background ignores SIGINT, and all that it starts do too.
    """
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
