"""Messages and outcomes between processes: exact there and back, and nothing else is accepted."""

from __future__ import annotations

import json
import socket
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from flopaudit.core.specs import ModelSpec
from flopaudit.isolation import messages, outcomes, tasks
from flopaudit.isolation.jobs import Cell, Limits
from flopaudit.isolation.memory_share import Footprint
from flopaudit.isolation.messages import Channel, MessageError, decode, encode
from flopaudit.isolation.outcomes import (
    Audited,
    Check,
    ClaimsSettled,
    Counted,
    Failed,
    LedgerCounted,
    Outcome,
    ReferenceCounted,
    Refused,
    Traced,
    decode_outcome,
    encode_outcome,
)
from flopaudit.records.schema import ModuleParams, ModuleRow, OperatorTotal
from flopaudit.reference.cost import Work
from flopaudit.reference.kinds import Kind
from flopaudit.reference.ledger import Ledger, ModuleEntry, OperatorRow
from hypothesis import given
from hypothesis import strategies as st

if TYPE_CHECKING:
    from flopaudit.isolation.messages import Message

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
COUNTS = st.integers(0, 10**30)
SECONDS = st.floats(0, 1e9)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
TOTALS = st.dictionaries(TEXT, PLAIN, max_size=3)
ROWS = st.builds(
    ModuleRow,
    path=TEXT, type=TEXT, count=st.integers(), params=st.none() | st.integers(), operator=TEXT,
)  # fmt: skip
OPERATORS = st.builds(
    OperatorTotal,
    path=TEXT, type=TEXT, operator=TEXT, form=TEXT, kind=TEXT, executions=COUNTS, macs=COUNTS,
    bias_adds=COUNTS, flops_all=COUNTS, input_elements=COUNTS, output_elements=COUNTS,
    macs_by_call=st.lists(COUNTS, max_size=2).map(tuple),
)  # fmt: skip
MODULES = st.builds(
    ModuleParams, path=TEXT, type=TEXT, aliases=st.lists(TEXT, max_size=2).map(tuple), params=COUNTS
)


def tuples(of: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(of, max_size=2).map(tuple)


WORK = st.builds(Work, COUNTS, COUNTS, COUNTS)
OPERATOR_ROWS = st.builds(
    OperatorRow,
    operator=TEXT, form=TEXT, path=TEXT, type=TEXT, call=COUNTS, kind=st.sampled_from(Kind),
    inputs=tuples(tuples(COUNTS)), outputs=st.just(()), dtype=TEXT, work=WORK,
    alternatives=st.dictionaries(TEXT, WORK, max_size=1), bytes_read=COUNTS,
)  # fmt: skip
LEDGERS = st.builds(
    Ledger,
    rows=tuples(OPERATOR_ROWS), device=TEXT, fallback=st.none() | TEXT,
    modules=tuples(st.builds(ModuleEntry, TEXT, TEXT, tuples(TEXT), COUNTS, COUNTS, COUNTS)),
    uncounted_ops=st.dictionaries(TEXT, COUNTS, max_size=2).map(Counter),
)  # fmt: skip
FAILURES = st.sampled_from(["unsupported", "errored", "crashed", "timed_out", "unavailable"])
RESULTS = st.one_of(
    st.builds(Counted, TOTALS, COUNTS, st.none() | COUNTS, tuples(ROWS)),
    st.builds(
        ReferenceCounted,
        TEXT, st.none() | TEXT, COUNTS, COUNTS, COUNTS, st.dictionaries(TEXT, COUNTS, max_size=2),
        st.dictionaries(TEXT, COUNTS, max_size=2), st.dictionaries(TEXT, TEXT, max_size=2),
        tuples(TEXT), tuples(OPERATORS), tuples(MODULES),
    ),
    st.builds(Traced, TOTALS),
    st.builds(
        Audited,
        st.sampled_from(["success", "raise", "import", "none"]),
        tuples(st.builds(Check, TEXT, TEXT, TEXT, COUNTS, TEXT)),
    ),
    st.builds(LedgerCounted, LEDGERS, st.none() | COUNTS, TEXT),
    st.builds(ClaimsSettled, TOTALS, tuples(TEXT)),
    st.builds(Refused, TEXT, TEXT),
    st.builds(Failed, FAILURES, TEXT, st.none() | TOTALS),
)  # fmt: skip
OUTCOMES = st.builds(Outcome, RESULTS, st.none() | SECONDS, st.none() | COUNTS, TEXT)
CELLS = st.builds(Cell, TEXT, st.none() | TEXT, st.none() | TEXT, TEXT, TEXT)
MESSAGES = st.one_of(
    st.builds(messages.BuildModel, st.builds(ModelSpec, TEXT, TEXT, TEXT, TEXT), tuples(TEXT)),
    st.builds(messages.RunCell, COUNTS, CELLS, st.builds(Limits, SECONDS, COUNTS)),
    st.just(messages.ZygoteReady(Footprint(2, 1))),
    st.builds(messages.HostStarted, COUNTS),
    st.just(messages.ModelBuilt()),
    st.builds(messages.BuildFailed, TEXT),
    st.builds(messages.CellFinished, COUNTS, OUTCOMES),
)


@given(MESSAGES)
def test_message_comes_back_as_it_was(message: Message) -> None:
    line = encode(message)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode(line) == message


@given(OUTCOMES)
def test_outcome_comes_back_as_it_was(outcome: Outcome) -> None:
    line = encode_outcome(outcome)
    assert line.count(b"\n") == 1
    assert decode_outcome(line) == outcome


def test_numbers_keep_their_type() -> None:
    raw = {"whole": 7, "float": 7.0, "flag": True, "large": 10**30, "tiny": 5e-324}
    back = decode_outcome(encode_outcome(Outcome(Counted(raw, 7)))).result
    assert isinstance(back, Counted)
    assert back.raw == raw
    assert {name: type(value) for name, value in back.raw.items()} == {
        name: type(value) for name, value in raw.items()
    }


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'{"kind": "dance"}', "unknown message 'dance'"),
        (b'{"pid": 3}', "malformed message: Unable to extract tag"),
        (b'{"kind": "host_started", "pid": "3"}', "malformed message: host_started.pid: "),
        (b'{"kind": "host_started"}', "malformed message: host_started.pid: Field required"),
        (b'{"kind": "model_built", "pid": 3}', "malformed message: model_built.pid: "),
        (b'{"kind": "host_sta', "malformed message: Invalid JSON"),
        (b"", "malformed message: Invalid JSON"),
    ],
)
def test_what_is_no_message_is_named(line: bytes, problem: str) -> None:
    with pytest.raises(MessageError) as raised:
        decode(line)
    assert str(raised.value).startswith(problem)


GOOD = {"kind": "counted", "raw": {}, "reported": 7, "params": None, "modules": []}
ROW = {"path": "", "type": "Linear", "count": 7, "params": None, "operator": ""}


@pytest.mark.parametrize(
    ("result", "problem"),
    [
        ({**GOOD, "reported": "7"}, "result.counted.reported"),
        ({**GOOD, "reported": 7.0}, "result.counted.reported"),
        ({**GOOD, "reported": True}, "result.counted.reported"),
        ({**GOOD, "reported": -1}, "result.counted.reported"),
        ({**GOOD, "reported": None}, "result.counted.reported"),
        ({**GOOD, "raw": [7]}, "result.counted.raw"),
        ({**GOOD, "modules": [{**ROW, "count": 1.5}]}, "result.counted.modules.0.count"),
        ({**GOOD, "modules": [{**ROW, "more": 1}]}, "result.counted.modules.0.more"),
        ({**GOOD, "more": 1}, "result.counted.more"),
        ({"kind": "failed", "status": "counted", "error": ""}, "result.failed.status"),
        ({"kind": "failed", "status": "errored"}, "result.failed.error"),
        ({"kind": "trace", "trace": None}, "result.trace.trace"),
        ({"kind": "audit", "when": "later", "checks": []}, "result.audit.when"),
        ({"kind": "other"}, "result: Input tag 'other'"),
        ({}, "result: Unable to extract tag"),
        ([], "result"),
        (7, "result"),
    ],
)
def test_result_of_a_wrong_type_is_refused(result: object, problem: str) -> None:
    good = json.dumps({"result": GOOD}).encode()
    assert decode_outcome(good) == Outcome(Counted({}, 7))
    with pytest.raises(ValueError, match="^" + problem.replace(".", r"\.")) as raised:
        decode_outcome(json.dumps({"result": result}).encode())
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "line",
    [
        b"", b"\n", b"null\n", b"7\n", b"{}\n", b"\xff\xfe\n", b"[" * 100_000 + b"\n",
        b'{"result": {"kind": "trace", "trace": ' + b'{"a":' * 10_000 + b"\n",
        b'{"result": {"kind": "failed", "status": "errored", "error": "\\ud800"}}\n',
        json.dumps({"result": GOOD}).encode() * 2 + b"\n",
        json.dumps({"result": GOOD, "seconds": "1"}).encode(),
        json.dumps({"result": GOOD, "peak_rss_bytes": 1.5}).encode(),
        json.dumps({"result": GOOD, "output_excerpt": None}).encode(),
    ],
    ids=range(13),
)  # fmt: skip
def test_line_that_is_no_outcome_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        decode_outcome(line)


def test_channel_takes_messages_in_pieces() -> None:
    ours, theirs = socket.socketpair()
    channel = Channel(ours)
    sent: list[Message] = [
        messages.HostStarted(3),
        messages.CellFinished(0, outcomes.failed("crashed", "é\n")),
    ]
    data = b"".join(encode(each) for each in sent)
    received: list[Message] = []
    for start in range(0, len(data), 7):
        theirs.sendall(data[start : start + 7])
        received.extend(channel.receive() or ())
    assert received == sent
    theirs.close()
    assert channel.receive() is None
    channel.close()


def test_two_tasks_of_one_name_are_an_error() -> None:
    from flopaudit.isolation import worker

    with pytest.raises(ValueError, match="'measure' is registered twice"):
        tasks.register("measure", worker.run)
    with pytest.raises(LookupError, match="no task 'dance'"):
        tasks.find("dance")
    assert tasks.find("measure") is worker.run
