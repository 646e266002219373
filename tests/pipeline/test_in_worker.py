"""The model's own code in a worker: whatever it does is a result or one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import psutil
import pytest
import torch
from flopaudit.core.errors import RunError, UsageError
from flopaudit.isolation.jobs import REFERENCE, Cell, Limits
from flopaudit.isolation.outcomes import LedgerCounted
from flopaudit.isolation.scheduler import Scheduler
from flopaudit.pipeline import count_model, in_worker
from flopaudit.pipeline.model_requests import ModelRequest, model_request
from flopaudit.reference import counter, operators
from flopaudit.reference.conventions import BUILT_IN
from torch import nn
from torch.nn import functional

from tests.support.paths import HOSTILE_MODELS, SMALL_MODELS

OPTIONS = '{"conventions": ["macs"]}'
SIGNAL = "the process was ended by signal"


@pytest.fixture(scope="module")
def scheduler() -> Iterator[Scheduler]:
    """A scheduler as `flopaudit count` starts it, kept for all tests of this file."""
    with in_worker.open_scheduler(Limits(60, 4 << 30), count_model.__name__) as found:
        yield found


def counted(scheduler: Scheduler, request: ModelRequest, options: str = OPTIONS) -> LedgerCounted:
    result = in_worker.run(scheduler, request, count_model.TASK, options)
    assert isinstance(result, LedgerCounted)
    return result


class Masked(nn.Module):
    """Causal attention, called twice."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(2):
            x = functional.scaled_dot_product_attention(x, x, x, is_causal=True)
        return x


def hostile(name: str) -> ModelRequest:
    return model_request(f"{HOSTILE_MODELS}:{name}", ["1x8"])


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("exit_3", "the model's factory called sys.exit(3)"),
        ("exit_0", "the model's factory called sys.exit(0)"),
        ("exit_at_once", "the process exited with code 0 while building the model"),
        ("interrupt", "the model's factory raised KeyboardInterrupt"),
        ("leave", "the model's factory raised Leaving: for good"),
        ("segfault", f"{SIGNAL} 11 (SIGSEGV) while building the model"),
        ("abort", f"{SIGNAL} 6 (SIGABRT) while building the model"),
        ("fail", "the model's factory raised ValueError: broken"),
        ("kill_the_group_of_the_parent", "the process that held the model ended"),
        ("runs_exit_3", "the model called sys.exit(3)"),
        ("runs_exit_at_once", "the process exited with code 0 while running the model"),
        ("runs_interrupt", "the model raised KeyboardInterrupt"),
        ("runs_leave", "the model raised Leaving: for good"),
        ("runs_segfault", f"{SIGNAL} 11 (SIGSEGV) while running the model"),
        ("runs_abort", f"{SIGNAL} 6 (SIGABRT) while running the model"),
    ],
)
def test_what_ends_the_process_is_one_sentence(
    name: str, sentence: str, scheduler: Scheduler
) -> None:
    with pytest.raises(RunError) as caught:
        counted(scheduler, hostile(name))
    text = str(caught.value)
    assert f"{name}' cannot be counted: {sentence}" in text
    assert ".." not in text
    assert "\n" not in text


@pytest.mark.parametrize(
    "name",
    ["prints", "closes_the_streams", "forks_in_two", "runs_close_the_streams", "runs_fork_in_two"],
)
def test_what_does_not_matter_is_counted(name: str, scheduler: Scheduler) -> None:
    assert counted(scheduler, hostile(name)).ledger.macs == 64
    workers = [
        each for each in psutil.Process().children(recursive=True) if "python" in each.name()
    ]
    assert len(workers) <= 2, "the zygote, and a host that may be ending"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("gives_none", "gave a NoneType, not a torch.nn.Module"),
        ("missing", "has no 'missing'"),
        ("runs_fail", "does not run on 1x8: ValueError: broken"),
    ],
)
def test_bad_usage_is_told_from_a_failure(name: str, sentence: str, scheduler: Scheduler) -> None:
    with pytest.raises(UsageError) as caught:
        counted(scheduler, hostile(name))
    assert caught.type is UsageError
    assert sentence in caught.value.message
    assert caught.value.remedy


def test_the_cause_of_an_error_shows_what_was_printed(scheduler: Scheduler) -> None:
    with pytest.raises(RunError) as caught:
        counted(scheduler, hostile("fail"))
    printed = str(caught.value.__cause__)
    assert "noise" in printed
    assert 'raise ValueError("broken.")' in printed


@pytest.mark.parametrize("options", ["", '"backward": true', '"static": true'])
def test_a_worker_counts_the_same_as_this_process(options: str, scheduler: Scheduler) -> None:
    given = OPTIONS.replace("}", f", {options}}}") if options else OPTIONS
    request = model_request(f"{SMALL_MODELS}:reused", ["1x4x16x16"])
    chosen = count_model.CountOptions(("macs",), "backward" in options, "static" in options)
    here = count_model.count_model(request, chosen)
    there = counted(scheduler, request, given)
    assert there.peak_activation_bytes == here.peak_activation_bytes
    assert there.torch == here.torch
    ledger = here.ledger
    assert there.ledger.modules == ledger.modules
    assert there.ledger.components() == ledger.components()
    assert there.ledger.bytes_accessed == ledger.bytes_accessed
    for key in ("path", "operator", "kind", "phase", "dtype"):
        assert there.ledger.by(key) == ledger.by(key)
    assert there.ledger.read("flops-all+bias") == ledger.read("flops-all+bias")
    assert ledger.condensed() == there.ledger


@pytest.mark.parametrize("name", operators.ALTERNATIVES)
def test_a_condensed_ledger_keeps_alternative_conventions(name: str) -> None:
    query = torch.rand(2, 5, 8)
    convolutions = nn.Sequential(*(nn.ConvTranspose2d(2, 2, 2) for _ in range(2)))
    convention = replace(BUILT_IN["flops-all"], alternatives=(name,))
    for ledger in (
        counter.count(nn.MultiheadAttention(8, 2, batch_first=True).eval(), query, query, query),
        counter.count(convolutions, torch.rand(1, 2, 4, 4)),
        counter.count(Masked(), query),
    ):
        assert ledger.condensed().read(convention) == ledger.read(convention)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("exit_0", "the model's factory called sys.exit(0)"),
        ("interrupt", "the model could not be built: KeyboardInterrupt"),
        ("leave", "the model could not be built: Leaving: for good"),
        ("runs_exit_3", "the model called sys.exit(3)"),
        ("runs_segfault", f"{SIGNAL} 11 (SIGSEGV) while running the model"),
    ],
)
def test_the_reference_says_the_same_of_a_model_that_a_host_builds(
    name: str, error: str, scheduler: Scheduler
) -> None:
    job = hostile(name).job([Cell(REFERENCE, None)])
    (outcome,) = (event.outcome for event in scheduler.run([job]) if event.outcome)
    assert outcome.status in {"crashed", "unavailable"}
    assert (outcome.error or "").startswith(error)


def test_a_model_that_hangs_is_ended() -> None:
    before = psutil.Process().children(recursive=True)
    with (
        in_worker.open_scheduler(Limits(2, 4 << 30), count_model.__name__) as scheduler,
        pytest.raises(RunError, match=r"no result within 2 seconds. Give a longer --timeout."),
    ):
        counted(scheduler, hostile("hang"))
    assert not {*psutil.Process().children(recursive=True)} - {*before}
