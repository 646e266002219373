"""Identity of a model: what defines it, so that a stored count is reused only for the same model.

`identity` describes a model that has been built, which needs torch. `difference` finds out without
torch whether a model of a library is still defined as it was. A user's own model has to be built to
know: its factory may read anything.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flopaudit.core.checksum import file_digest
from flopaudit.core.input_values import CallSpec, FileSpec, inside
from flopaudit.core.specs import LIBRARIES, PROBE, SEED, ModelSpec, parse_inputs
from flopaudit.tools.versions import version

if TYPE_CHECKING:
    import torch

    from flopaudit.records.schema import ModelIdentity

_PACKAGED = ("torchvision", *LIBRARIES, PROBE)
"""Sources whose models are defined by installed files alone."""


def identity(
    spec: ModelSpec,
    texts: tuple[str, ...],
    model: torch.nn.Module,
    inputs: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> ModelIdentity:
    """Return the identity of a model that has been built, with its inputs.

    Args:
        spec: the model spec.
        texts: the inputs as they were requested.
        model: the model.
        inputs: its inputs by position.
        kwargs: its inputs by keyword.
    """
    from flopaudit.models.structure import code_modules, inputs_digest, structure_digest
    from flopaudit.records.schema import ModelIdentity

    modules = sorted(code_modules(model))
    parts: dict[str, Any] = {
        "seed": SEED,
        "structure": structure_digest(model),
        "inputs_digest": inputs_digest(inputs, kwargs),
        "sources": dict(sorted(_sources(modules, spec, texts))),
        "versions": dict(sorted(_versions(modules, spec))),
    }
    return ModelIdentity(
        model=str(spec), inputs=texts, fingerprint=_fingerprint(parts, texts), **parts
    )


def _fingerprint(parts: Mapping[str, Any], texts: tuple[str, ...]) -> str:
    return hashlib.sha256(repr((sorted(parts.items()), texts)).encode()).hexdigest()[:32]


def difference(
    seed: int, distributions: Mapping[str, str], sources: Mapping[str, str]
) -> str | None:
    """Return what has changed in the definition of a library's model; None if nothing has.

    Imports nothing: the versions of distributions and the content of source files are compared.

    Args:
        seed: the seed that was recorded.
        distributions: the recorded versions of distributions.
        sources: the recorded digests of source files.
    """
    if seed != SEED:
        return f"seed {seed} → {SEED}"
    for name, before in distributions.items():
        now = version(name) or "none"
        if now != before:
            return f"{name} {before} → {now}"
    return next((f"{n} changed" for n, old in sources.items() if _installed_digest(n) != old), None)


def is_packaged(spec: ModelSpec, texts: Iterable[str]) -> bool:
    """Whether installed files alone define a model and its inputs, so `difference` can compare it.

    Args:
        spec: the model spec.
        texts: its inputs, in the notation of the command line.
    """
    values = (value for each in parse_inputs(texts) for value in inside(each.value))
    return spec.source in _PACKAGED and not any(
        isinstance(value, (FileSpec, CallSpec)) for value in values
    )


def changes(before: ModelIdentity, now: ModelIdentity) -> str:
    """Return in a few words why two identities differ: the most telling of their differences."""
    for name in sorted(before.versions.keys() | now.versions.keys()):
        old, new = (each.versions.get(name, "none") for each in (before, now))
        if old != new:
            return f"{name} {old} → {new}"
    for name in sorted(before.sources.keys() | now.sources.keys()):
        if before.sources.get(name) != now.sources.get(name):
            return f"{name} changed"
    if before.structure != now.structure:
        return "the model has another structure"
    if before.inputs_digest != now.inputs_digest:
        return "its inputs changed"
    return "the model changed"


# -- source files ----------------------------------------------------------------------------------


def _sources(
    modules: Sequence[str], spec: ModelSpec, texts: Iterable[str]
) -> Iterator[tuple[str, str]]:
    """Yield the source files that define a model, by a name that is the same on every machine.

    Of installed packages, these are the files with the model's code. Of the user's own code, they
    are all files that have been imported, because constants count too, and those of inputs.
    """
    from flopaudit.models.inputs import content_digests

    yield from content_digests(parse_inputs(texts)).items()
    for module in modules:
        file = getattr(sys.modules.get(module), "__file__", None)
        if file and _is_installed(Path(file)):
            yield _portable(module, Path(file)), file_digest(Path(file))
    if spec.source not in _PACKAGED:
        for name, file in _own_files():
            yield name, file_digest(file)


def _own_files() -> Iterator[tuple[str, Path]]:
    """Yield the names and files of imported modules that no installation has put in place.

    Files of formulas are not of the model, and those of adapters are not among the modules.
    """
    for name, module in list(sys.modules.items()):
        file = Path(getattr(module, "__file__", None) or "")
        if name.startswith("flopaudit_formulas_"):
            continue
        if file.suffix == ".py" and file.is_file() and not _is_installed(file):
            yield f"{name.replace('.', '/')}.py", file


def _portable(module: str, file: Path) -> str:
    """Return a file's place below the folder that Python found its package in."""
    depth = module.count(".") + (file.stem == "__init__")
    return "/".join(file.parts[-depth - 1 :])


def _is_installed(file: Path) -> bool:
    """Whether a file belongs to Python, to an installed package or to this program."""
    return any(file.resolve().is_relative_to(folder) for folder in _installed_folders())


@lru_cache(maxsize=1)
def _installed_folders() -> tuple[Path, ...]:
    paths = sysconfig.get_paths()
    found = {Path(paths[name]).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    found |= {Path(place).resolve() for place in sys.path if Path(place).name == "site-packages"}
    packages = map(_folder, ("flopaudit", "flopaudit_adapters", "torchvision", *LIBRARIES))
    return tuple(found.union(filter(None, packages)))


@lru_cache(maxsize=32)
def _folder(package: str) -> Path | None:
    """Return the folder of a package, which need not be imported for that; None without one."""
    found = importlib.util.find_spec(package)
    places = list(found.submodule_search_locations or ()) if found else []
    return Path(places[0]).resolve() if places else None


def _installed_digest(name: str) -> str | None:
    """Return the digest of an installed source file now; None if there is no such file."""
    package, _, rest = name.partition("/")
    folder = _folder(package)
    file = folder / rest if folder else None
    return file_digest(file) if file and file.is_file() else None


# -- versions --------------------------------------------------------------------------------------


def _versions(modules: Sequence[str], spec: ModelSpec) -> Iterator[tuple[str, str]]:
    """Yield the distributions that define a model, and their versions."""
    packages = {module.partition(".")[0] for module in modules}
    if spec.source in (*LIBRARIES, "torchvision"):
        packages.add(spec.source)
    for package in {"torch", *packages} - {"flopaudit"}:
        for name in [package] if version(package) else _distributions().get(package, []):
            yield name, version(name) or "none"


@lru_cache(maxsize=1)
def _distributions() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()
