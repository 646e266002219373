"""Records of an audit come in; a table of effects by tools, and sentences, the gravest first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from flopaudit.audit.effects import EFFECTS
from flopaudit.records.schema import SideEffect

Grid = tuple[list[str], list[list[str]]]
NOTHING = "-"


def grid(effects: Sequence[SideEffect]) -> Grid:
    """Effects down, tools across; only effects that some tool has."""
    names = columns(effects)
    rows = [
        [check, *(_cell([each for each in of if each.check == check]) for of in names.values())]
        for check in EFFECTS
        if any(each.changed for each in effects if each.check == check)
    ]
    return ["effect", *names], rows


def columns(effects: Sequence[SideEffect]) -> dict[str, list[SideEffect]]:
    """What each tool did, by its name, in the order of the records.

    The name holds the version where there are several of the tool.
    """
    versions: dict[str, set[str | None]] = {}
    for each in effects:
        versions.setdefault(each.column, set()).add(each.tool_version)
    found: dict[str, list[SideEffect]] = {}
    for each in effects:
        several = len(versions[each.column]) > 1
        name = f"{each.column} {each.tool_version or 'unknown'}" if several else each.column
        found.setdefault(name, []).append(each)
    return found


def _cell(found: Sequence[SideEffect]) -> str:
    """The most that was left anywhere; of a trial, in how many calls it failed."""
    changed = [each for each in found if each.changed]
    if not changed:
        return NOTHING
    effect = EFFECTS[changed[0].check]
    most = max(changed, key=lambda each: each.amount)
    much = effect.amount(most.amount) if effect.noun else f"{len(changed)} of {len(found)}"
    only = set() if effect.at_once else {each.when for each in changed}
    return f"{much} ({only.pop()})" if only in ({"raise"}, {"import"}) else much


def sentences(effects: Sequence[SideEffect]) -> Iterator[str]:
    """For each tool a heading, and a line for each of its effects."""
    for mine in columns(effects).values():
        yield f"{mine[0].column} {mine[0].tool_version or ''}".strip() + ":"
        lines = [_sentence([each for each in mine if each.check == check]) for check in EFFECTS]
        yield from (f"  {line}" for line in lines if line)
        if not any(lines):
            yield f"  leaves nothing behind, in {_calls(mine)} calls."


def _calls(effects: Sequence[SideEffect]) -> int:
    return len({(each.model, each.condition, each.when) for each in effects})


def _sentence(found: Sequence[SideEffect]) -> str:
    """What a tool does, where most, how often, and what it is there."""
    changed = [each for each in found if each.changed]
    if not changed:
        return ""
    most = max(changed, key=lambda each: each.amount)
    effect = EFFECTS[most.check]
    what = effect.sentence.format(effect.amount(most.amount)) if effect.noun else effect.sentence
    # Imports are looked at apart: what only an import does, no call could have done.
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
    """The table, for a machine."""
    import pandas as pd

    headers, rows = grid(effects)
    text: str = pd.DataFrame(rows, columns=headers).to_csv(index=False, lineterminator="\n")
    return text


def markdown(effects: Sequence[SideEffect]) -> str:
    """The table, what each row means, and the sentences by tool."""
    from tabulate import tabulate

    headers, rows = grid(effects)
    table = tabulate(rows, headers, tablefmt="github", disable_numparse=True)
    legend = "\n".join(f"- `{row[0]}`: {meaning(row[0])}" for row in rows)
    lines = "\n".join(_item(line) for line in sentences(effects))
    quiet = ", ".join(f"`{check}`" for check in EFFECTS if check not in {row[0] for row in rows})
    return (
        f"# What the tools leave behind\n\n{LEGEND}\n\n{table}\n\n"
        f"{legend}\n\nLooked at, and never changed: {quiet}.\n\n## By tool\n\n{lines}\n"
    )


def meaning(check: str) -> str:
    """What a check looks at, in a few words."""
    effect = EFFECTS[check]
    return effect.sentence.format(effect.plural)


def _item(line: str) -> str:
    return f"- {line.strip()}" if line.startswith(" ") else f"\n### {line.rstrip(':')}\n"


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
    "Each call was made in a process of its own. A cell holds the most that was left after one "
    "call, or in how many calls something that worked before no longer did; (raise): only after "
    "calls that raised, (import): only when the tool was imported. A forward pass in training mode "
    "by itself moves running statistics and random numbers."
)
