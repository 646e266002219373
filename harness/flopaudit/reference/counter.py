"""The reference counter: runs a model once and returns the ledger of what it executed.

A copy of the model runs on meta tensors. If that fails, the model itself runs as it is, and what
the run changed is restored afterwards. Eval or training mode stays as it was.
"""

from __future__ import annotations

import copy
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any, Literal

import torch
from torch.utils._pytree import tree_leaves

from flopaudit.core.first_line import named
from flopaudit.reference.data_dependence import ValueWatch
from flopaudit.reference.ledger import BACKWARD, Ledger
from flopaudit.reference.ledger_entries import (
    arguments_on_meta,
    floating_dtypes,
    modules_of,
    own_arguments,
    to_meta,
)
from flopaudit.reference.run_recorder import Recorder
from flopaudit.reference.user_formulas import FormulaError

Device = Literal["auto", "meta", "own"]


def count(
    model: torch.nn.Module,
    *args: Any,
    device: Device = "auto",
    backward: bool = False,
    strict: bool = False,
    **kwargs: Any,
) -> Ledger:
    """Count what one pass of a model executes.

    Args:
        model: is not changed. A compiled model is run eagerly.
        *args: of the model's call: tensors, or values with tensors in them, such as a cache; they
            are not changed either.
        device: `meta` runs shapes only; `own` runs on the model's own device; `auto` tries `meta`
            and falls back to `own`, with the reason in `Ledger.fallback`.
        backward: count the backward pass too, from ones at every output to every parameter that
            requires a gradient.
        strict: raise if an operator has no formula.
        **kwargs: of the model's call.

    Returns:
        The ledger of every executed operator.

    Raises:
        UncountedError: with `strict`, an operator without a formula was executed.
        FormulaError: a user's formula for an operator raised, or did not return a count.
        Exception: whatever the model raises.
    """
    # A compiled model wraps the original; compiled parts of it are run eagerly too.
    model = getattr(model, "_orig_mod", model)
    ledger = _count_on(device, model, args, kwargs, backward=backward)
    if strict and ledger.uncounted_ops:
        raise UncountedError(ledger.uncounted_ops)
    return ledger


class UncountedError(Exception):
    """Operators without a formula were executed; the message names them."""

    def __init__(self, operators: Counter[str]) -> None:
        names = ", ".join(f"{name} ({times})" for name, times in sorted(operators.items()))
        super().__init__(f"there is no formula for {names}")


def _count_on(
    device: Device, model: torch.nn.Module, args: Any, kwargs: Any, *, backward: bool
) -> Ledger:
    if device == "own":
        return _count_own(model, args, kwargs, backward=backward)
    foreign = floating_dtypes(model, (args, kwargs)).foreign
    if foreign and device == "auto":
        # Meta tensors go together whatever their dtypes are, and only values say if these do.
        reason = f"an input is {foreign[0]}, and no weight is"
        return _count_own(model, args, kwargs, backward=backward, fallback=reason)
    try:
        return _count_on_meta(model, args, kwargs, backward=backward)
    except FormulaError:
        raise
    except Exception as error:
        if device == "meta":
            raise
        return _count_own(model, args, kwargs, backward=backward, fallback=named(error))


def _count_on_meta(model: torch.nn.Module, args: Any, kwargs: Any, *, backward: bool) -> Ledger:
    """Run a copy whose parameters and buffers are on meta.

    A forward pass may change attributes of its modules, such as cached tensors. So the model itself
    is run on meta only if it is there already.
    """
    args, kwargs = arguments_on_meta((args, kwargs))
    tensors = [*model.parameters(), *model.buffers()]
    if not tensors or any(not tensor.is_meta for tensor in tensors):
        # The memo makes deepcopy use these meta tensors, so no storage is copied.
        memo: dict[int, Any] = {id(tensor): to_meta(tensor) for tensor in tensors}
        model = copy.deepcopy(model, memo)
    return _count(model, lambda: model(*args, **kwargs), "meta", None, backward=backward)


def _count_own(
    model: torch.nn.Module, args: Any, kwargs: Any, *, backward: bool, fallback: str | None = None
) -> Ledger:
    args, kwargs = own_arguments((args, kwargs))
    device = str(next((p.device for p in model.parameters()), torch.device("cpu")))
    watch = ValueWatch((args, kwargs))
    with _restored(model):
        ledger = _count(model, lambda: model(*args, **kwargs), device, watch, backward=backward)
    return replace(ledger, fallback=fallback, data_dependent=watch.lines)


@contextmanager
def _restored(model: torch.nn.Module) -> Iterator[None]:
    """Restore the buffers and the random state on leaving."""
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    with torch.random.fork_rng():
        try:
            yield
        finally:
            with torch.no_grad():
                for buffer, before in buffers:
                    buffer.copy_(before)


def _count(
    model: torch.nn.Module,
    run: Callable[[], Any],
    device: str,
    watch: ValueWatch | None,
    *,
    backward: bool,
) -> Ledger:
    recorder = Recorder(model, device)
    with _eagerly(), torch.set_grad_enabled(backward):
        # The watch is outside, so that it sees what the functions that are counted whole run.
        with watch.watching() if watch else nullcontext(), recorder.watching():
            out = run()
        if backward:
            recorder.phase = BACKWARD
            with recorder.watching():
                _backward(model, out)
    return Ledger(
        rows=tuple(recorder.rows),
        modules=tuple(modules_of(model, recorder.calls)),
        device=device,
        uncounted_ops=recorder.uncounted,
        user_formulas=recorder.user_formulas,
    )


def _eagerly() -> AbstractContextManager[Any]:
    """Run compiled code eagerly; before torch's compiler is imported, nothing is compiled."""
    if "torch._dynamo" not in sys.modules:
        return nullcontext()
    stance: AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
    return stance


def _backward(model: torch.nn.Module, out: Any) -> None:
    """Run the backward pass from ones at every output, without touching `.grad`."""
    outputs = [leaf for leaf in tree_leaves(_plain(out)) if isinstance(leaf, torch.Tensor)]
    outputs = [tensor for tensor in outputs if tensor.requires_grad]
    wanted = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if outputs and wanted:
        ones = [torch.ones_like(tensor) for tensor in outputs]
        torch.autograd.grad(outputs, wanted, ones, allow_unused=True)


def _plain(out: Any) -> Any:
    """Return outputs that are dataclasses holding tensors as dicts."""
    return dict(vars(out)) if hasattr(out, "__dataclass_fields__") else out
