"""The contract between the harness and a tool: a subject comes in, a reading goes out.

An adapter is one module in this package that defines `TOOL`, a `Tool`. Its `measure` receives a
`Subject` and the variant asked for, imports its tool, calls it as the tool's README tells a user
to, and returns a `Reading`: what the tool said, unmended. It may raise `Unsupported` when the
tool's documented interface cannot take the subject; any other exception is the tool's own.
It runs in a process of its own and need not clean up after its tool.
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
    """The tool's documented interface cannot take this subject; the message says why."""


@dataclass(frozen=True)
class LoadedModel:
    """A model in eval mode on the CPU, with random weights, and the tensors to call it with.

    Attributes:
        model: to be called as `model(*inputs, **kwargs)`.
        inputs: given by position.
        kwargs: given by keyword.
    """

    model: torch.nn.Module
    inputs: tuple[torch.Tensor, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)


def positional(subject: LoadedModel) -> tuple[torch.Tensor, ...]:
    """All tensors of a subject by position, for a tool that knows no keywords.

    Raises:
        Unsupported: the keywords are not the next parameters of forward.
    """
    if not subject.kwargs:
        return subject.inputs
    names = list(inspect.signature(subject.model.forward).parameters)
    wanted = names[len(subject.inputs) :][: len(subject.kwargs)]
    if set(wanted) != set(subject.kwargs):
        raise Unsupported(
            f"the tool gives inputs by position, and {', '.join(subject.kwargs)} are not the next "
            f"parameters of forward, which are {', '.join(wanted)}"
        )
    return (*subject.inputs, *(subject.kwargs[name] for name in wanted))


def known_to(function: Callable[..., Any], **options: Any) -> dict[str, Any]:
    """Those of the options that a function takes: what a tool's older version has no name for yet.

    For options without which the tool still says the same, if less of it.
    """
    names = inspect.signature(function).parameters
    return {name: value for name, value in options.items() if name in names}


@dataclass(frozen=True)
class ModuleCount:
    """What a tool attributes to one module, and to none of its other rows.

    Attributes:
        path: the module's qualified name in the model, "" for the root.
        type: the module's class name.
        macs: in the unit of the reading, as the tool gave it.
        params: as the tool gave it; None where the tool says nothing.
        operator: where the tool tells a module's operators apart, the one this row is of, under
            the tool's own name; such a module has several rows.
    """

    path: str
    type: str
    macs: object
    params: object = None
    operator: str = ""


@dataclass(frozen=True)
class ToolResult:
    """What a tool said.

    Attributes:
        raw: all totals the tool returned, under the tool's own names.
        count: the total to be compared, in the unit of the tool.
        params: the tool's parameter total; None where the tool counts none.
        rows: per-module counts, each in the unit of the tool; empty where the tool exposes none.
    """

    raw: dict[str, Any]
    count: object
    params: object = None
    rows: tuple[ModuleCount, ...] = field(default=())


@dataclass(frozen=True)
class Tool:
    """What the harness knows of a tool before it runs it.

    Attributes:
        name: the name on the command line and in every record.
        distribution: the name it is installed by; its version is that of this distribution.
        package: the name it is imported by.
        unit: what `Reading.count` is in, as the tool really means it.
        measure: runs the tool. Called with the subject and a variant of `variants` (None if empty).
        variants: ways of running the tool that give numbers of their own.
        summary: how the tool counts, in a few words.
        url: where it comes from.
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
    """Rows from counts by module and operator in which a module holds its descendants' too.

    Args:
        counts: by qualified name, then by operator; of the modules that the tool saw.
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
