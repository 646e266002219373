"""The reference counter: a model and its arguments come in, a `Ledger` goes out.

Three things watch one forward pass: a TorchDispatchMode sees every operator that is executed, a
TorchFunctionMode the function or method it was called by, and hooks on all modules the module that
is running. A copy of the model is run on meta tensors or, where that fails, the model as it is.
Gradients are off; eval or training mode is left as it is found.
"""

from __future__ import annotations

import copy
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from harness import formulas, operators
from harness.forms import form_name
from harness.formulas import Call, Formula
from harness.ledger import Ledger, ModuleEntry, OperatorRow, Shape
from harness.work import NOTHING, Work

Device = Literal["auto", "meta", "own"]

_LINEAR_FORMS = ("torch.nn.functional.linear", "torch.nn.functional.bilinear")
_ATTENTION_FORMS = (
    "torch.nn.functional.multi_head_attention_forward",
    "torch.nn.functional.scaled_dot_product_attention",
)


def count(model: torch.nn.Module, *args: Any, device: Device = "auto", **kwargs: Any) -> Ledger:
    """Count what one forward pass of a model executes.

    Args:
        model: left as it was found.
        *args: what to call the model with: tensors, or nests of them.
        device: `meta` runs shapes only; `own` runs for real, on the model's own device; `auto`
            tries the first and takes the second where it fails, saying why in `Ledger.fallback`.
        **kwargs: passed on to the model.

    Returns:
        The ledger of every executed operator.

    Raises:
        Exception: whatever the model raises.
    """
    if device == "own":
        return _count(model, lambda: model(*args, **kwargs), "own")
    try:
        return _count_on_meta(model, args, kwargs)
    except Exception as error:
        if device == "meta":
            raise
        reason = (
            f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200]}"
            if str(error).strip()
            else type(error).__name__
        )
    ledger = _count(model, lambda: model(*args, **kwargs), "own")
    return Ledger(ledger.rows, ledger.modules, ledger.device, reason, ledger.uncounted_ops)


def _count_on_meta(model: torch.nn.Module, args: Any, kwargs: Any) -> Ledger:
    """Run a copy whose parameters and buffers are on meta.

    A forward pass may change attributes of its modules, such as cached tensors, so the model itself
    is not run on meta unless that is where it lives.
    """
    args, kwargs = tree_map_only(torch.Tensor, _to_meta, (args, kwargs))
    tensors = [*model.parameters(), *model.buffers()]
    if not tensors or any(not tensor.is_meta for tensor in tensors):
        # Entered in the memo beforehand, the tensors are replaced and their storage never copied.
        memo: dict[int, Any] = {id(tensor): _to_meta(tensor) for tensor in tensors}
        model = copy.deepcopy(model, memo)
    return _count(model, lambda: model(*args, **kwargs), "meta")


def _to_meta(tensor: torch.Tensor) -> torch.Tensor:
    moved = tensor.detach().to("meta")
    if isinstance(tensor, torch.nn.Parameter):
        return torch.nn.Parameter(moved, requires_grad=tensor.requires_grad)
    return moved


def _count(model: torch.nn.Module, run: Callable[[], object], device: str) -> Ledger:
    recorder = _Recorder(model)
    if device == "own":
        device = str(next((p.device for p in model.parameters()), torch.device("cpu")))
    with torch.no_grad(), recorder.watching_modules(), _Functions(recorder), _Operators(recorder):
        run()
    return Ledger(
        rows=tuple(recorder.rows),
        modules=tuple(_modules(model, recorder.calls)),
        device=device,
        uncounted_ops=recorder.uncounted,
    )


class _Recorder:
    """Gathers the rows of one run, with the module and the call form that are current."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.rows: list[OperatorRow] = []
        self.uncounted: Counter[str] = Counter()
        self.calls: Counter[int] = Counter()
        self.form: str | None = None
        self._thread = threading.get_ident()
        self._paths = {id(module): path for path, module in model.named_modules()}
        self._stack: list[tuple[str, str, int]] = [("", type(model).__name__, 0)]
        self._plans: dict[Any, tuple[str, Formula] | None] = {}

    @contextmanager
    def watching_modules(self) -> Iterator[None]:
        """Keep the stack of running modules while this is open; on this thread only."""
        hooks = torch.nn.modules.module
        handles = (
            hooks.register_module_forward_pre_hook(self._enter),
            hooks.register_module_forward_hook(self._leave, always_call=True),
        )
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, module: torch.nn.Module, _inputs: Any) -> None:
        if threading.get_ident() == self._thread:
            self.calls[id(module)] += 1
            # A module that is not part of the model is booked under the one that called it.
            path = self._paths.get(id(module), self._stack[-1][0])
            self._stack.append((path, type(module).__name__, self.calls[id(module)]))

    def _leave(self, _module: torch.nn.Module, _inputs: Any, _output: Any) -> None:
        if threading.get_ident() == self._thread and len(self._stack) > 1:
            self._stack.pop()

    def record(self, operator: Any, args: Any, kwargs: Any, out: Any) -> None:
        """Add the row of one executed operator, if it does any arithmetic."""
        if operator not in self._plans:
            self._plans[operator] = _plan(operator)
        plan = self._plans[operator]
        if plan is None:
            return
        tensors = list(_tensors(args)) + list(_tensors(kwargs.values()))
        outputs = list(_tensors((out,)))
        if not any(t.is_floating_point() or t.is_complex() for t in (*tensors, *outputs)):
            return
        kind, formula = plan
        if formula is _unknown:
            self.uncounted[str(operator)] += 1
        path, kind_of_module, call = self._stack[-1]
        form = self.form or ""
        self.rows.append(
            OperatorRow(
                operator=str(operator),
                form=form,
                path=path,
                type=kind_of_module,
                call=call,
                kind=_kind(kind, form),
                inputs=tuple(_shape(t) for t in tensors),
                outputs=tuple(_shape(t) for t in outputs),
                dtype=str((tensors or outputs)[0].dtype).removeprefix("torch."),
                work=formula(Call(args, kwargs, out)),
            )
        )


class _Functions(TorchFunctionMode):
    """Notes the outermost torch function that is running."""

    def __init__(self, recorder: _Recorder) -> None:
        super().__init__()
        self._recorder = recorder

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        outer = self._recorder.form
        if outer is None:
            self._recorder.form = form_name(func, sys._getframe(1))  # noqa: SLF001 - the only way
        try:
            return func(*args, **(kwargs or {}))
        finally:
            self._recorder.form = outer


class _Operators(TorchDispatchMode):
    """Hands every executed operator to the recorder."""

    def __init__(self, recorder: _Recorder) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # torch's own
        self._recorder = recorder

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        self._recorder.record(func, args, kwargs, out)
        return out


def _nothing(_call: Call) -> Work:
    """Moves data and computes nothing."""
    return NOTHING


def _unknown(_call: Call) -> Work:
    """Stands for an operator without a formula; it is named in `uncounted_ops`."""
    return NOTHING


def _plan(operator: Any) -> tuple[str, Formula] | None:
    """Kind and formula of an operator, None where it only makes a view."""
    schema = getattr(operator, "_schema", None)
    if schema is None:
        return ("unknown", _unknown)
    base = schema.name.partition("::")[2]
    found = operators.known(base, operators.FORMULAS)
    if found:
        return found
    # A view returns an alias of its input that it does not write to.
    aliases = any(r.alias_info is not None and not r.alias_info.is_write for r in schema.returns)
    if aliases or operators.listed(base, operators.VIEWS):
        return None
    if operators.listed(base, operators.DATA_MOVEMENT):
        return (formulas.MOVE, _nothing)
    return ("unknown", _unknown)


def _kind(kind: str, form: str) -> str:
    """Matrix products are booked by what asked for them: a linear layer, attention, or itself."""
    if kind in (formulas.LINEAR, formulas.MATMUL):
        if form in _LINEAR_FORMS:
            return formulas.LINEAR
        if form in _ATTENTION_FORMS:
            return formulas.LINEAR if kind == formulas.LINEAR else formulas.ATTENTION
        return formulas.MATMUL
    if (
        "_pool" in form and kind == formulas.REDUCTION
    ):  # torch computes a global average pool as a mean
        return formulas.POOLING
    return kind


def _tensors(values: Any) -> Iterator[torch.Tensor]:
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _tensors(value)


def _shape(tensor: torch.Tensor) -> Shape:
    return tuple(int(size) for size in tensor.shape)


def _modules(model: torch.nn.Module, calls: Counter[int]) -> Iterator[ModuleEntry]:
    """Every module once; each parameter is booked with the first module that holds it."""
    aliases: dict[int, list[str]] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        aliases.setdefault(id(module), []).append(path)
    seen: set[int] = set()
    for path, module in model.named_modules():
        own = [p for p in module.parameters(recurse=False) if id(p) not in seen]
        own = list({id(p): p for p in own}.values())
        seen.update(map(id, own))
        yield ModuleEntry(
            path=path,
            type=type(module).__name__,
            aliases=tuple(alias for alias in aliases[id(module)] if alias != path),
            calls=calls[id(module)],
            params=sum(p.numel() for p in own),
            trainable=sum(p.numel() for p in own if p.requires_grad),
        )
