"""Files that cannot be used are refused in one sentence that names them, and never waited for."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from flopaudit.core import checksum
from flopaudit.core.errors import UsageError
from flopaudit.core.files import of_system, parse_json, read_text
from flopaudit.explain import settlement
from flopaudit.pipeline.results import measurements_in, traces_in
from flopaudit.profiles import repository
from flopaudit.records import store
from flopaudit.reference.conventions import convention

from tests.support.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

STORED = ROOT / "results" / "quick"
DEEP = "[" * 100_000 + "]" * 100_000
LONG_NUMBER = "7" * 5_000


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    before = Path.cwd()
    os.chdir(path.parent)  # the path of a socket has a length of some hundred bytes at most
    socket.socket(socket.AF_UNIX).bind(path.name)
    os.chdir(before)


def make_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


KINDS: dict[str, Callable[[Path], None]] = {
    "a FIFO": make_fifo,
    "a socket": make_socket,
    "a device": make_device,
    "a directory": Path.mkdir,
}

READERS: dict[str, Callable[[Path], object]] = {
    "measurements.jsonl": measurements_in,
    "traces.jsonl": traces_in,
    "journal.jsonl": store.Journal,
    settlement.FILE: lambda path: settlement.find([path.parent], "resnet18", ("1x3x224x224",)),
    "tool-1.json": lambda path: repository.find(("tool", "1", ""), [path.parent]),
    "own.toml": lambda path: convention(str(path)),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_is_neither_opened_nor_waited_for(
    tmp_path: Path, name: str, kind: str
) -> None:
    KINDS[kind](tmp_path / name)
    with pytest.raises(UsageError) as caught:
        READERS[name](tmp_path / name)
    assert caught.value.message == f"{tmp_path / name} is {kind}, not a file."
    assert caught.value.remedy


@pytest.mark.parametrize("name", READERS)
def test_loop_of_links_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.symlink_to(path)
    with pytest.raises(UsageError, match=f"Cannot read {path}: Too many levels"):
        READERS[name](path)


@pytest.mark.parametrize("name", [settlement.FILE, "measurements.jsonl"])
def test_file_below_a_file_is_not_there(tmp_path: Path, name: str) -> None:
    """Files lie beside the directories of results."""
    (tmp_path / "README.md").write_text("")
    assert not READERS[name](tmp_path / "README.md" / name)


def changed(name: str, **values: object) -> str:
    """The first record of a stored file with other values."""
    with (STORED / name).open() as file:
        text, _ = checksum.check(file.readline().rstrip("\n"))
    return checksum.add(json.dumps({**json.loads(text), **values}))


DAMAGED_LINES = {
    "deep": DEEP,
    "deep within": changed("measurements.jsonl", raw=[]).replace("[]", f'{{"a": {DEEP}}}', 1),
    "digits": changed("measurements.jsonl", raw=[]).replace("[]", f'{{"a": {LONG_NUMBER}}}', 1),
    "NUL": '{"tool": "\0"}',
    "NULs": "\0" * 5000,
    "half": changed("measurements.jsonl")[:1000],
    "huge": '"' + "x" * 50_000_000 + '"',
    "other JSON": "[1, 2]",
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGED_LINES)
def test_damaged_line_is_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "measurements.jsonl"
    path.write_text(f"{changed('measurements.jsonl')}\n{DAMAGED_LINES[damage]}\n")
    with pytest.raises(UsageError) as caught:
        measurements_in(path)
    assert caught.value.message.startswith(f"Line 2 of {path} is not a measurement: ")
    assert len(caught.value.message) < 1000
    assert "\n" not in caught.value.message
    assert caught.value.remedy == "Repair or remove that line, or use another --out."


TRACE: Any = json.loads(changed("traces.jsonl"))["trace"]
SITE = TRACE["sites"][0]
DAMAGED_TRACES: dict[str, Any] = {
    "empty": {},
    "no sites": {key: value for key, value in TRACE.items() if key != "sites"},
    "text for a number": {**TRACE, "batch": "1"},
    "truth for a number": {**TRACE, "batch": True},
    "text for sites": {**TRACE, "sites": "sites"},
    "short site": {**TRACE, "sites": [SITE[:-1]], "work": []},
    "amounts of text": {**TRACE, "sites": [[*SITE[:5], {"macs": "7"}, SITE[6]]], "work": []},
    "parent of itself": {**TRACE, "sites": [[*SITE[:3], 0, *SITE[4:]]], "work": []},
    "work nowhere": {**TRACE, "sites": [], "work": [["", 3, "linear", 1]]},
}


@pytest.mark.parametrize("damage", DAMAGED_TRACES)
def test_damaged_trace_is_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "traces.jsonl"
    record = changed("traces.jsonl", trace=DAMAGED_TRACES[damage])
    path.write_text(record + "\n")
    model = json.loads(record)["model"]
    with pytest.raises(UsageError) as caught:
        traces_in(path)
    assert caught.value.message.startswith(f"The trace of {model} in {path} is damaged: ")
    assert "next run makes it again" in caught.value.remedy


def test_undamaged_trace_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "traces.jsonl"
    path.write_text(changed("traces.jsonl") + "\n")
    (trace,) = traces_in(path).values()
    assert json.loads(json.dumps(trace.to_json())) == TRACE


@pytest.mark.parametrize("text", [DEEP, LONG_NUMBER, "\0", "{"])
@pytest.mark.parametrize("name", [settlement.FILE, "tool-1.json"])
def test_damaged_settlement_or_profile_is_named(tmp_path: Path, name: str, text: str) -> None:
    line = f'{{"settlement_version": 1, "model": "resnet18", "inputs": {text}' + "}"
    (tmp_path / name).write_text(line)
    with pytest.raises(UsageError, match=r"is not a profile|is not a settlement") as caught:
        READERS[name](tmp_path / name)
    assert str(tmp_path / name) in caught.value.message


PROFILE = json.loads((ROOT / "results" / "profiles" / "torchstat-0.0.7.json").read_text())
WRONG_FIELDS = {
    "tool": 7,
    "habits": {**PROFILE["habits"], "per_sample": "no"},
    "params": {},
    "rules": [{**PROFILE["rules"][0], "formula": {"macs": 1}}],
    "probes": "many",
}


@pytest.mark.parametrize("field", WRONG_FIELDS)
def test_profile_of_wrong_types_is_named(tmp_path: Path, field: str) -> None:
    path = tmp_path / "tool-1.json"
    path.write_text(json.dumps({**PROFILE, field: WRONG_FIELDS[field]}))
    with pytest.raises(UsageError, match=f"is not a profile: {field}"):
        READERS["tool-1.json"](path)


@pytest.mark.parametrize("name", [settlement.FILE, "tool-1.json"])
def test_settlement_or_profile_of_another_version_is_named(tmp_path: Path, name: str) -> None:
    line = '{"settlement_version": 99, "profile_version": 99, "model": "resnet18", "inputs": '
    (tmp_path / name).write_text(line + '["1x3x224x224"]}')
    with pytest.raises(UsageError, match="has format 99, but this program reads 1") as caught:
        READERS[name](tmp_path / name)
    assert str(tmp_path / name) in caught.value.message


def test_text_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_bytes(b'name = "\xff"')
    with pytest.raises(UsageError, match="is not text in UTF-8") as caught:
        read_text(tmp_path / "own.toml", "Correct it.")
    assert str(tmp_path / "own.toml") in caught.value.message


def test_name_with_a_nul_is_refused() -> None:
    with pytest.raises(UsageError, match="Cannot read"):
        read_text(Path("a\0b"), "Correct it.")


def test_json_is_parsed_or_refused() -> None:
    assert parse_json('{"a": [1, null]}') == {"a": [1, None]}
    for text in (DEEP, LONG_NUMBER, "", "\0"):
        with pytest.raises(ValueError, match=r"."):
            parse_json(text)


def test_errors_of_the_system_have_a_remedy() -> None:
    full = of_system(OSError(28, "No space left on device"))
    assert full is not None
    assert full.message == "The system refused: No space left on device."
    assert full.remedy.startswith("Free some space on that disk")
    denied = of_system(PermissionError(13, "Permission denied", "results"))
    assert denied is not None
    assert denied.message == "Cannot use results: Permission denied."
    assert of_system(BrokenPipeError(32, "Broken pipe")) is None


FILLS = """
import sys
from pathlib import Path
from flopaudit.core.errors import UsageError
from flopaudit.records.schema import Finding
from flopaudit.records.store import Journal, write_whole
finding = Finding(tool="t" * 300, variant=None, model="m", inputs=("1x8",), quantity="macs",
                  cause="bias", amount=1, evidence="e")
path = Path(sys.argv[1])
written = 0
journal = Journal(path)
try:
    while True:
        journal.append(finding)
        written += 1
except UsageError as error:
    print(written, path.read_bytes().count(b"\\n"), path.read_bytes()[-1:] == b"\\n", error)
journal.close()
try:
    write_whole(path.with_name("table.md"), "x" * 100_000)
except UsageError as error:
    print(sorted(each.name for each in path.parent.iterdir()), error)
"""


def test_full_disk_is_named_and_leaves_whole_lines(tmp_path: Path) -> None:
    """A limit on the size of files fails as a full disk does: half a line is written first."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, 5_000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    path = tmp_path / "journal.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", FILLS, str(path)],
        capture_output=True, text=True, check=False, timeout=60, cwd=ROOT,
        preexec_fn=limit,
    )  # fmt: skip
    journal, whole = done.stdout.splitlines()
    written, lines, ends_whole, *message = journal.split(" ", 3)
    assert written == lines == str(path.read_bytes().count(b"\n"))
    assert ends_whole == "True"
    assert int(written) > 5
    assert message[0].startswith(f"Cannot write {path}: File too large. Raise the limit on ")
    assert whole.startswith(f"['journal.jsonl'] Cannot write {path.with_name('table.md')}: ")
    assert done.stderr == ""


def test_removed_journal_is_noticed(tmp_path: Path) -> None:
    from flopaudit.records.schema import Finding, load

    line = (STORED / "findings.jsonl").read_text().splitlines()[0]
    path = tmp_path / "journal.jsonl"
    journal = store.Journal(path)
    journal.append(load(Finding, line))
    path.unlink()
    with pytest.raises(UsageError, match=f"Cannot write {path}: it was removed"):
        journal.append(load(Finding, line))
    journal.close()
