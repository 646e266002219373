"""The matrix of profiles: one row per probe, one column per tool, a formula in each cell.

The formula is the one that the tool's numbers for that probe follow
(`flopaudit.profiles.probe_formulas`), in the tool's unit. Rows of a group with the same cells are
shown as one. Imports no torch.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from flopaudit.core.errors import UsageError, closest, suggestion, unknown
from flopaudit.profiles.formula_fitting import Formula
from flopaudit.profiles.formula_text import short
from flopaudit.profiles.tool_profile import ProbeOutcome, Profile
from flopaudit.tools.versions import same

OPEN, MISSING, PARTLY = "?", "-", "†"

ENDS = {
    "errored": "raises",
    "crashed": "crashes",
    "timed out": "hangs",
    "unsupported": "takes no such",
}
"""The text of a cell whose tool did not count any size of the probe, by how it ended."""

LEGEND = (
    f"0 is what the tool said at every size; {OPEN} is numbers that follow no formula that was "
    "found; raises is an error at every size; takes no such is input that the tool is not for; "
    f"after {PARTLY} only some sizes were counted; {MISSING} was not measured."
)

SUMMARY_ROWS = 60


@dataclass(frozen=True)
class MatrixCell:
    """The outcome of one probe under one tool.

    Attributes:
        formula: of what the tool counts; empty for nothing, None if no formula fits.
        counted: at how many sizes it reported a number.
        cases: how many sizes there are.
        note: why it reported no number for the other sizes.
    """

    formula: Formula | None
    counted: int
    cases: int
    note: str = ""

    @property
    def text(self) -> str:
        """The formula in symbols, or how the tool ended."""
        if not self.counted:
            return ENDS.get(self.end, self.end) if self.cases else MISSING
        text = OPEN if self.formula is None else short(self.formula)
        return text + PARTLY if self.counted < self.cases else text

    @property
    def end(self) -> str:
        """How the cases without a number ended."""
        return self.note.partition(": ")[0]

    @property
    def long(self) -> str:
        """The text with the error, if there is one."""
        if not self.note:
            return self.text
        error = f"{ENDS.get(self.end, self.end)}: {self.note.partition(': ')[2]}"
        if not self.counted:
            return error
        text = self.text.removesuffix(PARTLY)
        return f"{text} ({self.counted} of {self.cases} sizes; else {error})"


UNMEASURED = MatrixCell(None, 0, 0)


@dataclass(frozen=True)
class Row:
    """Probes of one group for which each tool counts the same.

    Attributes:
        probes: their names.
        cells: one for each tool, those of the first probe.
    """

    probes: tuple[str, ...]
    cells: tuple[MatrixCell, ...]

    @property
    def group(self) -> str:
        """The group of the probes."""
        return group_of(self.probes[0])

    @property
    def names(self) -> list[str]:
        """The names of the probes without their group."""
        return [probe.partition("/")[2] for probe in self.probes]

    @property
    def texts(self) -> tuple[str, ...]:
        """The short texts of the cells."""
        return tuple(cell.text for cell in self.cells)


@dataclass(frozen=True)
class Matrix:
    """All rows, one for each probe, under some tools."""

    tools: tuple[Profile, ...]
    rows: tuple[Row, ...]

    @cached_property
    def groups(self) -> dict[str, list[Row]]:
        """The rows of each group."""
        found: dict[str, list[Row]] = {}
        for row in self.rows:
            found.setdefault(row.group, []).append(row)
        return found


def group_of(probe: str) -> str:
    """Return the group of a probe: `conv` for `conv/conv2d_bias`."""
    return probe.partition("/")[0]


def matrix(profiles: Iterable[Profile]) -> Matrix:
    """Build the matrix of some profiles, in the order of the tools' names."""
    tools = sorted(profiles, key=lambda each: tuple(map(str, each.key)))
    outcomes = [{outcome.probe: outcome for outcome in tool.probes} for tool in tools]
    rows = (
        Row((probe,), tuple(_cell(of.get(probe)) for of in outcomes)) for probe in _names(outcomes)
    )
    return Matrix(tuple(tools), tuple(rows))


def _names(outcomes: Iterable[Mapping[str, ProbeOutcome]]) -> list[str]:
    """Return all measured probes, in the order of the profiles, each group together."""
    measured = list(dict.fromkeys(probe for of in outcomes for probe in of))
    groups = list(dict.fromkeys(map(group_of, measured)))
    return sorted(measured, key=lambda probe: groups.index(group_of(probe)))


def _cell(outcome: ProbeOutcome | None) -> MatrixCell:
    if outcome is None:
        return UNMEASURED
    return MatrixCell(outcome.formula, outcome.counted, outcome.cases, outcome.note)


# -- choices ---------------------------------------------------------------------------------------


def collapsed(rows: Iterable[Row]) -> list[Row]:
    """Join rows of a group that have the same cells, in the place of the first."""
    alike: dict[tuple[str, tuple[str, ...]], list[Row]] = {}
    for row in rows:
        alike.setdefault((row.group, row.texts), []).append(row)
    return [
        Row(tuple(probe for row in same for probe in row.probes), same[0].cells)
        for same in alike.values()
    ]


def summary(rows: Sequence[Row], most: int = SUMMARY_ROWS) -> list[Row]:
    """Choose the largest row of each group, then the rows of the most probes."""
    large = sorted(rows, key=lambda row: -len(row.probes))
    first = {row.group: row for row in reversed(large)}
    chosen = [*first.values(), *(row for row in large if row is not first[row.group])][:most]
    return [row for row in rows if any(row is each for each in chosen)]


def only_tools(profiles: Iterable[Profile], names: Sequence[str]) -> list[Profile]:
    """Choose profiles by tools such as `ptflops`, `ptflops:aten`, `ptflops==0.7.5`; by default all.

    Raises:
        UsageError: there is no profile of one of them.
    """
    found = list(profiles)
    known = {each.tool for each in found} | {f"{e.tool}:{e.variant}" for e in found if e.variant}
    for name in names:
        if not any(_is_named(each, name) for each in found):
            raise unknown("profile of", name, sorted(known), "`flopaudit probe` measures one.")
    return [each for each in found if not names or any(_is_named(each, name) for name in names)]


def _is_named(profile: Profile, name: str) -> bool:
    base, _, version = name.partition("==")
    if version and not same(version, profile.version):
        return False
    return base in {profile.tool, f"{profile.tool}:{profile.variant or ''}"}


def only_probes(found: Matrix, pattern: str) -> Matrix:
    """Choose the rows of a group, of one probe, or of the probes that match a pattern.

    Raises:
        UsageError: no probe matches.
    """
    rows = found.groups.get(pattern) or [
        row
        for row in found.rows
        if row.probes[0] == pattern or fnmatch.fnmatchcase(row.probes[0], pattern)
    ]
    rows = rows or [row for row in found.rows if pattern in row.probes[0]]
    if not rows:
        names = (row.probes[0] for row in found.rows) if "/" in pattern else found.groups
        near = suggestion(closest(pattern, names))
        groups = f"The groups are {', '.join(found.groups)}."
        raise UsageError(f"No probe matches '{pattern}'.", near or groups)
    return Matrix(found.tools, tuple(rows))
