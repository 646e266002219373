"""Names that are meant to break out of a line, a table or a command, and files that shadow modules.

A run with such names gives the same cells as any other, and shows the names in visible characters.
A file of the current directory that is named like a module is not imported.
"""

from __future__ import annotations

import csv
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from flopaudit.core.errors import UsageError
from flopaudit.studies.campaign_places import (
    MODEL_FILE,
    TIMEOUT_SECONDS,
    TOOLS,
    Cells,
    Done,
    Place,
    cells_in,
)
from flopaudit.studies.campaign_tally import Tally

NAMES = {
    "a newline": "new\nline",
    "an escape sequence": "red\x1b[31m\x1b]0;title\x07",
    "bytes that are not UTF-8": os.fsdecode(b"not\xff\xfeutf8"),
    "a formula": "=cmd|' ",
    "a leading dash": "--out",
    "Markdown and HTML": "a|b<b>`*",
    "formats": "%s{0}$HOME",
    "right to left": "abc\u202egpj",
    "more than ASCII": "ünï☃",
    "200 characters": "x" * 200,
}
"""Names for a folder and a file of models."""

SHADOWS = ("thop", "fvcore", "ptflops", "torch", "json", "typing", "psutil", "pip", "adapters")
"""Modules of the tools, of torch, of Python and of this program."""

_FACTORY = "small"
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_FORMULA = re.compile(r"[=+\-@](?=.)(?![\d.,\s%]+$)", re.DOTALL)
"""What a spreadsheet would compute; a negative number is none."""


def try_name(name: str, place: Place, expected: Cells) -> Tally:
    """Run a model whose file, and whose folder, have a hostile name."""
    text = NAMES[name]
    inner = Place(place.folder / text, place.mark, place.stopped, f"{text}.out")
    file = f"{text}.py"
    shutil.move(inner.folder / MODEL_FILE, inner.folder / file)
    done = inner.run(_arguments(file, inner.out_name))
    unclear = [*_raw(done.stdout, "stdout"), *_raw(done.stderr, "stderr"), *_in_tables(inner.out)]
    return _judged(f"names: {name}", inner, done, expected, unclear)


def try_shadow(module: str, place: Place, expected: Cells) -> Tally:
    """Run a model beside a file that is named like a module."""
    witness = place.folder / "imported"
    (place.folder / f"{module}.py").write_text(
        f"open({str(witness)!r}, 'a').close()\nraise SystemExit('the wrong {module}')\n"
    )
    done = place.run(_arguments(MODEL_FILE, place.out_name))
    problems = [f"{module}.py of the current directory was imported"] if witness.exists() else []
    return _judged(f"shadowing: {module}.py", place, done, expected, problems)


def _arguments(file: str, out: str) -> list[str]:
    return [
        *("run", f"--models={file}:{_FACTORY}", "--input", "1x8", "--tools", ",".join(TOOLS)),
        *(f"--out={out}", "--jobs", "2", "--timeout", str(TIMEOUT_SECONDS)),
    ]


def _judged(fault: str, place: Place, done: Done, expected: Cells, problems: list[str]) -> Tally:
    """Compare the cells of one model, and what the command said."""
    wanted = {n: content for n, content in expected.items() if n.startswith(f"{_FACTORY}: ")}
    left = place.left()
    try:
        found = cells_in(place.out)
    except UsageError as error:
        found = {}
        problems.append(str(error))
    if done.code != 0:
        problems.append(f"the exit code was {done.code}: {done.stderr[-300:]}")
    lost = [name for name in wanted if name not in found]
    there = [name for name in wanted if name in found]
    wrong = [name for name in there if _counts(found, name) != _counts(wanted, name)]
    notes = (*problems, *(f"lost: {n}" for n in lost), *(f"wrong: {n}" for n in wrong))
    return Tally(fault, 1, len(lost), len(wrong), left, len(problems), notes)


def _counts(cells: Cells, name: str) -> str:
    """Return a cell without its findings, which name the model."""
    return cells[name].rpartition(", [")[0]


def _raw(text: str, where: str) -> Iterator[str]:
    found = _CONTROL.search(text)
    if found:
        yield f"{where} has the raw character {found[0]!r}"


def _in_tables(out: Path) -> Iterator[str]:
    """Yield what a table would do to a terminal, a page or a spreadsheet."""
    if not out.is_dir():
        return
    for path in sorted((*out.glob("*.md"), *out.glob("*.csv"))):
        text = path.read_text(encoding="utf-8", errors="replace")
        yield from _raw(text, path.name)
        if path.suffix == ".csv":
            cells = [cell for row in csv.reader(text.splitlines()) for cell in row]
            yield from (f"{path.name} has {c!r}" for c in cells if _FORMULA.match(c))
