"""Steps of a worker: told apart from its outcome, whatever else is in the pipe."""

from __future__ import annotations

import os

import pytest
from flopaudit.isolation import steps
from flopaudit.isolation.steps import Step


@pytest.mark.parametrize(
    ("payload", "rest", "step"),
    [
        (b"", b"", None),
        (b'{"a": "@"}\n', b'{"a": "@"}\n', None),
        (b"@BUILDING\n", b"", Step.BUILDING),
        (b'@BUILDING\n@RUNNING\n{"a": 1}\n', b'{"a": 1}\n', Step.RUNNING),
        (b"@BUILDING\n@RUN", b"", Step.BUILDING),
        (b"@BUILDING\n@\xff\n{}\n", b"{}\n", Step.BUILDING),
    ],
)
def test_steps_come_before_the_outcome(payload: bytes, rest: bytes, step: Step | None) -> None:
    assert steps.split(payload) == (rest, step)


def test_a_step_is_announced_on_the_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    monkeypatch.setattr(steps, "_pipe", None)
    monkeypatch.setattr(steps, "_current", None)
    steps.announce(Step.BUILDING)
    assert steps.current() is Step.BUILDING
    steps.announce_on(write)
    steps.announce(Step.RUNNING)
    os.close(write)
    assert steps.split(os.read(read, 100)) == (b"", Step.RUNNING)
    os.close(read)
