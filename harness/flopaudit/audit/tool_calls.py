"""Calls of tools on a model, each with its result as a short text."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from functools import partial

from flopaudit_adapters import find
from flopaudit_adapters.contract import LoadedModel, Tool, Unsupported

from flopaudit.audit.forked_trials import try_all
from flopaudit.core.text import one_line, portable
from flopaudit.isolation.worker import exact

RAISED = "raised "


def call_tool(tool: Tool, variant: str | None, loaded: LoadedModel) -> str:
    """Call a tool on a model; return its count or the exception as text."""
    try:
        result = tool.measure(loaded, variant)
    except Unsupported as reason:
        return f"unsupported: {reason}"
    except Exception as error:  # noqa: BLE001 - whatever a tool raises is its outcome
        return RAISED + portable(one_line(error))
    try:
        return f"counted {exact(result.count, 'count'):,}"
    except ValueError:
        return f"returned {result.count!r:.80}"


def call_each(names: Iterable[str], loaded: LoadedModel) -> str:
    """Call each tool in a child process of its own, because tools can break each other.

    Args:
        names: tools, by the names that `flopaudit_adapters.find` knows.
        loaded: a model, which the calls leave unchanged in this process.
    """
    return ", ".join(text for name in names for text in _call_variants(name, loaded))


def _call_variants(name: str, loaded: LoadedModel) -> Iterator[str]:
    tool = find(name)
    for variant in tool.variants or (None,):
        text = try_all({name: partial(_import_and_call, tool, variant, loaded)})[name]
        yield " ".join(filter(None, (tool.name, variant, text)))


def _import_and_call(tool: Tool, variant: str | None, loaded: LoadedModel) -> str:
    importlib.import_module(tool.package)
    return call_tool(tool, variant, loaded)
