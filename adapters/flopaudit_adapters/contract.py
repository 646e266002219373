"""The contract between the harness and a tool.

An adapter is one module in this package that defines `TOOL`, a `Tool`. Its `measure` receives a
`LoadedModel` and the requested variant, imports its tool, calls it as the tool's README tells users
to, and returns a `ToolResult` with the tool's numbers unchanged. It may raise `Unsupported` when
the tool's documented interface cannot take the model; any other exception is the tool's own.
An adapter runs in a process of its own and need not clean up after its tool.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch

Unit = Literal["MAC", "FLOP"]


class Unsupported(Exception):  # noqa: N818 - an outcome, not an error
    """The tool's documented interface cannot take this model; the message says why."""


@dataclass(frozen=True)
class LoadedModel:
    """A model in eval mode on the CPU, with random weights, and the inputs to call it with.

    An input is a tensor, or anything else that forward takes: a number, None, a dict of tensors, a
    cache, which the call may change.

    Attributes:
        model: the module, to be called as `model(*inputs, **kwargs)`.
        inputs: what to give by position.
        kwargs: what to give by keyword.
    """

    model: torch.nn.Module
    inputs: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)


def positional(loaded: LoadedModel) -> tuple[Any, ...]:
    """Return all inputs by position, for a tool that knows no keywords.

    Raises:
        Unsupported: the keywords are not the next parameters of forward.
    """
    if not loaded.kwargs:
        return loaded.inputs
    names = list(inspect.signature(loaded.model.forward).parameters)
    wanted = names[len(loaded.inputs) :][: len(loaded.kwargs)]
    if set(wanted) != set(loaded.kwargs):
        raise Unsupported(
            f"the tool gives inputs by position, and {', '.join(loaded.kwargs)} are not the next "
            f"parameters of forward, which are {', '.join(wanted)}"
        )
    return (*loaded.inputs, *(loaded.kwargs[name] for name in wanted))


def known_to(function: Callable[..., Any], **options: Any) -> dict[str, Any]:
    """Return those options that a function takes, because older versions of a tool lack some.

    Meant for options without which the tool returns the same numbers, with less detail.
    """
    names = inspect.signature(function).parameters
    return {name: value for name, value in options.items() if name in names}


@dataclass(frozen=True)
class ModuleCount:
    """The count that a tool attributes to one module and to none of its other rows.

    Attributes:
        path: the module's qualified name in the model, "" for the root.
        type: the module's class name.
        count: the tool's number, in the tool's unit, unchanged.
        params: the tool's number of parameters, unchanged; None where it gives none.
        operator: the tool's name of the operator that this row is about, if the tool tells the
            operators of a module apart; such a module has several rows.
    """

    path: str
    type: str
    count: object
    params: object = None
    operator: str = ""


@dataclass(frozen=True)
class ToolResult:
    """The numbers that a tool returned.

    Attributes:
        raw: all totals the tool returned, under the tool's own names.
        count: the total to be compared, in the tool's unit.
        params: the tool's parameter total; None where the tool counts none.
        rows: counts by module, each in the tool's unit; empty where the tool exposes none.
    """

    raw: dict[str, Any]
    count: object
    params: object = None
    rows: tuple[ModuleCount, ...] = field(default=())


@dataclass(frozen=True)
class Tool:
    """A description of a tool, available before the tool is imported.

    Attributes:
        name: the name on the command line and in every record.
        distribution: the name it is installed by; its version is that of this distribution.
        package: the name it is imported by.
        unit: the unit that `ToolResult.count` really is in, whatever the tool calls it.
        measure: runs the tool on a model, as one of `variants` (None if there are none).
        variants: the ways of running the tool that give numbers of their own.
        summary: how the tool counts, in a few words.
        url: its repository or documentation.
    """

    name: str
    distribution: str
    package: str
    unit: Unit
    measure: Callable[[LoadedModel, str | None], ToolResult]
    summary: str
    url: str
    variants: tuple[str, ...] = ()


def own_rows(
    counts: Mapping[str, Mapping[str, Any]], types: Mapping[str, str]
) -> Iterator[ModuleCount]:
    """Yield rows from counts in which those of a module include its descendants'.

    Args:
        counts: counts by qualified name, then by operator, of the modules that the tool saw.
        types: the class name of every module, by the same names, each module once.
    """
    own = {path: dict(counts.get(path, {})) for path in types}
    for path in types:
        if path:
            parent = path.rpartition(".")[0]
            # A container that is not itself called, such as a ModuleList, may have no counts.
            while parent and parent not in counts:
                parent = parent.rpartition(".")[0]
            for operator, count in counts.get(path, {}).items():
                own[parent][operator] = own[parent].get(operator, 0) - count
    for path, operators in own.items():
        if not operators:
            yield ModuleCount(path, types[path], 0)
        for operator, count in operators.items():
            yield ModuleCount(path, types[path], count, operator=operator)
