"""What tools say of a model: a tool and a subject come in, a short text goes out."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from functools import partial

from flopaudit_adapters import find
from flopaudit_adapters.contract import LoadedModel, Tool, Unsupported

from flopaudit.audit.forked_trials import attempts
from flopaudit.core.text import one_line, portable
from flopaudit.isolation.worker import exact

RAISED = "raised "


def tool_answer(tool: Tool, variant: str | None, subject: LoadedModel) -> str:
    """What a tool says of a subject, or what it raises."""
    try:
        reading = tool.measure(subject, variant)
    except Unsupported as reason:
        return f"unsupported: {reason}"
    except Exception as error:  # noqa: BLE001 - whatever a tool raises is its outcome
        return RAISED + portable(one_line(error))
    try:
        return f"counted {exact(reading.count, 'count'):,}"
    except ValueError:
        return f"returned {reading.count!r:.80}"


def answers_of_each(names: Iterable[str], subject: LoadedModel) -> str:
    """What each tool says, each in a child of this process, since they get into each other's way.

    Args:
        names: as `adapters.find` knows tools.
        subject: a model, left as it is.
    """
    return ", ".join(text for name in names for text in _each(name, subject))


def _each(name: str, subject: LoadedModel) -> Iterator[str]:
    tool = find(name)
    for variant in tool.variants or (None,):
        text = attempts({name: partial(_imported, tool, variant, subject)})[name]
        yield " ".join(filter(None, (tool.name, variant, text)))


def _imported(tool: Tool, variant: str | None, subject: LoadedModel) -> str:
    importlib.import_module(tool.package)
    return tool_answer(tool, variant, subject)
