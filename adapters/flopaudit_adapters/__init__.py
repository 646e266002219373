"""The tools under audit, one module each; `find` returns a tool by its name.

In: a `LoadedModel`. Out: what the tool reports, unchanged, as a `ToolResult`.

To add a tool, write `flopaudit_adapters/NAME.py` with a `TOOL` of that name (see `contract.py`) and
add NAME to `NAMES`. A tool outside this package is named `package.module:ATTRIBUTE` or
`path/to/file.py:ATTRIBUTE`.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from flopaudit_adapters import user_modules
from flopaudit_adapters.contract import Tool

NAMES = ("thop", "torchstat", "fvcore", "ptflops", "flop_counter")
if len(set(NAMES)) < len(NAMES):
    raise ValueError(f"a tool is registered twice: {', '.join(NAMES)}")


def find(name: str) -> Tool:
    """Return a tool by its name, or by the place of its `Tool`.

    Raises:
        LookupError: there is no such tool; the message says what was looked for.
        ValueError: an adapter of this package has a tool of another name than its own.
    """
    if name in NAMES:
        tool = _checked(importlib.import_module(f"flopaudit_adapters.{name}"), "TOOL", name)
        if tool.name != name:
            raise ValueError(f"the adapter '{name}' has a tool that is named '{tool.name}'")
        return tool
    location, _, attribute = name.rpartition(":")
    if not location:
        raise LookupError(f"there is no tool '{name}'")
    if not location.endswith(".py"):
        module = user_modules.import_module(location, "tool")
    elif Path(location).is_file():
        module = user_modules.import_file(Path(location), "tool")
    else:
        raise LookupError(f"there is no adapter file '{location}'")
    return _checked(module, attribute, name)


def _checked(module: Any, attribute: str, name: str) -> Tool:
    tool = getattr(module, attribute, None)
    if not isinstance(tool, Tool):
        raise LookupError(  # noqa: TRY004 - for the caller it is a tool that was not found
            f"'{name}' is not a flopaudit_adapters.contract.Tool"
        )
    return tool
