"""The files of a run survive any cut, and hold what was put into them, whatever it was."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest
from flopaudit.core.causes import Cause
from flopaudit.core.errors import UsageError
from flopaudit.pipeline.results import measurements_in
from flopaudit.records import store
from flopaudit.records.environment import environment
from flopaudit.records.schema import (
    Conditions,
    Finding,
    Measurement,
    Record,
    Status,
    Unit,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.paths import ROOT

LINE_ENDS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
"""What `str.splitlines` ends a line at; a JSON string may hold all of them."""

words = st.text(
    st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from(LINE_ENDS)), max_size=12
)
counts = st.integers(0, 10**30)
findings = st.builds(
    Finding,
    tool=words,
    variant=st.none() | words,
    model=words,
    inputs=st.lists(words, max_size=2).map(tuple),
    quantity=st.sampled_from(["macs", "flops", "params"]),
    cause=st.sampled_from(Cause),
    amount=st.integers(-(10**30), 10**30),
    evidence=words,
)


def measured(reported: int | None, error: str, excerpt: str) -> Measurement:
    """A measurement, counted or not."""
    return Measurement(
        tool="tool",
        tool_version=None,
        model="file.py:model",
        inputs=("1x8",),
        conditions=Conditions(),
        status=Status.ERRORED if reported is None else Status.COUNTED,
        raw={excerpt: error},
        unit=Unit.MAC,
        reported=reported,
        macs=reported,
        output_excerpt=excerpt,
        error=error if reported is None else None,
        environment=environment(),
    )


measurements = st.builds(measured, st.none() | counts, words, words)


def written(path: Path, records: list[Record]) -> bytes:
    """Append records to a new file; its bytes."""
    journal = store.Journal(path)
    for record in records:
        journal.append(record)
    journal.close()
    return path.read_bytes()


@settings(deadline=None, max_examples=60)
@given(st.lists(findings, max_size=4), findings, st.data())
def test_cut_anywhere_a_journal_is_a_prefix(
    records: list[Record], more: Finding, data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "journal.jsonl")
        content = written(path, records)
        assert store.read(path, Finding) == records
        cut = data.draw(st.integers(0, len(content)), label="cut")
        os.truncate(path, cut)
        kept = store.read(path, Finding)
        assert kept == records[: len(kept)]
        assert len(kept) == content[:cut].count(b"\n")
        appended = written(path, [more])
        assert store.read(path, Finding) == [*kept, more]
        assert appended.endswith(more.line().encode() + b"\n")


@settings(deadline=None, max_examples=60)
@given(st.lists(measurements, max_size=4), st.binary(max_size=40).filter(lambda b: b"\n" not in b))
def test_garbage_at_the_end_is_removed(records: list[Record], rubbish: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "journal.jsonl")
        content = written(path, records)
        path.write_bytes(content + rubbish)
        assert store.read(path, Measurement) == records
        store.Journal(path).close()
        assert path.read_bytes() == content


@settings(deadline=None, max_examples=60)
@given(st.lists(measurements, max_size=4))
def test_whole_files_hold_what_journals_hold(records: list[Record]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        one, other = Path(folder, "one"), Path(folder, "other")
        content = written(one, records)
        store.write_records(other, records)
        assert other.read_bytes() == content
        assert store.read(other, Measurement) == records
        assert sorted(Path(folder).iterdir()) == [one, other]


def test_no_file_holds_no_records(tmp_path: Path) -> None:
    assert store.read(tmp_path / "none", Finding) == []


@pytest.mark.parametrize(
    "line",
    [b"{", b"[]", b"null", b"{}", b"\xff\xfe", b"", b'{"schema_version": 1}', b"\x00" * 9, b"NaN"],
)
@pytest.mark.parametrize("number", [1, 2, 3])
def test_corrupt_line_is_named(tmp_path: Path, line: bytes, number: int) -> None:
    path = tmp_path / "journal.jsonl"
    lines = [measured(n, "", "").line().encode() for n in range(2)]
    lines.insert(number - 1, line)
    content = b"".join(each + b"\n" for each in lines)
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        measurements_in(path)
    assert caught.value.message.startswith(f"Line {number} of {path} is not a measurement: ")
    assert caught.value.remedy == "Repair or remove that line, or use another --out."
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("reported", "1.0"),
        ("reported", '"1"'),
        ("reported", "-1"),
        ("reported", "true"),
        ("macs", "1e3"),
        ("status", '"fine"'),
        ("unknown", "1"),
        ("inputs", '"1x8"'),
    ],
)
def test_nothing_is_coerced(tmp_path: Path, field: str, value: str) -> None:
    path = tmp_path / "journal.jsonl"
    line = measured(1, "", "").line()
    path.write_text(f'{line[:-1]},"{field}":{value}}}\n')
    with pytest.raises(UsageError, match=r"Line 1 of .* is not a measurement"):
        measurements_in(path)


@pytest.mark.parametrize("version", ["0", "2", "10"])
def test_other_version_is_refused(tmp_path: Path, version: str) -> None:
    path = tmp_path / "journal.jsonl"
    line = measured(1, "", "").line()
    assert '"schema_version":1,' in line
    changed = line.replace('"schema_version":1,', f'"schema_version":{version},"novelty":0,')
    path.write_text(f"{line}\n{changed}\n")
    with pytest.raises(UsageError) as caught:
        measurements_in(path)
    assert f"schema version {version}" in caught.value.message
    assert "Install the flopaudit that wrote it" in caught.value.remedy


def test_replacing_is_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "table.md"
    store.write_whole(path, "old\n")

    def fails(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(UsageError, match="No space left"):
        store.write_whole(path, "new\n")
    assert path.read_text() == "old\n"
    assert list(tmp_path.iterdir()) == [path]


def test_directory_is_locked_against_others(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "run"
    again = "from pathlib import Path; from flopaudit.records import store; import sys\n"
    again += "with store.locked(Path(sys.argv[1])): print('held')"

    def other() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", again, str(folder)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    with store.locked(folder):
        refused = other()
        with pytest.raises(UsageError, match="Another run is writing to"), store.locked(folder):
            pytest.fail("held twice")
    assert refused.returncode == 1
    assert "Another run is writing to" in refused.stderr
    assert other().stdout == "held\n"


def test_directory_is_locked_while_another_run_unlocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second has opened the lock's file when the first takes it away; then comes a third."""
    first = ExitStack()
    first.enter_context(store.locked(tmp_path))
    flock = fcntl.flock

    def late(descriptor: int, operation: int) -> None:
        first.close()
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with store.locked(tmp_path), pytest.raises(UsageError), store.locked(tmp_path):
        pytest.fail("held twice")


def test_file_that_a_kill_left_unfinished_is_removed_by_the_next_run(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from flopaudit.records import store\n"
        "os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
        "store.write_whole(Path(sys.argv[1], 'table.md'), 'x')\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".unfinished-table.md.")
    with store.locked(tmp_path):
        assert not list(tmp_path.iterdir())


def test_error_in_a_run_is_not_reported_as_a_lock(tmp_path: Path) -> None:
    with pytest.raises(BlockingIOError), store.locked(tmp_path):
        raise BlockingIOError(11, "standard error is full")


def test_directory_that_cannot_be_written_to() -> None:
    folder = Path("/proc" if sys.platform == "linux" else "/dev/fd")  # not even by root
    with pytest.raises(UsageError, match=f"Cannot write to {folder}"), store.locked(folder):
        pytest.fail("a directory was held that can have no files")


def test_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    taken = tmp_path / "file"
    with pytest.raises(UsageError, match=r"Give another --out\."), store.locked(taken):
        pytest.fail("a file was held")


def test_lines_that_share_a_sync_survive_a_kill(tmp_path: Path) -> None:
    """Lines are with the system when `append` returns."""
    path = tmp_path / "journal.jsonl"
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from flopaudit.records.schema import Finding\n"
        "from flopaudit.records.store import Journal\n"
        "journal = Journal(Path(sys.argv[1]), sync_every=100)\n"
        "for n in range(7):\n"
        "    journal.append(Finding(tool='t', variant=None, model='m', inputs=('1x8',),\n"
        "                           quantity='macs', cause='bias', amount=n, evidence='e'))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = ROOT
    done = subprocess.run([sys.executable, "-c", code, str(path)], cwd=root, check=False)
    assert done.returncode == -signal.SIGKILL
    found = store.read(path, Finding)
    assert [each.amount for each in found if isinstance(each, Finding)] == list(range(7))


def test_syncs_are_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    for every, expected in ((1, 7), (3, 3), (100, 1)):
        synced.clear()
        journal = store.Journal(tmp_path / str(every), sync_every=every)
        for number in range(7):
            journal.append(measured(number, "", ""))
        journal.close()
        assert len(synced) == expected


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "settlements.jsonl"
    os.mkfifo(path)
    with pytest.raises(UsageError, match=f"{path} is a FIFO, not a file"):
        store.write_whole(path, "text")
    assert path.is_fifo()
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
