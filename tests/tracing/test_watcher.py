"""Traces of small models: sites, exact amounts, dead calls, and the reference's products."""

from __future__ import annotations

import json
from typing import Any

import flopaudit
import pytest
import torch
from flopaudit.tracing.sites import DEAD, FUNCTION, OPERATOR, Trace, ancestors, from_json
from flopaudit.tracing.watcher import public_name, trace
from torch import nn
from torch.nn import functional


class Twice(nn.Module):
    """A layer that is called twice, under two names, and an activation whose result is not used."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.same = self.linear
        self.unused = nn.Linear(2, 2)

    def forward(self, x: Any) -> Any:
        hidden = self.linear(x)
        torch.sigmoid(hidden)
        return self.same(functional.relu(hidden))


@pytest.fixture(scope="module")
def twice() -> Trace:
    return trace(Twice().eval(), (torch.zeros(3, 4),), {})


def test_products_are_those_of_the_reference(twice: Trace) -> None:
    ledger = flopaudit.count(Twice().eval(), torch.zeros(3, 4))
    assert twice.macs == ledger.macs == 2 * 3 * 4 * 4
    assert {(item.path, item.kind) for item in twice.work} == {("linear", "linear")}


def test_a_module_has_its_names_calls_and_amounts(twice: Trace) -> None:
    linear = twice.at("linear")
    assert linear is not None
    assert twice.at("same") is linear
    assert (linear.name, linear.aliases, linear.calls) == ("torch.nn.Linear", ("same",), 2)
    assert (linear.amounts["macs"], linear.amounts["bias_adds"]) == (2 * 48, 2 * 12)
    assert (linear.last["macs"], linear.last["outputs"]) == (48, 12)
    assert (linear.params, linear.kind, linear.leaf) == (20, "linear", True)
    unused = twice.at("unused")
    assert unused is not None
    assert (unused.calls, unused.params, dict(unused.amounts)) == (0, 6, {})


def test_the_batch_is_that_of_the_first_input(twice: Trace) -> None:
    assert twice.batch == 3


def test_calls_whose_results_are_not_used_are_dead(twice: Trace) -> None:
    dead = {site.name for site in twice.sites if DEAD in site.traits}
    assert {"torch.sigmoid", "aten.sigmoid"} <= dead
    assert not dead & {"torch.nn.functional.relu", "torch.nn.functional.linear", "aten.addmm"}


def test_operators_are_inside_the_functions_that_called_them(twice: Trace) -> None:
    around: dict[str, set[str]] = {}
    for index, site in enumerate(twice.sites):
        if site.level == OPERATOR:
            names = {twice.sites[each].name for each in ancestors(twice, index)}
            around.setdefault(site.name, set()).update(names)
    assert "torch.nn.functional.linear" in around["aten.addmm"]
    assert "torch.nn.functional.relu" in around["aten.relu"]


def test_calls_from_one_place_are_one_site(twice: Trace) -> None:
    linears = [site for site in twice.sites if site.name == "torch.nn.functional.linear"]
    assert [(site.level, site.path, site.amounts["calls"]) for site in linears] == [
        (FUNCTION, "linear", 2)
    ]


def test_a_trace_is_read_back_from_json(twice: Trace) -> None:
    again = from_json(json.loads(json.dumps(twice.to_json())))
    assert again.to_json() == twice.to_json()
    assert (again.macs, again.batch) == (twice.macs, twice.batch)


def test_errors_of_the_model_are_passed_on_and_hooks_removed() -> None:
    hooks = nn.modules.module
    before = len(hooks._global_forward_hooks), len(hooks._global_forward_pre_hooks)  # noqa: SLF001 - torch has no public view of them
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        trace(nn.Linear(4, 4), (torch.zeros(3, 5),), {})
    assert before == (len(hooks._global_forward_hooks), len(hooks._global_forward_pre_hooks))  # noqa: SLF001 - the same


@pytest.mark.parametrize(
    ("kind", "name"),
    [(nn.Conv2d, "torch.nn.Conv2d"), (Twice, f"{__name__}.Twice"), (torch.Tensor, "torch.Tensor")],
)
def test_a_class_goes_by_its_shortest_public_name(kind: type, name: str) -> None:
    assert public_name(kind) == name
