"""Surveys which models the reference counts, and which operators have no formula; writes a CSV.

`flopaudit study coverage` runs it. Each model is counted in a process of its own, forked off this
one, within a time and a memory limit: on meta tensors or, if that fails and the model is small, on
real ones. A row is appended as soon as it is known, so that a survey that was stopped can continue;
at the end the file is sorted. The first model of each family comes first.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import multiprocessing
import os
import resource
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flopaudit.core.errors import UsageError
from flopaudit.core.files import read_text, require_regular, writing
from flopaudit.core.specs import parse_inputs
from flopaudit.core.text import one_line, visible
from flopaudit.isolation.jobs import Limits
from flopaudit.pipeline import model_requests
from flopaudit.records import store
from flopaudit.reports.escaping import csv_lines, csv_rows
from flopaudit.reports.terminal import print_message
from flopaudit.studies.table_files import write_csv

if TYPE_CHECKING:
    from flopaudit.reference.ledger import Ledger

SMALL_PARAMS = 500_000_000
"""The most parameters of a model that may run on real tensors: 2 GB of float32."""

# Modules that models import when they are built or run, and that take seconds to import.
PRELOAD = (
    "flopaudit.reference.counter",
    "flopaudit.models.build",
    "torch._dynamo",
    "torchvision",
    "transformers.generation",
    "transformers.modeling_layers",
    "transformers.masking_utils",
)

# Options for a model that does not run on meta as it is and is too large for real tensors. The
# masks of sdpa depend on values, and so may caches; those of plain attention do not. The last
# resort is fewer layers.
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
    """One row; only `model` and `seconds` are always set.

    Attributes:
        uncounted: operators without a formula and how often each ran: `aten.col2im.default×4`.
        examples: the call form and the shapes of inputs and outputs of each of them.
        fallback: the reason why the model did not run on meta.
        options: the options that it was counted with, if it could not be counted as it is.
        error: the reason why it was not counted.
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
    """Count every model of a source with the reference, and return a row for each.

    Args:
        source: torchvision, timm or transformers.
        pattern: a part of a model name, or a pattern such as vit_*.
        out: directory for SOURCE.csv.
        limits: the time and memory limit of each model.
        again: whether to count models again that have no count.

    Raises:
        UsageError: no model matches the pattern, or the directory cannot be used.
    """
    with store.locked(out):
        path = out / f"{source}.csv"
        if again:
            write(path, [row for row in read(path) if not row.error])
        survey(source, pattern, path, limits)
        return read(path)


def survey(source: str, pattern: str, path: Path, limits: Limits) -> None:
    """Count the models that have no row in the file yet, and sort the file.

    Raises:
        UsageError: no model matches the pattern, or the file is not a survey.
    """
    rows = {row.model: row for row in read(path)}
    write(path, rows.values())
    names = [name for name in _in_turn(source, pattern) if f"{source}:{name}" not in rows]
    _prepare(source)
    for done, name in enumerate(names, start=1):
        row = _isolated(f"{source}:{name}", limits)
        rows[row.model] = row
        _append(path, row)
        print_message(visible(f"{done}/{len(names)} {_progress(row)}"))
    write(path, rows.values())


def _progress(row: Surveyed) -> str:
    result = row.error or row.uncounted or f"{row.macs} MACs"
    return f"{row.model}: {result} ({row.seconds} s)"


def _in_turn(source: str, pattern: str) -> list[str]:
    """List the models that match: the first of each family, then the second of each, and so on."""
    seen: Counter[str] = Counter()
    turns = []
    for line in model_requests.model_lines(pattern, source):
        turns.append((seen[line["family"]], line["model"]))
        seen[line["family"]] += 1
    return [name for _, name in sorted(turns)]


def _prepare(source: str) -> None:
    """Import the modules that every child needs, on one thread: threads do not survive a fork."""
    import torch

    from flopaudit.models.libraries import library

    torch.set_num_threads(1)
    if source != "torchvision":
        library(source)
    for name in PRELOAD:
        if importlib.util.find_spec(name.partition(".")[0]):
            importlib.import_module(name)


def _isolated(model: str, limits: Limits) -> Surveyed:
    """Count one model in a child process, and return its row however the process ends."""
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
    """Count a model and send the fields of its row."""
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
    """Count a model as it is or, if that fails, with other options; return its fields."""
    try:
        return _row(model, "")
    except UsageError:
        raise
    except Exception as error:
        for options in RETRIES.get(model.partition(":")[0], ()):
            with contextlib.suppress(Exception):  # the row reports the first failure
                return {**_row(model, options), "fallback": one_line(error)}
        raise


def _row(model: str, options: str) -> dict[str, str]:
    request = model_requests.model_request(f"{model}?{options}" if options else model)
    ledger, fallback = _ledger(request)
    return {
        "options": options,
        "inputs": " + ".join(request.inputs),
        "macs": str(ledger.macs),
        "params": str(ledger.params),
        "uncounted": "; ".join(f"{op}×{n}" for op, n in sorted(ledger.uncounted_ops.items())),
        "examples": "; ".join(_examples(ledger)),
        "device": ledger.device,
        "fallback": fallback,
    }


def _ledger(request: model_requests.ModelRequest) -> tuple[Ledger, str]:
    """Count a model; return the ledger, and the reason if it could not be counted on meta."""
    import torch

    from flopaudit.models.build import build, make_inputs, make_kwargs
    from flopaudit.reference.counter import count

    specs = parse_inputs(request.inputs)
    model: Any = None
    try:
        with torch.device("meta"):
            model = build(request.spec)
            args, kwargs = make_inputs(specs), make_kwargs(specs)
            return count(model, *args, device="meta", **kwargs), ""
    except Exception as error:
        if model is not None and sum(p.numel() for p in model.parameters()) > SMALL_PARAMS:
            raise
        reason = one_line(error)
    try:
        ledger = count(build(request.spec), *make_inputs(specs), device="own", **make_kwargs(specs))
    except Exception as error:
        raise RuntimeError(f"{one_line(error)}; and on meta: {reason}") from error
    return ledger, reason


def _examples(ledger: Ledger) -> Iterator[str]:
    """Describe the first call of each uncounted operator."""
    first = {row.operator: row for row in reversed(ledger.rows)}
    for operator in sorted(ledger.uncounted_ops):
        row = first[operator]
        given, made = (", ".join(map(_shape, shapes)) for shapes in (row.inputs, row.outputs))
        yield f"{operator}: {row.form} in {row.type}: {given} to {made}"


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def read(path: Path) -> list[Surveyed]:
    """Read the rows of a survey; none if there is no file; an incomplete last line is left out.

    Raises:
        UsageError: the file has other columns.
    """
    remedy = "Move it away, or use another --out."
    require_regular(path, remedy)
    if not path.exists():
        return []
    text = read_text(path, remedy)
    header, *lines = csv_rows(text[: text.rfind("\n") + 1]) or [[]]
    if tuple(header) != COLUMNS:
        raise UsageError(f"{path} has other columns than a survey.", "Choose another --out.")
    return [Surveyed(*line) for line in lines]


def write(path: Path, rows: Iterable[Surveyed]) -> None:
    """Replace the file by these rows, sorted by model."""
    ordered = sorted(rows, key=lambda row: row.model)
    write_csv(path, COLUMNS, (list(asdict(row).values()) for row in ordered))


def _append(path: Path, row: Surveyed) -> None:
    with writing(path), path.open("a", encoding="utf-8", newline="") as file:
        file.write(csv_lines([list(asdict(row).values())]))
        file.flush()
        os.fsync(file.fileno())
