"""Side effects of tools from outside the package, each in the version that was examined."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from flopaudit.audit import audit_run
from flopaudit.audit.cases import IMPORT_CASE, Case
from flopaudit.isolation.jobs import Limits
from flopaudit.pipeline.measure import RunOptions
from flopaudit.tools import versions
from flopaudit.tools.registry import tool_variants

from tests.support.paths import OUTSIDE_TOOLS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flopaudit.isolation.scheduler import Scheduler
    from flopaudit.records.schema import SideEffect

pytestmark = pytest.mark.slow

TOOLS = OUTSIDE_TOOLS
LIMITS = Limits(120, 4 << 30)
IMAGE = ("1x3x32x32",)
PLAIN = Case("flopaudit.audit.audit_models:plain", IMAGE)
STOPS = Case("flopaudit.audit.audit_models:raises_between_modules", IMAGE)

VERSIONS = {
    "calflops==0.3.2": ["accelerate==1.15.0", "psutil==7.2.2"],
    "deepspeed==0.19.8": [
        "hjson==3.1.0", "einops==0.8.2", "msgpack==1.2.4",
        "ninja==1.13.2", "psutil==7.2.2", "py-cpuinfo==9.0.0",
    ],
    "flopth==0.1.6": [],
    "torch-flops==0.4.1": [],
    "ultralytics-thop==2.2.3": [],
    "thop==0.0.31.post2005241907": [],
    "thop==0.1.1.post2209072238": ["ultralytics-thop==2.2.3"],
}  # fmt: skip
"""Each tool with its dependencies; the last one with the distribution that overwrites it."""

OLD, BOTH = (requirement for requirement in VERSIONS if requirement.startswith("thop=="))


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """The folders of the versions, as `flopaudit install` keeps them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(versions.VARIABLE, str(tmp_path_factory.mktemp("kept")))
        patch.setenv("DS_BUILD_OPS", "0")  # deepspeed's own switch: nothing is compiled
        try:
            yield {name: versions.install(name, at)[0].folder for name, at in VERSIONS.items()}
        except versions.PipError as error:
            if os.environ.get("FLOPAUDIT_TEST_INDEX"):  # where there is one
                raise
            pytest.skip(f"no package index: {str(error).splitlines()[-1]}")


@pytest.fixture(scope="module")
def records(kept: dict[str, Path]) -> list[SideEffect]:
    """All of them on a model that works, on one that raises, and imported only."""
    named = [name for name in VERSIONS if not name.startswith("thop==")]
    tools = [f"{TOOLS}:{name.partition('==')[0].upper().replace('-', '_')}" for name in named]
    places = [f"{tool}@{kept[name]}" for tool, name in zip(tools, named, strict=True)]
    variants = audit_run.tools([*places, *(f"thop@{kept[name]}" for name in (OLD, BOTH))])
    return audit_run.audit(variants, (IMPORT_CASE, PLAIN, STOPS), RunOptions(2, LIMITS))


def one(records: list[SideEffect], tool: str, case: Case, check: str) -> SideEffect:
    """The one record of a check; a tool may be given as NAME==VERSION."""
    name, _, version = tool.partition("==")
    (condition,) = case.conditions
    (found,) = (
        each
        for each in records
        if (each.tool, each.model, each.condition, each.check)
        == (name, case.model, condition, check)
        and (not version or versions.same(each.tool_version, version))
    )
    return found


def counted(text: str) -> int:
    return int(text.removeprefix("counted ").replace(",", ""))


@pytest.mark.parametrize(("tool", "functions"), [("calflops", 40), ("deepspeed", 43)])
def test_functionals_stay_patched_when_the_model_raises_and_later_counts_are_inflated(
    records: list[SideEffect], tool: str, functions: int
) -> None:
    patched = one(records, tool, STOPS, "functions")
    assert (patched.amount, patched.when) == (functions, "raise")
    assert patched.detail.startswith("torch.nn.functional.conv1d")
    later = one(records, tool, STOPS, "again_neighbour")
    # Each function that is patched twice is counted twice.
    assert counted(later.after) == 2 * counted(later.before)
    assert not one(records, tool, PLAIN, "functions").changed
    assert not one(records, tool, PLAIN, "again_neighbour").changed


def test_flopth_replaces_the_call_of_leaf_classes(records: list[SideEffect]) -> None:
    patched = one(records, "flopth", PLAIN, "classes")
    assert patched.amount == 6
    assert patched.detail.count(".__call__") == 3  # the three that are listed
    assert one(records, "flopth", PLAIN, "buffers").amount == 6
    assert one(records, "flopth", PLAIN, "state_dict").amount == 6


def test_torch_flops_keeps_the_conversion_to_numpy(records: list[SideEffect]) -> None:
    """With other versions of torch and numpy it breaks the conversion; with these it does not."""
    imported = one(records, "torch-flops", IMPORT_CASE, "numpy")
    assert imported.before == imported.after == "4.0 4.0 2.0"
    assert one(records, "torch-flops", PLAIN, "threads").detail == "+tqdm_monitor"


def test_ultralytics_thop_leaves_nothing_behind(records: list[SideEffect]) -> None:
    for tool in ("ultralytics-thop", "reference"):
        mine = [each for each in records if each.tool == tool]
        assert len(mine) > 100
        assert not [each for each in mine if each.changed]


def test_thop_is_overwritten_by_ultralytics_thop(records: list[SideEffect]) -> None:
    installed = one(records, BOTH, IMPORT_CASE, "installed")
    assert installed.amount == 7
    assert installed.detail.startswith("thop/__init__.py thop → ultralytics-thop, ")
    assert not one(records, "ultralytics-thop", IMPORT_CASE, "installed").changed


def test_an_old_thop_cannot_be_imported(records: list[SideEffect]) -> None:
    for case in (IMPORT_CASE, PLAIN, STOPS):
        failed = one(records, OLD, case, "import")
        assert failed.changed
        assert "ImportError: cannot import name 'Iterable' from 'collections'" in failed.after


def test_torchstat_fails_in_its_report_when_the_counting_is_done(scheduler: Scheduler) -> None:
    plan = [(tool_variants(f"{TOOLS}:TORCHSTAT_REPORT"), PLAIN)]
    records = audit_run.audit_on(scheduler, plan, lambda *_event: None)
    raised = one(records, "torchstat-report", PLAIN, "raises")
    assert raised.detail == "AttributeError: 'DataFrame' object has no attribute 'append'"
    assert one(records, "torchstat-report", PLAIN, "classes").amount == 6
