"""A model and its arguments come in, the graph that torch.export traces of them goes out.

Nothing is run and no parameter is copied: the model is traced over meta tensors or, where that
fails, over fake ones that stand for its own. What cannot be traced raises `NotExportable`.
"""

from __future__ import annotations

import copy
import io
import logging
import os
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
)
from torch.export import ExportedProgram
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode
from torch.utils._pytree import tree_map_only

from flopaudit.reference.ledger_entries import to_meta


class NotExportable(Exception):  # noqa: N818 - an outcome of the model, not a fault of the caller
    """The model's cost cannot be read from an exported graph; the message says why."""


class _Way(NamedTuple):
    """One way to export: where the parameters are, and whether torch reads the bytecode."""

    device: str
    strict: bool


_DATA_DEPENDENT = (
    GuardOnDataDependentSymNode,
    DataDependentOutputException,
    DynamicOutputShapeException,
)
_WAYS = (_Way("meta", strict=False), _Way("own", strict=False), _Way("own", strict=True))


def export(model: torch.nn.Module, args: Any, kwargs: Any) -> tuple[ExportedProgram, str | None]:
    """The program made the first way that succeeds, and why it was not the very first."""
    reasons: list[str] = []
    for way in _WAYS:
        program = _attempt(way, model, args, kwargs)
        if isinstance(program, ExportedProgram):
            return program, reasons[0] if reasons else None
        reasons.append(program)
    raise NotExportable(f"torch.export cannot trace {type(model).__name__}: {reasons[0]}")


def _attempt(way: _Way, model: torch.nn.Module, args: Any, kwargs: Any) -> ExportedProgram | str:
    """The program, or the reason why there is none."""
    try:
        return _export_so(way, model, args, kwargs)
    except _DATA_DEPENDENT as error:
        # No other way would know the data either.
        raise NotExportable(f"What runs depends on the data{_where(error)}.") from error
    except Exception as error:  # noqa: BLE001 - tracing raises whatever the model does
        return sentence(error)


def _export_so(way: _Way, model: torch.nn.Module, args: Any, kwargs: Any) -> ExportedProgram:
    """Export a copy, since tracing can leave its own tensors in a model's attributes."""
    move = to_meta if way.device == "meta" else _itself
    # What the memo holds is not copied: the parameters take no memory a second time.
    memo: dict[int, Any] = {id(t): move(t) for t in (*model.parameters(), *model.buffers())}
    args, kwargs = tree_map_only(torch.Tensor, move, (args, kwargs))
    with torch.no_grad(), _silence():
        return torch.export.export(copy.deepcopy(model, memo), args, kwargs, strict=way.strict)


def _itself(tensor: torch.Tensor) -> torch.Tensor:
    return tensor


@contextmanager
def _silence() -> Iterator[None]:
    """Keep back the warnings and partial graphs that torch prints; what matters is raised."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def sentence(error: Exception) -> str:
    """An error's type and the first line of what it says."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def _where(error: Exception) -> str:
    """The innermost line of code outside of torch that raised an error."""
    torchs = f"{Path(torch.__file__).parent}{os.sep}"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(("<", torchs, __file__))
    ]
    if not frames:
        return ""
    last = frames[-1]
    return f", at {Path(last.filename).name}:{last.lineno} in {last.name}: {last.line}"
