"""A pickler for models: cloudpickle, and what torch's own objects need in addition.

Those are its operators, which are looked up by name; operators that a script or a notebook defines,
which are registered again; and parametrized modules, such as those with weight normalisation.
"""

from __future__ import annotations

import copyreg
import importlib
import io
import operator
import sys
from collections.abc import Callable, Iterable, Mapping
from types import CodeType, ModuleType
from typing import Any, NamedTuple

import cloudpickle  # type: ignore[import-untyped] # it ships no types
import torch
from torch import nn
from torch._library.custom_ops import OPDEFS, CustomOpDef
from torch._ops import OpOverload, OpOverloadPacket, _OpNamespace
from torch.nn.utils import parametrize
from torch.utils.flop_counter import flop_registry


class Pickler(cloudpickle.Pickler):  # type: ignore[misc] # its base has no types
    """A pickler for `torch.save`."""

    def reducer_override(self, value: Any) -> Any:
        """Return how to rebuild a value; NotImplemented for the usual way."""
        for kind, reduce in _REDUCERS.items():
            if issubclass(type(value), kind):
                found = reduce(value)
                if found is not None:
                    return found
        return super().reducer_override(value)


class _WithoutTensors(Pickler):
    """A pickler that leaves out tensors, and modules that are looked at by themselves."""

    def __init__(self, modules: frozenset[int]) -> None:
        super().__init__(io.BytesIO())
        self._modules = modules

    def persistent_id(self, value: object) -> str | None:
        """Return a name for what is left out."""
        left_out = isinstance(value, torch.Tensor) or id(value) in self._modules
        return "left out" if left_out else None


def reason_against(value: object, modules: frozenset[int]) -> Exception | None:
    """Return what pickling a value raises; None if it can be pickled.

    Args:
        value: anything.
        modules: ids of modules that are left out.
    """
    try:
        _WithoutTensors(modules).dump(value)
    except Exception as error:  # noqa: BLE001 - an object may raise anything when it is pickled
        return error
    return None


# -- how torch's objects are rebuilt ---------------------------------------------------------------


def _parametrized(module: nn.Module) -> Any:
    """A parametrized module refuses to be pickled, because its class has no name."""
    if not parametrize.is_parametrized(module):
        return None
    return copyreg.__newobj__, (type(module),), dict(vars(module))  # type: ignore[attr-defined] # undocumented, but what pickle itself writes


def _by_path(value: Any) -> Any:
    path = value.name if isinstance(value, _OpNamespace) else str(value)
    return operator.attrgetter(path), (torch.ops,)


def _by_import(module: ModuleType) -> Any:
    """A module of a type of its own, such as `torch.ops`."""
    name = module.__name__
    own = type(module) is not ModuleType and sys.modules.get(name) is module
    return (importlib.import_module, (name,)) if own else None


def _code(code: CodeType) -> Any:
    """Code of a function keeps the file that it is from, so that its lines can be named."""
    rebuild, arguments = cloudpickle.Pickler.dispatch_table[CodeType](code)
    return rebuild, tuple(code.co_filename if each == _NO_FILE else each for each in arguments)


_NO_FILE = "<dynamic-code>"
"""The name of a file that cloudpickle gives to all code."""


class _Parts(NamedTuple):
    """What a custom operator was registered with."""

    name: str
    schema: str
    mutated: tuple[str, ...]
    function: Callable[..., Any]
    fake: Callable[..., Any] | None
    backward: Callable[..., Any] | None
    setup_context: Callable[..., Any] | None


def _operator(defined: CustomOpDef) -> Any:
    arguments = defined._opoverload._schema.arguments  # noqa: SLF001 - torch has no public way to read a custom operator
    parts = _Parts(
        defined._qualname,  # noqa: SLF001 - the same
        defined._schema,  # noqa: SLF001 - the same
        tuple(each.name for each in arguments if each.alias_info and each.alias_info.is_write),
        defined._init_fn,  # noqa: SLF001 - the same
        defined._abstract_fn,  # noqa: SLF001 - the same
        defined._backward_fn,  # noqa: SLF001 - the same
        defined._setup_context_fn,  # noqa: SLF001 - the same
    )
    return _registered, tuple(parts)


def _registered(*values: Any) -> Any:
    """Return a custom operator, registered with its parts unless it is already."""
    parts = _Parts(*values)
    if parts.name in OPDEFS:
        return OPDEFS[parts.name]
    defined = torch.library.custom_op(
        parts.name, parts.function, mutates_args=parts.mutated, schema=parts.schema
    )
    if parts.fake:
        defined.register_fake(parts.fake)
    if parts.backward:
        defined.register_autograd(parts.backward, setup_context=parts.setup_context)
    return defined


def operators_of(modules: Iterable[str]) -> list[Any]:
    """Return the custom operators that modules define, in the order of their definition."""
    names = set(modules)
    return [each for each in OPDEFS.values() if each._init_fn.__module__ in names]  # noqa: SLF001 - torch has no public way to read it


def flop_formulas_of(modules: Iterable[str]) -> dict[str, Callable[..., Any]]:
    """Return the formulas that modules have registered with torch's flop counter, by operator."""
    names = set(modules)
    return {
        str(each): formula
        for each, formula in flop_registry.items()
        if isinstance(each, OpOverloadPacket) and getattr(formula, "__module__", "") in names
    }


def register_flop_formulas(formulas: Mapping[str, Callable[..., Any]]) -> None:
    """Register formulas with torch's flop counter, for the operators that exist in this process."""
    for path, formula in formulas.items():
        namespace, _, name = path.partition(".")
        found = getattr(getattr(torch.ops, namespace), name, None)
        if found is not None:
            flop_registry[found] = formula


_REDUCERS: dict[type, Callable[[Any], Any]] = {
    nn.Module: _parametrized,
    CustomOpDef: _operator,
    OpOverload: _by_path,
    OpOverloadPacket: _by_path,
    _OpNamespace: _by_path,
    ModuleType: _by_import,
    CodeType: _code,
}
"""How to rebuild an object, by type; the first that gives an answer counts."""
