"""Files of users' formulas: they are executed here, and what they hold travels to other processes.

Formulas that were registered in a session travel too, pickled as functions.
"""

from __future__ import annotations

import base64
import hashlib
import sys
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from flopaudit.core.errors import UsageError
from flopaudit.core.first_line import named
from flopaudit.reference.kinds import Kind
from flopaudit.reference.user_formulas import registry, torch_registry
from flopaudit.reference.user_formulas.registry import UserFormula


@dataclass(frozen=True)
class FormulaSource:
    """A file of formulas, or one formula of a session, as another process gets it.

    Attributes:
        origin: where it is from, with the beginning of the hash of its content.
        path: of the file; "" for a formula of a session.
        text: the content of the file, or the pickled function in base64.
        operator: of a formula of a session.
        kind: of a formula of a session.
        raw: whether it was registered with torch (see `UserFormula.raw`).
    """

    origin: str
    path: str
    text: str
    operator: str = ""
    kind: str = ""
    raw: bool = False


loaded: dict[str, FormulaSource] = {}
"""The files that have been executed here, by path."""


def load(path: Path) -> None:
    """Execute a file of formulas, unless it has been executed as it is.

    Raises:
        UsageError: the file cannot be read or executed, or one of its formulas not be registered.
    """
    try:
        content = path.read_bytes()
        with tokenize.open(path) as file:  # as Python decodes it
            text = file.read()
    except (OSError, SyntaxError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(
            f"The formulas in {path} cannot be read: {reason}.", "Name a file of Python."
        ) from error
    where = str(path.resolve())
    source = FormulaSource(registry.origin_of_file(where, content), where, text)
    if loaded.get(where) != source:
        _execute(source)


def install(given: Iterable[FormulaSource]) -> None:
    """Register the formulas that another process has handed over.

    Raises:
        UsageError: one of them cannot be executed or registered here.
    """
    for source in given:
        if source.path:
            if loaded.get(source.path) != source:
                _execute(source)
            continue
        import cloudpickle  # type: ignore[import-untyped,unused-ignore] # it ships none

        function = cloudpickle.loads(base64.b64decode(source.text))
        formula = UserFormula(
            source.operator, function, Kind(source.kind), source.origin, raw=source.raw
        )
        registry.add(formula, override=True)


def sources() -> tuple[FormulaSource, ...]:
    """Return all files of formulas and formulas of this session, for another process."""
    files = tuple(source.origin for source in loaded.values())
    in_torch = {
        each.operator: each
        for each in torch_registry.every()
        if not registry.is_counted(each.operator)
    }
    every = {**in_torch, **registry.registered()}.values()
    others = [each for each in every if not each.origin.endswith(files)]
    return (*loaded.values(), *map(_pickled, others))


def _pickled(formula: UserFormula) -> FormulaSource:
    import cloudpickle  # type: ignore[import-untyped,unused-ignore] # it ships none

    try:
        data = base64.b64encode(cloudpickle.dumps(formula.function)).decode()
    except Exception as error:
        raise UsageError(
            f"The formula of {formula.operator} cannot be handed to another process: {error}.",
            "Put it into a file, and name that with --formulas.",
        ) from error
    operator, kind = formula.operator, formula.kind.value
    return FormulaSource(formula.origin, "", data, operator, kind, formula.raw)


@contextmanager
def _siblings_of(path: str) -> Iterator[None]:
    """Let a file import what lies next to it, which is forgotten afterwards.

    A model may have another file of that name next to it.
    """
    folder = str(Path(path).parent)
    before = set(sys.modules)
    sys.path.append(folder)  # at the end: what lies there must not take another's place
    try:
        yield
    finally:
        sys.path.remove(folder)
        for name in set(sys.modules) - before:
            file = Path(getattr(sys.modules[name], "__file__", None) or "")
            top = name.partition(".")[0]
            if file.is_relative_to(folder) and file.relative_to(folder).parts[0] in {
                top,
                f"{top}.py",
            }:
                del sys.modules[name]


def _execute(source: FormulaSource) -> None:
    name = (
        f"flopaudit_formulas_{hashlib.sha256(source.path.encode(errors='replace')).hexdigest()[:8]}"
    )
    module = ModuleType(name)
    module.__file__ = source.path
    sys.modules[name] = module
    registry.known_origins[source.path] = source.origin
    shown = source.origin.partition(" (sha256")[0]
    try:
        code = compile(source.text, source.path, "exec")
        with redirect_stdout(sys.stderr), _siblings_of(source.path):
            exec(code, vars(module))  # noqa: S102 - a file that the user named to be executed
    except UsageError:
        raise
    except SyntaxError as error:
        raise UsageError(
            f"The formulas in {shown} are not Python: {error.msg}, in line {error.lineno}.",
            "Correct the file.",
        ) from error
    except (Exception, SystemExit) as error:
        what = named(error).rstrip(".")
        raise UsageError(f"The formulas in {shown} raised {what}.", "Correct the file.") from error
    loaded[source.path] = source


# -- identity ------------------------------------------------------------------------------------


def digest() -> str:
    """Return a hash of all formulas of users that this process knows; "" if there are none."""
    every = [*registry.registered().values(), *torch_registry.every()]
    lines = [f"{each.operator} {each.kind} {each.origin}" for each in every]
    lines += [f"{source.path} {source.text}" for source in loaded.values()]
    return (
        hashlib.sha256("\n".join(sorted(lines)).encode(errors="replace")).hexdigest()
        if lines
        else ""
    )


def state() -> tuple[int, int]:
    """Return a value that changes whenever a formula is registered here, or with torch."""
    return registry.changes(), torch_registry.size()


def still_hold(uncounted_ops: Iterable[str], user_formulas: Mapping[str, str]) -> bool:
    """Whether a count would be made with the same formulas of users in this process.

    Args:
        uncounted_ops: the operators that it had no formula for.
        user_formulas: those that a user's formula counted, with the origin of each.
    """
    known = {name: _origin(name) for name in (*uncounted_ops, *user_formulas)}
    return all(known[name] is None for name in uncounted_ops) and all(
        known[name] == origin for name, origin in user_formulas.items()
    )


def _origin(operator: str) -> str | None:
    """Return the origin of the formula of an operator, named as a ledger names it."""
    namespace, _, rest = operator.partition(".")
    base, _, overload = rest.partition(".")
    found = registry.find(f"{namespace}::{base}", overload)
    return found.origin if found else None
