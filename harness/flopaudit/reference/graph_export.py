"""Export of a model as the graph that torch.export traces, without running it.

No parameter is copied: the model is traced over meta tensors or, if that fails, over fake tensors
that stand for its own. A model that cannot be traced raises `NotExportable`.
"""

from __future__ import annotations

import copy
import io
import logging
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

from flopaudit.core.first_line import named
from flopaudit.core.source_lines import DEPENDS, depends_on_values, line_of
from flopaudit.reference.ledger_entries import arguments_on_meta, own_arguments, to_meta


class NotExportable(Exception):  # noqa: N818 - an outcome of the model, not an error of the caller
    """The model's cost cannot be read from an exported graph; the message says why."""


class _Way(NamedTuple):
    """One way to export: the device of the parameters, and whether torch reads the bytecode."""

    device: str
    strict: bool


_DATA_DEPENDENT = (
    GuardOnDataDependentSymNode,
    DataDependentOutputException,
    DynamicOutputShapeException,
)
_TORCH, _HERE = f"{Path(torch.__file__).parent}/", f"{Path(__file__).parent}/"
_WAYS = (_Way("meta", strict=False), _Way("own", strict=False), _Way("own", strict=True))


def export(model: torch.nn.Module, args: Any, kwargs: Any) -> tuple[ExportedProgram, str | None]:
    """Export a model in the first way that succeeds.

    Args:
        model: is not changed.
        args: of the model's call.
        kwargs: of the model's call.

    Returns:
        The program, and the reason why the first way failed, or None if it did not.

    Raises:
        NotExportable: every way fails, or the count depends on the values of the input.
    """
    reasons: list[str] = []
    for way in _WAYS:
        program = _attempt(way, model, args, kwargs)
        if isinstance(program, ExportedProgram):
            return program, reasons[0] if reasons else None
        reasons.append(program)
    raise NotExportable(f"torch.export cannot trace {type(model).__name__}: {reasons[0]}")


def _attempt(way: _Way, model: torch.nn.Module, args: Any, kwargs: Any) -> ExportedProgram | str:
    """Return the program, or the reason why there is none."""
    try:
        return _export_in(way, model, args, kwargs)
    except _DATA_DEPENDENT as error:
        # The other ways do not know the data either.
        line = line_of(reversed(list(traceback.walk_tb(error.__traceback__))), [_TORCH, _HERE])
        raise NotExportable(f"{depends_on_values([line]) if line else DEPENDS}.") from error
    except Exception as error:  # noqa: BLE001 - tracing raises whatever the model does
        return named(error)


def _export_in(way: _Way, model: torch.nn.Module, args: Any, kwargs: Any) -> ExportedProgram:
    """Export a copy, because tracing can leave its own tensors in a model's attributes."""
    on_meta = way.device == "meta"
    move = to_meta if on_meta else _itself
    # The memo makes deepcopy reuse these tensors, so parameters take no memory a second time.
    memo: dict[int, Any] = {id(t): move(t) for t in (*model.parameters(), *model.buffers())}
    args, kwargs = (arguments_on_meta if on_meta else own_arguments)((args, kwargs))
    with torch.no_grad(), _silence():
        return torch.export.export(copy.deepcopy(model, memo), args, kwargs, strict=way.strict)


def _itself(tensor: torch.Tensor) -> torch.Tensor:
    return tensor


@contextmanager
def _silence() -> Iterator[None]:
    """Suppress the warnings and partial graphs that torch prints; errors are still raised."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
