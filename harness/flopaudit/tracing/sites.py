"""Traces: every place of one run at which a tool could count, with exact amounts; pure data.

`flopaudit.tracing.watcher` makes a trace, `flopaudit.profiles.profile_inference` infers rules from
traces of probes, and `flopaudit.profiles.prediction` applies them to the trace of any model. A tool
sees a run at one of three levels: it hooks modules and replaces functions, it traces the functions
that torch's compiler knows, or it watches the operators that are executed. Calls of the same thing
from the same place are added up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

TRACE_VERSION = 2
"""History of the format: 1 — the first; 2 — functions that are held, more quantities."""

MODULE, FUNCTION, OPERATOR = "module", "function", "operator"
DEAD = "dead"
"""The trait of calls whose results never reach the output of the model."""

Amounts = Mapping[str, int]
"""Additive quantities by name, without those that are 0. See `QUANTITIES`."""

QUANTITIES: dict[str, str] = {
    "macs": "multiply-accumulate",
    "bias_adds": "bias add",
    "outputs": "output",
    "inputs": "input",
    "own_macs": "multiply-accumulate outside of the modules inside",
    "rows": "row",
    "calls": "call",
    "affine": "output with a weight",
    "macs_by_output": "multiply-accumulate of every output with every weight",
    "macs_to_4_digits": "multiply-accumulate, rounded to four digits in each call",
    "macs_of_first": "element of the first factor times columns of the second",
    "scores": "attention score",
    "states": "hidden state",
    "taps": "element of a kernel at each position",
    "weights": "weight",
    "summands": "summand",
    "biases": "value of the bias",
    "weights_by_sample": "weight for each sample",
    "biases_by_sample": "value of the bias for each sample",
    "positions": "output of one channel",
    "of_first": "output of the first sample",
    "aligned_left": "output, if shapes were aligned at their first dimensions",
}
"""The unit of each quantity, in the order in which formulas prefer them."""


@dataclass(frozen=True)
class Site:
    """A function or an operator, called from one place.

    Attributes:
        level: `FUNCTION` or `OPERATOR`.
        name: `torch.nn.functional.relu`, `torch.Tensor.__add__` or `aten.convolution`.
        path: the innermost module that was running.
        parent: index of the function around it in the trace, -1 if there is none.
        traits: other properties that may matter to a tool, such as flags and dimensions.
        amounts: quantities, added up over all calls.
        kind: the kind of most of its work, the value of a `Kind`.
    """

    level: str
    name: str
    path: str
    parent: int
    traits: Mapping[str, str]
    amounts: Amounts
    kind: str


@dataclass(frozen=True)
class ModuleSite:
    """A module of the model.

    Attributes:
        path: the qualified name, "" for the root.
        name: the class, as torch or a library exports it, `torch.nn.Conv2d`.
        bases: the classes it is derived from, nearest first, without torch.nn.Module.
        aliases: other paths of the same module.
        leaf: whether it holds no modules.
        calls: how often it was called.
        traits: flags and words among its attributes, and dimensions of its input.
        amounts: quantities of all calls, including what ran inside.
        last: quantities of the last call alone, if there were several calls.
        params: values in its own parameters that no earlier module holds.
        trainable: those of them that require a gradient.
        own_params: values in its own parameters, shared or not.
        all_params: the same, including those of the modules inside.
        kind: the kind of most of the work that it runs.
    """

    path: str
    name: str
    bases: tuple[str, ...]
    aliases: tuple[str, ...]
    leaf: bool
    calls: int
    traits: Mapping[str, str]
    amounts: Amounts
    last: Amounts
    params: int
    trainable: int
    own_params: int
    all_params: int
    kind: str


@dataclass(frozen=True)
class WorkItem:
    """Products that the reference counts: their module, site in the trace, kind and number."""

    path: str
    site: int
    kind: str
    macs: int


@dataclass(frozen=True)
class Trace:
    """One run of one model, as tools run it: on the CPU, in eval mode, with gradients on.

    Attributes:
        batch: the first dimension of the first input by position, by which a tool may divide.
        modules: every module once, the root first.
        sites: functions and operators; a parent stands before its children.
        work: the reference's products, each at its outermost site.
    """

    batch: int
    modules: tuple[ModuleSite, ...]
    sites: tuple[Site, ...]
    work: tuple[WorkItem, ...]

    @property
    def macs(self) -> int:
        """The number of the reference's products in this run."""
        return sum(item.macs for item in self.work)

    @cached_property
    def _names(self) -> dict[str, tuple[str, ...]]:
        groups = ((module.path, *module.aliases) for module in self.modules)
        return {name: names for names in groups for name in names}

    @cached_property
    def _by_path(self) -> dict[str, ModuleSite]:
        return {name: module for module in self.modules for name in (module.path, *module.aliases)}

    def at(self, path: str) -> ModuleSite | None:
        """Return the module at a path; None if there is none."""
        return self._by_path.get(path)

    @cached_property
    def _work_under(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for index, item in enumerate(self.work):
            path = item.path
            while path:
                found.setdefault(path, []).append(index)
                path = path.rpartition(".")[0]
            found.setdefault("", []).append(index)
        return found

    @cached_property
    def _inside(self) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {}
        for index in range(len(self.sites)):
            for around in ancestors(self, index):
                found.setdefault(around, []).append(index)
        return found

    def inside(self, site: int) -> list[int]:
        """Return the indices of a site and of those inside it."""
        return self._inside.get(site, [])

    def work_under(self, path: str) -> list[int]:
        """Return the indices of the reference's products in a module and in those inside it."""
        return self._work_under.get(path, [])

    def names_of(self, path: str) -> tuple[str, ...]:
        """Return all paths of the module at this one, in the order of a walk over the model."""
        return self._names.get(path, (path,))

    def to_json(self) -> dict[str, Any]:
        """Return plain data, in which a site is a list, because there are thousands of them."""
        return {
            "batch": self.batch,
            "modules": [list(vars(module).values()) for module in self.modules],
            "sites": [list(vars(site).values()) for site in self.sites],
            "work": [list(vars(item).values()) for item in self.work],
        }


def from_json(data: Mapping[str, Any]) -> Trace:
    """Make a trace of its plain data, which has to be of this program's version.

    Raises:
        ValueError: the data is not that of a trace; the message is the first thing that is wrong.
    """
    from flopaudit.tracing.stored_form import check

    check(data)
    return Trace(
        batch=data["batch"],
        modules=tuple(_module(values) for values in data["modules"]),
        sites=tuple(Site(*values) for values in data["sites"]),
        work=tuple(WorkItem(*values) for values in data["work"]),
    )


def _module(values: Sequence[Any]) -> ModuleSite:
    path, name, bases, aliases, *rest = values
    return ModuleSite(path, name, tuple(bases), tuple(aliases), *rest)


def ancestors(trace: Trace, index: int) -> Iterator[int]:
    """Yield a site and the functions around it, innermost first."""
    while index >= 0:
        yield index
        index = trace.sites[index].parent
