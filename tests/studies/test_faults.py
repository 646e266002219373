"""The fault campaign runs, finds nothing that is wrong, and would notice what is."""

from __future__ import annotations

import contextlib
import csv
import json
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING

import psutil
import pytest
from flopaudit.studies import faults
from flopaudit.studies.campaign_places import Grounds, cells_in, differing
from flopaudit.studies.campaign_tally import HEADERS, Tally, by_fault, write
from flopaudit.studies.fault_trial import Fault, try_fault
from flopaudit.studies.faults import Undisturbed
from flopaudit.studies.killed_runs import CONTINUED, KINDS, moments

from tests.support.command_line import flopaudit_here

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def grounds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grounds]:
    found = Grounds(tmp_path_factory.mktemp("grounds"))
    yield found
    found.stop()


@pytest.fixture(scope="module")
def undisturbed(grounds: Grounds) -> Undisturbed:
    return faults.undisturbed_run(grounds)


def ended(process: psutil.Process) -> bool:
    """Whether a process ends soon; one that nobody has waited for has ended."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE:
                time.sleep(0.01)
                continue
        return True
    return False


@pytest.mark.slow
def test_harm_is_noticed(grounds: Grounds, undisturbed: Undisturbed) -> None:
    """A damage that nobody repairs, a process that is left, and an answer to another question."""
    leaves = "import subprocess; subprocess.Popen(['sleep', '60'], start_new_session=True)"
    place = grounds.place("harm")
    started = place.start((), program=("-c", leaves))
    assert place.finish(started).code == 0
    (sleeper,) = place.processes()
    assert place.left() == 1
    assert ended(sleeper)

    name = "small: thop"
    changed = {
        **undisturbed.cells,
        name: undisturbed.cells[name].replace("32", "33"),
        "small: another tool": "",
    }
    quiet = Fault("none", says=("something else",))
    tally = try_fault(quiet, grounds.place("quiet"), undisturbed.out, changed)
    assert (tally.lost, tally.wrong, tally.left, tally.unclear) == (1, 1, 0, 2)
    exit_code, silence, lost, wrong = tally.notes
    assert exit_code == "the exit code was 0"
    assert silence.startswith("it did not say 'something else'")
    assert (lost, wrong) == ("lost: small: another tool", f"wrong: {name}")


@pytest.mark.slow
def test_cells_are_compared_with_their_findings(undisturbed: Undisturbed, tmp_path: Path) -> None:
    assert len(undisturbed.cells) == 4 * 7
    out = shutil.copytree(undisturbed.out, tmp_path / "out")
    assert cells_in(out) == undisturbed.cells
    path = out / "findings.jsonl"
    first, *rest = path.read_text().splitlines(keepends=True)
    path.write_text("".join(rest))
    about = json.loads(first)
    tool = " ".join(filter(None, (about["tool"], about["variant"])))
    assert list(differing(cells_in(out), undisturbed.cells)) == [
        f"{about['model'].rpartition(':')[2]}: {tool}"
    ]


def test_moments_are_those_of_the_seed_and_of_all_kinds() -> None:
    assert moments(200, 1) == moments(200, 1)
    assert moments(200, 1) != moments(200, 2)
    kinds = Counter(moment.kind for moment in moments(200, 1))
    assert sum(kinds.values()) == 200
    assert set(kinds) == set(KINDS)
    assert set(Counter(m.kind for m in moments(len(KINDS), 7)).values()) == {1}
    assert all(0 <= m.fraction < 1 and 0 <= m.choice < 1 for m in moments(200, 1))


def test_table_has_a_row_for_each_kind_and_the_total(tmp_path: Path) -> None:
    tallies = [Tally("b"), Tally("a", 1, 2, 3, 4, 5), Tally("b", 1, 1)]
    rows = by_fault(tallies, ["a", "b", "c"])
    write(tmp_path, rows, kills=2, seed=7)
    with (tmp_path / "faults.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            list(HEADERS),
            ["a", "1", "2", "3", "4", "5"],
            ["b", "2", "1", "0", "0", "0"],
            ["all", "3", "3", "3", "4", "5"],
        ]
    text = (tmp_path / "faults.md").read_text()
    assert "`flopaudit study faults --kills 2 --seed 7`" in text
    assert [row.is_harmless for row in rows] == [False, False, False]
    assert by_fault([Tally("a")], ["a"])[-1].is_harmless


COMMAND = (sys.executable, "-m", "flopaudit", "study", "faults", "--jobs", "2")


@pytest.mark.slow
def test_campaign_is_one_command(tmp_path: Path) -> None:
    """Runs are killed, in their main process and in all, and go on to the same cells."""
    done = subprocess.run(
        [*COMMAND, "--kills", "2", "--only", "processes, SIGKILL", "--out", "tables"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with (tmp_path / "tables" / "faults.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert [row[0] for row in rows] == ["fault", "all processes, SIGKILL", CONTINUED.name, "all"]
    assert rows[1][1] == "2"
    assert int(rows[2][1]) >= 2, "each directory was finished"
    assert {cell for row in rows[1:] for cell in row[2:]} == {"0"}
    assert done.stderr.count("nothing lost, wrong or left") == int(rows[3][1])


@pytest.mark.slow
def test_broken_file_is_named_and_its_repair_gives_all_cells(
    grounds: Grounds, undisturbed: Undisturbed
) -> None:
    trials = faults.named_trials(undisturbed, "a FIFO for traces.jsonl")
    (tally,) = (trial(grounds.place("fifo")) for trial in trials.values())
    assert tally == Tally("a FIFO for traces.jsonl")


@pytest.mark.slow
def test_interrupt_ends_a_campaign_and_all_that_it_has_started(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "--out", "tables"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    campaign = psutil.Process(process.pid)
    deadline = time.monotonic() + 60
    while len(below := campaign.children(recursive=True)) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(below) >= 2
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert (process.returncode, stderr) == (130, "\nStopped.\n")
    assert psutil.wait_procs(below, timeout=2)[1] == []
    assert not (tmp_path / "tables").exists()


def test_unknown_fault_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    done = flopaudit_here("study", "faults", "--only", "xyzzy", capsys=capsys)
    assert done.returncode == 2
    assert done.stderr == "flopaudit: No fault has 'xyzzy' in its name. Leave out --only.\n"
    assert not list(tmp_path.iterdir())
