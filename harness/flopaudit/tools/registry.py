"""Registry of the tools: names come in, tools in a version and a variant go out.

Imports neither torch nor a tool.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flopaudit_adapters import NAMES, find
from flopaudit_adapters.contract import Tool

from flopaudit.core.errors import UsageError
from flopaudit.core.specs import ToolKey, split_list
from flopaudit.tools import versions
from flopaudit.tools.versions import version


@dataclass(frozen=True)
class ToolVariant:
    """A tool with one of its variants; `name` is what `adapters.find` knows the tool by.

    `site` is the folder with the version of the tool that is meant; None for the one installed.
    """

    name: str
    tool: Tool
    variant: str | None
    site: Path | None = None

    @property
    def version(self) -> str | None:
        """Of the tool's distribution; None if it is not there or does not say."""
        return version(self.tool.distribution, self.site)

    @property
    def key(self) -> ToolKey:
        """What makes the column: the same as `tool_key` of its records."""
        return (self.tool.name, self.version or "", self.variant or "")


def tool_variants(names: str) -> list[ToolVariant]:
    """The tools of a comma-separated list, each with all its variants, or `NAME:VARIANT` alone.

    With `@FOLDER` or `==VERSION` behind it, a tool is that version of it (see `versions`).

    Raises:
        UsageError: there is no such tool, variant or version, or two go by the same name.
    """
    found = dict.fromkeys(column for name in split_list(names) for column in _columns(name))
    adapters: dict[tuple[str, str | None], str] = {}
    sites: dict[ToolKey, Path | None] = {}
    for column in found:
        tool, variant = column.tool.name, column.variant
        other = adapters.setdefault((tool, variant), column.name)
        if other != column.name:
            raise UsageError(
                f"'{other}' and '{column.name}' are both named '{tool}'.",
                "Give the Tool of one of them another name.",
            )
        if sites.setdefault(column.key, column.site) != column.site:
            raise UsageError(
                f"{tool} {column.version or 'of unknown version'} is named with two places.",
                "Name one of them.",
            )
    return list(found)


def _columns(text: str) -> Iterator[ToolVariant]:
    named = versions.parse(text)
    name, tool, variants = _tool(named.name)
    site = versions.place(named, tool.distribution)
    yield from (ToolVariant(name, tool, variant, site) for variant in variants)


def _tool(name: str) -> tuple[str, Tool, tuple[str | None, ...]]:
    """What `adapters.find` knows a tool by, the tool, and those of its variants that are meant."""
    base, _, variant = name.rpartition(":")
    try:
        known = _find(base)
    except LookupError:
        known = None
    if known and variant in known.variants:
        return base, known, (variant,)
    try:
        tool = find(name)
    except LookupError as error:
        raise UsageError(
            f"{str(error)[:1].upper()}{str(error)[1:]}.", "`flopaudit tools` lists them."
        ) from error
    return name, tool, tool.variants or (None,)


def _find(name: str) -> Tool | None:
    return find(name) if name else None


def tool_lines() -> list[dict[str, Any]]:
    """One entry for each tool: name, variants, versions, unit and how it counts."""
    kept = versions.kept()
    return [
        {
            "tool": tool.name,
            "variants": ", ".join(tool.variants),
            "version": version(tool.distribution),
            "kept": [each.version for each in kept if each.distribution == tool.distribution],
            "unit": tool.unit,
            "how": tool.summary,
            "url": tool.url,
        }
        for tool in map(find, NAMES)
    ]
