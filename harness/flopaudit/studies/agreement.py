"""Compare the two ways of counting the reference: from the exported graph, and from a run.

The first half is pure: it compares two ledgers of one model. The second builds each model of
torchvision, counts it both ways, and writes agreement.csv and agreement.md.
`flopaudit study agreement` runs it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from flopaudit.core.specs import ModelSpec, parse_input, split_list
from flopaudit.core.text import visible
from flopaudit.models.build import build, make_inputs
from flopaudit.models.model_names import unknown_model
from flopaudit.models.torchvision_zoo import ZooModel, torchvision_models
from flopaudit.reference.counter import count
from flopaudit.reference.export_counter import NotExportable, count_static
from flopaudit.reference.ledger import Ledger, sum_work
from flopaudit.reports.terminal import print_message
from flopaudit.studies.table_files import write_csv, write_markdown

HEADERS = (
    "model",
    "static MACs",
    "dynamic MACs",
    "agree",
    "per-module agree",
    "flops_all difference",
    "reason",
)


@dataclass(frozen=True)
class Difference:
    """One quantity that differs between the two ways.

    Attributes:
        quantity: macs, bias_adds or flops_all.
        path: the path of the module, without the modules inside it; "" for the root.
        static: the count from the exported graph.
        dynamic: the count from the run.
    """

    quantity: str
    path: str
    static: int
    dynamic: int

    def __str__(self) -> str:
        return f"{self.quantity} of '{self.path}': {self.static:,} and {self.dynamic:,}"


@dataclass(frozen=True)
class Compared:
    """A model that was counted both ways."""

    model: str
    static_macs: int
    dynamic_macs: int
    agree: bool
    differences: tuple[Difference, ...]
    reason: str

    @property
    def per_module(self) -> bool:
        """Whether products and biases agree in every module."""
        return all(each.quantity == "flops_all" for each in self.differences)

    @property
    def flops_all(self) -> int:
        """The static count of all operations minus the dynamic one."""
        flops = (each for each in self.differences if each.quantity == "flops_all")
        return sum(each.static - each.dynamic for each in flops)


@dataclass(frozen=True)
class Refused:
    """A model that cannot be exported, with the reason."""

    model: str
    dynamic_macs: int
    reason: str


Comparison = Compared | Refused


# -- two ledgers ---------------------------------------------------------------------------------


def differences(static: Ledger, dynamic: Ledger) -> list[Difference]:
    """List the differences between the modules of two ledgers of one model, by path."""
    first, second = static.by("path"), dynamic.by("path")
    nothing = sum_work(())
    return [
        Difference(quantity, path, one, other)
        for path in dict.fromkeys((*first, *second))
        for quantity in ("macs", "bias_adds", "flops_all")
        for one in [int(getattr(first.get(path, nothing), quantity))]
        for other in [int(getattr(second.get(path, nothing), quantity))]
        if one != other
    ]


def totals_agree(static: Ledger, dynamic: Ledger) -> bool:
    """Whether the totals of products and biases are equal."""
    one, other = static.work, dynamic.work
    return (one.macs, one.bias_adds) == (other.macs, other.bias_adds)


def reason(static: Ledger, dynamic: Ledger, found: Sequence[Difference]) -> str:
    """Return why two ledgers differ, as far as they show it; "" if they are equal."""
    if not found:
        return ""
    products = [each for each in found if each.quantity != "flops_all"]
    if products:
        return "; ".join(map(str, products[:3]))
    return "; ".join(_by_operator(static, dynamic, {each.path for each in found}))


def _by_operator(static: Ledger, dynamic: Ledger, paths: set[str]) -> Iterator[str]:
    """List the operators whose counts differ in these modules."""
    costs: Counter[str] = Counter()
    for sign, ledger in ((1, static), (-1, dynamic)):
        for row in ledger.rows:
            if row.path in paths:
                costs[row.operator] += sign * row.work.flops_all
    return (f"{operator} {cost:+,}" for operator, cost in sorted(costs.items()) if cost)


def compare(name: str, static: Ledger, dynamic: Ledger) -> Compared:
    """Compare two ledgers of one model."""
    found = differences(static, dynamic)
    return Compared(
        model=name,
        static_macs=static.macs,
        dynamic_macs=dynamic.macs,
        agree=totals_agree(static, dynamic),
        differences=tuple(found),
        reason=reason(static, dynamic, found),
    )


# -- the zoo -------------------------------------------------------------------------------------


def built(model: ZooModel) -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    """Build a model of the zoo and its inputs; on meta, unless building it needs values."""
    spec, inputs = ModelSpec("torchvision", model.name), tuple(map(parse_input, model.inputs))
    if model.family == "detection" or model.name.startswith("regnet"):
        return build(spec), make_inputs(inputs)
    with torch.device("meta"):
        return build(spec), make_inputs(inputs)


def outcome(model: ZooModel) -> Comparison:
    """Count a model of the zoo both ways.

    Raises:
        Exception: any exception of the model when it runs.
    """
    module, inputs = built(model)
    dynamic = count(module, *inputs)
    try:
        static = count_static(module, *inputs)
    except NotExportable as error:
        return Refused(model.name, dynamic.macs, str(error))
    return compare(model.name, static, dynamic)


# -- the tables ----------------------------------------------------------------------------------


def cells(each: Comparison) -> list[str]:
    """Return the row of a model, with a cell for each of `HEADERS`."""
    if isinstance(each, Refused):
        return [each.model, "", str(each.dynamic_macs), "not exportable", "", "", each.reason]
    return [
        each.model,
        str(each.static_macs),
        str(each.dynamic_macs),
        _yes(truth=each.agree),
        _yes(truth=each.per_module),
        str(each.flops_all),
        each.reason,
    ]


def _yes(*, truth: bool) -> str:
    return "yes" if truth else "no"


def summary(outcomes: Sequence[Comparison]) -> str:
    """Summarise all models in one sentence."""
    compared = [each for each in outcomes if isinstance(each, Compared)]
    agree = sum(each.agree for each in compared)
    per_module = sum(each.per_module for each in compared)
    whole = sum(not each.differences for each in compared)
    return (
        f"{len(compared)} of {len(outcomes)} models can be exported; of these {agree} agree in "
        f"MACs and bias additions, {per_module} in those of every module, {whole} in every "
        "operation of every module."
    )


def write(out: Path, outcomes: Sequence[Comparison]) -> None:
    """Write agreement.csv and agreement.md into a directory, which is made if need be."""
    rows = [cells(each) for each in outcomes]
    write_csv(out / "agreement.csv", HEADERS, rows)
    align = ("left", "right", "right", "left", "left", "right", "left")
    title = "The reference from the exported graph and from a run"
    printed = [[_printed(cell) for cell in row] for row in rows]
    write_markdown(out / "agreement.md", title, summary(outcomes), HEADERS, printed, align)


def _printed(cell: str) -> str:
    """Return a number with commas, and text as it is."""
    return f"{int(cell):,}" if cell.removeprefix("-").isdigit() else cell


def main(out: Path, names: str = "") -> list[Comparison]:
    """Count models both ways, one after the other, and write the tables.

    Args:
        out: directory for agreement.csv and agreement.md.
        names: models of torchvision, comma-separated; all of them if empty.

    Returns:
        The outcome of each model.

    Raises:
        UsageError: a model does not exist.
    """
    models = torchvision_models()
    outcomes = []
    for name in split_list(names) or models:
        if name not in models:
            raise unknown_model("torchvision", name)
        started = time.perf_counter()
        outcomes.append(outcome(models[name]))
        seconds = time.perf_counter() - started
        print_message(visible(f"{seconds:6.1f} s  {' | '.join(cells(outcomes[-1]))}"))
    write(out, outcomes)
    return outcomes
