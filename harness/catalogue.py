"""What a user names, found: specs and names come in, tools and models ready to be run go out.

Imports neither torch nor a tool.
"""

from __future__ import annotations

import fnmatch
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapters import NAMES, find
from adapters.contract import Tool
from harness import versions
from harness.errors import UsageError, unknown
from harness.scheduler import Cell, Job
from harness.sources import library
from harness.specs import LIBRARIES, PROBE, ModelSpec, parse_inputs, parse_model, split_list
from harness.versions import version

if TYPE_CHECKING:
    from harness.schema import ToolKey


@dataclass(frozen=True)
class Column:
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

    @property
    def cell(self) -> Cell:
        """What the scheduler is told."""
        return Cell(self.name, self.variant, str(self.site) if self.site else None)


@dataclass(frozen=True)
class Subject:
    """A model and the inputs it is to be run on."""

    spec: ModelSpec
    inputs: tuple[str, ...]

    def job(self, cells: Iterable[Cell]) -> Job:
        """What the scheduler is told."""
        return Job(self.spec, self.inputs, tuple(cells))


def columns(names: str) -> list[Column]:
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


def _columns(text: str) -> Iterator[Column]:
    named = versions.parse(text)
    name, tool, variants = _tool(named.name)
    site = versions.place(named, tool.distribution)
    yield from (Column(name, tool, variant, site) for variant in variants)


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


def subject(text: str, inputs: Sequence[str] = ()) -> Subject:
    """A model by its spec; without inputs, those of the zoo, of the library or of the probe's case.

    Imports timm or transformers, and so torch, for the inputs of a model of theirs.

    Raises:
        UsageError: the spec or an input cannot be read, there is no such model or library, or a
            model from elsewhere comes without inputs.
    """
    spec = parse_model(text)
    given = tuple(map(str, parse_inputs(inputs)))
    if spec.source == "torchvision":
        usual = _torchvision_inputs(
            spec.location
        )  # also where others are given: it checks the name
        given = given or usual
    elif spec.source in LIBRARIES:
        given = given or library(spec.source).inputs(spec)
    elif spec.source == PROBE:
        given = _probe_inputs(spec, given)
    if not given:
        raise UsageError(f"'{text}' comes without an input.", "Add --input 1x3x224x224.")
    if spec.source == "file" and not Path(spec.location).is_file():
        raise UsageError(f"There is no file '{spec.location}'.", "Check the path before the colon.")
    return Subject(spec, given)


def _torchvision_inputs(name: str) -> tuple[str, ...]:
    from harness.zoo import CatalogueError, torchvision_models

    try:
        catalogue = torchvision_models()
    except CatalogueError as error:
        raise UsageError(str(error), "") from error
    if name not in catalogue:
        raise unknown("torchvision model", name, catalogue, "`flopaudit models` lists them.")
    return catalogue[name].inputs


def _probe_inputs(spec: ModelSpec, given: tuple[str, ...]) -> tuple[str, ...]:
    from harness import battery

    _, case = battery.find(spec)
    if given:
        raise UsageError("A probe comes with its inputs.", "Leave out --input.")
    return case.inputs


def subjects(names: str, preset: str, inputs: Sequence[str]) -> list[Subject]:
    """The models of a comma-separated list, or of a preset.

    Raises:
        UsageError: neither or both are given, or one of them is not known.
    """
    from harness import zoo

    if bool(names) == bool(preset):
        raise UsageError(
            "A run needs models." if not names else "Both --models and --preset are given.",
            "Give --models resnet50,vit_b_16 or --preset quick.",
        )
    if preset and inputs:
        raise UsageError("--input cannot be given with --preset.", "Give it with --models.")
    try:
        listed = split_list(names) if names else zoo.preset(preset)
    except (ValueError, zoo.CatalogueError) as error:
        raise UsageError(str(error), "") from error
    return list(dict.fromkeys(subject(name, inputs) for name in listed))


def drawn(text: str) -> list[Subject]:
    """Models of a library, drawn at random: the same ones for the same text and version.

    Args:
        text: `SOURCE:NUMBER` or `SOURCE:NUMBER:SEED`, such as timm:60:4.

    Raises:
        UsageError: it is not of that form, or there are not so many.
    """
    source, _, rest = text.partition(":")
    number, _, seed = rest.partition(":")
    if not number.isdecimal() or not int(number) or not (seed or "0").isdecimal():
        raise UsageError(
            f"'{text}' does not say what to draw.", "--draw timm:60:4 is 60 models by the seed 4."
        )
    names = [line["model"] for line in model_lines("*", source)]
    if int(number) > len(names):
        raise UsageError(f"{source} has {len(names)} models.", f"Draw {len(names)} at the most.")
    chosen = random.Random(int(seed or 0)).sample(names, int(number))  # noqa: S311 - on purpose
    return [subject(f"{source}:{name}", ()) for name in sorted(chosen)]


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


def model_lines(pattern: str, source: str = "torchvision") -> list[dict[str, Any]]:
    """One entry for each model of a source that the pattern fits.

    Raises:
        UsageError: there is none, or no such source.
    """
    listed: dict[str, Callable[[str, str], list[dict[str, Any]]]] = {
        "torchvision": _torchvision_lines,
        **dict.fromkeys(LIBRARIES, _library_lines),
        PROBE: _probe_lines,
    }
    if source not in listed:
        raise UsageError(f"There is no source '{source}'.", f"Known are {', '.join(listed)}.")
    lines = listed[source](pattern, source)
    if not lines:
        raise UsageError(f"No model fits '{pattern}'.", "`flopaudit models` lists all.")
    return lines


def _library_lines(pattern: str, source: str) -> list[dict[str, Any]]:
    """Names and families alone: an input needs the model's configuration or class."""
    found = library(source)
    return [
        {"model": name, "family": found.family(name), **dict.fromkeys(_PUBLISHED), "inputs": []}
        for name in found.names()
        if pattern in name or fnmatch.fnmatchcase(name, pattern)
    ]


def _probe_lines(pattern: str, _source: str) -> list[dict[str, Any]]:
    """The probes with the inputs of their first case; their family is what they are about."""
    from harness import battery

    return [
        {
            "model": probe.name,
            "family": probe.about,
            **dict.fromkeys(_PUBLISHED),
            "inputs": list(probe.cases[0].inputs),
            "cases": len(probe.cases),
        }
        for probe in battery.PROBES.values()
        if pattern in probe.name or fnmatch.fnmatchcase(probe.name, pattern)
    ]


_PUBLISHED = ("inputs", "weights", "published_gmacs", "published_params")


def _torchvision_lines(pattern: str, _source: str) -> list[dict[str, Any]]:
    from harness import zoo

    try:
        found = zoo.matching(pattern)
    except zoo.CatalogueError as error:
        raise UsageError(str(error), "") from error
    return [
        {
            "model": model.name,
            "family": model.family,
            "inputs": list(model.inputs),
            "weights": model.weights.name if model.weights else None,
            "published_gmacs": str(model.weights.published_gmacs)
            if model.weights and model.weights.published_gmacs is not None
            else None,
            "published_params": model.weights.published_params if model.weights else None,
        }
        for model in found
    ]
