"""Recorder of one run of a model: gathers the rows of the ledger.

A TorchDispatchMode sees every operator that is executed, a TorchFunctionMode sees the function or
method that called it, and hooks on all modules see which module is running. Functions that torch
can run in several ways, such as attention, are counted as a whole by what they compute, so the way
makes no difference. In a backward pass, the running autograd node tells which module's forward pass
it belongs to.
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

from flopaudit.reference import meta_cache, operators
from flopaudit.reference.call_syntax import syntax_name
from flopaudit.reference.formulas import Call
from flopaudit.reference.ledger import BACKWARD, FORWARD, OperatorRow
from flopaudit.reference.ledger_entries import (
    Entry,
    Planned,
    entries_of_operator,
    entries_of_whole,
    inside,
    is_composite,
    is_triton,
    plan,
    tensors_in,
    unknown,
)

_TAG = "flopaudit"


class Place(NamedTuple):
    """The place in the model where something runs."""

    path: str
    type: str
    call: int
    syntax: str = ""


class Recorder:
    """The rows of one run, gathered with the current module and call syntax.

    Use `watching` around the forward pass, and around the backward pass if there is one.
    """

    def __init__(self, model: torch.nn.Module, device: str) -> None:
        self.rows: list[OperatorRow] = []
        self.uncounted: Counter[str] = Counter()
        self.calls: Counter[int] = Counter()
        self.syntax = ""
        self.phase = FORWARD
        self.silent = False
        self._thread = threading.get_ident()
        self._paths = {id(module): path for path, module in model.named_modules()}
        self._stack: list[tuple[str, str, int]] = [("", type(model).__name__, 0)]
        self.user_formulas: dict[str, str] = {}
        self._plans: dict[Any, Planned | None] = {}
        self.operators = _Operators(self)
        self._on_meta = device == "meta"

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Record what this thread executes within the context."""
        hooks = torch.nn.modules.module
        handles = (
            hooks.register_module_forward_pre_hook(self._enter),
            hooks.register_module_forward_hook(self._leave, always_call=True),
        )
        try:
            with _Functions(self), self.operators:
                yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, module: torch.nn.Module, _inputs: Any) -> None:
        if threading.get_ident() == self._thread:
            key = id(module)
            self.calls[key] += 1
            # A module that is not part of the model is counted under the one that called it.
            path = self._paths.get(key, self._stack[-1][0])
            self._stack.append((path, type(module).__name__, self.calls[key]))

    def _leave(self, _module: torch.nn.Module, _inputs: Any, _output: Any) -> None:
        if threading.get_ident() == self._thread and len(self._stack) > 1:
            self._stack.pop()

    def place(self) -> Place:
        """Return where the forward pass is, or in a backward pass where its node was created."""
        if self.phase == BACKWARD:
            node = torch._C._current_autograd_node()  # noqa: SLF001 - torch has no public name for it
            tagged = _metadata(node).get(_TAG) if node is not None else None
            return tagged or Place("", self._stack[0][1], 0)
        return Place(*self._stack[-1], self.syntax)

    def operator(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Execute an operator, add its row unless it only makes a view, and return its result."""
        if func not in self._plans or is_triton(func):
            self._plans[func] = plan(func, kwargs)
        planned = self._plans[func]
        if planned is None or self.silent:
            return func(*inside(self.operators, func, args), **kwargs)
        if planned.formula is unknown and is_composite(func):
            # In inference mode torch does not decompose these before they arrive here.
            with self.operators:
                return func.decompose(*args, **kwargs)
        syntax = self.place().syntax
        try:
            # A user's formula may be registered or replaced between two counts.
            keeps = self._on_meta and planned.formula is not unknown and not planned.origin
            same = keeps and (
                func,
                syntax,
                meta_cache.key_of(args),
                meta_cache.key_of(kwargs),
            )
        except meta_cache.Unkeyed:
            same = False
        known = meta_cache.find(same) if same else None
        if known is not None and known.results is not meta_cache.RUN:
            out = meta_cache.remake(known.results, args)
        else:
            out = func(*args, **kwargs)
        if known is None:
            found = entries_of_operator(func, planned, syntax, Call(args, kwargs, out))
            results = meta_cache.results_of_operator(func, args, out) if same else meta_cache.RUN
            known = meta_cache.Known(found, results)
            if same:
                meta_cache.add(same, known)
        if planned.formula is unknown and known.entries:
            self.uncounted[known.entries[0].operator] += 1
        if planned.origin:
            self.user_formulas[str(func)] = planned.origin
        self._add(known.entries)
        return out

    def whole(self, name: str, func: Any, args: Any, kwargs: Any) -> Any:
        """Execute a function that is counted as a whole, and add a row for each kind of work."""
        try:
            # With gradients on, the function has to run to build the autograd graph.
            replayable = self._on_meta and not torch.is_grad_enabled()
            same = replayable and (name, meta_cache.key_of(args), meta_cache.key_of(kwargs))
        except meta_cache.Unkeyed:
            same = False
        known = meta_cache.find(same) if same else None
        if known is not None and known.results is not meta_cache.RUN:
            out = self._silently(meta_cache.remake, (known.results, args), {})
        else:
            out = self._silently(func, args, kwargs)
        if known is None:
            entries = entries_of_whole(name, Call(args, kwargs, out))
            results = meta_cache.results_of_function(args, kwargs, out) if same else meta_cache.RUN
            known = meta_cache.Known(entries, results)
            if same:
                meta_cache.add(same, known)
        self._add(known.entries)
        return out

    def _silently(self, func: Any, args: Any, kwargs: Any) -> Any:
        self.silent = True
        try:
            return func(*args, **kwargs)
        finally:
            self.silent = False

    def tag(self, out: Any) -> None:
        """Mark the autograd nodes that a function has just created with the place where it ran."""
        place = self.place()
        waiting = [tensor.grad_fn for tensor in tensors_in((out,)) if tensor.grad_fn is not None]
        while waiting:
            node = waiting.pop()
            # Leaves have no history; a tagged node was created and walked earlier.
            if _TAG in _metadata(node) or not node.next_functions:
                continue
            _metadata(node)[_TAG] = place
            waiting.extend(parent for parent, _ in node.next_functions if parent is not None)

    def _add(self, entries: tuple[Entry, ...]) -> None:
        if entries:
            path, type_name, call, syntax = self.place()
            for found in entries:
                self.rows.append(found.at(path, type_name, call, syntax, self.phase))


def _metadata(node: Any) -> dict[str, Place]:
    """Return the metadata of an autograd node; torch's stubs take the property for a method."""
    notes: dict[str, Place] = node.metadata
    return notes


class _Functions(TorchFunctionMode):
    """A mode that notes the outermost torch function that is running."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self._recorder = recorder

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        recorder, kwargs = self._recorder, kwargs or {}
        if recorder.syntax:
            return func(*args, **kwargs)
        name = syntax_name(func, sys._getframe(1))  # noqa: SLF001 - the caller's frame is needed
        recorder.syntax = name
        try:
            if name in operators.FUNCTIONS_WHOLE and not recorder.silent:
                out = recorder.whole(name, func, args, kwargs)
            else:
                out = func(*args, **kwargs)
            if torch.is_grad_enabled() and recorder.phase == FORWARD:
                recorder.tag(out)
            return out
        finally:
            recorder.syntax = ""


class _Operators(TorchDispatchMode):  # type: ignore[no-untyped-call] # torch's own
    """A mode that hands every executed operator to the recorder."""

    supports_higher_order_operators = True

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # torch's own
        self._recorder = recorder

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self._recorder.operator(func, args, kwargs or {})
