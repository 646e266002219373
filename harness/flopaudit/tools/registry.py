"""Registry of tools: finds tool variants by the names that a user writes.

Imports neither torch nor a tool.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flopaudit_adapters import NAMES, find
from flopaudit_adapters.contract import Tool
from flopaudit_adapters.user_modules import NotFound
from packaging.utils import canonicalize_version

from flopaudit.core.checksum import source_digest
from flopaudit.core.errors import RunError, UsageError, closest, suggestion, unknown
from flopaudit.core.specs import ToolKey, split_list
from flopaudit.core.text import visible
from flopaudit.tools import versions
from flopaudit.tools.versions import version


@dataclass(frozen=True)
class ToolVariant:
    """A tool in one version and one way of running it.

    Attributes:
        name: the name that `flopaudit_adapters.find` takes.
        tool: the adapter's description of the tool.
        variant: one of the tool's variants, None if it has none.
        site: the folder with this version of the tool; None for the installed one.
    """

    name: str
    tool: Tool
    variant: str | None
    site: Path | None = None

    @property
    def version(self) -> str | None:
        """Version of the tool's distribution; None if it is missing or states none."""
        return version(self.tool.distribution, self.site)

    @property
    def adapter(self) -> str | None:
        """A digest of the adapter's source file; None if it has none."""
        return source_digest(self.tool.measure)

    @property
    def key(self) -> ToolKey:
        """Tool, version and variant: the same as `tool_key` of its records."""
        return (self.tool.name, self.version or "", self.variant or "")


def tool_variants(names: str) -> list[ToolVariant]:
    """Return the tools of a comma-separated list, each with all its variants.

    `NAME:VARIANT` is one variant only. `NAME@FOLDER` and `NAME==VERSION` are other versions of a
    tool than the installed one (see `versions`).

    Raises:
        UsageError: there is no such tool, variant or version, or two adapters or folders give the
            same tool.
    """
    found = dict.fromkeys(variant for name in split_list(names) for variant in _variants(name))
    adapters: dict[tuple[str, str | None], str] = {}
    sites: dict[ToolKey, Path | None] = {}
    for each in found:
        tool, variant = each.tool.name, each.variant
        other = adapters.setdefault((tool, variant), each.name)
        if other != each.name:
            raise UsageError(
                f"'{other}' and '{each.name}' are both named '{tool}'.",
                "Give the Tool of one of them another name.",
            )
        key = (tool, canonicalize_version(each.version or ""), variant or "")
        if sites.setdefault(key, each.site) != each.site:
            raise UsageError(
                f"{tool} {each.version or 'of unknown version'} is named with two places.",
                "Name one of them.",
            )
    return list(found)


def _variants(text: str) -> Iterator[ToolVariant]:
    named = versions.parse(text)
    name, tool, variants = _tool(named.name)
    site = versions.place(named, tool.distribution)
    shown = replace(tool, name=visible(tool.name), summary=visible(tool.summary))
    yield from (ToolVariant(name, shown, variant, site) for variant in variants)


def _tool(name: str) -> tuple[str, Tool, tuple[str | None, ...]]:
    """Return the name that `flopaudit_adapters.find` takes, the tool, and the variants meant."""
    base, _, variant = name.rpartition(":")
    try:
        known = _find(base)
    except LookupError:
        known = None
    if known and variant in known.variants:
        return base, known, (variant,)
    if base in NAMES and known:  # the tool itself must not be imported to look for the variant
        named = f"Its variants are {', '.join(known.variants)}." if known.variants else ""
        raise unknown(f"variant of {base}", variant, known.variants, named or f"Write {base}.")
    try:
        tool = _loaded(name)
    except NotFound as error:
        raise UsageError(error.message, error.remedy) from error
    except LookupError as error:
        near = suggestion(closest(name, _names()))
        raise UsageError(
            f"{str(error)[:1].upper()}{str(error)[1:]}.",
            f"{near} `flopaudit tools` lists them.".lstrip(),
        ) from error
    return name, tool, tool.variants or (None,)


def _names() -> list[str]:
    """The names of the tools, also with their variants."""
    tools = list(map(find, NAMES))
    return [*NAMES, *(f"{tool.name}:{variant}" for tool in tools for variant in tool.variants)]


def _find(name: str) -> Tool | None:
    return _loaded(name) if name else None


def _loaded(name: str) -> Tool:
    """Return a tool by its name; its adapter, which may be anyone's, is imported here."""
    try:
        return find(name)
    except SystemExit as error:
        raise RunError(
            f"The adapter '{name}' called sys.exit({error.code!r}) when it was imported.",
            "Correct the adapter.",
        ) from error


def tool_lines() -> list[dict[str, Any]]:
    """List the tools: name, variants, versions, unit and how each counts."""
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
