"""Notations of the command line for models, tools and inputs, parsed into plain data.

Imports no torch.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from flopaudit.core.errors import UsageError

DTYPES = ("float32", "float64", "float16", "bfloat16", "int64", "int32", "int8", "uint8", "bool")

LIBRARIES = ("timm", "transformers")
"""Packages that models can come from in addition to torchvision, by name and with options."""

LIVE = "object"
"""The source of live models: model objects of a user's process. No text names one."""

PROBE = "probe"
"""The source of the probes, whose only option is the number of a case."""

ToolKey = tuple[str, str, str]
"""A tool, its version and its variant, "" for none: the identity of a tool variant."""

Option = bool | int | float | str

_INPUT = re.compile(
    r"^(?:(?P<name>[A-Za-z_]\w*)=)?(?:(?P<dtype>[a-z]+\d*):)?(?P<shape>\d+(?:x\d+)*)$"
)
_LIBRARY = re.compile(
    rf"^(?P<source>{'|'.join(LIBRARIES)}):(?P<name>[\w.-]+)(?:\?(?P<options>.*))?$"
)
_PROBE = re.compile(rf"^{PROBE}:(?P<name>[\w./-]+)(?:\?(?P<options>case=\d+))?$")
_OPTION = re.compile(r"^(?P<key>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)=(?P<value>[^&?]+)$")


@dataclass(frozen=True)
class InputSpec:
    """Shape and dtype of one input tensor, written `1x3x224x224` or `int64:1x128`.

    With a name, as in `input_ids=int64:1x128`, the tensor is given to forward by that keyword.
    """

    shape: tuple[int, ...]
    dtype: str = "float32"
    name: str = ""

    def __str__(self) -> str:
        shape = "x".join(map(str, self.shape))
        typed = shape if self.dtype == "float32" else f"{self.dtype}:{shape}"
        return f"{self.name}={typed}" if self.name else typed


@dataclass(frozen=True)
class ModelSpec:
    """The source of a model and its name there.

    Attributes:
        source: torchvision, timm, transformers, probe, module, file, or that of live models.
        location: the name in a library, the dotted module or the path of the file.
        factory: the function or class to call, in a module or file; of a live model, its class.
        options: the options of a library, as written (`num_hidden_layers=2&hidden_size=256`), or
            the case of a probe (`case=2`).
    """

    source: str
    location: str
    factory: str = ""
    options: str = ""

    def __str__(self) -> str:
        if not self.factory:
            options = f"?{self.options}" if self.options else ""
            return f"{self.source}:{self.location}{options}"
        return f"{self.location}:{self.factory}"


def parse_input(text: str) -> InputSpec:
    """Read `1x3x224x224`, `int64:1x128` or `input_ids=int64:1x128`.

    Raises:
        UsageError: the text is not an input, or the dtype is unknown.
    """
    match = _INPUT.match(text.strip())
    if not match:
        raise UsageError(
            f"'{text}' is not an input.",
            "Write it as 1x3x224x224, int64:1x128 with a dtype, or name=1x128 by keyword.",
        )
    dtype = match["dtype"] or "float32"
    if dtype not in DTYPES:
        raise UsageError(
            f"'{dtype}' in '{text}' is not a dtype.", f"The choices are {', '.join(DTYPES)}."
        )
    shape = tuple(int(size) for size in match["shape"].split("x"))
    return InputSpec(shape, dtype, match["name"] or "")


def parse_inputs(texts: Iterable[str]) -> tuple[InputSpec, ...]:
    """Read the inputs of one forward pass.

    Raises:
        UsageError: one cannot be read, or two have the same name.
    """
    specs = tuple(map(parse_input, texts))
    names = [spec.name for spec in specs if spec.name]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise UsageError(f"The input '{twice}' is given twice.", "Give each name once.")
    return specs


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


def parse_model(text: str) -> ModelSpec:
    """Read `resnet50`, `a.module:factory`, `path/to/file.py:factory` or `SOURCE:NAME?OPTIONS`.

    SOURCE is torchvision, which takes no options, timm, transformers or probe.

    Raises:
        UsageError: the text is not a model.
    """
    text = text.strip()
    if text.partition(":")[0] in LIBRARIES:
        return _parse_library(text)
    if text.partition(":")[0] == PROBE:
        return _parse_probe(text)
    location, colon, factory = text.rpartition(":")
    if not text or (colon and not (location and factory)):
        raise UsageError(
            f"'{text}' is not a model.",
            "Write a torchvision name such as resnet50, timm:NAME, transformers:TYPE, probe:NAME, "
            "package.module:factory or path/to/file.py:factory.",
        )
    if not colon:
        return ModelSpec("torchvision", text)
    if location == "torchvision":
        return ModelSpec("torchvision", factory)
    source = "file" if location.endswith(".py") else "module"
    return ModelSpec(source, location, factory)


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
        UsageError: the text is not an amount of memory.
    """
    match = _BYTES.match(text.strip())
    if not match:
        raise UsageError(f"'{text}' is not an amount of memory.", "Write it as 8G or 512M.")
    power = " KMGT".index(match[2].upper() or " ")
    return int(float(match[1]) * 1024**power)
