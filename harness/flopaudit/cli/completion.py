"""Completion of names in the shell: models, tools, probes and conventions.

Each function takes the text before the cursor and returns what it can become. Names are read
without torch, so that the shell answers at once; those of timm and transformers once their colon is
written.

Bash splits words at `:` and `=` and replaces only the piece at the cursor: `complete_in_bash` puts
the words together before they are read, and prints that piece alone.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping

_INSTRUCTION, _WORDS, _INDEX = "_FLOPAUDIT_COMPLETE", "COMP_WORDS", "COMP_CWORD"
_BREAKS = re.compile(r"[:=]+")


def model(incomplete: str) -> list[str]:
    """Complete a model spec."""
    return _starting(incomplete, _models(incomplete))


def model_list(incomplete: str) -> list[str]:
    """Complete the last element of a comma-separated list of models."""
    return _last_element(incomplete, _models(incomplete.rpartition(",")[2]))


def tool_list(incomplete: str) -> list[str]:
    """Complete the last element of a comma-separated list of tools."""
    return _last_element(incomplete, _tools())


def probe_pattern(incomplete: str) -> list[str]:
    """Complete a group of probes, and after its slash a probe."""
    from flopaudit import probes

    groups = dict.fromkeys(name.partition("/")[0] for name in probes.PROBES)
    return _starting(incomplete, probes.PROBES if "/" in incomplete else groups)


def convention(incomplete: str) -> list[str]:
    """Complete a convention, and after a plus what it adds."""
    from flopaudit.reference.conventions import ADDABLE, BUILT_IN

    base, plus, _ = incomplete.rpartition("+")
    if not plus:
        return _starting(incomplete, BUILT_IN)
    present = base.split("+")
    added = (name for name in ("bias", *ADDABLE) if name not in present)
    return _starting(incomplete, (f"{base}+{name}" for name in added))


def _models(incomplete: str) -> list[str]:
    from flopaudit.core.errors import UsageError
    from flopaudit.core.specs import LIBRARIES, PROBE, SOURCE_ALIASES
    from flopaudit.models import model_names
    from flopaudit.models.torchvision_zoo import torchvision_models

    if incomplete.startswith(f"{PROBE}:"):
        from flopaudit import probes

        return [f"{PROBE}:{name}" for name in probes.PROBES]
    library, colon, _ = incomplete.partition(":")
    if colon and (source := SOURCE_ALIASES.get(library, library)) in LIBRARIES:
        with contextlib.suppress(UsageError):  # a library that is not installed has no names
            return [f"{library}:{name}" for name in model_names.families(source)]
    return [*torchvision_models(), *(f"{source}:" for source in (*LIBRARIES, PROBE))]


def _tools() -> list[str]:
    """Return the tools with their variants, and the versions that are kept."""
    from flopaudit_adapters import NAMES, find

    from flopaudit.tools import versions

    kept = versions.kept()
    names: list[str] = []
    for tool in map(find, NAMES):
        own = [str(each.version) for each in kept if each.distribution == tool.distribution]
        named = [tool.name, *(f"{tool.name}:{variant}" for variant in tool.variants)]
        names += [*named, *(f"{name}=={version}" for version in own for name in named)]
    return names


def _last_element(incomplete: str, names: Iterable[str]) -> list[str]:
    """Complete the last element of a list; what is in the list already is not proposed."""
    before, comma, last = incomplete.rpartition(",")
    present = before.split(",")
    return [f"{before}{comma}{name}" for name in _starting(last, names) if name not in present]


def _starting(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


# -- bash ------------------------------------------------------------------------------------------


def is_bash(environment: Mapping[str, str]) -> bool:
    """Whether bash runs the program to complete a command line."""
    return environment.get(_INSTRUCTION) == "complete_bash" and _WORDS in environment


def complete_in_bash(program: Callable[[], object]) -> None:
    """Run the program to complete a word for bash.

    Args:
        program: prints what the word can become, one a line, and exits.
    """
    os.environ.update(joined_words(os.environ))
    word = os.environ[_WORDS].split("\n")[int(os.environ[_INDEX])]
    value = word.partition("=")[2] if word.startswith("--") and "=" in word else word
    start = max((each.end() for each in _BREAKS.finditer(value)), default=0)
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            program()
    finally:
        sys.stdout.writelines(line[start:] for line in printed.getvalue().splitlines(keepends=True))


def joined_words(environment: Mapping[str, str]) -> dict[str, str]:
    """Put words together again that bash has split at `:` and `=`.

    Args:
        environment: what bash has set: the words, with line ends between them, and the index of the
            word at the cursor.

    Returns:
        The same two variables with the words put together.
    """
    words, index = environment[_WORDS].split("\n"), int(environment[_INDEX])
    words += [""] * (index + 1 - len(words))
    joined: list[str] = []
    current = 0
    for number, word in enumerate(words):
        if joined and (_BREAKS.fullmatch(word) or _BREAKS.search(joined[-1][-1:])):
            joined[-1] += word
        else:
            joined.append(word)
        if number == index:
            current = len(joined) - 1
    return {_WORDS: "\n".join(joined), _INDEX: str(current)}
