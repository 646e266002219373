"""Versions of tools other than the installed ones, each in a folder of its own.

A version is a folder made by `pip install --no-deps --target FOLDER TOOL==VERSION`. It is named
with its folder, `thop@FOLDER`, or by its version, `thop==VERSION`, once `install` has put it into
the user's folder of kept versions. Nothing in these folders is imported here.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import metadata
from pathlib import Path

from packaging.utils import canonicalize_name, canonicalize_version
from packaging.version import InvalidVersion, Version
from platformdirs import user_cache_path

from flopaudit.core.errors import UsageError

VARIABLE = "FLOPAUDIT_TOOLS"
"""The environment variable with the folder to keep versions in, instead of the default one."""

_REQUIREMENT = re.compile(r"^([A-Za-z0-9][\w.-]*)(?:==([A-Za-z0-9][\w.!+-]*))?$")
_SHARED = "torch"
"""The distribution that is imported once, for all tools."""


@dataclass(frozen=True)
class Named:
    """A tool as a user names it, with the requested `version` or `folder`, which may be empty.

    A name may contain colons, as in `ptflops:aten` or `file.py:TOOL`, but a version or a folder may
    not: text with a colon is part of the name.
    """

    name: str
    version: str | None = None
    folder: str | None = None


@dataclass(frozen=True, order=True)
class Kept:
    """A version that `install` has kept; name and version are spelled as packaging does."""

    distribution: str
    version: str
    folder: Path

    def __str__(self) -> str:
        return f"{self.distribution}=={self.version}"

    @property
    def folder_name(self) -> str:
        """The name of its folder among the kept versions."""
        return f"{self.distribution}-{self.version}"


class PipError(Exception):
    """Pip could not install; the message is its output."""


@cache
def version(distribution: str, site: Path | None = None) -> str | None:
    """Return the version of a distribution, installed or in a folder; None if there is none."""
    path = sys.path if site is None else [str(site)]
    return next((e.version for e in metadata.distributions(name=distribution, path=path)), None)


def overwritten(distribution: str, package: str, site: Path | None = None) -> Mapping[str, str]:
    """Return the files of a package that were overwritten, and the distributions they now are of.

    Two distributions may contain the same package: pip silently lets the second overwrite the
    first. The distribution that a file is now of is found in the records of everything installed
    there; "" if none has such a file.

    Args:
        distribution: the distribution that the package should be of.
        package: the name that the package is imported by.
        site: the folder that it is in, unless it is the installed one.
    """
    if distribution == _SHARED:
        return {}  # many thousand files, and no other distribution contains any of them
    path = sys.path if site is None else [str(site)]
    start = package.replace(".", "/")
    own = next(iter(metadata.distributions(name=distribution, path=path)), None)
    changed = {
        str(file): digest
        for file, recorded in (_recorded(own) if own else ())
        if str(file).startswith((f"{start}/", f"{start}."))
        and (digest := _digest(file)) != recorded
    }
    return {file: _owner(file, digest, path) for file, digest in changed.items()}


def _recorded(installed: metadata.Distribution) -> Iterator[tuple[metadata.PackagePath, str]]:
    """Yield the files of a distribution, and the digests that they were installed with."""
    for file in installed.files or ():
        if file.hash and file.hash.mode == "sha256":
            yield file, file.hash.value


def _digest(file: metadata.PackagePath) -> str:
    """Return the digest of a file as it is now, spelled as in a record; "" if the file is gone."""
    try:
        content = Path(str(file.locate())).read_bytes()
    except OSError:
        return ""
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def _owner(file: str, digest: str, path: list[str]) -> str:
    """Return the distribution that has a file with this digest; "" if none has."""
    for each in metadata.distributions(path=path):
        if any(str(other) == file and has == digest for other, has in _recorded(each)):
            return canonicalize_name(each.metadata["Name"])
    return ""


def canonical(version: str | None) -> str:
    """Return the canonical spelling of a version: 0.1-22 is 0.1.post22; "" for none."""
    try:
        return str(Version(version)) if version else ""
    except InvalidVersion:
        return version or ""


def same(one: str | None, other: str | None) -> bool:
    """Whether two spellings, such as 1 and 1.0, are of one version; none equals only none."""
    return canonicalize_version(one or "") == canonicalize_version(other or "")


_VARIANT_LAST = re.compile(r"(?P<name>[\w-]+)==(?P<version>[\w.+!-]+):(?P<variant>\w+)$")


def parse(text: str) -> Named:
    """Read `NAME`, `NAME@FOLDER` or `NAME==VERSION`; `:VARIANT` follows the name or comes last."""
    swapped = _VARIANT_LAST.match(text)
    if swapped:
        return Named(f"{swapped['name']}:{swapped['variant']}", version=swapped["version"])
    for sign in ("@", "=="):
        name, found, rest = text.rpartition(sign)
        if found and ":" not in rest:
            return Named(name, folder=rest) if sign == "@" else Named(name, version=rest)
    return Named(text)


def place(named: Named, distribution: str) -> Path | None:
    """Return the folder with the requested version; None for the installed one.

    Raises:
        UsageError: there is no such folder, or the version is not kept.
    """
    if named.folder is None and named.version is None:
        return None
    if named.version and same(named.version, version(distribution)):
        return None
    if distribution == _SHARED:
        raise UsageError(
            f"'{named.name}' is part of torch, and all tools share one torch.",
            "Run flopaudit where that torch is installed.",
        )
    return _kept_folder(named, distribution) if named.folder is None else _given_folder(named)


def _given_folder(named: Named) -> Path:
    path = _expanded(Path(named.folder or ""))
    if not named.folder or not path.is_dir():
        raise UsageError(
            f"There is no folder '{named.folder}' with a version of {named.name}.",
            "`python -m pip install --no-deps --target FOLDER TOOL==VERSION` makes one.",
        )
    return path.resolve()


def _kept_folder(named: Named, distribution: str) -> Path:
    found = _find(distribution, named.version or "")
    if found:
        return found.folder
    raise UsageError(
        f"There is no {distribution} {named.version} here.",
        f"`flopaudit install {distribution}=={named.version}` gets it.",
    )


def home() -> Path:
    """Return the folder that versions are kept in; it may not exist yet.

    Raises:
        UsageError: the user has no home directory, as in a container that runs under any user id.
    """
    if os.environ.get(VARIABLE):
        return _expanded(Path(os.environ[VARIABLE])).resolve()
    given = os.environ.get("XDG_CACHE_HOME")  # on macOS, only recent platformdirs read it
    folder = Path(given, "flopaudit") if given else _user_cache()
    return folder.resolve() / "tools"


def _user_cache() -> Path:
    try:
        folder = user_cache_path("flopaudit", appauthor=False)
    except RuntimeError as error:
        raise _homeless() from error
    if not folder.is_absolute():  # earlier platformdirs leave the ~ where it is
        raise _homeless()
    return folder


def _expanded(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise _homeless() from error


def _homeless() -> UsageError:
    return UsageError(
        "This user has no home directory to keep tools in.",
        f"Name a folder in ${VARIABLE}, or set HOME.",
    )


def kept() -> list[Kept]:
    """Return all kept versions, by name and version, without other packages in their folders.

    A user without a home directory has kept none.
    """
    with contextlib.suppress(UsageError):
        return _kept_in(home())
    return []


def _kept_in(home: Path) -> list[Kept]:
    folders = (path for path in home.glob("[!.]*") if path.is_dir())
    found = (each for folder in folders for each in _in(folder))
    return sorted(each for each in found if each.folder.name == each.folder_name)


def _find(distribution: str, version: str) -> Kept | None:
    named = (each for each in kept() if each.distribution == canonicalize_name(distribution))
    return next((each for each in named if same(each.version, version)), None)


def _in(folder: Path) -> list[Kept]:
    found = metadata.distributions(path=[str(folder)])
    names = ((canonicalize_name(each.metadata["Name"]), each.version) for each in found)
    return [Kept(name, canonical(version), folder) for name, version in names]


def install(requirement: str, added: Sequence[str] = ()) -> tuple[Kept, bool]:
    """Keep a version, and return it and whether it is new here.

    Its folder appears whole or not at all. A folder that lacks one of the packages of `added` is
    made again.

    Args:
        requirement: `NAME==VERSION`.
        added: packages to put into the same folder: those that the version imports and that are
            not installed here.

    Raises:
        UsageError: the requirement is not `NAME==VERSION`, or the folder cannot be written.
        PipError: pip could not install it.
    """
    matches = [_REQUIREMENT.match(text) for text in (requirement, *added)]
    if not all(matches) or not matches[0] or not matches[0][2]:
        odd = next((t for t, m in zip((requirement, *added), matches, strict=True) if not m), "")
        raise UsageError(
            f"'{odd or requirement}' is not a version to install.", "Write it as thop==0.1.1."
        )
    there = _find(matches[0][1], matches[0][2])
    if there and _has(there.folder, [match[1] for match in matches[1:] if match]):
        return there, False
    try:
        home().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home(), prefix=".") as scratch:
            scratched = Path(scratch, "site")
            return _install([requirement, *added], matches[0][1], scratched, there)
    except OSError as error:
        raise UsageError(
            f"Cannot write to {home()}: {error.strerror}.", f"Name another folder in ${VARIABLE}."
        ) from error


def _has(folder: Path, names: Sequence[str]) -> bool:
    return {canonicalize_name(name) for name in names} <= {
        each.distribution for each in _in(folder)
    }


def _install(
    requirements: Sequence[str], name: str, scratch: Path, old: Kept | None
) -> tuple[Kept, bool]:
    options = ["--no-deps", "--disable-pip-version-check", "--target", str(scratch)]
    done = subprocess.run(  # noqa: S603 - pip of this interpreter; the requirements were checked
        [sys.executable, "-m", "pip", "install", *options, *requirements],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    found = [each for each in _in(scratch) if each.distribution == canonicalize_name(name)]
    if done.returncode or not found:
        raise PipError(done.stdout.strip())
    folder = home() / found[0].folder_name
    if old and old.folder.exists():
        old.folder.rename(scratch.with_name("old"))  # goes with the folder that scratch is in
    new = not folder.exists()  # another run may have been faster
    if new:
        scratch.rename(folder)
    return replace(found[0], folder=folder), new
