"""Conventions: named rules for reading one total from a ledger.

A convention sets how much a multiply-accumulate counts and in which kinds of products, how much an
addition of a bias counts, and how much any other scalar operation counts, by kind. `convention`
finds one by its name: a built-in (`macs`, `macs-layers`, `flops`, `flops-all`), a built-in with
additions (`macs+bias+norm`), or the path of a TOML file.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from flopaudit.core.errors import UsageError, closest, suggestion
from flopaudit.reference.cost import Work
from flopaudit.reference.kinds import LAYER_KINDS, PRODUCT_KINDS, Kind

ADDABLE = {
    "norm": Kind.NORMALISATION,
    "activation": Kind.ACTIVATION,
    "pooling": Kind.POOLING,
    "elementwise": Kind.ELEMENTWISE,
    "reduction": Kind.REDUCTION,
    "interpolation": Kind.INTERPOLATION,
}
EVERYTHING = "*"


class ConventionError(UsageError):
    """A convention that is unknown or cannot be read."""


@dataclass(frozen=True)
class Convention:
    """A rule for reading one total from a ledger.

    Attributes:
        name: by which it is found.
        meaning: what it counts, in words.
        mac: how much a multiply-accumulate counts: 1, or 2 for FLOPs.
        products: the kinds whose multiply-accumulates count.
        bias: how much an addition of a bias counts.
        others: how much any other scalar operation counts, by kind; "*" for kinds not named.
        alternatives: names of the alternative conventions that replace the defaults; see
            `flopaudit.reference.operators.ALTERNATIVES`.
    """

    name: str
    meaning: str
    mac: int = 1
    products: tuple[str, ...] = PRODUCT_KINDS
    bias: int = 0
    others: Mapping[str, int] = field(default_factory=dict)
    alternatives: tuple[str, ...] = ()

    def of(self, kind: str, work: Work, alternatives: Mapping[str, Work] | None = None) -> int:
        """Return the count of one row.

        Args:
            kind: of the row.
            work: of the row, by the default conventions.
            alternatives: of the row, by the names of alternative conventions.
        """
        for name in self.alternatives:
            if alternatives and name in alternatives:
                work = alternatives[name]
        count = self.mac * work.macs if kind in self.products else 0
        if kind in self.products:
            count += self.bias * work.bias_adds
        return count + self.others.get(kind, self.others.get(EVERYTHING, 0)) * work.others


BUILT_IN = {
    built_in.name: built_in
    for built_in in (
        Convention("macs", "multiply-accumulates of convolution, linear, matmul and attention"),
        Convention(
            "macs-layers",
            "multiply-accumulates of convolution and fully connected layers only",
            products=LAYER_KINDS,
        ),
        Convention("flops", "two for each multiply-accumulate", mac=2),
        Convention("flops-all", "every scalar operation", mac=2, bias=1, others={EVERYTHING: 1}),
    )
}


@lru_cache(maxsize=256)
def convention(name: str) -> Convention:
    """Find a convention by its name.

    Args:
        name: of a built-in, of a built-in with additions as in `macs+bias+norm`, or of a TOML file.

    Raises:
        ConventionError: no convention has that name, or the file is not a valid convention.
    """
    if name.endswith(".toml"):
        return _from_file(Path(name))
    base, *added = name.split("+")
    if base not in BUILT_IN or any(a != "bias" and a not in ADDABLE for a in added):
        raise ConventionError(f"There is no convention '{name}'.", _remedy(base, added))
    found = BUILT_IN[base]
    extra: dict[str, int] = {ADDABLE[a]: 1 for a in added if a != "bias"}
    bias = 1 if "bias" in added else found.bias
    meaning = "; ".join([found.meaning, *(f"with {a}" for a in added)])
    return replace(found, name=name, meaning=meaning, bias=bias, others={**found.others, **extra})


def _remedy(base: str, added: list[str]) -> str:
    """Suggest close names for all parts of a convention, and list what there is."""
    bases, parts = closest(base, BUILT_IN), [closest(each, ["bias", *ADDABLE]) for each in added]
    chosen = [part[0] for part in parts if part]
    complete = len(chosen) == len(added)
    near = ["+".join([each, *chosen]) for each in bases[:1] if complete]
    every = f"{', '.join(BUILT_IN)}, add +bias or +{', +'.join(ADDABLE)}, or name a .toml file."
    return f"{suggestion(near)} Use one of {every}".lstrip()


def _from_file(path: Path) -> Convention:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib  # type: ignore[import-not-found,unused-ignore] # 3.10 only
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConventionError(
            f"Cannot read {path}: {error.strerror}.", "Check the path."
        ) from error
    except ValueError as error:  # TOMLDecodeError, or bytes that are not UTF-8
        raise ConventionError(f"{path} is not TOML: {error}.", "Correct the file.") from error
    return _checked({"name": path.stem, "meaning": f"as {path} says", **data}, path)


_TYPES: dict[str, Any] = {
    "name": str, "meaning": str, "mac": int, "products": list, "bias": int, "others": dict,
    "alternatives": list,
}  # fmt: skip


def _checked(data: dict[str, Any], path: Path) -> Convention:
    for key, value in data.items():
        wrong = key not in _TYPES or not isinstance(value, _TYPES[key]) or isinstance(value, bool)
        if wrong or (key == "others" and not all(type(v) is int for v in value.values())):
            raise ConventionError(
                f"{path} has the invalid line '{key} = {value}'.",
                f"A convention has {', '.join(_TYPES)}; counts are whole numbers.",
            )
    unknown = set(data.get("products", ())) - set(PRODUCT_KINDS)
    if unknown:
        raise ConventionError(
            f"{path} has unknown products: {', '.join(sorted(unknown))}.",
            f"The kinds of products are {', '.join(PRODUCT_KINDS)}.",
        )
    tuples: dict[str, Any] = {
        key: tuple(data[key]) for key in ("products", "alternatives") if key in data
    }
    fields: dict[str, Any] = {**data, **tuples}
    return Convention(**fields)
