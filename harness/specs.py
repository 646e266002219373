"""What a user writes to name models, tools and inputs, read into plain data; imports no torch."""

from __future__ import annotations

import re
from dataclasses import dataclass

from harness.errors import UsageError

DTYPES = ("float32", "float64", "float16", "bfloat16", "int64", "int32", "int8", "uint8", "bool")

_INPUT = re.compile(r"^(?:(?P<dtype>[a-z]+\d*):)?(?P<shape>\d+(?:x\d+)*)$")


@dataclass(frozen=True)
class InputSpec:
    """Shape and dtype of one input tensor, written `1x3x224x224` or `int64:1x128`."""

    shape: tuple[int, ...]
    dtype: str = "float32"

    def __str__(self) -> str:
        shape = "x".join(map(str, self.shape))
        return shape if self.dtype == "float32" else f"{self.dtype}:{shape}"


@dataclass(frozen=True)
class ModelSpec:
    """Where a model comes from: `source` is torchvision, module or file.

    `location` is the registered name, the dotted module or the file's path; `factory` is what to
    call in a module or file.
    """

    source: str
    location: str
    factory: str = ""

    def __str__(self) -> str:
        if self.source == "torchvision":
            return f"torchvision:{self.location}"
        return f"{self.location}:{self.factory}"


def parse_input(text: str) -> InputSpec:
    """Read `1x3x224x224` or `int64:1x128`.

    Raises:
        UsageError: it is neither, or the dtype is unknown.
    """
    match = _INPUT.match(text.strip())
    if not match:
        raise UsageError(
            f"'{text}' is not an input.", "Write it as 1x3x224x224, or int64:1x128 with a dtype."
        )
    dtype = match["dtype"] or "float32"
    if dtype not in DTYPES:
        raise UsageError(
            f"'{dtype}' in '{text}' is not a dtype.", f"Known are {', '.join(DTYPES)}."
        )
    return InputSpec(tuple(int(size) for size in match["shape"].split("x")), dtype)


def parse_model(text: str) -> ModelSpec:
    """Read `torchvision:resnet50`, `resnet50`, `a.module:factory` or `path/to/file.py:factory`.

    Raises:
        UsageError: it is none of them.
    """
    text = text.strip()
    location, colon, factory = text.rpartition(":")
    if not text or (colon and not (location and factory)):
        raise UsageError(
            f"'{text}' is not a model.",
            "Write a torchvision name such as resnet50, package.module:factory "
            "or path/to/file.py:factory.",
        )
    if not colon:
        return ModelSpec("torchvision", text)
    if location == "torchvision":
        return ModelSpec("torchvision", factory)
    source = "file" if location.endswith(".py") else "module"
    return ModelSpec(source, location, factory)


def split_list(text: str) -> list[str]:
    """The parts of a comma-separated list, stripped, empty ones left out, each once, in order."""
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


_BYTES = re.compile(r"^(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?$", re.IGNORECASE)


def parse_bytes(text: str) -> int:
    """Read `8G`, `512M` or a plain number of bytes; the units are powers of 1024.

    Raises:
        UsageError: it is none of them.
    """
    match = _BYTES.match(text.strip())
    if not match:
        raise UsageError(f"'{text}' is not an amount of memory.", "Write it as 8G or 512M.")
    power = " KMGT".index(match[2].upper() or " ")
    return int(float(match[1]) * 1024**power)
