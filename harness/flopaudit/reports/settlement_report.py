"""A settlement comes in, what is said of it goes out: a verdict, a waterfall for each tool, advice.

What is unexplained is said first. Every number is exact; a number in G stands only beside it.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from flopaudit.explain.settlement import Settlement, is_explained
from flopaudit.reports.terminal import print_line, width
from flopaudit.tools.versions import canonical

_KINDS = {"conv": "convolution", "linear": "linear", "matmul": "matmul", "attention": "attention"}
_NUMBER = 22
_NAME = 26


def show(settlement: Settlement, *, details: bool = False) -> None:  # noqa: ARG001 - of the command
    """Print a settlement to standard output."""
    for line in lines(settlement, width()):
        print_line(line)


def lines(settlement: Settlement, width: int | None = None) -> Iterator[str]:
    """All that is printed of a settlement, wrapped to a width if one is given."""
    tools = settlement["tools"]
    yield from _wrapped(_title(settlement), width)
    yield ""
    for sentence in verdict(settlement):
        yield from _wrapped(sentence, width)
    yield ""
    yield from _reference(settlement, width)
    for tool in tools:
        if tool["status"] == "counted":
            yield from _waterfall(tool, width)
    for tool in tools:
        if tool["status"] != "counted":
            yield from _wrapped(f"{name_of(tool)}: {tool['status']}: {tool['error']}", width)
    yield ""
    for sentence in advice(settlement):
        yield from _wrapped(sentence, width)
    yield ""
    yield from _wrapped(f"Cite: {citation(settlement)}", width)


def _title(settlement: Settlement) -> str:
    inputs = re.sub(r"(?<=\d)x(?=\d)", "×", " + ".join(settlement["inputs"]))
    mode, torch = settlement["mode"], settlement["torch"]
    return f"{settlement['model']} · {inputs} · {mode} · torch {torch}"


def _wrapped(text: str, width: int | None, indent: str = "  ") -> list[str]:
    return _folded(text, width, "", indent) if width else [text]


def _folded(text: str, width: int, first: str, then: str) -> list[str]:
    """Lines of a width, with names and addresses left whole."""
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=then, break_on_hyphens=False
    )


def name_of(tool: Mapping[str, Any]) -> str:
    """The tool with its variant and version."""
    version = canonical(tool["version"]) if tool["version"] else None
    return " ".join(filter(None, (tool["tool"], tool["variant"], version)))


# -- the verdict -----------------------------------------------------------------------------------


def verdict(settlement: Settlement) -> Iterator[str]:
    """In sentences: what is left over, what the network takes, and what each tool makes of it."""
    counted = [tool for tool in settlement["tools"] if tool["status"] == "counted"]
    macs = settlement["reference"]["macs"]
    if macs is None:
        yield f"There is no reference for this model: {settlement['reference']['error']}"
        return
    yield from _leftovers(counted)
    yield f"The network takes {macs:,} multiply-accumulates, which are {2 * macs:,} FLOPs."
    uncounted = settlement["reference"]["uncounted_ops"]
    if uncounted:
        yield f"Operators without a formula are left out of that: {', '.join(sorted(uncounted))}."
    right = [tool for tool in counted if not tool["causes"] and is_explained(tool)]
    if right:
        names = _listed([f"{name_of(t)} ({_unit(t)})" for t in right])
        yield f"{names} {'says' if len(right) == 1 else 'say'} just that."
    for tool in counted:
        if tool["causes"]:
            yield _sentence(tool)


def _leftovers(counted: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    left = [tool for tool in counted if not is_explained(tool)]
    for tool in left:
        for of, key in ((_unit(tool), ""), ("parameters", "params_")):
            amount = tool[f"{key}unexplained"]
            if amount or tool[f"{key}rows_that_differ"]:
                what = f"{amount:+,} {of}" if amount else f"how {of} add up"
                why = tool[f"{key}unexplained_evidence"]
                yield f"UNEXPLAINED: {what} of {name_of(tool)}: {why}."
    if counted and not left:
        yield (
            f"Every difference is explained to the last operation, in {len(counted)} "
            f"{'count' if len(counted) == 1 else 'counts'}."
        )


def _sentence(tool: Mapping[str, Any]) -> str:
    amounts: dict[str, int] = {}
    for cause in tool["causes"]:
        amounts[cause["cause"]] = amounts.get(cause["cause"], 0) + cause["delta"]
    adds = [f"{cause} ({amount:+,})" for cause, amount in amounts.items() if amount > 0]
    leaves = [f"{cause} ({amount:+,})" for cause, amount in amounts.items() if amount < 0]
    parts = []
    if adds:
        parts.append(f"adds {_listed(adds)}")
    if leaves:
        parts.append(f"leaves out {_listed(leaves)}")
    said = f"{name_of(tool)} says {giga(tool['reported'], _unit(tool))}"
    return f"{said}: it {' and '.join(parts)}." if parts else f"{said}."


def _listed(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else words[0]


def _unit(tool: Mapping[str, Any]) -> str:
    return f"{tool['unit']}s"


def giga(count: int, unit: str) -> str:
    """A count with three decimals of the unit that suits it, `4.134 GMACs`; small ones whole."""
    for scale, name in ((10**9, "G"), (10**6, "M")):
        if count >= scale // 10:
            thousandths = (count * 1000 + scale // 2) // scale
            return f"{thousandths // 1000:,}.{thousandths % 1000:03d} {name}{unit}"
    return f"{count:,} {unit}"


# -- the waterfall ---------------------------------------------------------------------------------


def _reference(settlement: Settlement, width: int | None) -> Iterator[str]:
    reference = settlement["reference"]
    if reference["macs"] is None:
        return
    parts = [
        f"{kind} {reference['components'][f'{kind}_macs']:,}"
        for kind in _KINDS
        if reference["components"].get(f"{kind}_macs")
    ]
    text = "   ".join(filter(None, ("MACs", " · ".join(parts))))
    yield from _step_wrapped("reference", f"{reference['macs']:,}", text, width)


def _waterfall(tool: Mapping[str, Any], width: int | None) -> Iterator[str]:
    yield _step(name_of(tool), f"{tool['reported']:,}", _unit(tool))
    if tool["unit"] == "FLOP":
        wanted = f"{tool['reference']:,}"
        words = "the reference in FLOPs, two for each multiply-accumulate"
        yield from _step_wrapped("  × 2", wanted, words, width)
    for cause in tool["causes"]:
        yield from _cause(cause, width)
    left = f"{tool['unexplained']:+,}" if tool["unexplained"] else "0"
    yield from _step_wrapped("  unexplained", left, tool["unexplained_evidence"] or "", width)
    if tool["params"] is not None:
        yield from _params(tool, width)


def _params(tool: Mapping[str, Any], width: int | None) -> Iterator[str]:
    yield _step("  parameters", f"{tool['params']:,}", "")
    for cause in tool["params_causes"]:
        yield from _cause(cause, width)
    if tool["params_unexplained"]:
        evidence = tool["params_unexplained_evidence"] or ""
        yield from _step_wrapped(
            "    unexplained", f"{tool['params_unexplained']:+,}", evidence, width
        )


def _cause(cause: Mapping[str, Any], width: int | None) -> Iterator[str]:
    sign = "+" if cause["delta"] > 0 else "-"
    details = [cause["evidence"]]
    if cause["probe"]:
        details.append(f"probe {cause['probe']}")
    if cause["issue"]:
        details.append(f"see {cause['issue']}")
    name = f"  {sign} {cause['cause']}"
    yield from _step_wrapped(name, f"{abs(cause['delta']):,}", " · ".join(details), width)


def _step(name: str, number: str, text: str) -> str:
    # A long name takes room from the number, so that the numbers' ends still stand in line.
    return (
        f"{name}{number.rjust(max(_NAME + _NUMBER - len(name), len(number) + 1))}   {text}".rstrip()
    )


def _step_wrapped(name: str, number: str, text: str, width: int | None) -> list[str]:
    """The text beside the number, going on below where it is wider than the terminal."""
    head = _step(name, number, "")
    room = (width or 0) - len(head) - 3
    if not width or len(text) <= room:
        return [_step(name, number, text)]
    indent = " " * 6
    return [head, *_folded(text, width, indent, indent)]


# -- advice ----------------------------------------------------------------------------------------


def advice(settlement: Settlement) -> Iterator[str]:
    """Which tool to quote for which purpose."""
    counted = [tool for tool in settlement["tools"] if tool["status"] == "counted"]
    if settlement["reference"]["macs"] is None or not counted:
        return
    exact = [tool for tool in counted if not tool["causes"] and is_explained(tool)]
    for unit, what in (("MAC", "multiply-accumulates"), ("FLOP", "FLOPs")):
        names = [name_of(tool) for tool in exact if tool["unit"] == unit]
        who = _listed(names) if names else "none of these tools: the reference above"
        yield f"To quote {what}: {who}."
    right = [
        name_of(t)
        for t in counted
        if t["params"] is not None and t["params"] == settlement["reference"]["params"]
    ]
    if right:
        yield f"To quote parameters: {_listed(right)}."
    close = [t for t in counted if t["causes"] and not _misses(t)]
    if close:
        names = [name_of(t) for t in close]
        yield f"Only with what it adds beside products: {_listed(names)}."
    misses = [name_of(t) for t in counted if _misses(t)]
    if misses:
        yield f"Not for this model, since products are missed or miscounted: {_listed(misses)}."


_ADDITIONS = frozenset(
    ["bias", "normalisation", "activation", "pooling", "elementwise", "reduction", "interpolation",
     "sampling", "data movement"]
)  # fmt: skip
"""Causes that are work beside the products; all others are products missed or miscounted."""


def _misses(tool: Mapping[str, Any]) -> bool:
    return any(cause["cause"] not in _ADDITIONS for cause in tool["causes"])


def citation(settlement: Settlement) -> str:
    """One line to be quoted: the number, what it counts, and what it was made with."""
    reference = settlement["reference"]
    if reference["macs"] is None:
        return "nothing, for want of a reference"
    kinds = [word for kind, word in _KINDS.items() if reference["components"].get(f"{kind}_macs")]
    inputs = re.sub(r"(?<=\d)x(?=\d)", "×", " + ".join(settlement["inputs"]))
    what = f"{_listed(kinds)} multiply-accumulates" if kinds else "multiply-accumulates"
    return (
        f"{giga(reference['macs'], 'MACs')} ({what}; bias, normalisation and "
        f"activation not counted), {reference['params']:,} parameters, {settlement['model']}, "
        f"flopaudit {settlement['flopaudit']}, torch {settlement['torch']}, input {inputs}"
    )
