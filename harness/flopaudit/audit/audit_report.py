"""Reports of an audit: a table of effects by tools, and sentences, the most serious first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from flopaudit.audit.effects import EFFECTS
from flopaudit.records.schema import SideEffect
from flopaudit.reports.escaping import csv_lines, markdown_table, markdown_text

Grid = tuple[list[str], list[list[str]]]
NOTHING = "-"


def grid(effects: Sequence[SideEffect]) -> Grid:
    """Return headers and rows: effects down, tools across; only effects that some tool has."""
    by_name = by_variant(effects)
    rows = [
        [check, *(_cell([each for each in of if each.check == check]) for of in by_name.values())]
        for check in EFFECTS
        if any(each.changed for each in effects if each.check == check)
    ]
    return ["effect", *by_name], rows


def by_variant(effects: Sequence[SideEffect]) -> dict[str, list[SideEffect]]:
    """Group records by the name of the tool variant, in the order of the records.

    The name includes the version where there are several versions of the tool.
    """
    versions: dict[str, set[str | None]] = {}
    for each in effects:
        versions.setdefault(each.variant_name, set()).add(each.tool_version)
    found: dict[str, list[SideEffect]] = {}
    for each in effects:
        several = len(versions[each.variant_name]) > 1
        suffix = f" {each.tool_version or 'unknown'}" if several else ""
        name = each.variant_name + suffix
        found.setdefault(name, []).append(each)
    return found


def _cell(found: Sequence[SideEffect]) -> str:
    """Return the largest effect of any call; of a trial, the number of calls it failed after."""
    changed = [each for each in found if each.changed]
    if not changed:
        return NOTHING
    effect = EFFECTS[changed[0].check]
    most = max(changed, key=lambda each: each.amount)
    text = effect.amount(most.amount) if effect.noun else f"{len(changed)} of {len(found)}"
    only = set() if effect.at_once else {each.when for each in changed}
    return f"{text} ({only.pop()})" if only in ({"raise"}, {"import"}) else text


def sentences(effects: Sequence[SideEffect]) -> Iterator[str]:
    """Yield for each tool a heading, and a line for each of its effects."""
    for group in by_variant(effects).values():
        yield f"{group[0].variant_name} {group[0].tool_version or ''}".strip() + ":"
        lines = [_sentence([each for each in group if each.check == check]) for check in EFFECTS]
        yield from (f"  {line}" for line in lines if line)
        if not any(lines):
            yield f"  leaves nothing behind, in {_calls(group)} calls."


def _calls(effects: Sequence[SideEffect]) -> int:
    return len({(each.model, each.condition, each.when) for each in effects})


def _sentence(found: Sequence[SideEffect]) -> str:
    """Describe one effect: what the tool does, where most, how often, and the details there."""
    changed = [each for each in found if each.changed]
    if not changed:
        return ""
    most = max(changed, key=lambda each: each.amount)
    effect = EFFECTS[most.check]
    what = effect.sentence.format(effect.amount(most.amount)) if effect.noun else effect.sentence
    # Imports and calls are counted apart, because an effect of one cannot occur in the other.
    alike = [each for each in found if (each.when == "import") == (most.when == "import")]
    times = sum(each.changed for each in alike)
    more = f", in {times} of {len(alike)} calls" if len(alike) > 1 else ""
    return f"{what}{_where(most)}{more}: {most.detail}"


def _where(effect: SideEffect) -> str:
    model = effect.model.rpartition(":")[2]
    placed = f" ({effect.condition})" if effect.condition != "eval" else ""
    at_once = EFFECTS[effect.check].at_once
    if effect.when == "import":
        return "" if at_once else " when it is imported"
    after = "" if at_once or effect.when != "raise" else " after it raised"
    return f"{after} on {model}{placed}"


def csv(effects: Sequence[SideEffect]) -> str:
    """Return the table as CSV."""
    headers, rows = grid(effects)
    return csv_lines([headers, *rows])


def markdown(effects: Sequence[SideEffect]) -> str:
    """Return the table, the meaning of each row, and the sentences by tool, as Markdown."""
    headers, rows = grid(effects)
    table = markdown_table(headers, rows)
    legend = "\n".join(f"- `{row[0]}`: {meaning(row[0])}" for row in rows)
    lines = "\n".join(_item(line) for line in sentences(effects))
    quiet = ", ".join(f"`{check}`" for check in EFFECTS if check not in {row[0] for row in rows})
    return (
        f"# What the tools leave behind\n\n{LEGEND}\n\n{table}\n\n"
        f"{legend}\n\nChecked, and never changed: {quiet}.\n\n## By tool\n\n{lines}\n"
    )


def meaning(check: str) -> str:
    """Return the meaning of a check in a few words."""
    effect = EFFECTS[check]
    return effect.sentence.format(effect.plural)


def _item(line: str) -> str:
    text = markdown_text(line)
    return f"- {text}" if line.startswith(" ") else f"\n### {text.rstrip(':')}\n"


def show(effects: Sequence[SideEffect]) -> None:
    """Print the table and the sentences."""
    from flopaudit.reports.terminal import print_table, print_wrapped

    headers, rows = grid(effects)
    if rows:
        print_table(headers, rows)
    print_wrapped(LEGEND)
    for line in sentences(effects):
        if not line.startswith(" "):
            print_wrapped()
        print_wrapped(line)


LEGEND = (
    "Each call is made in a process of its own. A cell has the largest effect of one call, or the "
    "number of calls after which something failed that had worked before. (raise): only after "
    "calls that raised; (import): only when the tool was imported. In training mode, a forward "
    "pass alone changes running statistics and random numbers."
)
