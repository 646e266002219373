"""How a tool's number arises from the ledger: a target and the parts it may be made of come in.

Pure integer arithmetic. A scope is the part of the ledger that one row of a tool speaks of; the
question is always which parts of the scope add up to what the tool said, exactly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

from harness.schema import OperatorTotal

# These bound the search: 2^12 sums of products and biases, 174,437 of up to 5 among 30 parts.
MAX_PRODUCTS = 12
MAX_PARTS = 30
MAX_CHOSEN = 5
MAX_COEFFICIENT = 9

BY_OUTPUT = "transposed convolution counted by output"


@dataclass(frozen=True)
class Part:
    """A quantity of the ledger that a tool may or may not count.

    Attributes:
        cause: what it is called when the tool differs from the reference by it.
        amount: how much of it there is, in the tool's unit.
        usual: whether the reference counts it.
        what: the operator it comes from, for the evidence.
    """

    cause: str
    amount: int
    usual: bool
    what: str


def parts(scope: Sequence[OperatorTotal], factor: int) -> list[Part]:
    """The products, bias adds and elements of a scope, grouped by what asked for them.

    `factor` is what a multiply-accumulate counts in the tool's unit, 1 or 2.
    """
    groups: dict[tuple[str, str], list[OperatorTotal]] = {}
    for total in scope:
        groups.setdefault((total.kind, work_of(total)), []).append(total)
    found = []
    for (kind, what), totals in groups.items():
        macs = sum(total.macs for total in totals)
        bias = sum(total.bias_adds for total in totals)
        elements = sum(total.output_elements for total in totals)
        executions = sum(total.executions for total in totals)
        if macs:
            found.append(Part("unseen", factor * macs, usual=True, what=what))
        by_output = sum(total.macs_by_output for total in totals)
        if by_output:
            found.append(Part(BY_OUTPUT, factor * (by_output - macs), usual=False, what=what))
        if bias:
            found.append(Part("bias", bias, usual=False, what=what))
        if kind == "attention":
            found += _inside_attention(totals, what)
        # Copies are no work that a tool would count; taking them in would only fit by chance.
        if not macs and elements and kind != "data movement":
            found.append(Part(kind, elements, usual=False, what=what))
            if executions > 1 and elements % executions == 0:
                one = elements // executions
                found.append(Part(kind, one, usual=False, what=f"one of {executions} {what}"))
    return found


def _inside_attention(totals: Sequence[OperatorTotal], what: str) -> Iterator[Part]:
    """The softmax, one exponential for each score, and the scaling, of scores or of queries."""
    exponentials = sum(total.elementary for total in totals)
    scaled = sum(total.muls for total in totals)
    queries = sum(total.input_elements for total in totals)
    if exponentials:
        yield Part("activation", exponentials, usual=False, what=f"softmax of {what}")
    for amount, name in ((queries, "queries"), (scaled, "scores")):
        if amount:
            yield Part("elementwise", amount, usual=False, what=f"scaling of {name} of {what}")


def work_of(total: OperatorTotal) -> str:
    """What kind of work it is and what asked for it: `attention by scaled_dot_product`."""
    form = short(total)
    return form if total.kind in form else f"{total.kind} by {form}"


def short(total: OperatorTotal) -> str:
    """The call form without its home, or the operator where torch itself called it."""
    return (total.form or total.operator.removesuffix(".default")).rpartition(".")[2]


def departures(target: int, available: Sequence[Part], *, others: bool) -> list[Part] | None:
    """The fewest parts in which a tool departs from the reference so that it says `target`.

    Args:
        target: what the tool said.
        available: the parts of the scope.
        others: whether work beside products and biases may be among them.

    Returns:
        The usual parts that it leaves out and the unusual ones that it adds; None if no choice of
        parts gives the target.
    """
    wanted = target - sum(part.amount for part in available if part.usual)
    if others:
        return _choose(wanted, available[:MAX_PARTS], MAX_CHOSEN)
    products = [part for part in available if part.usual or part.cause in {"bias", BY_OUTPUT}]
    return _choose(wanted, products[:MAX_PRODUCTS], MAX_PRODUCTS)


def _choose(wanted: int, available: Sequence[Part], most: int) -> list[Part] | None:
    signed = [(-part.amount if part.usual else part.amount, part) for part in available]
    for size in range(min(most, len(signed)) + 1):
        for chosen in combinations(signed, size):
            if sum(amount for amount, _ in chosen) == wanted:
                return [part for _, part in chosen]
    return None


@dataclass(frozen=True)
class Rule:
    """A count as a combination of input elements, output elements and multiply-accumulates."""

    inputs: int = 0
    outputs: int = 0
    macs: int = 0

    def __call__(self, inputs: int, outputs: int, macs: int = 0) -> int:
        """What this rule makes of so many elements and products."""
        return self.inputs * inputs + self.outputs * outputs + self.macs * macs

    def __str__(self) -> str:
        named = (
            (self.macs, "multiply-accumulate"),
            (self.inputs, "input"),
            (self.outputs, "output"),
        )
        terms = [f"{count} per {name}" for count, name in named if count]
        return " and ".join(terms) or "nothing"


@lru_cache(maxsize=1)
def rules() -> list[Rule]:
    """All rules worth trying, the simplest first."""
    span = range(MAX_COEFFICIENT + 1)
    every = [Rule(a, b, c) for a in span for b in span for c in range(3) if not (a and c)]
    return sorted(every, key=lambda rule: (rule.inputs + rule.outputs + rule.macs, rule.inputs))


def fit(samples: Sequence[tuple[int, int, int, int]]) -> Rule | None:
    """The simplest rule that gives every sample exactly.

    Args:
        samples: (input elements, output elements, multiply-accumulates, what the tool said).
    """
    for rule in rules():
        if all(rule(ins, outs, macs) == said for ins, outs, macs, said in samples):
            return rule
    return None
