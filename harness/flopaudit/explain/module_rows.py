"""The comparison of what a tool attributes to single modules with what its profile predicts.

It shows two errors that cancel in the total.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction

from flopaudit.profiles.prediction import Prediction, divisor
from flopaudit.profiles.tool_profile import HOOKS, Profile
from flopaudit.tracing.sites import FUNCTION, MODULE, Trace


def class_at(path: str, trace: Trace) -> str:
    """Return the class of the module at a path, or the path if there is no module."""
    module = trace.at(path)
    return short(module.name) if module else path


def short(name: str) -> str:
    """Return the last part of a dotted name; for a tensor method, with its class."""
    parts = name.split(".")
    return ".".join(parts[-2:]) if "Tensor" in parts[-2:-1] else parts[-1]


def rows_that_differ(
    rows: Mapping[str, int], prediction: Prediction, trace: Trace, profile: Profile
) -> Iterator[str]:
    """Describe each module for which the tool reported something other than predicted, in order."""
    if not rows:
        return
    expected: dict[str, Fraction] = {}
    homes = {name: trace.names_of(name)[0] for name in rows}
    known = set(homes.values())
    for counted in prediction.counted:
        if profile.habits.view == HOOKS and counted.term.level == FUNCTION:
            continue  # counted for the whole model, not for a module
        home = _home(counted.term.path, known)
        times = 1
        if counted.term.level == MODULE and profile.habits.each_parent:
            times = int(counted.term.weight * divisor(profile.habits, trace))
        expected[home] = expected.get(home, Fraction(0)) + counted.amount / times
    unclear = _around_shared(trace)
    for name, reported in rows.items():
        if homes[name] in unclear:
            continue
        wanted = expected.get(homes[name], Fraction(0))
        if int(wanted) != reported:
            place = f"{name or 'the root'} ({class_at(name, trace)})"
            yield (
                f"first module that disagrees: {place}, "
                f"{reported:,} said and {int(wanted):,} predicted"
            )


def _around_shared(trace: Trace) -> set[str]:
    """Return the paths of modules that have several names, and of those around them.

    Tools differ in which of the names they attribute an amount to; only the sum is certain.
    """
    found: set[str] = set()
    for module in trace.modules:
        for name in (module.path, *module.aliases) if module.aliases else ():
            path = name
            while path:
                found.add(trace.names_of(path)[0])
                path = path.rpartition(".")[0]
            found.add("")
    return found


def _home(path: str, known: set[str]) -> str:
    while path not in known and path:
        path = path.rpartition(".")[0]
    return path
