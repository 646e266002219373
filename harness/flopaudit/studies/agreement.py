"""Do the two ways to the reference number agree? Ledgers in, differences out; tables of the zoo.

The first half is pure: two ledgers of one model are compared. The second builds each model, counts
it from its exported graph and from a run, and writes agreement.csv and agreement.md, one model
after the other; `flopaudit study agreement` runs it.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from flopaudit.core.specs import ModelSpec, parse_input, split_list
from flopaudit.models.build import build, make_inputs
from flopaudit.models.torchvision_zoo import ZooModel, torchvision_models
from flopaudit.records.store import write_whole
from flopaudit.reference.counter import count
from flopaudit.reference.export_counter import NotExportable, count_static
from flopaudit.reference.ledger import Ledger, sum_work

HEADERS = (
    "model",
    "static MACs",
    "dynamic MACs",
    "agree",
    "per-module agree",
    "flops_all difference",
    "reason",
)
# What each part of flops_all is out by where one way books attention whole, the other by its parts.


@dataclass(frozen=True)
class Difference:
    """One quantity that the two ways give differently.

    Attributes:
        quantity: macs, bias_adds or flops_all.
        path: of the module it was booked with, itself without those in it; "" for the root.
        static: what the exported graph gives.
        dynamic: what the run gives.
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
        """How much larger the static count of all operations is."""
        flops = (each for each in self.differences if each.quantity == "flops_all")
        return sum(each.static - each.dynamic for each in flops)


@dataclass(frozen=True)
class Refused:
    """A model that cannot be exported, and why."""

    model: str
    dynamic_macs: int
    reason: str


Outcome = Compared | Refused


# -- two ledgers ---------------------------------------------------------------------------------


def differences(static: Ledger, dynamic: Ledger) -> list[Difference]:
    """What the modules of two ledgers of one model were booked with differently, by path."""
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
    """Whether products and biases add up to the same."""
    one, other = static.work, dynamic.work
    return (one.macs, one.bias_adds) == (other.macs, other.bias_adds)


def reason(static: Ledger, dynamic: Ledger, found: Sequence[Difference]) -> str:
    """Why two ledgers differ, as far as that can be read from them; "" where they do not."""
    if not found:
        return ""
    products = [each for each in found if each.quantity != "flops_all"]
    if products:
        return "; ".join(map(str, products[:3]))
    return "; ".join(_by_operator(static, dynamic, {each.path for each in found}))


def _by_operator(static: Ledger, dynamic: Ledger, paths: set[str]) -> Iterator[str]:
    """Which operators cost more in one of the ledgers, in the modules that differ."""
    costs: Counter[str] = Counter()
    for sign, ledger in ((1, static), (-1, dynamic)):
        for row in ledger.rows:
            if row.path in paths:
                costs[row.operator] += sign * row.work.flops_all
    return (f"{operator} {cost:+,}" for operator, cost in sorted(costs.items()) if cost)


def compare(name: str, static: Ledger, dynamic: Ledger) -> Compared:
    """The outcome for a model that was counted both ways."""
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
    """A model of the zoo and its inputs; on meta, unless building it needs values."""
    spec, inputs = ModelSpec("torchvision", model.name), tuple(map(parse_input, model.inputs))
    if model.family == "detection" or model.name.startswith("regnet"):
        return build(spec), make_inputs(inputs)
    with torch.device("meta"):
        return build(spec), make_inputs(inputs)


def outcome(model: ZooModel) -> Outcome:
    """Count a model of the zoo both ways.

    Raises:
        Exception: whatever the model raises when it is run.
    """
    module, inputs = built(model)
    dynamic = count(module, *inputs)
    try:
        static = count_static(module, *inputs)
    except NotExportable as error:
        return Refused(model.name, dynamic.macs, str(error))
    return compare(model.name, static, dynamic)


# -- the tables ----------------------------------------------------------------------------------


def cells(each: Outcome) -> list[str]:
    """The line of a model, as `HEADERS` name its columns."""
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


def summary(outcomes: Sequence[Outcome]) -> str:
    """One sentence over all models."""
    compared = [each for each in outcomes if isinstance(each, Compared)]
    agree = sum(each.agree for each in compared)
    per_module = sum(each.per_module for each in compared)
    whole = sum(not each.differences for each in compared)
    return (
        f"{len(compared)} of {len(outcomes)} models can be exported; of these {agree} agree in "
        f"MACs and bias additions, {per_module} in those of every module, {whole} in every "
        "operation of every module."
    )


def write(out: Path, outcomes: Sequence[Outcome]) -> None:
    """Write agreement.csv and agreement.md into a directory, which is made if need be."""
    import pandas as pd
    from tabulate import tabulate

    lines = [cells(each) for each in outcomes]
    frame = pd.DataFrame(lines, columns=list(HEADERS))
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / "agreement.csv", frame.to_csv(index=False, lineterminator="\n"))
    align = ("left", "right", "right", "left", "left", "right", "left")
    grid = [[_grouped(cell) for cell in line] for line in lines]
    table = tabulate(grid, HEADERS, tablefmt="github", colalign=align, disable_numparse=True)
    title = "# The reference from the exported graph and from a run"
    write_whole(out / "agreement.md", f"{title}\n\n{summary(outcomes)}\n\n{table}\n")


def _grouped(cell: str) -> str:
    """A number with commas; in text the bar that would end the cell escaped."""
    digits = cell.removeprefix("-").isdigit()
    return f"{int(cell):,}" if digits else cell.replace("|", "\\|")


def run(names: Iterable[str]) -> Iterator[Outcome]:
    """Count the named models both ways, saying on stderr how each went."""
    models = torchvision_models()
    for name in names:
        started = time.perf_counter()
        each = outcome(models[name])
        seconds = time.perf_counter() - started
        print(f"{seconds:6.1f} s  {' | '.join(cells(each))}", file=sys.stderr, flush=True)
        yield each


def main(out: Path, names: str = "") -> list[Outcome]:
    """Compare the named models, comma-separated, or all of the zoo, and write the tables."""
    outcomes = list(run(split_list(names) or torchvision_models()))
    write(out, outcomes)
    return outcomes
