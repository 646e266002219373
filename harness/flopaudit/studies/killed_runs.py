"""Runs that are killed, stopped or interrupted at random moments, and continued until they finish.

One directory is disturbed again and again, each time by the same command, until its cells are all
there; then they are compared with those of an undisturbed run.
"""

from __future__ import annotations

import random
import re
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import psutil

from flopaudit.core.errors import UsageError
from flopaudit.studies.campaign_places import (
    Cells,
    Done,
    Grounds,
    Place,
    below,
    cells_in,
    differing,
    error_of,
    send,
    without_findings,
)
from flopaudit.studies.campaign_tally import Tally

MAIN, ZYGOTE, HOST, WORKER = range(4)
"""The processes of a run, by how many levels they are below the main one."""

ALL = -1

_STOPPED_SECONDS = 0.3

_EARLIER = 0.7

_ENDED = re.compile(
    r"was ended by signal|the process that held the model ended|ended while it was building"
    r"|its host did not answer|no result within|was not built within"
)
"""How the records of cells say that a process of theirs was hit."""


@dataclass(frozen=True)
class Kind:
    """A kind of disturbance.

    Attributes:
        name: as it stands in the table.
        level: which process is hit, or `ALL`.
        number: the signal.
        weight: how often it is chosen, among all kinds.
        strikes: how many cells it may take the result of.
        codes: the exit codes that the main process may have then.
    """

    name: str
    level: int
    number: signal.Signals
    weight: int
    strikes: int
    codes: tuple[int, ...]


_CELLS_OF_A_MODEL = 7

KINDS = (
    Kind("main process, SIGKILL", MAIN, signal.SIGKILL, 6, 0, (-9,)),
    Kind("all processes, SIGKILL", ALL, signal.SIGKILL, 4, 0, (-9,)),
    Kind("zygote, SIGKILL", ZYGOTE, signal.SIGKILL, 3, 0, (0, 1)),
    Kind("host, SIGKILL", HOST, signal.SIGKILL, 3, _CELLS_OF_A_MODEL, (0, 1)),
    Kind("worker, SIGKILL", WORKER, signal.SIGKILL, 3, 1, (0, 1)),
    Kind("main process, SIGTERM", MAIN, signal.SIGTERM, 3, 0, (-15, 143)),
    Kind("main process, SIGINT", MAIN, signal.SIGINT, 3, 0, (130, -2)),
    Kind("main process, SIGSTOP and SIGKILL", MAIN, signal.SIGSTOP, 2, 0, (-9,)),
    Kind("zygote, SIGSTOP", ZYGOTE, signal.SIGSTOP, 1, 0, (0, 1)),
    Kind("host, SIGSTOP", HOST, signal.SIGSTOP, 1, _CELLS_OF_A_MODEL, (0, 1)),
    Kind("worker, SIGSTOP", WORKER, signal.SIGSTOP, 1, 1, (0, 1)),
)
"""All kinds. A host or worker that ends takes its cells along, which are recorded as failed."""

CONTINUED = Kind("none: continued to the end", MAIN, signal.SIGCONT, 0, 0, (0, 1))
"""The same command once more, undisturbed."""


@dataclass(frozen=True)
class Moment:
    """One disturbance: its kind, when it comes, and which of several processes it hits."""

    kind: Kind
    fraction: float
    choice: float


def moments(number: int, seed: int, kinds: Sequence[Kind] = KINDS) -> list[Moment]:
    """Return disturbances at random, the same for the same seed; each kind has its share.

    As many as there are kinds have each kind once.
    """
    chosen = random.Random(seed)  # noqa: S311 - nothing secret
    rounds = range(max(kind.weight for kind in kinds))
    shares = [kind for number in rounds for kind in kinds if number < kind.weight]
    repeated = [shares[index % len(shares)] for index in range(number)]
    chosen.shuffle(repeated)
    return [Moment(kind, chosen.random(), chosen.random()) for kind in repeated]


@dataclass
class Chain:
    """Directories that are disturbed one after the other.

    Attributes:
        name: of the chain, for the names of its places.
        grounds: where the places are.
        expected: the cells of an undisturbed run.
        seconds: how long that run took.
        place: the present directory; None before the first, and after each that is finished.
        known: the cells that were there when it was last looked at.
        strikes: how many of its cells may have lost their result so far.
    """

    name: str
    grounds: Grounds
    expected: Cells
    seconds: float
    place: Place | None = None
    known: Cells = field(default_factory=dict)
    strikes: int = 0
    _number: int = 0

    def disturb(self, planned: Sequence[Moment]) -> Iterator[Tally]:
        """Disturb runs as planned, and yield what each disturbance and each continuation did."""
        for each in planned:
            hit, moment = False, each
            while not hit and not self.grounds.stopped.is_set():
                hit, tally = self._attempt(moment)
                yield tally
                # Over before the moment came: the undisturbed run may have been a slow one.
                moment = replace(moment, fraction=moment.fraction * _EARLIER)
        if self.place and not self.grounds.stopped.is_set():  # what the last one has left undone
            done = self.place.run(self.place.run_arguments())
            yield self._judged(CONTINUED, self.place, done)

    def _attempt(self, moment: Moment) -> tuple[bool, Tally]:
        """Disturb a run; whether it was hit before it was over, and what that did."""
        if self.place is None:
            self._number += 1
            self.place = self.grounds.place(f"{self.name}-{self._number}")
            self.known, self.strikes = {}, 0
        place = self.place
        started = place.start(place.run_arguments())
        main = psutil.Process(started.process.pid)
        hit = _hit(place, main, moment, started.began + moment.fraction * self.seconds)
        done = place.finish(started)
        if moment.kind.level in {MAIN, ALL} and done.code == 0:  # it was over by then
            hit = False
        self.strikes += moment.kind.strikes if hit else 0
        return hit, self._judged(moment.kind if hit else CONTINUED, place, done)

    def _judged(self, kind: Kind, place: Place, done: Done) -> Tally:
        """Return what a run did; if it went to its end, the directory is done with."""
        left = place.left()
        finished = done.code in {0, 1} and "Records and tables are in" in done.stdout
        notes = [f"{left} processes left"] * bool(left)
        notes += _unclear(kind, done)
        unclear = len(notes) - bool(left)
        try:
            found = cells_in(place.out, findings=False)
        except UsageError as error:
            found, unclear = {}, unclear + 1
            notes.append(str(error))
        expected = without_findings(self.expected)
        awaited = expected if finished else {*self.known, *done.reported}
        lost = [name for name in awaited if name not in found]
        changed = list(differing(found, expected))
        struck = [name for name in changed if _ENDED.search(error_of(found[name]))]
        wrong = [name for name in changed if name not in struck]
        wrong += struck[self.strikes :]  # more than the signals can have taken along
        self.known = found
        if finished:
            self.place = None
            wrong += self._measured_again(place) if struck else _different(place, self.expected)
        notes += [f"lost: {name}" for name in lost] + [f"wrong: {name}" for name in wrong]
        return Tally(kind.name, 1, len(lost), len(wrong), left, unclear, tuple(notes))

    def _measured_again(self, place: Place) -> list[str]:
        """Measure all cells of a directory again, and return those that are wrong then."""
        done = place.run(place.run_arguments("--again"))
        return _different(place, self.expected) if done.code == 0 else [f"--again: {done.stderr}"]


def _different(place: Place, expected: Cells) -> list[str]:
    found = cells_in(place.out)
    return [*differing(found, expected), *(name for name in expected if name not in found)]


def _unclear(kind: Kind, done: Done) -> list[str]:
    """Return what is unclear about the end of a run, if anything is."""
    if done.code is None:
        return ["the command hung"]
    if done.code == -signal.SIGINT or "init_import_site" in done.stderr:
        return []  # Python itself was interrupted, before the program began
    if done.code not in kind.codes:
        return [f"the exit code was {done.code}: {done.stderr[-600:]}"]
    shown = "Traceback" in done.stderr
    return [f"a traceback was shown: {done.stderr[-600:]}"] if shown else []


def _hit(place: Place, main: psutil.Process, moment: Moment, due: float) -> bool:
    """Wait for the moment, and send the signal; whether there was a process to take it."""
    kind = moment.kind
    while _is_running(main):
        if time.monotonic() < due:
            time.sleep(0.002)
        elif kind.level == ALL:
            others = place.processes()
            hit = send(main, kind.number)
            for process in others:
                send(process, kind.number)
            return hit
        elif found := below(main, kind.level):
            hit = send(found[int(moment.choice * len(found))], kind.number)
            if hit and kind.level == MAIN and kind.number == signal.SIGSTOP:
                time.sleep(_STOPPED_SECONDS)
                main.kill()
            return hit
        else:
            time.sleep(0.002)
    return False


def _is_running(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
