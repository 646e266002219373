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
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name, canonicalize_version
from packaging.version import InvalidVersion, Version
from platformdirs import user_cache_path

from flopaudit.core.errors import UsageError
from flopaudit.core.search_path import child_environment, safe_path

VARIABLE = "FLOPAUDIT_TOOLS"
"""The environment variable with the folder to keep versions in, instead of the default one."""

_REQUIREMENT = re.compile(r"^([A-Za-z0-9][\w.-]*)(?:==([A-Za-z0-9][\w.!+-]*))?$")
_ARCHIVES = (".whl", ".zip", ".gz", ".bz2", ".xz", ".tar", ".tgz", ".egg")
"""Endings of what pip would take for a file."""

_PIP_PACKAGES = (
    "PIP_REQUIREMENT",
    "PIP_EDITABLE",
    "PIP_TARGET",
    "PIP_PREFIX",
    "PIP_ROOT",
    "PIP_USER",
)
"""Variables that would have pip install other packages, or to another place."""

_PIP_FILES = frozenset({
    "PIP_CONFIG_FILE", "PIP_CONSTRAINT", "PIP_CERT", "PIP_CLIENT_CERT", "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
})  # fmt: skip
"""Variables that name a file, which may be relative to the current directory."""

Release = tuple[str, str]
"""The name of a distribution and a version of it, "" for any."""

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
    """A version that `install` has kept.

    The name is spelled as packaging does, and the version as it was asked for.
    """

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


def installed(distribution: str, site: Path | None = None) -> metadata.Distribution | None:
    """Return a distribution, as installed or in a folder; None if there is none."""
    return next(iter(metadata.distributions(name=distribution, path=_path(site))), None)


def _path(site: Path | None) -> list[str]:
    """Return where to look for distributions: where workers look for modules, or in a folder."""
    return safe_path() if site is None else [str(site)]


@cache
def version(distribution: str, site: Path | None = None) -> str | None:
    """Return the version of a distribution, installed or in a folder; None if there is none.

    A folder that is named after the distribution and its version, as those of kept versions are,
    says how the version is spelled: 0.7.0 for a distribution that spells it 0.7.
    """
    found = installed(distribution, site)
    if found is None:
        return None
    spelled = _spelled(found, site)
    return found.version if canonical(found.version) == spelled else spelled


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
    path = _path(site)
    start = package.replace(".", "/")
    own = installed(distribution, site)
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


def _spelled(found: metadata.Distribution, folder: Path | None) -> str:
    """Return a distribution's version as the folder spells it that it is kept in."""
    name, version = canonicalize_name(found.metadata["Name"]), canonical(found.version)
    spelled = folder.name.removeprefix(f"{name}-") if folder else version
    return spelled if same(spelled, version) else version


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
    return [
        Kept(canonicalize_name(each.metadata["Name"]), _spelled(each, folder), folder)
        for each in metadata.distributions(path=[str(folder)])
    ]


def install(requirement: str, added: Sequence[str] = ()) -> tuple[Kept, bool]:
    """Keep a released version, and return it and whether it is new here.

    Its folder appears whole or not at all. A folder that lacks one of the packages of `added` is
    made again.

    Args:
        requirement: `NAME==VERSION`.
        added: packages to put into the same folder, as NAME or `NAME==VERSION`: those that the
            version imports and that are not installed here.

    Raises:
        UsageError: the requirement is not `NAME==VERSION`, a package is named in another way, or
            the folder cannot be written.
        PipError: pip could not install it, or installed something else.
    """
    releases = [_release(text) for text in (requirement, *added)]
    name, wanted = releases[0]
    if not wanted:
        raise _not_a_release(requirement)
    there = _find(name, wanted)
    if there and _has(there.folder, releases[1:]):
        return there, False
    try:
        home().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home(), prefix=".") as scratch:
            if there:  # which has been asked for in another spelling
                releases[0] = (name, there.version)
            return _install(releases, Path(scratch, "site"), there)
    except OSError as error:
        raise UsageError(
            f"Cannot write to {home()}: {error.strerror}.", f"Name another folder in ${VARIABLE}."
        ) from error


def _release(text: str) -> Release:
    """Read NAME or `NAME==VERSION`, the name as packaging spells it; "" for no version.

    Raises:
        UsageError: the text is something else, such as an option, a file or an address.
    """
    match = _REQUIREMENT.fullmatch(text)
    if not match or text.lower().endswith(_ARCHIVES):
        raise _not_a_release(text)
    version = match[2] or ""
    try:
        Requirement(text)
    except InvalidRequirement as error:
        raise _not_a_release(text) from error
    return canonicalize_name(match[1]), canonical(version)


def _not_a_release(text: str) -> UsageError:
    return UsageError(
        f"'{text}' is not a version to install.",
        "Write a released one as thop==0.1.1, and packages of --with as NAME or NAME==VERSION.",
    )


def _has(folder: Path, releases: Sequence[Release]) -> bool:
    there = {each.distribution: each.version for each in _in(folder)}
    return all(
        name in there and (not version or same(there[name], version)) for name, version in releases
    )


def _install(releases: Sequence[Release], scratch: Path, old: Kept | None) -> tuple[Kept, bool]:
    """Have pip install releases into a folder, and move it to the kept versions."""
    name, version = releases[0]
    requirements = [f"{each}=={number}" if number else each for each, number in releases]
    _pip(*requirements, "--target", str(scratch))
    strangers = _strangers(scratch, {each for each, _ in releases})
    if strangers:
        raise PipError(f"pip installed {', '.join(strangers)}, which is no release asked for.")
    got = next((each.version for each in _in(scratch) if each.distribution == name), "")
    if not got:
        raise PipError(f"pip installed no distribution named {name}.")
    version = version if same(version, got) else got  # 1.0+cpu, where 1.0 was asked for
    kept = Kept(name, version, home() / f"{name}-{version}")
    if old and old.folder.exists():
        old.folder.rename(scratch.with_name("old"))  # goes with the folder that scratch is in
    new = not kept.folder.exists()  # another run may have been faster
    if new:
        scratch.rename(kept.folder)
    return kept, new


def _pip(*arguments: str) -> None:
    """Run `pip install`, so that nothing of the current directory is imported or installed.

    It runs in an empty folder. The user's configuration of pip applies, except for what names
    packages to install.

    Raises:
        PipError: it failed.
    """
    environment = child_environment()
    for variable in _PIP_FILES & environment.keys():
        environment[variable] = str(Path(environment[variable]).absolute())
    for variable in _PIP_PACKAGES:
        environment.pop(variable, None)
    options = ["-P"] if sys.version_info >= (3, 11) else []
    command = [sys.executable, *options, "-m", "pip", "install", "--no-deps"]
    with tempfile.TemporaryDirectory() as empty:
        done = subprocess.run(  # noqa: S603 - pip of this interpreter; the arguments were checked
            [*command, "--disable-pip-version-check", *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            cwd=empty, env=environment, text=True, check=False,
        )  # fmt: skip
    if done.returncode:
        raise PipError(done.stdout.strip())


def _strangers(folder: Path, names: set[str]) -> list[str]:
    """Return what pip has put into a folder though nobody asked, or from no package index."""
    return [
        str(each.metadata["Name"])
        for each in metadata.distributions(path=[str(folder)])
        if canonicalize_name(each.metadata["Name"]) not in names
        or each.read_text("direct_url.json")
    ]
