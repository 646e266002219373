"""Audits: each check finds the fake with its side effect, and known effects of tools are found."""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from flopaudit.audit import audit_run, effects
from flopaudit.audit.cases import CASES, IMPORT_CASE, Case
from flopaudit.cli.app import app
from flopaudit.tools import versions
from flopaudit.tools.registry import tool_variants

from tests.support.fakes import audited_tools
from tests.support.paths import AUDIT_FAKES, FAKES, ROOT, TORCHINFO_TOOL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flopaudit.isolation.scheduler import Scheduler
    from flopaudit.records.schema import SideEffect

pytestmark = pytest.mark.slow

PLAIN = Case("flopaudit.audit.audit_models:plain", ("1x3x32x32",))
ELSEWHERE = ("classes_meanwhile", "functions_meanwhile", "other_tools")
"""Checks that have cases of their own and are not made on every model."""
STOPS = Case("flopaudit.audit.audit_models:raises_between_modules", ("1x3x32x32",))


Audit = Callable[..., "list[SideEffect]"]


@pytest.fixture(scope="module")
def audited(scheduler: Scheduler) -> Audit:
    """Audit tools on cases; the reference has a test of its own and is left out."""

    def audit(tools: Sequence[str], *cases: Case) -> list[SideEffect]:
        *variants, _reference = audit_run.tools(tools)
        plan = [(variants, case) for case in cases]
        return audit_run.audit_on(scheduler, plan, lambda *_event: None)

    return audit


TORCHINFO = """
import sys, torch, torchvision
from flopaudit_adapters import find
from flopaudit_adapters.contract import LoadedModel
from flopaudit.audit.tool_calls import call_each, call_tool
from flopaudit.audit.audit_models import other_model
torch.set_num_threads(1)  # a forked child has none of its parent's threads
print(call_each(sys.argv[1:], other_model()))
vit = LoadedModel(torchvision.models.vit_b_16().eval(), (torch.rand(1, 3, 224, 224),))
print(call_tool(find("torchstat"), None, vit))
print(call_each(sys.argv[1:], other_model()))
"""


def test_torchinfo_fails_too_after_torchstat_failed() -> None:
    """Torchinfo is not a tool of the package, so it is called here in the same way."""
    torchinfo = TORCHINFO_TOOL
    command = [sys.executable, "-c", TORCHINFO, f"{torchinfo}:TOOL"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    lines = done.stdout.splitlines()
    before, failed, after = (x for x in lines if x.startswith(("torchinfo", "raised")))
    assert before.startswith("torchinfo counted ")
    assert failed.startswith("raised AssertionError")
    assert after.startswith("torchinfo raised RuntimeError")


def made(name: str, *conditions: str) -> Case:
    case = next(case for case in CASES if case.model.endswith(f":{name}") or case.model == name)
    return Case(case.model, case.inputs, conditions or case.conditions)


def found(records: Sequence[SideEffect]) -> dict[str, set[str]]:
    """The checks that changed, by tool."""
    checks: dict[str, set[str]] = {}
    for each in records:
        checks.setdefault(each.variant_name, set()).update({each.check} if each.changed else ())
    return checks


def test_each_check_finds_exactly_the_fake_with_its_effect(audited: Audit) -> None:
    names = [name for name in audited_tools.EFFECTS if name not in {"call", *ELSEWHERE}]
    records = audited([f"{AUDIT_FAKES}:{name.upper()}" for name in names], PLAIN)
    also = audited_tools.ALSO
    expected = {f"leaves_{name}": {name} | also.get(name, set()) for name in names}
    assert found(records) == {**expected, "leaves_clean": set()}


def test_checks_with_cases_of_their_own(audited: Audit) -> None:
    names = [*ELSEWHERE, "clean"]
    cases = made("watched"), made("plain", "others")
    records = audited([f"{AUDIT_FAKES}:{name.upper()}" for name in names], *cases)
    expected = {f"leaves_{name}": {name} for name in ELSEWHERE}
    assert found(records) == {**expected, "leaves_clean": set()}
    conditions = {each.condition for each in records if each.check == "other_tools"}
    assert conditions == {"others"}  # a trial that is not made has no record


def test_there_is_a_fake_for_each_check() -> None:
    of_import = {"import", "installed"}
    assert {*audited_tools.EFFECTS, *of_import} == {*effects.EFFECTS, "clean"}


def test_each_check_is_read_somewhere() -> None:
    from flopaudit.audit import trials, worker_task

    assert set(worker_task.STATES) == set(effects.STATES)
    assert set(trials.TRIALS) == set(effects.TRIALS)


def test_a_fresh_copy_is_one_that_no_trial_has_run() -> None:
    from flopaudit.audit import trials
    from flopaudit.audit.audit_models import other_model

    fresh = other_model()
    fresh.model.register_forward_hook(lambda model, *_: setattr(model, "ran", 1))
    context = trials.TrialContext(
        other_model(), fresh, lambda loaded: str(hasattr(loaded.model, "ran"))
    )
    assert trials.TRIALS["fresh_forward"](context).startswith("output ")
    assert trials.TRIALS["again_fresh"](context) == "False"


def test_a_tool_must_pass_on_what_the_model_raises(audited: Audit) -> None:
    records = audited([f"{AUDIT_FAKES}:CALL", f"{AUDIT_FAKES}:CLEAN"], STOPS)
    assert found(records) == {"leaves_call": {"call"}, "leaves_clean": set()}
    when = {each.tool: each.when for each in records}
    assert when == {"leaves_call": "success", "leaves_clean": "raise"}


def test_a_tool_that_ends_its_process_is_an_outcome(audited: Audit) -> None:
    fakes = FAKES
    records = audited([f"{fakes}:EXITS_AT_ONCE", f"{fakes}:NOT_IMPORTABLE"], PLAIN)
    ended = {each.tool: each.after for each in records if each.when == "none"}
    assert ended["exits_at_once"] == (
        "crashed: the process exited with code 3 before the tool returned"
    )
    assert ended["not_importable"].startswith("unavailable: cannot import no_such_package")
    checks = {each.tool: each.check for each in records if each.when == "none"}
    assert checks == {"exits_at_once": "call", "not_importable": "import"}
    assert all(each.changed for each in records if each.when == "none")
    for tool in ended:
        assert audit_run.has_failed([each for each in records if each.tool == tool])


@pytest.mark.parametrize(("name", "code"), [("CLEAN", 0), ("CALL", 0), ("crashed", 1)])
def test_only_a_process_that_ended_is_a_failure_of_the_audit(
    name: str, code: int, audited: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = f"{FAKES}:EXITS_AT_ONCE" if name == "crashed" else f"{AUDIT_FAKES}:{name}"
    records = audited([tool], STOPS)
    monkeypatch.setattr(audit_run, "audit", lambda *_args: records)
    assert app(["audit", "--tools", tool, "--json"], standalone_mode=False) == code


ADAPTER = """
from flopaudit_adapters.contract import Tool, ToolResult
TOOL = Tool(
    "fake", "Fake.Counter", "fake_counter", "MAC", lambda *_: ToolResult({}, 7), "", "",
)
"""


def distribution(folder: Path, name: str, version: str, content: str) -> None:
    """Write what pip records of a distribution that installs `fake_counter` with this content."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).decode()
    info = folder / f"{name.lower().replace('.', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
    (info / "RECORD").write_text(f"fake_counter/__init__.py,sha256={digest.rstrip('=')},9\n")


def test_files_that_another_distribution_overwrote_are_found(
    tmp_path: Path, audited: Audit
) -> None:
    ours, theirs = "COUNT = 1\n", "COUNT = 2\n"
    (tmp_path / "adapter.py").write_text(ADAPTER)
    distribution(tmp_path / "site", "Fake.Counter", "1.0", ours)
    distribution(tmp_path / "site", "other-counter", "1.0", theirs)
    file = tmp_path / "site" / "fake_counter" / "__init__.py"
    file.parent.mkdir()
    owners = {ours: {}, theirs: {file.parent.name + "/__init__.py": "other-counter"}}
    owners["COUNT = 3\n"] = {"fake_counter/__init__.py": ""}
    for content, expected in owners.items():
        file.write_text(content)
        assert versions.overwritten("fake-counter", "fake_counter", tmp_path / "site") == expected
    file.write_text(theirs)
    tool = f"{tmp_path / 'adapter.py'}:TOOL@{tmp_path / 'site'}"
    records = audited([tool, f"{FAKES}:NOT_IMPORTABLE"], IMPORT_CASE)
    assert found(records) == {
        "fake": {"installed"},
        "not_importable": {"import"},
    }
    installed = next(each for each in records if (each.tool, each.check) == ("fake", "installed"))
    assert installed.detail == "fake_counter/__init__.py Fake.Counter → other-counter"
    done = subprocess.run(
        [sys.executable, "-m", "flopaudit", "run", "--models", "resnet18", "--tools", tool],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "fake is not what is installed: other-counter wrote over 1 of its files" in done.stderr


@pytest.fixture(scope="module")
def known(scheduler: Scheduler) -> list[SideEffect]:
    """Records of each tool on the models on which it has known effects."""
    cases = (
        (("thop", "torchstat", "ptflops:aten"), made("resnet18")),
        (("thop",), made("shared")),
        (("thop",), made("plain", "mixed")),
        (("fvcore",), made("plain", "train")),
        (("ptflops:pytorch",), made("linears", "eval")),
        (("ptflops:pytorch", "fvcore"), made("raises_between_modules")),
    )
    plan = [(tool_variants(",".join(tools)), case) for tools, case in cases]
    return audit_run.audit_on(scheduler, plan, lambda *_event: None)


def one(
    records: Sequence[SideEffect], tool: str, model: str, check: str, condition: str = "eval"
) -> SideEffect:
    matching = [
        each
        for each in records
        if (each.variant_name, each.model.rpartition(":")[2], each.check, each.condition)
        == (tool, model, check, condition)
    ]
    assert len(matching) == 1
    return matching[0]


def test_torchstat_patches_classes_and_leaves_416_buffers(known: list[SideEffect]) -> None:
    assert one(known, "torchstat", "resnet18", "buffers").amount == 416
    assert one(known, "torchstat", "resnet18", "state_dict").amount == 416
    patched = one(known, "torchstat", "resnet18", "classes")
    # Of each of the six classes of leaf modules that resnet18 has.
    assert patched.amount == 6
    assert "__call__" in patched.detail


AFTER_TORCHSTAT = {
    "thop": "raised AssertionError",
    "fvcore": "raised AssertionError",
    "ptflops pytorch": "returned None",
    "ptflops aten": "returned None",
}


def test_after_torchstat_failed_on_vit_b_16_others_fail(audited: Audit) -> None:
    records = audited(["torchstat"], made("vit_b_16"))
    assert one(records, "torchstat", "vit_b_16", "call").after.startswith("raised AssertionError")
    assert one(records, "torchstat", "vit_b_16", "raises").changed
    for check in ("neighbour_forward", "forward", "fresh_forward", "flop_counter", "train"):
        after = one(records, "torchstat", "vit_b_16", check)
        assert "fails: AssertionError" in after.after, check
    others = one(records, "torchstat", "vit_b_16", "other_tools", "others")
    for tool, result in AFTER_TORCHSTAT.items():
        assert f"{tool} counted " in others.before, tool
        assert f"{tool} {result}" in others.after, tool


def test_thop_leaves_18_keys(known: list[SideEffect]) -> None:
    keys = one(known, "thop", "resnet18", "state_dict")
    assert keys.amount == 18
    assert "total_ops" in keys.detail


def test_a_module_in_two_places_keeps_thop_s_hook_and_fails_ever_after(
    known: list[SideEffect],
) -> None:
    assert one(known, "thop", "shared", "hooks").amount == 2
    after = one(known, "thop", "shared", "forward").after
    assert after == "fails: AttributeError: 'Conv2d' object has no attribute 'total_ops'"


def test_thop_clobbers_mixed_modes(known: list[SideEffect]) -> None:
    modes = one(known, "thop", "plain", "modes", "mixed")
    assert modes.detail == "conv train → eval, act train → eval, drop train → eval"


def test_ptflops_aten_leaves_20_hooks_and_the_model_cannot_be_pickled(
    known: list[SideEffect],
) -> None:
    assert one(known, "ptflops aten", "resnet18", "hooks").amount == 20
    after = one(known, "ptflops aten", "resnet18", "pickle").after
    assert after.startswith("fails: AttributeError: Can't pickle local object")


def test_ptflops_pytorch_prints_what_the_model_raises_and_returns_none(
    known: list[SideEffect],
) -> None:
    model = "raises_between_modules"
    swallowed = one(known, "ptflops pytorch", model, "call")
    assert (swallowed.after, swallowed.changed) == ("returned None", True)
    assert one(known, "ptflops pytorch", model, "printed").changed


def test_ptflops_pytorch_counts_linears_twice_on_meta(known: list[SideEffect]) -> None:
    again = one(known, "ptflops pytorch", "linears", "again_meta")
    products = 6 * (16 * 32 + 32 * 8)
    before, after = (
        int(text.removeprefix("counted ").replace(",", "")) for text in (again.before, again.after)
    )
    assert after - before == products


def test_fvcore_leaves_hooks_when_tracing_raises(known: list[SideEffect]) -> None:
    hooks = one(known, "fvcore", "raises_between_modules", "hooks")
    # Two for each of seven modules, the root among them.
    assert (hooks.amount, hooks.when) == (14, "raise")


def test_fvcore_changes_running_statistics(known: list[SideEffect]) -> None:
    moved = one(known, "fvcore", "plain", "statistics", "train")
    assert moved.amount == 3
    assert moved.detail.startswith("norm.running_mean")


def test_the_reference_leaves_nothing_behind_and_is_always_audited(scheduler: Scheduler) -> None:
    reference = audit_run.tools(["reference"])
    assert audit_run.tools(["thop"])[1:] == reference
    plan = [(reference, case) for case in CASES if case.model != "vit_b_16"]
    records = audit_run.audit_on(scheduler, plan, lambda *_event: None)
    assert found(records) == {"reference": set()}
    assert {each.when for each in records} == {"import", "success", "raise"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tools", "nosuch"], "There is no tool 'nosuch'. `flopaudit tools` lists them."),
        (["--tools", "thop", "--models", "resnet81"], "There is no torchvision model 'resnet81'."),
    ],
)
def test_bad_usage_is_one_sentence_and_code_2(arguments: list[str], message: str) -> None:
    command = [sys.executable, "-m", "flopaudit", "audit", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


TRAINING = """
import importlib, os, sys, torch
torch.set_num_threads(1)
for name in sys.argv[1:]:
    importlib.import_module(name)

def trained(forks):
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if forks > 1:
        os._exit(1 if trained(forks - 1) else 0)
    torch.nn.Linear(2, 2)(torch.rand(1, 2)).sum().backward()
    os._exit(0)

# As from the zygote to a trial: host, worker, trial.
assert [trained(3) for _ in range(30)] == [0] * 30
"""


def test_a_model_can_be_trained_in_processes_forked_after_the_preloaded_modules() -> None:
    """A trial that aborts by itself would be held against the tool."""
    command = [sys.executable, "-c", TRAINING, *audit_run.PRELOAD]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
