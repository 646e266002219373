"""Notations of the command line for models, tools and inputs, parsed into plain data.

Imports no torch.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from flopaudit.core import input_notation
from flopaudit.core.errors import UsageError
from flopaudit.core.input_values import (
    DTYPE_ALIASES,
    FLOATING,
    CallSpec,
    FileSpec,
    InputSpec,
    inside,
)
from flopaudit.core.text import plain

LIBRARIES = ("timm", "transformers")
"""Packages that models can come from in addition to torchvision, by name and with options."""

SOURCE_ALIASES = {"hf": "transformers", "hf-hub": "transformers", "huggingface": "transformers"}
"""Other names of sources that a user may write; records have the name of the package."""

SEED = 0
"""The seed of the weights and inputs of every model."""
LIVE = "object"
"""The source of live models: model objects of a user's process. No text names one."""

PROBE = "probe"
"""The source of the probes, whose only option is the number of a case."""

ToolKey = tuple[str, str, str]
"""A tool, its version and its variant, "" for none: the identity of a tool variant."""

Option = bool | int | float | str

_LIBRARY = re.compile(
    rf"^(?P<source>{'|'.join(LIBRARIES)}):(?P<name>[\w./-]+)(?:\?(?P<options>.*))?$"
)
_PROBE = re.compile(rf"^{PROBE}:(?P<name>[\w./-]+)(?:\?(?P<options>case=\d+))?$")
_NAMED = re.compile(r"^(?P<name>[\w.-]+)(?:\?(?P<options>.*))?$")
_OWN = re.compile(
    r"^(?P<location>.+?):(?P<factory>[^\W\d]\w*(?:\.[^\W\d]\w*)*)(?:\?(?P<options>.*))?$",
    re.DOTALL,
)
_OPTION = re.compile(r"^(?P<key>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)=(?P<value>[^&?]+)$")


@dataclass(frozen=True)
class ModelSpec:
    """The source of a model and its name there.

    Attributes:
        source: torchvision, timm, transformers, probe, module, file, or that of live models.
        location: the name in a library, the dotted module or the path of the file.
        factory: the function, class or module object, in a module or file: `make`, `Outer.make`;
            of a live model, its class.
        options: the options of a library or the arguments of a factory, as written
            (`num_hidden_layers=2&hidden_size=256`), or the case of a probe (`case=2`).
        dtype: the dtype to convert the model to, such as bfloat16; "" to leave it as it is built.
    """

    source: str
    location: str
    factory: str = ""
    options: str = ""
    dtype: str = ""

    def __str__(self) -> str:
        place = (
            f"{self.location}:{self.factory}" if self.factory else f"{self.source}:{self.location}"
        )
        options = f"?{self.options}" if self.options else ""
        # A path may have bytes that are not UTF-8.
        return plain(f"{place}{options}{f'@{self.dtype}' if self.dtype else ''}")


def parse_input(text: str, floating: str = "float32") -> InputSpec:
    """Read one input, such as `1x3x224x224`, `int64:1x128` or `batch={image: 1x3x64x64}`.

    Args:
        text: in the notation of `core.input_notation`.
        floating: the dtype of tensors that are written without one.

    Raises:
        UsageError: the text is not an input, or a dtype is unknown.
    """
    return input_notation.read(text, floating)


def parse_inputs(texts: Iterable[str], floating: str = "float32") -> tuple[InputSpec, ...]:
    """Read the inputs of one forward pass.

    Args:
        texts: each in the notation of `core.input_notation`.
        floating: the dtype of tensors that are written without one.

    Raises:
        UsageError: one cannot be read, or two have the same name.
    """
    specs = tuple(parse_input(text, floating) for text in texts)
    names = [spec.name for spec in specs if spec.name]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise UsageError(f"The input '{twice}' is given twice.", "Give each name once.")
    return specs


def has_own_values(inputs: Iterable[str]) -> bool:
    """Whether the values of an input are the user's, from a file or a function."""
    values = (value for each in parse_inputs(inputs) for value in inside(each.value))
    return any(isinstance(value, (FileSpec, CallSpec)) for value in values)


def parse_options(text: str) -> dict[str, Option]:
    """Read `num_hidden_layers=2&tie_word_embeddings=false`; a value is an int, float, bool or text.

    Raises:
        UsageError: a part is not written as key=value, or a key is given twice.
    """
    options: dict[str, Option] = {}
    for part in text.split("&") if text else ():
        match = _OPTION.match(part)
        if not match or match["key"] in options:
            raise UsageError(
                f"'{part}' in '?{text}' is not an option{' of its own' if match else ''}.",
                "Write options as ?num_hidden_layers=2&hidden_size=256, each once.",
            )
        options[match["key"]] = _value(match["value"])
    return options


def _value(text: str) -> Option:
    if text in {"true", "false"}:
        return text == "true"
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


def model_dtype(text: str) -> str:
    """Return the dtype of a model by any of its names, such as bf16.

    Raises:
        UsageError: it is not a floating-point dtype.
    """
    names = {**DTYPE_ALIASES, "float": "float32"}
    name = text.lower().removeprefix("torch.")
    found = names.get(name, name)
    if found not in FLOATING:
        raise UsageError(
            f"'{text}' is not a dtype that a model can have.",
            f"The choices are {', '.join(FLOATING)}; fp32, fp64, fp16 and bf16 are the same.",
        )
    return found


def parse_model(text: str) -> ModelSpec:
    """Read `resnet50`, `a.module:factory`, `path/to/file.py:factory` or `SOURCE:NAME`.

    SOURCE is torchvision, timm, transformers or probe. Options may follow, as in `make?depth=3`,
    and then a dtype, as in `resnet50@bfloat16`.

    Raises:
        UsageError: the text is not a model.
    """
    text = text.strip()
    source, colon, rest = text.partition(":")
    if colon and source in SOURCE_ALIASES:
        text = f"{SOURCE_ALIASES[source]}:{rest}"
    before, at, name = text.rpartition("@")
    if at and DTYPE_ALIASES.get(name, name) in FLOATING:
        return replace(_parse_undtyped(before), dtype=model_dtype(name))
    if at and name.isidentifier() and "?" not in before:
        model_dtype(name)  # raises: nothing else ends in such a word
    return _parse_undtyped(text)


def _parse_undtyped(text: str) -> ModelSpec:
    if text.partition(":")[0] in LIBRARIES:
        return _parse_library(text)
    if text.partition(":")[0] == PROBE:
        return _parse_probe(text)
    named = _NAMED.match(text.removeprefix("torchvision:"))
    if named:
        return ModelSpec("torchvision", named["name"], options=_checked_options(named["options"]))
    own = _OWN.match(text)
    if not own:
        raise UsageError(
            f"'{text}' is not a model.",
            "Write a torchvision name such as resnet50, timm:NAME, transformers:TYPE, probe:NAME, "
            "package.module:factory or path/to/file.py:factory.",
        )
    source = "file" if own["location"].endswith(".py") else "module"
    options = _checked_options(own["options"])
    return ModelSpec(source, own["location"], own["factory"], options)


def _checked_options(text: str | None) -> str:
    """Return options as they are written.

    Raises:
        UsageError: there is a question mark without options, or they cannot be read.
    """
    if text == "":
        raise UsageError("There are no options after the '?'.", "Write them as ?depth=3&width=64.")
    parse_options(text or "")
    return text or ""


def _parse_library(text: str) -> ModelSpec:
    match = _LIBRARY.match(text)
    if not match or match["options"] == "":
        raise UsageError(
            f"'{text}' is not a model.",
            "Write timm:NAME or transformers:TYPE, with options as in "
            "transformers:llama?num_hidden_layers=2&hidden_size=256.",
        )
    options = match["options"] or ""
    parse_options(options)
    return ModelSpec(match["source"], match["name"], options=options)


def _parse_probe(text: str) -> ModelSpec:
    match = _PROBE.match(text)
    if not match:
        raise UsageError(
            f"'{text}' is not a probe.",
            "Write probe:conv/conv2d_bias or probe:conv/conv2d_bias?case=1.",
        )
    return ModelSpec(PROBE, match["name"], options=match["options"] or "")


def probe_case(spec: ModelSpec) -> int:
    """Return the number of the case that a spec of a probe names, counted from 0."""
    return int(spec.options.partition("=")[2] or 0)


def split_list(text: str) -> list[str]:
    """Return the parts of a comma-separated list: stripped, not empty, each once, in order."""
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


_BYTES = re.compile(r"^(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?$", re.IGNORECASE)


def parse_bytes(text: str) -> int:
    """Read `8G`, `512M` or a plain number of bytes; the units are powers of 1024.

    Raises:
        UsageError: the text is not an amount of memory, or none or more than any machine has.
    """
    match = _BYTES.match(text.strip())
    power = " KMGT".index(match[2].upper() or " ") if match else 0
    amount = float(match[1]) * 1024**power if match else 0
    if not 1 <= amount < 1 << 60:
        raise UsageError(f"'{text:.40}' is not an amount of memory.", "Write it as 8G or 512M.")
    return int(amount)
