"""Digest of a built model: what its modules are, hold and execute, and of its inputs.

Two models with the same digest execute the same code on tensors of the same shapes. Values are
included where code may decide by them: plain attributes, small buffers and inputs. Weights are not:
they are random, from the same seed.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import sys
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum
from types import CodeType, FunctionType, MethodType
from typing import Any

import torch

LARGEST_VALUES = 1 << 24
"""Elements of a tensor up to which its values are part of the digest."""

DEEPEST = 6
"""Levels of nested attributes that are looked at."""

_OF_MODULE = frozenset(vars(torch.nn.Module()))
"""Attributes that every module has; those that matter are described one by one."""

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")


def structure_digest(model: torch.nn.Module) -> str:
    """Return a digest of a model, in hexadecimal digits."""
    return _digest(_model(model))


def inputs_digest(inputs: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """Return a digest of the inputs of a model: shapes, dtypes, nesting, and values."""
    return _digest([_value(list(inputs), {}, 0), _value(dict(kwargs), {}, 0)])


def code_modules(model: torch.nn.Module) -> set[str]:
    """Return the names of the Python modules with the code of a model's forward pass.

    These are the modules of its classes and their bases, without those of torch, and in the same
    packages those of the functions that `forward` calls by name, directly or through one another.
    """
    kinds = _classes(model)
    modules = {kind.__module__ for kind in kinds}
    packages = {_package(module) for module in modules}
    methods: dict[str, list[object]] = {}
    for kind in kinds:
        for name, value in vars(kind).items():
            methods.setdefault(name, []).append(value)
    seen: set[FunctionType] = set()
    waiting = list(methods.get("forward", ()))
    while waiting:
        each = waiting.pop()
        function = inspect.unwrap(each) if callable(each) else None
        if not isinstance(function, FunctionType) or function in seen:
            continue
        seen.add(function)
        if _package(function.__module__ or "") in packages:
            modules.add(function.__module__)
            for name in function.__code__.co_names:
                waiting += [function.__globals__.get(name), *methods.get(name, ())]
    return modules


def _classes(model: torch.nn.Module) -> list[type]:
    """Return the classes of a model's modules and their bases, without Python's and torch's."""
    kinds = {kind for each in map(type, model.modules()) for kind in each.__mro__}
    return sorted((kind for kind in kinds if not _is_foundation(kind.__module__)), key=_name)


def _is_foundation(module: str) -> bool:
    """Whether a Python module is Python's or torch's: their versions stand for these."""
    return _package(module) in {"torch", *sys.stdlib_module_names}


def _package(module: str) -> str:
    return module.partition(".")[0]


def _digest(parts: object) -> str:
    return hashlib.sha256(repr(parts).encode(errors="backslashreplace")).hexdigest()[:32]


def _model(model: torch.nn.Module) -> list[Any]:
    names: dict[int, str] = {}  # of modules and tensors, so that sharing shows
    code = [(_name(kind), _methods(kind)) for kind in _classes(model)]
    rows = []
    for path, module in model.named_modules(remove_duplicate=False):
        first = names.setdefault(id(module), path)
        rows.append((path, first) if first != path else (path, *_module(module, path, names)))
    return [code, rows]


def _module(module: torch.nn.Module, path: str, names: dict[int, str]) -> tuple[Any, ...]:
    own = {key: value for key, value in vars(module).items() if key not in _OF_MODULE}
    hooks = [[_function(hook) for hook in vars(module).get(key, {}).values()] for key in _HOOKS]
    return (
        _name(type(module)),
        module.training,
        [_tensor(f"{path}.{key}", each, names) for key, each in module._parameters.items()],  # noqa: SLF001 - also those that are None
        [_tensor(f"{path}.{key}", each, names) for key, each in module._buffers.items()],  # noqa: SLF001 - also those that are None
        [(key, _value(value, names, 0)) for key, value in sorted(own.items())],
        hooks,
    )


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _tensor(name: str, tensor: torch.Tensor | None, names: dict[int, str]) -> tuple[Any, ...]:
    if tensor is None:
        return (name, None)
    first = names.setdefault(id(tensor), name)
    if first != name:
        return (name, first)
    values = None if isinstance(tensor, torch.nn.Parameter) else _values(tensor)
    return (name, *_meta(tensor), values)


def _meta(tensor: torch.Tensor) -> tuple[Any, ...]:
    kind = _name(type(tensor))
    layout = (str(tensor.layout), tensor.stride()) if tensor.layout == torch.strided else ()
    return (kind, tuple(tensor.shape), str(tensor.dtype), tensor.requires_grad, layout)


def _values(tensor: torch.Tensor) -> str | None:
    """Return a digest of a tensor's values; None for a large one, or one without values."""
    plain = type(tensor) is torch.Tensor and tensor.layout == torch.strided
    if not plain or tensor.device.type != "cpu" or tensor.numel() > LARGEST_VALUES:
        return None
    data = tensor.detach().contiguous().view(-1).view(torch.uint8)
    return hashlib.sha256(data.numpy().tobytes()).hexdigest()[:32]


# -- code ------------------------------------------------------------------------------------------


def _methods(kind: type) -> list[tuple[str, Any]]:
    return [
        (key, _attribute(value))
        for key, value in sorted(vars(kind).items())
        if not key.startswith("__") or isinstance(value, FunctionType)  # not __doc__ and the like
    ]


def _attribute(value: object) -> Any:
    """Describe an attribute of a class: code of what can be called, values of what is plain."""
    if isinstance(value, (staticmethod, classmethod)):
        return _function(value.__func__)
    if isinstance(value, property):
        return [_function(each) for each in (value.fget, value.fset) if each]
    if callable(value):
        return _function(value)
    return _value(value, {}, DEEPEST - 1)


def _function(function: object) -> Any:
    """Describe a function by its code, defaults and the plain values of its closure."""
    if isinstance(function, functools.partial):
        return (_function(function.func), _value([*function.args, function.keywords], {}, 1))
    if isinstance(function, MethodType):
        return _function(function.__func__)
    wrapped = getattr(function, "__wrapped__", None)
    if not isinstance(function, FunctionType):
        return _function(wrapped) if wrapped else _name(type(function))
    cells = [_cell(cell, DEEPEST - 1) for cell in function.__closure__ or ()]
    defaults = _value([function.__defaults__, function.__kwdefaults__], {}, DEEPEST - 2)
    return (_code(function.__code__), defaults, cells)


def _cell(cell: Any, depth: int) -> Any:
    try:
        content = cell.cell_contents
    except ValueError:  # not filled yet
        return None
    if isinstance(content, FunctionType):
        return _code(content.__code__)
    return _value(content, {}, depth)


def _code(code: CodeType) -> tuple[Any, ...]:
    """Describe compiled code without its place: the file, the lines and the comments."""
    return (code.co_code.hex(), code.co_names, [_constant(each) for each in code.co_consts])


def _constant(value: object) -> Any:
    if isinstance(value, CodeType):
        return _code(value)
    if isinstance(value, frozenset):
        return sorted(map(repr, value))
    return repr(value)


# -- values ----------------------------------------------------------------------------------------


def _value(value: object, names: dict[int, str], depth: int) -> Any:
    """Describe a value that code may decide by; of other objects only the type."""
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes, Enum, range)):
        return (type(value).__name__, repr(value))
    if isinstance(value, (torch.dtype, torch.device, torch.Size, type)):
        return _name(value) if isinstance(value, type) else repr(value)
    if isinstance(value, torch.Tensor):
        first = names.setdefault(id(value), "attribute")
        return (*_meta(value), _values(value)) if first == "attribute" else first
    if isinstance(value, torch.nn.Module):
        return ("module", names.get(id(value)), _name(type(value)))
    if depth >= DEEPEST:
        return _name(type(value))
    return _container(value, names, depth + 1)


def _container(value: object, names: dict[int, str], depth: int) -> Any:
    kind = _name(type(value))
    if isinstance(value, Mapping):
        pairs = value.items()
        return (kind, [(_value(k, names, depth), _value(v, names, depth)) for k, v in pairs])
    if isinstance(value, (list, tuple)):
        return (kind, _each(value, names, depth))
    if isinstance(value, AbstractSet):
        return (kind, sorted(repr(each) for each in _each(value, names, depth)))
    if callable(value):
        return _function(value)
    if id(value) in names:  # such as the configuration that all modules of a model share
        return (kind, names[id(value)])
    names[id(value)] = f"object {len(names)}"
    return (kind, [(key, _value(each, names, depth)) for key, each in _fields(value)])


def _each(values: Iterable[object], names: dict[int, str], depth: int) -> list[Any]:
    return [_value(each, names, depth) for each in values]


def _fields(value: object) -> list[tuple[str, object]]:
    """Return the attributes of an object, such as a configuration, by name."""
    if dataclasses.is_dataclass(value):
        return [(each.name, getattr(value, each.name)) for each in dataclasses.fields(value)]
    return sorted(getattr(value, "__dict__", {}).items())
