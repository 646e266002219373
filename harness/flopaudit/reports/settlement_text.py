"""The sentences about a settlement: names, numbers, what is unexplained, advice and a citation."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from flopaudit.core.causes import Category, cause_named
from flopaudit.explain.settlement import SettledTool, Settlement, is_explained
from flopaudit.reference.kinds import Kind
from flopaudit.reports import certainty
from flopaudit.reports.amounts import giga, listed
from flopaudit.tools.versions import canonical

Tool = SettledTool

KINDS = {
    Kind.CONVOLUTION: "convolution",
    Kind.LINEAR: "linear",
    Kind.MATMUL: "matmul",
    Kind.ATTENTION: "attention",
}
"""The kinds whose products a settlement shows, with their names in sentences."""


def title(settlement: Settlement) -> str:
    """Return what was counted: model, input, mode and the version of torch."""
    mode, torch = settlement["mode"], settlement["torch"]
    return f"{settlement['model']} · {inputs_of(settlement)} · {mode} · torch {torch}"


def inputs_of(settlement: Settlement) -> str:
    """Return the shapes of the inputs: `1×3×224×224`."""
    return re.sub(r"(?<=\d)x(?=\d)", "×", " + ".join(settlement["inputs"]))


def counted_tools(settlement: Settlement) -> list[Tool]:
    """Return the tools that gave a number."""
    return [tool for tool in settlement["tools"] if tool["status"] == "counted"]


def name_of(tool: Tool) -> str:
    """Return the tool with its variant and version."""
    version = canonical(tool["version"]) if tool["version"] else None
    return _joined(tool["tool"], tool["variant"], version)


def brief_names(tools: Sequence[Tool]) -> list[str]:
    """Return each tool with its variant, and with its version where there are several of it."""
    of = Counter(tool for tool, _ in {(each["tool"], each["version"]) for each in tools})
    return [
        name_of(tool) if of[tool["tool"]] > 1 else _joined(tool["tool"], tool["variant"])
        for tool in tools
    ]


def _joined(*words: str | None) -> str:
    return " ".join(filter(None, words))


def status_of(tool: Tool) -> str:
    """Return a description of how a tool ended."""
    return str(tool["status"]).replace("_", " ")


def unit_of(tool: Tool) -> str:
    """Return the unit of a tool's number in the plural: MACs or FLOPs."""
    return f"{tool['unit']}s"


# -- what is unexplained ---------------------------------------------------------------------------


class Rest(NamedTuple):
    """The amount that no known cause accounts for, of one quantity that a tool reported.

    Attributes:
        of: MACs, FLOPs or parameters.
        amount: exact; None where the tool did not report the quantity.
        modules: for how many modules alone the tool differs from its profile.
        evidence: where to look.
    """

    of: str
    amount: int | None
    modules: int
    evidence: str


def rests(tool: Tool) -> tuple[Rest, Rest]:
    """Return what is unexplained of a tool's count and of its parameters."""
    return (
        Rest(
            unit_of(tool),
            tool["unexplained"],
            tool["rows_that_differ"],
            tool["unexplained_evidence"] or _against(tool),
        ),
        Rest(
            "parameters",
            tool["params_unexplained"],
            tool["params_rows_that_differ"],
            tool["params_unexplained_evidence"] or "",
        ),
    )


def _against(tool: Tool) -> str:
    return "compared with a lower bound" if tool["lower_bound"] else ""


def unexplained(settlement: Settlement) -> Iterator[str]:
    """Yield a sentence for each count of a tool that no known cause accounts for."""
    for tool in counted_tools(settlement):
        for rest in rests(tool):
            if rest.amount or rest.modules:
                what = f"{rest.amount:+,} {rest.of}" if rest.amount else f"how {rest.of} add up"
                yield f"UNEXPLAINED: {what} of {name_of(tool)}: {rest.evidence}."


def verdict(settlement: Settlement) -> str:
    """Return one sentence on whether the tools' numbers are explained."""
    counted = counted_tools(settlement)
    if settlement["reference"]["macs"] is None:
        error = settlement["reference"]["error"]
        return f"No number could be compared, because the reference count failed: {error}"
    if not counted:
        return "None of these tools gave a number to compare."
    if settlement["reference"]["lower_bound"]:
        return f"No number is explained to the end: {_bound_in_words(settlement)}."
    explained = sum(is_explained(tool) for tool in counted)
    if explained < len(counted):
        return f"{explained} of {len(counted)} counts are explained exactly."
    if len(counted) == 1:
        return "The difference of its count is explained exactly."
    return f"Every difference is explained exactly, in {len(counted)} counts."


def _bound_in_words(settlement: Settlement) -> str:
    reference = settlement["reference"]
    why = certainty.no_formula(reference["uncounted_ops"])
    return f"the model does at least {reference['macs']:,} MACs, but {why}"


def reference_in_numbers(settlement: Settlement) -> str:
    """Return the reference's count in both units, as `at least N` if it is a lower bound."""
    reference = settlement["reference"]
    numbers = f"{reference['macs']:,} MACs = {reference['flops']:,} FLOPs"
    return certainty.at_least(numbers, lower_bound=reference["lower_bound"])


def holds_for(settlement: Settlement) -> Iterator[str]:
    """Yield sentences on what the reference's count holds for, and on how it was made."""
    reference = settlement["reference"]
    if reference["lower_bound"] and reference["macs"] is not None:
        yield certainty.remedy(reference["uncounted_ops"])
    yield from certainty.formulas(reference["user_formulas"])
    yield from certainty.dependence(
        reference["data_dependent"], own_values=settlement["own_values"]
    )


# -- advice ----------------------------------------------------------------------------------------


def quote(settlement: Settlement) -> Iterator[tuple[str, str]]:
    """Yield what to quote and from which tools: those that match the reference exactly."""
    tools, reference = settlement["tools"], settlement["reference"]
    if reference["macs"] is None or reference["lower_bound"]:
        return
    names = dict(zip(map(name_of, tools), brief_names(tools), strict=True))
    counted = counted_tools(settlement)
    exact = [tool for tool in counted if not tool["causes"] and is_explained(tool)]
    right = [t for t in counted if t["params"] is not None and t["params"] == reference["params"]]
    for what, chosen in (
        ("MACs", [tool for tool in exact if tool["unit"] == "MAC"]),
        ("FLOPs", [tool for tool in exact if tool["unit"] == "FLOP"]),
        ("parameters", right),
    ):
        known = [names[name_of(tool)] for tool in chosen]
        yield what, ", ".join(known) if known else "the reference; none of these tools matches it"


def advice(settlement: Settlement) -> Iterator[str]:
    """Yield sentences on the use of the tools that differ from the reference."""
    if settlement["reference"]["macs"] is None or settlement["reference"]["lower_bound"]:
        return
    groups: dict[str, list[str]] = {}
    for tool in counted_tools(settlement):
        if tool["causes"]:
            groups.setdefault(_use(tool), []).append(name_of(tool))
    for words, names in ((words, groups.get(words)) for words in _ADVICE):
        if names:
            yield f"{words}: {listed(names)}."


_OTHER, _WAY, _WRONG = _ADVICE = (
    "Right for products, with other operations added",
    "Not for this model, because of a way of counting that does not fit it",
    "Not for this model, because products are missed or miscounted",
)


def _use(tool: Tool) -> str:
    categories = {cause_named(cause["cause"]).category for cause in tool["causes"]}
    if categories & {Category.MISSED_PRODUCTS, Category.MISCOUNTED_PRODUCTS}:
        return _WRONG
    return _OTHER if categories <= {Category.OTHER_OPERATIONS} else _WAY


def citation(settlement: Settlement) -> str:
    """Return one line to be quoted: the number, what it counts, and what it was made with."""
    reference = settlement["reference"]
    if reference["macs"] is None:
        return "nothing, because the reference count failed"
    if reference["lower_bound"]:
        return f"nothing, because {_bound_in_words(settlement)}"
    kinds = [word for kind, word in KINDS.items() if reference["components"].get(f"{kind}_macs")]
    what = f"{listed(kinds)} multiply-accumulates" if kinds else "multiply-accumulates"
    return (
        f"{giga(reference['macs'], 'MACs')} ({what}; bias, normalisation and "
        f"activation not counted), {reference['params']:,} parameters, {settlement['model']}, "
        f"flopaudit {settlement['flopaudit']}, torch {settlement['torch']}, "
        f"input {inputs_of(settlement)}{_values(settlement)}"
    )


def _values(settlement: Settlement) -> str:
    """Return whose values the input has, where the count depends on them."""
    if not settlement["reference"]["data_dependent"]:
        return ""
    own = settlement["own_values"]
    return " (the count depends on its values)" if own else " of random values"
