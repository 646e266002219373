"""Which models the reference counts, and which operators it has no formula for; a survey in a CSV.

Run as `flopaudit study coverage --source timm`. Each model is counted in a process of
its own, forked off this one, within a time and a memory limit: on meta tensors or, where that fails
and the model is small, for real. A row is appended as soon as it is known, so a survey that was
stopped goes on where it was; at the end the file is put in order. One model of each family comes
first; `--again` tries once more those that were not counted.
"""

from __future__ import annotations

import contextlib
import csv
import importlib
import importlib.util
import io
import multiprocessing
import os
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flopaudit.core.errors import UsageError
from flopaudit.core.specs import parse_inputs
from flopaudit.core.text import one_line
from flopaudit.isolation.scheduler import Limits
from flopaudit.pipeline import model_requests
from flopaudit.records import store

if TYPE_CHECKING:
    from flopaudit.reference.ledger import Ledger

SMALL_PARAMS = 500_000_000  # what may be run for real: 2 GB of float32

# What models import when they are built or run, and what takes seconds.
PRELOAD = (
    "flopaudit.reference.counter",
    "flopaudit.models.build",
    "torch._dynamo",
    "torchvision",
    "transformers.generation",
    "transformers.modeling_layers",
    "transformers.masking_utils",
)

# For a model that does not run on meta as it is and is too large to be run for real. The masks of
# sdpa look at values, and so may caches; those of plain attention do not. Last, fewer layers.
RETRIES = {
    "transformers": (
        "attn_implementation=eager",
        "use_cache=false",
        "num_hidden_layers=2",
        "text_config.num_hidden_layers=2&vision_config.num_hidden_layers=2",
    )
}


@dataclass(frozen=True)
class Surveyed:
    """One row; all but `model` and `seconds` may be empty where a model was not counted.

    Attributes:
        uncounted: operators without a formula and how often each ran: `aten.col2im.default×4`.
        examples: for each of them the call form, and the shapes that went in and came out.
        fallback: why it did not run on meta.
        options: what it was counted with where it could not be as it is.
        error: why it was not counted.
    """

    model: str
    inputs: str = ""
    macs: str = ""
    params: str = ""
    uncounted: str = ""
    examples: str = ""
    device: str = ""
    fallback: str = ""
    options: str = ""
    seconds: str = ""
    error: str = ""


COLUMNS = tuple(field.name for field in fields(Surveyed))


def main(
    source: str, pattern: str, out: Path, limits: Limits, *, again: bool = False
) -> list[Surveyed]:
    """Count every model of a source with the reference; one row for each.

    Args:
        source: torchvision, timm or transformers.
        pattern: a part of a name, or vit_*.
        out: directory for SOURCE.csv.
        limits: of each model.
        again: try again what was not counted.

    Raises:
        UsageError: no model fits the pattern, or the directory cannot be used.
    """
    with store.locked(out):
        path = out / f"{source}.csv"
        if again:
            write(path, [row for row in read(path) if not row.error])
        survey(source, pattern, path, limits)
        return read(path)


def survey(source: str, pattern: str, path: Path, limits: Limits) -> None:
    """Count the models that have no row in the file yet, and put the file in order.

    Raises:
        UsageError: no model fits the pattern, or the file is not a survey.
    """
    rows = {row.model: row for row in read(path)}
    write(path, rows.values())
    names = [name for name in _in_turn(source, pattern) if f"{source}:{name}" not in rows]
    _prepare(source)
    for done, name in enumerate(names, start=1):
        row = _isolated(f"{source}:{name}", limits)
        rows[row.model] = row
        _append(path, row)
        print(f"{done}/{len(names)} {_said(row)}", file=sys.stderr, flush=True)
    write(path, rows.values())


def _said(row: Surveyed) -> str:
    said = row.error or row.uncounted or f"{row.macs} MACs"
    return f"{row.model}: {said} ({row.seconds} s)"


def _in_turn(source: str, pattern: str) -> list[str]:
    """The models a pattern fits: the first of each family, then the second of each, and so on."""
    seen: Counter[str] = Counter()
    turns = []
    for line in model_requests.model_lines(pattern, source):
        turns.append((seen[line["family"]], line["model"]))
        seen[line["family"]] += 1
    return [name for _, name in sorted(turns)]


def _prepare(source: str) -> None:
    """Import here what every child needs, on one thread: threads do not survive a fork."""
    import torch

    from flopaudit.models.libraries import library

    torch.set_num_threads(1)
    if source != "torchvision":
        library(source)
    for name in PRELOAD:
        if importlib.util.find_spec(name.partition(".")[0]):
            importlib.import_module(name)


def _isolated(model: str, limits: Limits) -> Surveyed:
    """The row of one model, whatever becomes of the process that counts it."""
    started = time.monotonic()
    receiver, sender = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(
        target=_child, args=(sender, model, limits.memory_bytes), daemon=True
    )
    child.start()
    sender.close()
    try:
        found = receiver.recv() if receiver.poll(limits.timeout_seconds) else None
    except EOFError:
        child.join()
        row = {"error": f"the process ended with code {child.exitcode}"}
    else:
        row = (
            found
            if found is not None
            else {"error": f"no result within {limits.timeout_seconds:g} seconds"}
        )
    child.kill()
    child.join()
    return Surveyed(model=model, seconds=f"{time.monotonic() - started:.1f}", **row)


def _child(sender: Connection, model: str, memory: int) -> None:
    """Count a model and send what its row is made of."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    try:
        row = _first_that_counts(model)
    except UsageError as error:
        row = {"error": str(error)}
    except Exception as error:  # noqa: BLE001 - a model may raise anything, and that is its row
        row = {"error": one_line(error)}
    sender.send(row)
    sender.close()


def _first_that_counts(model: str) -> dict[str, str]:
    """The row of a model as it is or, where that cannot be counted, with other options."""
    try:
        return _row(model, "")
    except UsageError:
        raise
    except Exception as error:
        for options in RETRIES.get(model.partition(":")[0], ()):
            with contextlib.suppress(Exception):  # the row tells of the first failure
                return {**_row(model, options), "fallback": one_line(error)}
        raise


def _row(model: str, options: str) -> dict[str, str]:
    where = model_requests.model_request(f"{model}?{options}" if options else model)
    ledger, fallback = _ledger(where)
    return {
        "options": options,
        "inputs": " + ".join(where.inputs),
        "macs": str(ledger.macs),
        "params": str(ledger.params),
        "uncounted": "; ".join(f"{op}×{n}" for op, n in sorted(ledger.uncounted_ops.items())),
        "examples": "; ".join(_examples(ledger)),
        "device": ledger.device,
        "fallback": fallback,
    }


def _ledger(where: model_requests.ModelRequest) -> tuple[Ledger, str]:
    """The ledger, and why it is not one of meta tensors, if it is not."""
    import torch

    from flopaudit.models.build import build, make_inputs, make_kwargs
    from flopaudit.reference.counter import count

    specs = parse_inputs(where.inputs)
    model: Any = None
    try:
        with torch.device("meta"):
            model = build(where.spec)
            args, kwargs = make_inputs(specs), make_kwargs(specs)
            return count(model, *args, device="meta", **kwargs), ""
    except Exception as error:
        if model is not None and sum(p.numel() for p in model.parameters()) > SMALL_PARAMS:
            raise
        reason = one_line(error)
    try:
        ledger = count(build(where.spec), *make_inputs(specs), device="own", **make_kwargs(specs))
    except Exception as error:
        raise RuntimeError(f"{one_line(error)}; and on meta: {reason}") from error
    return ledger, reason


def _examples(ledger: Ledger) -> Iterator[str]:
    """For each uncounted operator, its first call."""
    first = {row.operator: row for row in reversed(ledger.rows)}
    for operator in sorted(ledger.uncounted_ops):
        row = first[operator]
        given, made = (", ".join(map(_shape, shapes)) for shapes in (row.inputs, row.outputs))
        yield f"{operator}: {row.form} in {row.type}: {given} to {made}"


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def read(path: Path) -> list[Surveyed]:
    """The rows of a survey, none if there is none; half a line at its end is left out.

    Raises:
        UsageError: the file has other columns.
    """
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    header, *lines = csv.reader(io.StringIO(text[: text.rfind("\n") + 1])) or [[]]
    if tuple(header) != COLUMNS:
        raise UsageError(f"{path} has other columns than a survey.", "Give another --out.")
    return [Surveyed(*line) for line in lines]


def write(path: Path, rows: Iterable[Surveyed]) -> None:
    """Replace the file by these rows, in order."""
    ordered = sorted(rows, key=lambda row: row.model)
    store.write_whole(path, _csv([list(COLUMNS), *(list(asdict(row).values()) for row in ordered)]))


def _append(path: Path, row: Surveyed) -> None:
    with path.open("a", encoding="utf-8", newline="") as file:
        file.write(_csv([list(asdict(row).values())]))
        file.flush()
        os.fsync(file.fileno())


def _csv(lines: list[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()
