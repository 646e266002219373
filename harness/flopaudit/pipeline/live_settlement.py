"""Settlement of a live model: a model object in a script or a notebook, copied to the workers."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from flopaudit_adapters import NAMES

from flopaudit.core.errors import UsageError
from flopaudit.core.input_values import (
    Constant,
    DictSpec,
    InputSpec,
    ListSpec,
    TensorSpec,
    TupleSpec,
    Value,
)
from flopaudit.core.specs import parse_bytes, parse_inputs
from flopaudit.explain.settlement import Settlement
from flopaudit.isolation.jobs import Limits, processors
from flopaudit.isolation.memory_share import default_memory_bytes
from flopaudit.models.live import saved_model
from flopaudit.pipeline import settle_model
from flopaudit.pipeline.measure import RunOptions
from flopaudit.pipeline.model_requests import ModelRequest, model_request
from flopaudit.reports.settlement_object import SettledModel
from flopaudit.tools.registry import ToolVariant, tool_variants


def settle(  # noqa: PLR0913 - the options of the command, and the inputs of the model
    model: torch.nn.Module | str,
    *inputs: Any,
    tools: str | Sequence[str] = (),
    timeout: float = 600,
    memory: int | str | None = None,
    jobs: int | None = None,
    kwargs: Mapping[str, Any] | None = None,
    **keywords: Any,
) -> SettledModel:
    """Run the tools on a model, and explain each tool's number.

    Each tool counts a copy of the model in eval mode, on the CPU, in a process of its own. The
    model and this process stay as they are, and nothing is written to the current folder. It takes
    some seconds, most of them to start the processes.

    Example: `flopaudit.settle(model, x, mask=mask, tools="thop,fvcore")`

    Args:
        model: a model, or the name of one as for `flopaudit settle`, such as "resnet18". A named
            model is answered from stored results where they have it.
        *inputs: of the model's call, by position: tensors, or nested structures of them. Of a named
            model, shapes such as "1x3x224x224".
        tools: names of tools, such as "thop,fvcore" or ["thop", "ptflops:aten"]; all tools if there
            are none.
        timeout: how long each tool may take, in seconds.
        memory: how much memory each tool may take, such as "8G" or a number of bytes; a share of
            this machine's if None.
        jobs: how many tools run at the same time; as many as there are processors if None.
        kwargs: of the model's call, by keyword, for names that options above have too.
        **keywords: of the model's call, by keyword.

    Returns:
        The settlement, which prints as `flopaudit settle` does. How a tool failed is in `tools`; if
        the model could not be counted, `reference["error"]` says why.

    Raises:
        UsageError: the model or an input cannot be copied to another process, there is no such
            model or tool, or an option has no such value.
        KeyboardInterrupt: as usual; all other processes are ended, and their files are deleted.
    """
    named = _keywords(keywords, kwargs or {})
    variants = tool_variants(_names(tools))
    slots = _slots(jobs)
    options = RunOptions(slots, _limits(timeout, memory, slots))
    if isinstance(model, str):
        return SettledModel(
            _of_name(model_request(model, _shapes(inputs, named)), variants, options)
        )
    if not isinstance(model, torch.nn.Module):
        raise UsageError(
            f"The model is a {type(model).__name__}, not a torch.nn.Module.",
            "Give a model such as flopaudit.settle(Net(), x), or the name of one.",
        )
    described = _described(inputs, named)
    with _folder() as folder:
        request = ModelRequest(saved_model.save(model, inputs, named, folder), described)
        measured, _ = settle_model.measured(request, variants, options, folder / "results")
    name = request.spec.factory  # the folder, which names the model in its records, is gone
    identity = measured["identity"]
    return SettledModel(
        {
            **measured,
            "model": name,
            "own_values": True,
            "identity": identity and {**identity, "model": name},
        }
    )


# -- options ---------------------------------------------------------------------------------------


def _keywords(keywords: Mapping[str, Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs by keyword.

    Raises:
        UsageError: one is given twice, or `kwargs` holds none.
    """
    if not isinstance(kwargs, Mapping) or not all(isinstance(name, str) for name in kwargs):
        raise UsageError("`kwargs` is not a dict of names.", 'Write kwargs={"mask": mask}.')
    twice = sorted(keywords.keys() & kwargs.keys())
    if twice:
        raise UsageError(f"The input '{twice[0]}' is given twice.", "Give each name once.")
    return {**keywords, **kwargs}


def _not_an_option(name: str, value: object, wanted: str) -> UsageError:
    """Return the error for an option with a wrong value, which may be meant for the model."""
    shown = f"{value!r}" if isinstance(value, (str, int, float)) else f"a {type(value).__name__}"
    return UsageError(
        f"The option `{name}` is {shown}, not {wanted}.",
        f'An input of the model with this name is given as kwargs={{"{name}": …}}.',
    )


def _names(tools: object) -> str:
    """Return the names of tools as a list separated by commas."""
    names = [tools] if isinstance(tools, str) else tools
    if names is None or (isinstance(names, Sequence) and not names) or names == [""]:
        return ",".join(NAMES)
    if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise _not_an_option("tools", tools, "a name or a list of names")
    return ",".join(names)


def _slots(jobs: object) -> int:
    """Return how many cells run at the same time."""
    if jobs is None:
        return processors()
    if not isinstance(jobs, int) or jobs < 1:
        raise _not_an_option("jobs", jobs, "a number from 1")
    return jobs


def _limits(timeout: object, memory: object, slots: int) -> Limits:
    """Return the limits of each cell."""
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not timeout > 0:
        raise _not_an_option("timeout", timeout, "a number of seconds")
    if memory is None:
        return Limits(timeout, default_memory_bytes(slots), default_memory_bytes(1))
    if isinstance(memory, bool) or not isinstance(memory, (int, str)):
        raise _not_an_option("memory", memory, "an amount such as 8G")
    limit = parse_bytes(memory) if isinstance(memory, str) else memory
    if limit <= 0:
        raise _not_an_option("memory", memory, "an amount such as 8G")
    return Limits(timeout, limit)


# -- models by name --------------------------------------------------------------------------------


def _shapes(inputs: Iterable[object], named: Mapping[str, Any]) -> list[str]:
    """Return the inputs of a named model, which are shapes.

    Raises:
        UsageError: one is something else.
    """
    if not all(isinstance(shape, str) for shape in (*inputs, *named.values())):
        raise UsageError(
            "The inputs of a named model are shapes.",
            'Write them as "1x3x224x224", or give the model itself instead of its name.',
        )
    return [*map(str, inputs), *(f"{name}={shape}" for name, shape in named.items())]


def _of_name(
    request: ModelRequest, variants: Sequence[ToolVariant], options: RunOptions
) -> Settlement:
    found = settle_model.stored(request, variants, limits=lambda: options.limits).settlement
    if found:
        return found
    with _folder() as folder:
        return settle_model.measured(request, variants, options, folder / "results")[0]


# -- live models -----------------------------------------------------------------------------------


@contextmanager
def _folder() -> Iterator[Path]:
    """Yield a folder that only this user can read, and delete it on leaving."""
    with tempfile.TemporaryDirectory(prefix="flopaudit-") as folder:
        yield Path(folder)


def _described(inputs: Sequence[Any], named: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the inputs in the notation of the command line.

    Raises:
        UsageError: a tensor is of a dtype that tools are not run on.
    """
    specs = [
        *(InputSpec(_value(value)) for value in inputs),
        *(InputSpec(_value(value), name) for name, value in named.items()),
    ]
    return tuple(map(str, parse_inputs(map(str, specs))))


def _value(value: Any) -> Value:
    """Return a value as plain data; an object that has no notation by the name of its type."""
    if isinstance(value, torch.Tensor):
        return TensorSpec(tuple(value.shape), str(value.dtype).removeprefix("torch."))
    if value is None or isinstance(value, (bool, int, float, str)):
        return Constant(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _value(vars(value))
    if isinstance(value, Mapping):
        return DictSpec(tuple((str(key), _value(item)) for key, item in value.items()))
    if isinstance(value, (list, tuple)):
        kind = ListSpec if isinstance(value, list) else TupleSpec
        return kind(tuple(map(_value, value)))
    return Constant(type(value).__name__)
