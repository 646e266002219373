"""Watches one run of a model and gathers the rows of the ledger.

Three things watch: a TorchDispatchMode sees every operator that is executed, a TorchFunctionMode the
function or method it was called by, and hooks on all modules the module that is running. Functions
that torch runs in one way or another, such as attention, are counted whole as what they compute, so
that the count does not depend on the way. In a backward pass the autograd node that is running says
which module's forward it belongs to.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from harness import formulas, operators
from harness.forms import form_name
from harness.formulas import Call, Formula
from harness.ledger import BACKWARD, FORWARD, OperatorRow, Shape
from harness.work import NOTHING, Work

_TAG = "flopaudit"

_LINEAR_FORMS = ("torch.nn.functional.linear", "torch.nn.functional.bilinear")
_ATTENTION_FORMS = (
    "torch.nn.functional.multi_head_attention_forward",
    "torch.nn.functional.scaled_dot_product_attention",
)


class Place(NamedTuple):
    """Where in the model something runs."""

    path: str
    type: str
    call: int
    form: str = ""


class _Entry(NamedTuple):
    """What all executions of an operator on the same shapes have in common."""

    operator: str
    kind: str
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]
    dtype: str
    work: Work
    customs: dict[str, Work]
    elements_read: int
    elements_written: int
    bytes_read: int
    bytes_written: int


class Recorder:
    """Gathers the rows of one run, with the module and the call form that are current.

    Use `watching` around the forward pass, and around the backward pass too if there is one.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self.rows: list[OperatorRow] = []
        self.uncounted: Counter[str] = Counter()
        self.calls: Counter[int] = Counter()
        self.form = ""
        self.phase = FORWARD
        self.silent = False
        self._thread = threading.get_ident()
        self._paths = {id(module): path for path, module in model.named_modules()}
        self._stack: list[tuple[str, str, int]] = [("", type(model).__name__, 0)]
        self._plans: dict[Any, tuple[str, Formula] | None] = {}
        self._entries: dict[Any, _Entry | None] = {}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Record what this thread executes while this is open."""
        hooks = torch.nn.modules.module
        handles = (
            hooks.register_module_forward_pre_hook(self._enter),
            hooks.register_module_forward_hook(self._leave, always_call=True),
        )
        try:
            with _Functions(self), _Operators(self):
                yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, module: torch.nn.Module, _inputs: Any) -> None:
        if threading.get_ident() == self._thread:
            key = id(module)
            self.calls[key] += 1
            # A module that is not part of the model is booked under the one that called it.
            path = self._paths.get(key, self._stack[-1][0])
            self._stack.append((path, type(module).__name__, self.calls[key]))

    def _leave(self, _module: torch.nn.Module, _inputs: Any, _output: Any) -> None:
        if threading.get_ident() == self._thread and len(self._stack) > 1:
            self._stack.pop()

    def place(self) -> Place:
        """The module that is running, or in a backward pass the one whose node is."""
        if self.phase == BACKWARD:
            node = torch._C._current_autograd_node()  # noqa: SLF001 - torch has no public name for it
            tagged = node.metadata.get(_TAG) if node is not None else None
            return tagged or Place("", self._stack[0][1], 0)
        return Place(*self._stack[-1], self.form)

    def operator(self, func: Any, args: Any, kwargs: Any, out: Any) -> None:
        """Add the row of one executed operator, unless it only makes a view."""
        if func not in self._plans:
            self._plans[func] = _plan(func)
        plan = self._plans[func]
        if plan is None:
            return
        try:
            key = (func, self.form, _key(args), _key(kwargs), _key(out))
            if key not in self._entries:
                self._entries[key] = _entry(func, plan, self.form, Call(args, kwargs, out))
            entry = self._entries[key]
        except TypeError:  # an argument that cannot be part of a key
            entry = _entry(func, plan, self.form, Call(args, kwargs, out))
        if entry is not None:
            if plan[1] is unknown:
                self.uncounted[entry.operator] += 1
            self._add(entry)

    def whole(self, name: str, args: Any, kwargs: Any, out: Any) -> None:
        """Add the rows of a function that is counted as what it computes, by kinds of work."""
        call = Call(args, kwargs, out)
        for kind, work in operators.FUNCTIONS_WHOLE[name](call):
            self._add(_described(name, kind, call, work, {}))

    def tag(self, out: Any) -> None:
        """Mark the autograd nodes that a function has just made with where it ran."""
        place = self.place()
        waiting = [tensor.grad_fn for tensor in _tensors((out,)) if tensor.grad_fn is not None]
        while waiting:
            node = waiting.pop()
            # Leaves have no history of their own; what is tagged was made, and walked, before.
            if _TAG in node.metadata or not node.next_functions:
                continue
            node.metadata[_TAG] = place
            waiting.extend(parent for parent, _ in node.next_functions if parent is not None)

    def _add(self, entry: _Entry) -> None:
        place = self.place()
        self.rows.append(
            OperatorRow(
                operator=entry.operator,
                form=place.form,
                path=place.path,
                type=place.type,
                call=place.call,
                phase=self.phase,
                kind=entry.kind,
                inputs=entry.inputs,
                outputs=entry.outputs,
                dtype=entry.dtype,
                work=entry.work,
                customs=entry.customs,
                elements_read=entry.elements_read,
                elements_written=entry.elements_written,
                bytes_read=entry.bytes_read,
                bytes_written=entry.bytes_written,
            )
        )


class _Functions(TorchFunctionMode):
    """Notes the outermost torch function that is running."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self._recorder = recorder

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        recorder, kwargs = self._recorder, kwargs or {}
        if recorder.form:
            return func(*args, **kwargs)
        name = form_name(func, sys._getframe(1))  # noqa: SLF001 - who called is what is asked
        recorder.form = name
        try:
            if name in operators.FUNCTIONS_WHOLE and not recorder.silent:
                recorder.silent = True
                try:
                    out = func(*args, **kwargs)
                finally:
                    recorder.silent = False
                recorder.whole(name, args, kwargs, out)
            else:
                out = func(*args, **kwargs)
            if torch.is_grad_enabled() and recorder.phase == FORWARD:
                recorder.tag(out)
            return out
        finally:
            recorder.form = ""


class _Operators(TorchDispatchMode):
    """Hands every executed operator to the recorder."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self._recorder = recorder

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if not self._recorder.silent:
            self._recorder.operator(func, args, kwargs, out)
        return out


# -- entries ---------------------------------------------------------------------------------------


def unknown(_call: Call) -> Work:
    """Stands for an operator without a formula; it is named in `uncounted_ops`."""
    return NOTHING


def nothing(_call: Call) -> Work:
    """Moves data and computes nothing."""
    return NOTHING


def _plan(operator: Any) -> tuple[str, Formula] | None:
    """Kind and formula of an operator, None where it only makes a view."""
    schema = getattr(operator, "_schema", None)
    if schema is None:
        return ("unknown", unknown)
    base = schema.name.partition("::")[2]
    found = operators.known(base, operators.FORMULAS)
    if found:
        return found
    # A view returns an alias of its input that it does not write to.
    aliases = any(r.alias_info is not None and not r.alias_info.is_write for r in schema.returns)
    if aliases or operators.listed(base, operators.VIEWS):
        return None
    if operators.listed(base, operators.DATA_MOVEMENT):
        return (formulas.MOVE, nothing)
    return ("unknown", unknown)


def _key(value: Any) -> Any:
    """Something hashable that says all of a value that a formula may ask for."""
    if isinstance(value, torch.Tensor):
        return (value.shape, value.dtype)
    if isinstance(value, (list, tuple)):
        return tuple(_key(item) for item in value)
    if isinstance(value, dict):
        return tuple((name, _key(item)) for name, item in value.items())
    return (type(value), value)  # True and 1 are one key otherwise


def _entry(func: Any, plan: tuple[str, Formula], form: str, call: Call) -> _Entry | None:
    """What there is to say of an operator on these shapes; None for work on integers only."""
    tensors = [*_tensors(call.args), *_tensors(call.kwargs.values()), *_tensors((call.out,))]
    if not any(t.is_floating_point() or t.is_complex() or t.is_quantized for t in tensors):
        return None
    kind, formula = plan
    base = func._schema.name.partition("::")[2].rstrip("_") if hasattr(func, "_schema") else ""  # noqa: SLF001 - torch's own way
    customs = {
        name: table[base](call) for name, table in operators.CUSTOMS.items() if base in table
    }
    return _described(str(func), _kind(kind, form), call, formula(call), customs)


def _described(
    name: str, kind: str, call: Call, work: Work, customs: dict[str, Work]
) -> _Entry:
    inputs = [*_tensors(call.args), *_tensors(call.kwargs.values())]
    outputs = list(_tensors((call.out,)))
    return _Entry(
        operator=name,
        kind=kind,
        inputs=tuple(_shape(t) for t in inputs),
        outputs=tuple(_shape(t) for t in outputs),
        dtype=str((inputs or outputs)[0].dtype).removeprefix("torch."),
        work=work,
        customs=customs,
        elements_read=sum(t.numel() for t in inputs),
        elements_written=sum(t.numel() for t in outputs),
        bytes_read=sum(t.numel() * t.element_size() for t in inputs),
        bytes_written=sum(t.numel() * t.element_size() for t in outputs),
    )


def _kind(kind: str, form: str) -> str:
    """Matrix products are booked by what asked for them: a linear layer, attention, or itself."""
    if kind in (formulas.LINEAR, formulas.MATMUL):
        if form in _LINEAR_FORMS:
            return formulas.LINEAR
        if form in _ATTENTION_FORMS:
            return formulas.LINEAR if kind == formulas.LINEAR else formulas.ATTENTION
        return formulas.MATMUL
    if "_pool" in form and kind == formulas.REDUCTION:  # torch has global average pools as means
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
