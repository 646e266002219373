"""Ledger entries: the cost, kind and tensors of one executed operator.

Both ways to a ledger use them: a run (`run_recorder.py`) and an exported graph
(`export_counter.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import torch

from flopaudit.core.nested_values import copied, leaves
from flopaudit.reference import operators, user_formulas
from flopaudit.reference.cost import NOTHING, Work
from flopaudit.reference.formulas import Call, Formula, Parts
from flopaudit.reference.formulas.call import nothing, total
from flopaudit.reference.kinds import Kind
from flopaudit.reference.ledger import (
    FORWARD,
    ModuleEntry,
    OperatorRow,
    Shape,
)
from flopaudit.reference.user_formulas import UserFormula

_LINEAR_FUNCTIONS = ("torch.nn.functional.linear", "torch.nn.functional.bilinear")
_ATTENTION_FUNCTIONS = (
    "torch.nn.functional.multi_head_attention_forward",
    "torch.nn.functional.scaled_dot_product_attention",
)


class Entry(NamedTuple):
    """The part of a row that all executions of an operator on the same shapes share."""

    operator: str
    kind: Kind
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]
    dtype: str
    work: Work
    alternatives: dict[str, Work]
    elements_read: int
    elements_written: int
    bytes_read: int
    bytes_written: int

    def at(
        self, path: str, type_name: str, call: int, syntax: str, phase: str = FORWARD
    ) -> OperatorRow:
        """Return the row of one such execution, in that call of that module."""
        return OperatorRow(
            operator=self.operator,
            form=syntax,
            path=path,
            type=type_name,
            call=call,
            phase=phase,
            kind=self.kind,
            inputs=self.inputs,
            outputs=self.outputs,
            dtype=self.dtype,
            work=self.work,
            alternatives=self.alternatives,
            elements_read=self.elements_read,
            elements_written=self.elements_written,
            bytes_read=self.bytes_read,
            bytes_written=self.bytes_written,
        )


def unknown(_call: Call) -> Work:
    """Stand in for the formula of an operator that has none; `uncounted_ops` names it."""
    return NOTHING


class Planned(NamedTuple):
    """How an operator is counted.

    Attributes:
        kind: of its work.
        formula: its work, as a whole.
        origin: where a user's formula is from; "" of the reference's own.
        parts: the work by kind, of a user's formula.
    """

    kind: Kind
    formula: Formula
    origin: str = ""
    parts: Callable[[Call], Parts] | None = None


def plan(operator: Any, kwargs: Any = None) -> Planned | None:
    """Return how an operator is counted, or None if it only makes a view.

    Args:
        operator: of torch.
        kwargs: of its call; those of a triton kernel's operator name the kernel.
    """
    name = full_name(operator)
    target = getattr(operator, "overloadpacket", operator)
    if is_triton(operator):
        target = _kernel(kwargs or {})
    users = user_formulas.find(target, overload_of(operator))
    if users is not None:
        return _of_user(users, operator)
    found = _of_tables(operator, name) if name else operators.HIGHER_ORDER.get(str(operator))
    if found is not None:
        return Planned(*found)
    if _is_view(operator, name) if name else str(operator) in REGIONS:
        return None
    users = user_formulas.find_in_torch(target)
    return _of_user(users, operator) if users is not None else Planned(Kind.UNKNOWN, unknown)


def _of_user(users: UserFormula, operator: Any) -> Planned:
    def parts(call: Call) -> Parts:
        by_name = is_triton(operator) and not users.raw
        return users.parts(_call_of_kernel(call) if by_name else call, _defaults(operator, call))

    return Planned(users.kind, lambda call: total(parts(call)), users.origin, parts)


def _defaults(operator: Any, call: Call) -> dict[str, Any]:
    """Return the arguments that a call leaves out, by name."""
    schema = getattr(operator, "_schema", None)
    left_out = schema.arguments[len(call.args) :] if schema is not None else ()
    return {
        each.name: each.default_value
        for each in left_out
        if each.name not in call.kwargs and each.has_default_value()
    }


def _of_tables(operator: Any, name: str) -> tuple[Kind, Formula] | None:
    """Return the kind and the formula that the tables have for an operator of this name."""
    found = operators.known(name, operators.FORMULAS)
    moves = operators.is_of_torch(name) and operators.listed(
        name.rpartition("::")[2], operators.DATA_MOVEMENT
    )
    if found is None and moves and not _is_view(operator, name):
        return (Kind.DATA_MOVEMENT, nothing)
    return found


def _is_view(operator: Any, name: str) -> bool:
    """Whether an operator returns an alias of its input and does not write to it."""
    returns = operator._schema.returns  # noqa: SLF001 - torch's own way
    aliases = any(r.alias_info is not None and not r.alias_info.is_write for r in returns)
    base = name.rpartition("::")[2]
    return aliases or (operators.is_of_torch(name) and operators.listed(base, operators.VIEWS))


def overload_of(operator: Any) -> str:
    """Return the name of an overload; "" of an operator that has none."""
    schema = getattr(operator, "_schema", None)
    return "" if schema is None else str(schema.overload_name or "default")


def is_triton(operator: Any) -> bool:
    """Whether an operator is one that runs a triton kernel."""
    return str(operator) in {"triton_kernel_wrapper_functional", "triton_kernel_wrapper_mutation"}


def _kernel(kwargs: Any) -> Any:
    """Return the kernel that an operator of triton runs."""
    from torch._higher_order_ops.triton_kernel_wrap import kernel_side_table

    kernel: Any = kernel_side_table.get_kernel(kwargs["kernel_idx"])
    while hasattr(kernel.fn, "fn"):  # an autotuner, or heuristics
        kernel = kernel.fn
    return kernel


def _call_of_kernel(call: Call) -> Call:
    """Return the call of a triton kernel by the names of its arguments."""
    from torch._higher_order_ops.triton_kernel_wrap import kernel_side_table

    constants = kernel_side_table.get_constant_args(call.kwargs["constant_args_idx"])
    return Call((), {**constants, **call.kwargs["kwargs"]}, call.out)


def is_composite(operator: Any) -> bool:
    """Whether torch runs an operator as several others on every device."""
    if not isinstance(operator, torch._ops.OpOverload):  # noqa: SLF001 - torch's own way
        return False
    has_kernel = torch._C._dispatch_has_kernel_for_dispatch_key  # noqa: SLF001 - the same
    name = operator._schema.name  # noqa: SLF001 - the same
    overload = operator._schema.overload_name  # noqa: SLF001 - the same
    full = f"{name}.{overload}" if overload else name
    return bool(has_kernel(full, "CompositeImplicitAutograd"))


REGIONS = frozenset(["associative_scan", "cond", "map_impl", "scan", "while_loop"])
"""Higher-order operators that do nothing but run the functions they are given."""


def inside(mode: Any, operator: Any, args: Any) -> Any:
    """Return the arguments of an operator, its functions such that a mode sees what they run.

    Args:
        mode: a TorchDispatchMode, which is off while it handles the operator.
        operator: of torch.
        args: of its call; those of an operator that takes no functions are returned as they are.
    """
    if str(operator) not in REGIONS or full_name(operator):
        return args

    def seen(function: Any) -> Any:
        def run(*values: Any) -> Any:
            with mode:
                return function(*values)

        return run

    return tuple(seen(each) if callable(each) else each for each in args)


def full_name(operator: Any) -> str:
    """Return the name without the overload, and without the namespace if that is aten."""
    schema = getattr(operator, "_schema", None)
    return "" if schema is None else str(schema.name).removeprefix("aten::")


def entries_of_operator(func: Any, planned: Planned, syntax: str, call: Call) -> tuple[Entry, ...]:
    """Return the entries of an operator on these shapes, none for work on integers only.

    There is one entry, unless a user's formula says that the work is of several kinds.
    """
    if planned.parts is not None:
        works = [(kind, work) for kind, work in planned.parts(call) if work != NOTHING]
        entries = [described(str(func), kind, call, work, {}) for kind, work in works]
        # What is read and written is in the first.
        return tuple(each if each is entries[0] else _without_traffic(each) for each in entries)
    name = full_name(func)
    tensors = [*tensors_in(call.args), *tensors_in(call.kwargs.values()), *tensors_in((call.out,))]
    any_dtype = name in operators.ANY_DTYPE or (planned.formula is unknown and _is_foreign(name))
    if not tensors or not (
        any_dtype or any(t.is_floating_point() or t.is_complex() for t in tensors)
    ):
        return ()
    kind, formula = planned.kind, planned.formula
    base = name.rstrip("_")
    alternatives = {
        name: table[base](call) for name, table in operators.ALTERNATIVES.items() if base in table
    }
    return (described(str(func), kind_of(kind, syntax), call, formula(call), alternatives),)


def _without_traffic(found: Entry) -> Entry:
    return found._replace(elements_read=0, elements_written=0, bytes_read=0, bytes_written=0)


def _is_foreign(name: str) -> bool:
    """Whether an operator is not torch's: what it does to integers may be products too."""
    return not name or not operators.is_of_torch(name)


def entries_of_whole(name: str, call: Call) -> tuple[Entry, ...]:
    """Return the entries of a function that is counted as a whole, one for each kind of work."""
    alternatives = {
        convention: dict(table[name](call))
        for convention, table in operators.FUNCTION_ALTERNATIVES.items()
        if name in table
    }
    return tuple(
        described(name, kind, call, work, {key: works[kind] for key, works in alternatives.items()})
        for kind, work in operators.FUNCTIONS_WHOLE[name](call)
    )


def described(
    name: str, kind: Kind, call: Call, work: Work, alternatives: dict[str, Work]
) -> Entry:
    """Return the entry of a call whose work is known."""
    inputs = [*tensors_in(call.args), *tensors_in(call.kwargs.values())]
    outputs = list(tensors_in((call.out,)))
    first = next(iter((*inputs, *outputs)), None)
    return Entry(
        operator=name,
        kind=kind,
        inputs=tuple(shape(t) for t in inputs),
        outputs=tuple(shape(t) for t in outputs),
        dtype=str(first.dtype).removeprefix("torch.") if first is not None else "",
        work=work,
        alternatives=alternatives,
        elements_read=sum(t.numel() for t in inputs),
        elements_written=sum(t.numel() for t in outputs),
        bytes_read=sum(t.numel() * t.element_size() for t in inputs),
        bytes_written=sum(t.numel() * t.element_size() for t in outputs),
    )


def kind_of(kind: Kind, syntax: str) -> Kind:
    """Return the kind under which an operator is counted, given the function that called it.

    A matrix product counts as the linear layer or the attention that called it. A mean counts as
    pooling if a pooling function called it.
    """
    if kind in (Kind.LINEAR, Kind.MATMUL):
        if syntax in _LINEAR_FUNCTIONS:
            return Kind.LINEAR
        if syntax in _ATTENTION_FUNCTIONS:
            return Kind.LINEAR if kind == Kind.LINEAR else Kind.ATTENTION
        return Kind.MATMUL
    if "_pool" in syntax and kind == Kind.REDUCTION:  # torch runs global average pools as means
        return Kind.POOLING
    return kind


def tensors_in(values: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors among values and in the lists among them."""
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from tensors_in(value)
        elif isinstance(value, dict):
            yield from tensors_in(value.values())


def shape(tensor: torch.Tensor) -> Shape:
    """Return the sizes of a tensor as plain integers."""
    return tuple(int(size) for size in tensor.shape)


def to_meta(tensor: torch.Tensor) -> torch.Tensor:
    """Return the same tensor on meta, without values; a parameter stays a parameter."""
    moved = tensor.detach().to("meta")
    if isinstance(tensor, torch.nn.Parameter):
        return torch.nn.Parameter(moved, requires_grad=tensor.requires_grad)
    return moved.requires_grad_(tensor.requires_grad)


def arguments_on_meta(arguments: Any) -> Any:
    """Return a copy of the arguments of a call, with every tensor in them on meta."""
    return copied(arguments, _is_tensor, lambda leaf: _apply(to_meta, leaf.value))


def own_arguments(arguments: Any) -> Any:
    """Return a copy of the arguments of a call, so that the call cannot change the originals.

    Tensors are shared, except for those in objects, such as a cache that writes into them.
    """
    return copied(
        arguments, _is_tensor, lambda leaf: leaf.value if leaf.plain else _apply(_clone, leaf.value)
    )


def all_tensors(arguments: Any) -> list[torch.Tensor]:
    """Return the tensors anywhere in the arguments of a call."""
    return [leaf.value for leaf in leaves(arguments, _is_tensor) if _is_tensor(leaf.value)]


class Dtypes(NamedTuple):
    """The floating-point dtypes of a model's weights, and those of its inputs."""

    weights: tuple[str, ...]
    inputs: tuple[str, ...]

    @property
    def foreign(self) -> tuple[str, ...]:
        """The dtypes of inputs that no weight has; none for a model without weights."""
        weights = self.weights or self.inputs
        return tuple(each for each in self.inputs if each not in weights)


def floating_dtypes(model: torch.nn.Module, arguments: Any) -> Dtypes:
    """Return the floating-point dtypes of a model and of the arguments of its call, sorted.

    Tensors on meta go together whatever their dtypes are; values do not.
    """
    weights = _floating(model.parameters()) or _floating(model.buffers())
    return Dtypes(weights, _floating(all_tensors(arguments)))


def _floating(tensors: Iterable[torch.Tensor]) -> tuple[str, ...]:
    found = {str(t.dtype).removeprefix("torch.") for t in tensors if t.is_floating_point()}
    return tuple(sorted(found))


def _is_tensor(value: Any) -> bool:
    return isinstance(value, torch.Tensor)


def _apply(change: Callable[[torch.Tensor], torch.Tensor], value: Any) -> Any:
    return change(value) if isinstance(value, torch.Tensor) else value


def _clone(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().clone().requires_grad_(tensor.requires_grad)


def modules_of(model: torch.nn.Module, calls: Counter[int]) -> Iterator[ModuleEntry]:
    """Yield every module once; a parameter is counted in the first module that holds it."""
    aliases: dict[int, list[str]] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        aliases.setdefault(id(module), []).append(path)
    seen: set[int] = set()
    for path, module in model.named_modules():
        own = {id(p): p for p in module.parameters(recurse=False) if id(p) not in seen}
        held = {id(b): b for b in module.buffers(recurse=False) if id(b) not in seen}
        seen.update(own, held)
        by_dtype: Counter[str] = Counter()
        for parameter in own.values():
            by_dtype[str(parameter.dtype).removeprefix("torch.")] += parameter.numel()
        yield ModuleEntry(
            path=path,
            type=type(module).__name__,
            aliases=tuple(alias for alias in aliases[id(module)] if alias != path),
            calls=calls[id(module)],
            params=sum(p.numel() for p in own.values()),
            trainable=sum(p.numel() for p in own.values() if p.requires_grad),
            params_by_dtype=dict(by_dtype),
            buffers=sum(b.numel() for b in held.values()),
            bytes=sum(t.numel() * t.element_size() for t in (*own.values(), *held.values())),
        )
