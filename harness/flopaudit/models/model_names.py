"""The names of the models of timm and transformers, read without importing them.

Importing one of these libraries takes seconds. The source files of the installed packages are read
instead, so that a name that does not exist is refused, with the closest ones, at once.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from functools import lru_cache
from itertools import chain
from pathlib import Path

from flopaudit.core.errors import UsageError, closest, suggestion
from flopaudit.models import libraries
from flopaudit.models.torchvision_zoo import CatalogueError, torchvision_models

_REGISTERED = re.compile(r"^@register_model\b.*\n(?:@.*\n)*def (\w+)", re.MULTILINE)
_RENAMED = re.compile(
    r"^register_model_deprecations\(__name__, \{(.*?)^\}", re.MULTILINE | re.DOTALL
)
_MAPPING = re.compile(r"^MODEL_MAPPING_NAMES\b.*?^\)", re.MULTILINE | re.DOTALL)
_TYPE = re.compile(r"\(\s*\"([\w.-]+)\",\s*\(?\s*\"(\w+)\"")


def families(source: str) -> Mapping[str, str]:
    """Return the models of timm or transformers, sorted, each with its family.

    The family is the module of timm that defines a model, or the class of transformers that a type
    stands for.

    Raises:
        UsageError: the library is not installed.
    """
    return {"timm": _timm, "transformers": _transformers}[source]()


def check(source: str, name: str) -> None:
    """Refuse a name that timm or transformers does not have.

    Raises:
        UsageError: there is no such model, or the library is not installed.
    """
    libraries.require(source)
    has = {"timm": _timm_has, "transformers": _transformers_has}[source]
    if not has(name):
        raise unknown_model(source, name)


def unknown_model(source: str, name: str) -> UsageError:
    """Return the error for a name that a source does not have.

    Its remedy suggests the closest names, also of other sources; for a name of the Hugging Face
    Hub, such as `google/vit-base-patch16-224`, the type of the model.
    """
    near = close_models(source, name)
    owner, _, short = name.rpartition("/")
    same = [each for each in near if _letters(each.rpartition(":")[2]) == _letters(short)]
    kind = _type_of(name, _names("transformers", ""))
    if kind and owner != "timm" and (owner or not same):
        also = f", or {same[0]}" if same else ""
        return UsageError(
            f"'{name}' looks like a name of the Hugging Face Hub, from which nothing is "
            "downloaded, because weights do not change a count.",
            f"Write transformers:{kind}, with options for another configuration as in "
            f"transformers:{kind}?OPTION=VALUE{also}.",
        )
    listing = "flopaudit models" + ("" if source == "torchvision" else f" --source {source}")
    remedy = suggestion(near) or f"`{listing}` lists them."
    return UsageError(f"There is no {source} model '{name}'.", remedy)


def close_models(source: str, name: str) -> list[str]:
    """Return the models of any source that are closest to a name that one source does not have."""
    owner, _, short = name.rpartition("/")
    base = short.partition(".")[0]
    names = {each: _names(each, base) for each in _PREFIXES}
    if owner == "timm" and base in names["timm"]:
        return [f"timm:{short}"]
    elsewhere = {_PREFIXES[each]: names[each] for each in _PREFIXES if each != source}
    own = set(names[source])
    near = closest(base, names[source], elsewhere)
    return [_PREFIXES[source] + each if each in own else each for each in near]


_PREFIXES = {"torchvision": "", "timm": "timm:", "transformers": "transformers:"}
"""What is written before the models of each source."""


def _letters(name: str) -> str:
    return re.sub(r"[-_]", "", name.lower())


def _names(source: str, like: str) -> list[str]:
    """The names of a source that something may have meant; none if it is not installed."""
    try:
        if source == "torchvision":
            return list(torchvision_models())
        named = families(source)
        is_class = source == "transformers" and like[:1].isupper()
        return [*named, *(_classes() if is_class else ())]
    except (CatalogueError, UsageError):
        return []


# -- the Hugging Face Hub --------------------------------------------------------------------------


def _type_of(name: str, types: list[str]) -> str:
    """Return the type of model that a name of the Hub begins with, or contains; "" if none.

    `google/vit-base-patch16-224` begins with `vit`, `meta-llama/Meta-Llama-3-8B` contains `llama`.
    Only a name with a dash or a slash is taken for one of the Hub.
    """
    words = re.split(r"[-_.]", name.rpartition("/")[2].lower())
    known = {re.sub(r"[-_.]", "", each.lower()): each for each in sorted(types, reverse=True)}
    if not re.fullmatch(r"[\w.-]+/[\w.-]+|\w[\w.]*-[\w.-]+", name):
        return ""
    for start in range(len(words)):
        for end in range(len(words), start, -1):
            found = known.get("".join(words[start:end]))
            if found:
                return found
    return ""


# -- timm ------------------------------------------------------------------------------------------


def _timm_has(name: str) -> bool:
    base, _, _ = name.partition(".")  # after the dot is a tag, which names weights
    return base in families("timm") or name in _renamed_in_timm()


@lru_cache(maxsize=1)
def _timm() -> dict[str, str]:
    found = {
        name: path.stem
        for path in _folder("timm").rglob("*.py")
        for name in _REGISTERED.findall(path.read_text(encoding="utf-8"))
    }
    return dict(sorted(found.items()))


@lru_cache(maxsize=1)
def _renamed_in_timm() -> frozenset[str]:
    """The earlier names of models, which timm still takes."""
    texts = (path.read_text(encoding="utf-8") for path in _folder("timm").rglob("*.py"))
    tables = chain.from_iterable(map(_RENAMED.findall, texts))
    return frozenset(
        chain.from_iterable(re.findall(r"['\"](\w[\w.]*)['\"]\s*:", each) for each in tables)
    )


# -- transformers ----------------------------------------------------------------------------------


def _transformers_has(name: str) -> bool:
    """Whether there is a type of that name, or a class."""
    return name in families("transformers") or (name[:1].isupper() and _has_class(name))


@lru_cache(maxsize=1)
def _transformers() -> dict[str, str]:
    mapping = _MAPPING.search(_automatic())
    return dict(sorted(_TYPE.findall(mapping[0]))) if mapping else {}


def _classes() -> list[str]:
    """The classes that some automatic class of transformers gives for a type."""
    return sorted({name for _, name in _TYPE.findall(_automatic())} - {*_transformers()})


def _automatic() -> str:
    return (_folder("transformers") / "auto" / "modeling_auto.py").read_text(encoding="utf-8")


def _has_class(name: str) -> bool:
    start = f"\nclass {name}(".encode()
    return any(
        start in path.read_bytes() for path in _folder("transformers").rglob("modeling_*.py")
    )


def _folder(source: str) -> Path:
    """Return the folder with the models of a library.

    Raises:
        UsageError: the library is not installed.
    """
    spec = importlib.util.find_spec(source)  # a top-level name: finding imports nothing
    for location in (spec and spec.submodule_search_locations) or ():
        if (Path(location) / "models").is_dir():
            return Path(location) / "models"
    raise UsageError(f"{source} is not installed.", f"pip install 'flopaudit[{source}]'.")
