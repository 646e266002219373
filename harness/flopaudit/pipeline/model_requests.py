"""Model requests: finds the models that a user names, and their inputs.

Imports neither torch nor a tool.
"""

from __future__ import annotations

import fnmatch
import random
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flopaudit.core.errors import UsageError, closest, suggestion, unknown
from flopaudit.core.specs import (
    LIBRARIES,
    PROBE,
    SOURCE_ALIASES,
    ModelSpec,
    Option,
    model_dtype,
    parse_inputs,
    parse_model,
    parse_options,
    split_list,
)
from flopaudit.isolation.jobs import Cell, Job
from flopaudit.models import model_names
from flopaudit.models.inputs import check_files
from flopaudit.models.libraries import library


@dataclass(frozen=True)
class ModelRequest:
    """A model and the inputs it is to be run on."""

    spec: ModelSpec
    inputs: tuple[str, ...]

    def job(self, cells: Iterable[Cell]) -> Job:
        """Return a job with these cells, for the scheduler."""
        return Job(self.spec, self.inputs, tuple(cells))


@dataclass(frozen=True)
class Phase:
    """A phase of generating text, `prefill` or `decode`, after a context of so many tokens."""

    name: str
    context: int


def model_request(
    text: str, inputs: Sequence[str] = (), *, dtype: str = "", phase: Phase | None = None
) -> ModelRequest:
    """Return the request of a model, with the default inputs of its source unless some are given.

    Imports timm or transformers, and so torch, for the inputs of a model that they have.

    Args:
        text: the model spec.
        inputs: in the notation of `--input`. Tensors without a dtype get that of the model.
        dtype: the dtype to convert the model to, if the spec does not name one.
        phase: of a transformers model, in place of its usual inputs.

    Raises:
        UsageError: the spec or an input cannot be read, there is no such model, library or file, or
            the model has no default inputs and none are given.
    """
    spec = _with_dtype(parse_model(text), dtype)
    if phase and inputs:
        raise UsageError("--phase makes the inputs of a model.", "Leave out --input, or --phase.")
    _check_spec(spec)
    given = tuple(inputs) or (_phase_inputs(spec, phase) if phase else _default_inputs(spec))
    if spec.source == PROBE and inputs:
        raise UsageError("A probe comes with its inputs.", "Leave out --input.")
    if not given:
        raise UsageError(f"'{text}' needs an input shape.", "Add --input 1x3x224x224.")
    specs = parse_inputs(given, spec.dtype or "float32")
    check_files(specs)
    return ModelRequest(spec, tuple(map(str, specs)))


def _with_dtype(spec: ModelSpec, dtype: str) -> ModelSpec:
    """Return a spec with a dtype; the models of libraries are float32 unless another is given."""
    wanted = model_dtype(dtype) if dtype else spec.dtype
    if spec.dtype and wanted != spec.dtype:
        raise UsageError(f"'{spec}' is not {wanted}.", "Leave out --dtype, or what follows the @.")
    usual = wanted == "float32" and spec.source in {"torchvision", *LIBRARIES}
    return replace(spec, dtype="" if usual else wanted)


def _default_inputs(spec: ModelSpec) -> tuple[str, ...]:
    """Return the inputs that follow from the model; none for a model of the user."""
    if spec.source == "torchvision":
        return _resized(_torchvision_inputs(spec.location), parse_options(spec.options))
    if spec.source in LIBRARIES:
        return library(spec.source).inputs(spec)
    return _probe_inputs(spec) if spec.source == PROBE else ()


def _phase_inputs(spec: ModelSpec, phase: Phase) -> tuple[str, ...]:
    if spec.source != "transformers":
        raise UsageError(
            f"--phase is for models of transformers, and '{spec}' is not one.",
            "Leave it out, or give the inputs as they are: --input cache=cache:1x512.",
        )
    library(spec.source)  # raises if it is not installed
    from flopaudit.models.transformers_phases import phase_inputs

    return phase_inputs(spec, phase.name, phase.context)


def _resized(inputs: tuple[str, ...], options: Mapping[str, Option]) -> tuple[str, ...]:
    """Return the inputs of a torchvision model that is built for another size of images."""
    size = options.get("image_size")
    if not isinstance(size, int):
        return inputs
    return tuple(re.sub(r"\d+x\d+$", f"{size}x{size}", text) for text in inputs)


def _check_spec(spec: ModelSpec) -> None:
    """Check what can be checked about a model without importing anything slow.

    Raises:
        UsageError: there is no such library, model in it, probe or file.
    """
    if spec.source == "torchvision":
        _torchvision_inputs(spec.location)
    elif spec.source in LIBRARIES:
        model_names.check(spec.source, spec.location)
    elif spec.source == "file" and not Path(spec.location).is_file():
        raise UsageError(f"There is no file '{spec.location}'.", "Check the path before the colon.")


def _torchvision_inputs(name: str) -> tuple[str, ...]:
    from flopaudit.models.torchvision_zoo import CatalogueError, torchvision_models

    try:
        catalogue = torchvision_models()
    except CatalogueError as error:
        raise UsageError(str(error), "") from error
    if name not in catalogue:
        raise model_names.unknown_model("torchvision", name)
    return catalogue[name].inputs


def _probe_inputs(spec: ModelSpec) -> tuple[str, ...]:
    from flopaudit import probes

    return probes.find(spec)[1].inputs


def model_requests(
    names: str,
    preset: str,
    inputs: Sequence[str],
    *,
    dtype: str = "",
    phase: Phase | None = None,
) -> list[ModelRequest]:
    """Return the models of a comma-separated list, or of a preset.

    Args:
        names: the model specs.
        preset: the name of the preset.
        inputs: of all models (see `model_request`).
        dtype: of all models.
        phase: of all models.

    Raises:
        UsageError: neither or both are given, or a model is unknown.
    """
    from flopaudit.models import torchvision_zoo

    if bool(names) == bool(preset):
        raise UsageError(
            "A run needs models." if not names else "Both --models and --preset are given.",
            "Give --models resnet50,vit_b_16 or --preset quick.",
        )
    if preset and inputs:
        raise UsageError("--input cannot be given with --preset.", "Give it with --models.")
    try:
        listed = split_list(names) if names else torchvision_zoo.preset(preset)
    except (ValueError, torchvision_zoo.CatalogueError) as error:
        raise UsageError(str(error), "") from error
    for name in listed:  # all of them, before a library is imported for one
        _check_spec(parse_model(name))
    return list(
        dict.fromkeys(model_request(name, inputs, dtype=dtype, phase=phase) for name in listed)
    )


def sampled_models(text: str, dtype: str = "") -> list[ModelRequest]:
    """Sample models of a library: always the same ones for the same text and version.

    Args:
        text: `SOURCE:NUMBER` or `SOURCE:NUMBER:SEED`, such as timm:60:4.
        dtype: of all models.

    Raises:
        UsageError: the text is not of that form, or the library has fewer models.
    """
    named, _, rest = text.partition(":")
    source = SOURCE_ALIASES.get(named, named)
    number, _, seed = rest.partition(":")
    if not number.isdecimal() or not int(number) or not (seed or "0").isdecimal():
        raise UsageError(
            f"'{text}' is not a sample of models.",
            "Write --sample SOURCE:N:SEED, such as --sample timm:60:4.",
        )
    names = [line["model"] for line in model_lines("*", source)]
    if int(number) > len(names):
        raise UsageError(f"{source} has {len(names)} models.", f"Sample {len(names)} at most.")
    chosen = random.Random(int(seed or 0)).sample(names, int(number))  # noqa: S311 - on purpose
    return [model_request(f"{source}:{name}", (), dtype=dtype) for name in sorted(chosen)]


def model_lines(pattern: str, source: str = "torchvision") -> list[dict[str, Any]]:
    """List the models of a source whose name contains the pattern or matches it.

    Raises:
        UsageError: no model matches, or there is no such source.
    """
    listed: dict[str, Callable[[str, str], list[dict[str, Any]]]] = {
        "torchvision": _torchvision_lines,
        **dict.fromkeys(LIBRARIES, _library_lines),
        PROBE: _probe_lines,
    }
    if source not in listed:
        raise unknown("source", source, listed, f"The choices are {', '.join(listed)}.")
    lines = listed[source](pattern, source)
    if not lines:
        listing = f"`flopaudit models --source {source}` lists all."
        near = suggestion(_close(source, pattern))
        raise UsageError(f"No model matches '{pattern}'.", f"{near} {listing}".lstrip())
    return lines


def _close(source: str, pattern: str) -> list[str]:
    from flopaudit import probes

    if source == PROBE:
        return closest(pattern, probes.PROBES)
    return model_names.close_models(source, pattern)


def _library_lines(pattern: str, source: str) -> list[dict[str, Any]]:
    """List names and families only: inputs need each model's configuration or class."""
    return [
        {"model": name, "family": family, **dict.fromkeys(_PUBLISHED), "inputs": []}
        for name, family in model_names.families(source).items()
        if pattern in name or fnmatch.fnmatchcase(name, pattern)
    ]


def _probe_lines(pattern: str, _source: str) -> list[dict[str, Any]]:
    """List the probes with the inputs of their first case; their family is their topic."""
    from flopaudit import probes

    return [
        {
            "model": probe.name,
            "family": probe.about,
            **dict.fromkeys(_PUBLISHED),
            "inputs": list(probe.cases[0].inputs),
            "cases": len(probe.cases),
        }
        for probe in probes.PROBES.values()
        if pattern in probe.name or fnmatch.fnmatchcase(probe.name, pattern)
    ]


_PUBLISHED = ("inputs", "weights", "published_gmacs", "published_params")


def _torchvision_lines(pattern: str, _source: str) -> list[dict[str, Any]]:
    from flopaudit.models import torchvision_zoo

    try:
        found = torchvision_zoo.matching(pattern)
    except torchvision_zoo.CatalogueError as error:
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
