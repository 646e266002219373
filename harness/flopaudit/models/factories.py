"""The user's own factories: functions, classes and module objects, and the arguments they take."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch

from flopaudit.core.errors import UsageError
from flopaudit.core.specs import ModelSpec, Option, parse_options
from flopaudit.models import loading


def user_factory(spec: ModelSpec) -> Callable[[], Any]:
    """Return a function that builds the model that the user names.

    A module object is copied, so that no run changes it for the next.

    Raises:
        UsageError: there is no such factory, or it does not take the arguments of the spec.
        Exception: whatever the user's code raises when it is imported.
    """
    found = loading.find(spec.location, spec.factory)
    arguments = parse_options(spec.options)
    if isinstance(found, torch.nn.Module):
        if arguments:
            raise UsageError(
                f"'{spec.factory}' in '{spec.location}' is a model already and takes no arguments.",
                f"Leave out '?{spec.options}', or name the class or function that builds it.",
            )
        return lambda: copy.deepcopy(found)
    if not callable(found):
        raise UsageError(
            f"'{spec.factory}' in '{spec.location}' is a {type(found).__name__}, and cannot be "
            "called.",
            "Name a function or class that returns the model, or a module object.",
        )
    _check_arguments(spec, found, arguments)
    return lambda: found(**arguments)


def _check_arguments(
    spec: ModelSpec, factory: Callable[..., Any], arguments: Mapping[str, Option]
) -> None:
    """Refuse arguments that a factory does not take, and missing ones that it needs.

    Raises:
        UsageError: the factory cannot be called with these arguments.
    """
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):  # some callables that are written in C have none
        return
    any_name = any(each.kind is each.VAR_KEYWORD for each in parameters)
    by_name = {each.name: each for each in parameters if each.kind in _BY_NAME}
    unknown = [name for name in arguments if name not in by_name]
    if unknown and not any_name:
        taken = f"It takes {', '.join(by_name)}." if by_name else "It takes no arguments."
        raise UsageError(f"'{spec.factory}' does not take {', '.join(unknown)}.", taken)
    needed = [
        each
        for each in parameters
        if each.default is each.empty
        and each.kind not in {each.VAR_POSITIONAL, each.VAR_KEYWORD}
        and each.name not in arguments
    ]
    if any(each.kind is each.POSITIONAL_ONLY for each in needed):
        raise UsageError(
            f"'{spec.factory}' needs {needed[0].name} by position, and arguments are by name.",
            "Name a function that takes it by name or has a default for it.",
        )
    if needed:
        example = "&".join(f"{each.name}=VALUE" for each in needed)
        raise UsageError(
            f"'{spec.factory}' needs {', '.join(each.name for each in needed)}.",
            f"Give arguments after a question mark: "
            f"'{spec.location}:{spec.factory}?{_joined(spec.options, example)}'.",
        )


_BY_NAME = frozenset([inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY])


def _joined(*options: str) -> str:
    return "&".join(filter(None, options))
