"""Modules of the user: imports a file, or a module of the current directory, that a user names.

Nothing of the user's takes the place of an installed module. A user's file may import what lies
next to it, but only by names that nothing else has: the finder of these modules comes after all
others, and the folders are not put on `sys.path`. A file has its own name in `sys.modules` if that
name is free, and one with a prefix if it is not, so `torch.py` can be named and `import torch` in
it is still torch. A file that has relative imports is imported as a part of its package.

Files are read anew each time they are imported, never from Python's cache of compiled files.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    ModuleSpec,
    SourceFileLoader,
    SourcelessFileLoader,
)
from pathlib import Path
from types import CodeType, ModuleType
from typing import Literal

Owner = Literal["model", "tool"]
"""What the user's module defines. Models and tools do not see each other's folders as theirs."""


class NotFound(LookupError):  # noqa: N818 - a LookupError is what it is
    """A user's file or module cannot be imported as it is named.

    Attributes:
        message: the reason, as a sentence.
        remedy: what to write instead, as a sentence.
    """

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(f"{message} {remedy}")
        self.message = message
        self.remedy = remedy


class _SourceLoader(SourceFileLoader):
    """A loader that compiles what the file says now.

    Python's cache of compiled files misses an edit that leaves size and second as they were.
    """

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        code: CodeType = self.source_to_code(self.get_data(path), path)
        return code


_LOADERS = (
    (ExtensionFileLoader, EXTENSION_SUFFIXES),
    (_SourceLoader, SOURCE_SUFFIXES),
    (SourcelessFileLoader, BYTECODE_SUFFIXES),
)


class _Folder(FileFinder):
    """A finder of what is in one folder; it takes care of the packages in it too."""

    def find_spec(self, fullname: str, target: ModuleType | None = None) -> ModuleSpec | None:
        found = super().find_spec(fullname, target)
        for place in (found.submodule_search_locations or ()) if found else ():
            _own(Path(place))
        return found


def _own(folder: Path) -> None:
    """Have the modules in a package's folder loaded by `_SourceLoader`."""
    sys.path_importer_cache[str(folder)] = _Folder(str(folder), *_LOADERS)


class _Finder(MetaPathFinder):
    """Finds top-level modules in a user's folders, after all other finders.

    Attributes:
        folders: where to look, in order.
        served: the top-level modules that were found there, or executed from there.
        hidden: whether to find nothing for a while.
    """

    def __init__(self) -> None:
        self.folders: list[Path] = []
        self.served: set[str] = set()
        self.hidden = False

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a top-level module; what is in a package is found by the package's path."""
        if path is not None or self.hidden:
            return None
        specs = (
            _Folder(str(folder), *_LOADERS).find_spec(fullname, target) for folder in self.folders
        )
        found = next((spec for spec in specs if spec), None)
        if found:
            self.served.add(fullname)
        return found

    def begin(self, *folders: Path) -> None:
        """Search these folders from now on, and forget the modules of those before."""
        for name in [each for each in sys.modules if each.partition(".")[0] in self.served]:
            del sys.modules[name]
        self.served.clear()
        self.folders = list(dict.fromkeys(folders))
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        sys.meta_path.append(self)


_finders: dict[Owner, _Finder] = {"model": _Finder(), "tool": _Finder()}


def import_file(path: Path, owner: Owner) -> ModuleType:
    """Import a file by its path; one that imports relative to its package, as a part of that.

    Raises:
        NotFound: there is no such file, it needs a package that it is not in, or its package cannot
            be told from an installed one.
        Exception: whatever the file raises.
    """
    if not path.is_file():
        raise NotFound(f"There is no file '{path}'.", "Check the path before the colon.")
    path = path.parent.resolve() / path.name  # a file that is a link keeps its name
    packages = _packages(path)
    above = [folder.parent for folder in packages[-1:]]
    search_last(owner, path.parent, path.resolve().parent, *above)
    if _imports_relatively(path):
        if not packages:
            raise NotFound(
                f"'{path.name}' has relative imports, and its folder has no __init__.py.",
                f"Write {path.parent.name}.{path.stem}:NAME, in the folder above.",
            )
        return _import_in_package(path, packages, owner)
    stem = path.stem.replace(".", "_")
    free = owner == "model" and _place(stem) in (None, path)
    name = stem if free else f"flopaudit_{owner}_{stem}"
    module = _execute(path, name, owner)
    if owner == "tool":
        del sys.modules[name]  # nothing else imports it, and no model is to depend on it
    return module


def search_last(owner: Owner, *folders: Path) -> None:
    """Find modules in these folders, where nothing else has them, in place of the folders before.

    What was imported from the folders before is forgotten.
    """
    _finders[owner].begin(*folders)


def _imports_relatively(path: Path) -> bool:
    """Whether a file has an import relative to its package, wherever in its code.

    Raises:
        SyntaxError: it is not Python.
    """
    nodes = ast.walk(ast.parse(path.read_bytes(), str(path)))
    return any(isinstance(node, ast.ImportFrom) and node.level > 0 for node in nodes)


def import_module(name: str, owner: Owner) -> ModuleType:
    """Import a module by its name: an installed one, or one of the current directory.

    Raises:
        NotFound: there is no such module.
        Exception: whatever the module raises.
    """
    search_last(owner, Path.cwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or name
        remedy = _remedy(name, missing, owner)
        raise NotFound(f"There is no module '{missing}'.", remedy) from error


def _remedy(name: str, missing: str, owner: Owner) -> str:
    """Return what to write instead of a module's name, which may be that of a file here."""
    file = Path(*name.split(".")).with_suffix(".py")
    what = {"model": "factory", "tool": "TOOL"}[owner]
    if f"{name}.".startswith(f"{missing}.") and file.is_file():
        return f"Write {file}:{what} for the file here, as another package has its name."
    return f"Run where it can be imported, or write path/to/file.py:{what}."


@contextmanager
def hidden(owner: Owner) -> Iterator[None]:
    """Import nothing from a user's folders for a while, as for a tool that they are not part of."""
    finder = _finders[owner]
    finder.hidden = True
    try:
        yield
    finally:
        finder.hidden = False


def belongs_to_user(name: str, owner: Owner) -> bool:
    """Whether the module of that name, which has been imported, was found in a user's folders."""
    return name.partition(".")[0] in _finders[owner].served


def contents(owner: Owner) -> dict[Path, bytes]:
    """Return the files of the modules that were found in a user's folders, with their contents."""
    modules = [each for name, each in sys.modules.items() if belongs_to_user(name, owner)]
    files = (Path(file) for each in modules if (file := getattr(each, "__file__", None)))
    return {file: file.read_bytes() for file in files if file.is_file()}


def _packages(path: Path) -> list[Path]:
    """Return the folders of the packages that a file is in, the innermost first."""
    found: list[Path] = []
    folder = path.parent
    while (folder / "__init__.py").is_file() and folder.name.isidentifier():
        found.append(folder)
        folder = folder.parent
    return found


def _import_in_package(path: Path, packages: Sequence[Path], owner: Owner) -> ModuleType:
    """Import a file as a part of the package that it is in.

    Args:
        path: of the file.
        packages: the folders of the packages that it is in, the innermost first.
        owner: what the module defines.
    """
    top = packages[-1]
    inside = path.relative_to(top).with_suffix("").parts
    parts = inside[:-1] if path.stem == "__init__" else inside
    other = _place(top.name)
    base = top.name
    if other != top / "__init__.py":
        copied = other and other.is_absolute() and other.parent / path.relative_to(top)
        if other and copied and copied.is_file():
            raise NotFound(
                f"'{path}' is in a package '{base}', and another '{base}' is in {other.parent}.",
                f"Write {'.'.join((base, *parts))}:NAME for that one, or rename this one's folder.",
            )
        base = f"flopaudit_{owner}_{base}" if other else base
        _own(top)
        _execute(top / "__init__.py", base, owner)
    module = importlib.import_module(".".join((base, *parts)))
    if not module.__file__ or not path.samefile(module.__file__):
        raise NotFound(
            f"'{path}' is not what its package imports, which is {module.__file__}.",
            f"Write {'.'.join((top.name, *parts))}:NAME for that one.",
        )
    return module


def _place(name: str) -> Path | None:
    """Return the file of the module that a name means without the user's folders; None if none.

    A module without a file, such as one that is built in, gives a path that does not exist.
    """
    if name in sys.builtin_module_names or name in sys.stdlib_module_names:
        return Path(f"<{name}>")
    try:
        with hidden("model"), hidden("tool"):
            found = importlib.util.find_spec(name)
    except (ImportError, ValueError):  # a module that has no spec, such as the program itself
        return Path(f"<{name}>")
    if found is None:
        return None
    return (
        Path(found.origin).resolve() if found.has_location and found.origin else Path(f"<{name}>")
    )


def _execute(path: Path, name: str, owner: Owner) -> ModuleType:
    """Execute a file as the module, or the package, of a name; what fails leaves nothing behind."""
    folders = [str(path.parent)] if path.name == "__init__.py" else None
    spec = ModuleSpec(
        name, _SourceLoader(name, str(path)), origin=str(path), is_package=folders is not None
    )
    spec.submodule_search_locations = folders
    spec.has_location = True
    module = importlib.util.module_from_spec(spec)
    _finders[owner].served.add(name)
    sys.modules[name] = module
    try:
        module.__loader__.exec_module(module)  # type: ignore[union-attr] # the one given above
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module
