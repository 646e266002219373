"""The tracing of one run of a model, as tools run it, to a `Trace`.

Hooks on all modules see their calls, a TorchFunctionMode sees the functions, including those that
functions of torch call themselves, and a TorchDispatchMode sees the operators. The reference's
formulas give each of them its products. A function that the reference counts as a whole is also
noted as the reference's work, once.
"""

from __future__ import annotations

import sys
import types
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from flopaudit.reference import operators
from flopaudit.reference.call_syntax import is_held, syntax_name
from flopaudit.reference.cost import NOTHING, Work, added
from flopaudit.reference.formulas import Call
from flopaudit.reference.kinds import Kind
from flopaudit.reference.ledger_entries import (
    Planned,
    all_tensors,
    full_name,
    inside,
    is_triton,
    kind_of,
    modules_of,
    own_arguments,
    plan,
)
from flopaudit.tracing.call_log import Calls
from flopaudit.tracing.quantities import (
    of_call,
    of_module,
    traits_of_call,
    traits_of_module,
)
from flopaudit.tracing.sites import (
    FUNCTION,
    OPERATOR,
    ModuleSite,
    Trace,
)

_PYTHON_MODULES = ("torch.nn.functional", "torch.functional")
"""Modules of Python functions that pass their call to a mode first, then call other functions."""


def trace(
    model: torch.nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> Trace:
    """Run a model on its device, with gradients enabled, and note what a tool could see.

    Args:
        model: in the mode in which it is to be run.
        args: its inputs by position.
        kwargs: its inputs by keyword.

    Raises:
        Exception: any error of the model.
    """
    watcher = Watcher(model)
    args, kwargs = own_arguments((args, dict(kwargs)))
    with watcher.watching():
        returned = model(*args, **kwargs)
    held = (*all_tensors((args, kwargs)), *model.parameters(), *model.buffers())
    sites, work = watcher.calls.sites(returned, held)
    return Trace(_batch(args), tuple(watcher.module_sites(model)), sites, work)


def _batch(args: tuple[Any, ...]) -> int:
    first = next(iter(all_tensors(args[:1])), None)
    return int(first.shape[0]) if first is not None and first.ndim else 1


class Watcher:
    """The collection of the sites of one run, which is made inside `watching`."""

    def __init__(self, model: torch.nn.Module) -> None:
        self._modules = {id(module): path for path, module in model.named_modules()}
        self._paths: list[str] = [""]
        self._called: Counter[int] = Counter()
        self._amounts: dict[int, Counter[str]] = {}
        self._last: dict[int, Counter[str]] = {}
        self._traits: dict[int, dict[str, str]] = {}
        self._kinds: dict[int, Kind] = {}
        self._open: list[dict[Kind, Work]] = []
        self._plans: dict[Any, Planned | None] = {}
        self.calls = Calls()
        self.stack: list[int] = []
        self.forms: list[str] = []
        self.inside_whole = 0

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Note what is executed inside this context."""
        hooks = torch.nn.modules.module
        handles = (
            hooks.register_module_forward_pre_hook(self._enter),
            hooks.register_module_forward_hook(self._leave, with_kwargs=True),
        )
        try:
            with _modes_unseen(), _Functions(self), _Operators(self), torch.enable_grad():
                yield
        finally:
            for handle in handles:
                handle.remove()

    # -- modules -------------------------------------------------------------------------------

    def _enter(self, module: torch.nn.Module, _inputs: Any) -> None:
        self._paths.append(self._modules.get(id(module), self._paths[-1]))
        self._open.append({})

    def _leave(self, module: torch.nn.Module, args: Any, kwargs: Any, out: Any) -> None:
        self._paths.pop()
        inside = self._open.pop()
        for kind, work in inside.items():
            self._add_to_open(kind, work)
        key = id(module)
        if key not in self._modules:
            return
        self._called[key] += 1
        found = Counter(of_module(module, args, kwargs, out, inside))
        self._amounts.setdefault(key, Counter()).update(found)
        self._last[key] = found
        self._traits.setdefault(key, traits_of_module(module, args, kwargs, out))
        self._kinds.setdefault(key, main_kind(inside))

    def _add_to_open(self, kind: Kind, work: Work) -> None:
        if self._open:
            self._open[-1][kind] = self._open[-1].get(kind, NOTHING) + work

    def module_sites(self, model: torch.nn.Module) -> Iterator[ModuleSite]:
        """Yield every module with what was noted of it."""
        modules = dict(model.named_modules())
        own = self.calls.work_by_path()
        for entry in modules_of(model, Counter()):
            module = modules[entry.path]
            key = id(module)
            calls = self._called[key]
            yield ModuleSite(
                path=entry.path,
                name=public_name(type(module)),
                bases=tuple(_bases(type(module))),
                aliases=entry.aliases,
                leaf=next(module.children(), None) is None,
                calls=calls,
                traits=self._traits.get(key) or traits_of_module(module, (), {}, None),
                amounts=_present(self._amounts.get(key, {}) | {"own_macs": own[entry.path]}),
                last=_present(self._last[key]) if calls > 1 else {},
                params=entry.params,
                trainable=entry.trainable,
                own_params=sum(p.numel() for p in module.parameters(recurse=False)),
                all_params=sum(p.numel() for p in module.parameters()),
                kind=self._kinds.get(key, Kind.DATA_MOVEMENT),
            )

    # -- functions and operators -----------------------------------------------------------------

    def function(
        self, name: str, traits: dict[str, str], func: Callable[..., Any], args: Any, kwargs: Any
    ) -> Any:
        """Run a function, and note it with its quantities."""
        index = self.calls.add(FUNCTION, name, self._paths[-1], self._around(), traits)
        whole = operators.FUNCTIONS_WHOLE.get(name)
        self.stack.append(index)
        self.forms.append(name)
        self.inside_whole += whole is not None
        self._open.append({})
        try:
            out = func(*args, **kwargs)
        finally:
            self.stack.pop()
            self.forms.pop()
            self.inside_whole -= whole is not None
            inside = self._open.pop()
        if whole is not None:
            inside = {}
            for kind, work in whole(Call(args, kwargs, out)):
                inside[kind] = inside.get(kind, NOTHING) + work
            if not self.inside_whole:
                self.calls.book(index, self._paths[-1], inside)
        amounts = of_call(name, args, kwargs, out, added(inside.values()))
        self.calls.fill(index, amounts, main_kind(inside))
        for kind, work in inside.items():
            self._add_to_open(kind, work)
        return out

    def operator(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Execute an operator, and note it, unless it only makes a view."""
        out = func(*args, **kwargs)
        if func not in self._plans or is_triton(func):
            self._plans[func] = plan(func, kwargs)
        planned = self._plans[func]
        if planned is None:
            return out
        call = Call(args, kwargs, out)
        works = self._works(planned, call)
        kind = planned.kind if planned.parts is None else main_kind(works)
        work = added(works.values())
        name = f"aten.{full_name(func)}" if "::" not in full_name(func) else full_name(func)
        traits = traits_of_call(name, args, kwargs)
        index = self.calls.add(OPERATOR, name, self._paths[-1], self._around(), traits)
        self.calls.fill(index, of_call(name, args, kwargs, out, work), kind)
        self.calls.flow(index, (*args, *kwargs.values()), out)
        if not self.inside_whole:
            self.calls.book(index, self._paths[-1], works)
        for each, amount in works.items():
            self._add_to_open(each, amount)
        return out

    def _works(self, planned: Planned, call: Call) -> dict[Kind, Work]:
        """Return the work of a call of an operator by kind."""
        if planned.parts is None:
            syntax = self.forms[0] if self.forms else ""
            return {kind_of(planned.kind, syntax): planned.formula(call)}
        works: dict[Kind, Work] = {}
        for kind, work in planned.parts(call):
            works[kind] = works.get(kind, NOTHING) + work
        return works

    def _around(self) -> int:
        return self.stack[-1] if self.stack else -1


def main_kind(works: Mapping[Kind, Work]) -> Kind:
    """Return the kind with the most operations; if all cost nothing, the first."""
    return max(works, key=lambda kind: works[kind].flops_all) if works else Kind.DATA_MOVEMENT


def _present(amounts: Mapping[str, int]) -> dict[str, int]:
    return {name: amount for name, amount in amounts.items() if amount}


def public_name(kind: type) -> str:
    """Return the shortest dotted name that leads to a class: `torch.nn.Conv2d`."""
    parts = kind.__module__.split(".")
    for length in range(1, len(parts)):
        home = sys.modules.get(".".join(parts[:length]))
        if getattr(home, kind.__qualname__, None) is kind:
            return ".".join((*parts[:length], kind.__qualname__))
    return f"{kind.__module__}.{kind.__qualname__}"


def _bases(kind: type) -> Iterator[str]:
    for base in kind.__mro__[1:]:
        if base is torch.nn.Module:
            return
        yield public_name(base)


class _Functions(TorchFunctionMode):
    """The mode that passes every torch function to the watcher, including nested ones."""

    def __init__(self, watcher: Watcher) -> None:
        super().__init__()
        self._watcher = watcher
        self._running: list[Any] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self._running and self._running[-1] is func:
            # A function that passes itself to the mode, as meshgrid does: the same call.
            return func(*args, **(kwargs or {}))
        frame = sys._getframe(1)  # noqa: SLF001 - the caller is what is needed
        name = syntax_name(func, frame)
        traits = traits_of_call(name, args, kwargs or {})
        if is_held(name, frame):
            traits["held"] = "True"
        inner = _body(func)
        if inner is None:
            return self._watcher.function(name, traits, func, args, kwargs or {})
        self._running.append(func)
        try:
            with self:
                return self._watcher.function(name, traits, inner, args, kwargs or {})
        finally:
            self._running.pop()


@lru_cache(maxsize=1024)
def _body(func: Any) -> Callable[..., Any] | None:
    """Return a Python function of torch without the check that passes its call to a mode.

    The check comes first in such functions. Without it the mode can stay active while they run, and
    see what they call. For anything else, return None.
    """
    if not isinstance(func, types.FunctionType) or func.__module__ not in _PYTHON_MODULES:
        return None
    home = func.__globals__["__name__"]
    # A function that chooses one of two by a flag is defined in another module, and holds the two
    # in its closure.
    known = _without_checks(home) if home in _PYTHON_MODULES else func.__globals__
    cells = tuple(types.CellType(_inner(cell.cell_contents)) for cell in func.__closure__ or ())
    body = types.FunctionType(
        func.__code__, known, func.__name__, func.__defaults__, cells if func.__closure__ else None
    )
    body.__kwdefaults__ = func.__kwdefaults__
    return body


def _inner(value: Any) -> Any:
    return (_body(value) or value) if isinstance(value, types.FunctionType) else value


@lru_cache(maxsize=8)
def _without_checks(module: str) -> dict[str, Any]:
    """Return the globals of a module of torch for which no argument has a `__torch_function__`."""
    checks = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")
    never = dict.fromkeys(checks, lambda *_: False)
    return {**vars(sys.modules[module]), **never}


class _Operators(TorchDispatchMode):  # type: ignore[no-untyped-call] # torch's own
    """The mode that passes every executed operator to the watcher."""

    supports_higher_order_operators = True

    def __init__(self, watcher: Watcher) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # torch's own
        self._watcher = watcher

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self._watcher.operator(func, inside(self, func, args), kwargs or {})


@contextmanager
def _modes_unseen() -> Iterator[None]:
    """Keep layers of torch from taking another path because a mode is active.

    Multi-head attention and the encoder layer check with `torch.overrides` whether their arguments
    are overridden, and then skip their fused path.
    """
    original = torch.overrides.has_torch_function
    torch.overrides.has_torch_function = lambda *_: False
    try:
        yield
    finally:
        torch.overrides.has_torch_function = original
