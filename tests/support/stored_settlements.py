"""The settlements that are committed, and numbers read back from what is printed of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from flopaudit.core.checksum import check
from flopaudit.explain.settlement import FILE

from tests.support.paths import ROOT

_AMOUNT = re.compile(r"(?<![\w,.])[+-]\d[\d,]*(?![\d,]*[.\d]* [%GM])")


@cache
def committed_settlements() -> tuple[Any, ...]:
    """Every committed settlement."""
    return tuple(_read())


def _read() -> Iterator[Any]:
    for path in sorted((ROOT / "results").glob(f"*/{FILE}")):
        for line in path.read_text(encoding="utf-8").splitlines():
            yield json.loads(check(line)[0])


def settlement_of(model: str) -> Any:
    """The committed settlement of one of torchvision's models in the quick results."""
    for line in (ROOT / "results" / "quick" / FILE).read_text(encoding="utf-8").splitlines():
        found = json.loads(check(line)[0])
        if found["model"] == f"torchvision:{model}":
            return found
    raise KeyError(model)


def amounts_in(text: str) -> list[int]:
    """The exact signed amounts that a text shows; not percentages, not rounded ones."""
    return [int(found.replace(",", "")) for found in _AMOUNT.findall(text)]
