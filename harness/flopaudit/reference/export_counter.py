"""The second way to the reference count: export a model and read the graph, without running it.

Returns a `Ledger`, as `flopaudit.reference.counter` does. torch.export traces the model over meta
or fake tensors; each operator of the ATen graph is counted with the same formulas, and an operator
without a formula is first decomposed. Only `calls` of modules is less exact than in a run: a call
that leaves no operator in the graph is not seen.

A model that cannot be exported, or whose cost depends on values, raises `NotExportable`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from itertools import chain
from math import prod
from typing import Any, NamedTuple

import torch
from torch._ops import HigherOrderOperator, OpOverload
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.node import map_arg
from torch.overrides import get_overridable_functions, resolve_name
from torch.utils._pytree import tree_flatten, tree_unflatten

from flopaudit.core.first_line import named
from flopaudit.core.source_lines import DEPENDS, line_in
from flopaudit.reference import operators, user_formulas
from flopaudit.reference.formulas import Call
from flopaudit.reference.graph_export import NotExportable, export
from flopaudit.reference.ledger import Ledger, OperatorRow, sum_work
from flopaudit.reference.ledger_entries import (
    Entry,
    Planned,
    described,
    entries_of_operator,
    full_name,
    is_triton,
    modules_of,
    plan,
    tensors_in,
    unknown,
)

__all__ = ["NotExportable", "count_static"]

# Only exported graphs contain these: they check what the tracer assumed.
_CHECKS = frozenset(["_assert_tensor_metadata"])
# Higher-order operators that run each of their graphs once.
_ONCE = frozenset(
    [
        "hints_wrapper",
        "invoke_subgraph",
        "strict_mode",
        "tag_activation_checkpoint",
        "wrap",
        "wrap_activation_checkpoint",
        "wrap_with_autocast",
        "wrap_with_set_grad_enabled",
    ]
)


def count_static(model: torch.nn.Module, *args: Any, **kwargs: Any) -> Ledger:
    """Count what one forward pass of a model would execute, from its exported graph.

    Args:
        model: is not changed; it stays in eval or training mode.
        *args: of the model's call: tensors, or nested structures of them; only shapes are used.
        **kwargs: of the model's call.

    Returns:
        The ledger of every operator in the graph. Its device is `export`; its fallback is the
        reason why the model could not be exported on meta tensors, if it was exported otherwise.

    Raises:
        NotExportable: torch.export fails, or the count depends on the values of the input.
    """
    program, fallback = export(model, args, kwargs)
    reader = _Reader(model)
    rows = tuple(reader.rows(program.graph_module, _Origin("", type(model).__name__, 1, "")))
    return Ledger(
        rows=rows,
        modules=tuple(modules_of(model, reader.calls_by_id())),
        device="export",
        fallback=fallback,
        uncounted_ops=Counter(row.operator for row in rows if row.operator in reader.unknown),
        user_formulas=reader.user_formulas,
    )


# -- from a graph to rows ------------------------------------------------------------------------


class _Origin(NamedTuple):
    """The origin of a node: a module of the model, its type, its call, and the call syntax."""

    path: str
    type: str
    call: int
    syntax: str


class _Reader:
    """A reader that turns the graphs of one model into rows."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.unknown: set[str] = set()
        self.user_formulas: dict[str, str] = {}
        self._calls: dict[str, list[str]] = {}
        self._decomposed: dict[Any, list[Node]] = {}
        # A module with several names goes by the first one, as in a run.
        self._ids = {path: id(module) for path, module in model.named_modules()}
        first = {number: path for path, number in self._ids.items()}
        named = model.named_modules(remove_duplicate=False)
        self._names = {path: first[id(module)] for path, module in named}

    def calls_by_id(self) -> Counter[int]:
        """Return how often each module was called, by its id."""
        calls = {
            self._ids[path]: len(keys) for path, keys in self._calls.items() if path in self._ids
        }
        return Counter(calls)

    def rows(self, owner: GraphModule, outer: _Origin) -> Iterator[OperatorRow]:
        """Yield the rows of a graph and of the graphs in it, in order.

        Args:
            owner: has the graph, and the graphs in it as attributes.
            outer: the origin of nodes that have no origin of their own.
        """
        for node in owner.graph.nodes:
            if isinstance(node.target, HigherOrderOperator):
                yield from self._region(owner, node, self._origin(node, outer))
            elif isinstance(node.target, OpOverload):
                yield from self._operator(node.target, _call(node), self._origin(node, outer))

    def _origin(self, node: Node, outer: _Origin) -> _Origin:
        path, kind, call, _ = outer
        for key, (name, type_name) in node.meta.get("nn_module_stack", {}).items():
            kind = type_name.rpartition(".")[2]
            # A module that is not part of the model is counted under the one that called it.
            path = self._names.get(name, path)
            call = self._call_number(path if name in self._names else name, key)
        syntax = _qualified(node.meta["torch_fn"][1]) if "torch_fn" in node.meta else ""
        return _Origin(path, kind, call, syntax)

    def _call_number(self, path: str, key: str) -> int:
        """Return which call of a module this is; each call and name has its own key."""
        keys = self._calls.setdefault(path, [])
        if key not in keys:
            keys.append(key)
        return keys.index(key) + 1

    def _operator(self, operator: Any, call: Call, origin: _Origin) -> Iterator[OperatorRow]:
        if _is_known(operator):
            yield from self._book(operator, call, origin)
            return
        for part in self._parts(operator, call):
            yield from self._book(part.target, _call(part), origin)

    def _book(self, operator: Any, call: Call, origin: _Origin) -> Iterator[OperatorRow]:
        """Yield the rows of one operator, if it does any arithmetic."""
        planned = plan(operator, call.kwargs) if is_triton(operator) else _plan_of(operator)
        if planned is None:
            return
        found = entries_of_operator(operator, planned, origin.syntax, call)
        if planned.formula is unknown and found:
            self.unknown.add(str(operator))
        if planned.origin:
            self.user_formulas[str(operator)] = planned.origin
        yield from (_row(each, origin) for each in found)

    def _parts(self, operator: Any, call: Call) -> list[Node]:
        """Return the parts of an operator; each kind of call is traced once."""
        leaves, spec = tree_flatten((call.args, call.kwargs))
        key = (operator, str(spec), *map(_signature, leaves))
        if key not in self._decomposed:
            self._decomposed[key] = _decompose(operator, call)
        return self._decomposed[key]

    def _region(self, owner: GraphModule, node: Node, origin: _Origin) -> Iterator[OperatorRow]:
        """Yield the rows of the graphs that a higher-order operator runs."""
        name, call = str(node.target), _call(node)
        inner = [each for each in node.all_input_nodes if each.op == "get_attr"]
        bodies = [list(self.rows(getattr(owner, str(each.target)), origin)) for each in inner]
        if name == "cond":
            yield from _either(bodies, node)
        elif name == "flex_attention":
            kind, formula = operators.HIGHER_ORDER[name]
            yield _row(described(name, kind, call, formula(call), {}), origin)
            yield from _for_each_score(bodies, call)
        elif name in _ONCE:
            yield from chain.from_iterable(bodies)
        elif name == "while_loop":
            raise _by_values(node, "how often a while_loop runs its body")
        else:
            yield from self._book(node.target, call, origin)


def _either(bodies: list[list[OperatorRow]], node: Node) -> list[OperatorRow]:
    """Return the rows of the first branch, if all branches cost the same."""
    if len({sum_work(body) for body in bodies}) > 1:
        raise _by_values(node, "which branch of a cond runs, and the branches differ in cost")
    return bodies[0]


def _by_values(node: Node, what: str) -> NotExportable:
    """Return the error for a node at which the count depends on the values of the input."""
    line = line_in(node.meta.get("stack_trace") or "")
    return NotExportable(f"{DEPENDS}: {what}{f', {line}' if line else ''}.")


def _for_each_score(bodies: list[list[OperatorRow]], call: Call) -> Iterator[OperatorRow]:
    """Yield the rows of what flex_attention does to every score; its graphs are for one score."""
    query, key = call.args[:2]
    scores = prod(query.shape[:-1]) * key.shape[-2]
    return (row._replace(work=row.work * scores) for row in chain.from_iterable(bodies))


def _row(found: Entry, origin: _Origin) -> OperatorRow:
    return found.at(origin.path, origin.type, origin.call, origin.syntax)


# -- nodes and operators -------------------------------------------------------------------------


def _call(node: Node) -> Call:
    """Return the arguments and the result of a node, with fake tensors in place of nodes.

    Raises:
        NotExportable: a size is unknown because it depends on the values of the input.
    """
    args, kwargs = map_arg((node.args, node.kwargs), _value)
    call = Call(args, kwargs, _value(node))
    sizes = (size for t in tensors_in((*args, *kwargs.values(), call.out)) for size in t.shape)
    if any(not isinstance(size, int) for size in sizes):
        raise _by_values(node, f"the sizes that {node.target} works on")
    return call


def _value(node: Node) -> Any:
    return node.meta.get("val")


def _plan_of(operator: Any) -> Planned | None:
    """Return how an operator is counted, or None if it only makes a view."""
    return _planned(operator, user_formulas.state())


@lru_cache(maxsize=4096)
def _planned(operator: Any, _state: Any) -> Planned | None:
    return None if full_name(operator) in _CHECKS else plan(operator)


def _is_known(operator: OpOverload) -> bool:
    planned = _plan_of(operator)
    return planned is None or planned.formula is not unknown


def _signature(leaf: Any) -> Any:
    """Return a key of an argument: for a tensor, everything but its values."""
    if isinstance(leaf, torch.Tensor):
        return (leaf.shape, leaf.stride(), leaf.dtype)
    return (type(leaf), leaf)


def _decompose(operator: OpOverload, call: Call) -> list[Node]:
    """Trace an operator into operators that are in the tables or cannot be decomposed further.

    It is traced on meta wherever the model is, because torch uses no device's own kernels there.

    Raises:
        NotExportable: torch cannot trace it on meta.
    """
    leaves, spec = tree_flatten((call.args, call.kwargs))
    leaves = [_on_meta(leaf) for leaf in leaves]
    indices = [index for index, leaf in enumerate(leaves) if isinstance(leaf, torch.Tensor)]

    def run(*tensors: torch.Tensor) -> Any:
        replaced = dict(zip(indices, tensors, strict=True))
        filled = [replaced.get(index, leaf) for index, leaf in enumerate(leaves)]
        args, kwargs = tree_unflatten(filled, spec)
        return operator(*args, **kwargs)

    trace = make_fx(
        run, decomposition_table=_decompositions(user_formulas.state()), tracing_mode="fake"
    )
    try:
        with torch.no_grad():
            traced = trace(*(leaves[index] for index in indices))
    except Exception as error:
        raise NotExportable(f"{operator} cannot be decomposed: {named(error)}") from error
    return [node for node in traced.graph.nodes if isinstance(node.target, OpOverload)]


def _on_meta(leaf: Any) -> Any:
    if isinstance(leaf, torch.Tensor):
        return torch.empty_strided(leaf.shape, leaf.stride(), dtype=leaf.dtype, device="meta")
    return torch.device("meta") if isinstance(leaf, torch.device) else leaf


@lru_cache(maxsize=1)
def _decompositions(_state: Any) -> dict[Any, Any]:
    """Return torch's decompositions of the operators that are in none of the tables."""
    table: dict[Any, Any] = torch.export.default_decompositions()
    return {operator: how for operator, how in table.items() if not _is_known(operator)}


@lru_cache(maxsize=4096)
def _qualified(torch_fn: str) -> str:
    """Return the qualified name of a torch function in a graph, or "" if it is ambiguous."""
    found = _functions().get(torch_fn, set())
    return next(iter(found)) if len(found) == 1 else ""


@lru_cache(maxsize=1)
def _functions() -> dict[str, set[str]]:
    """Return the qualified names of all torch functions, by type and short name."""
    names: dict[str, set[str]] = {}
    for functions in get_overridable_functions().values():
        for function in functions:
            key = f"{type(function).__name__}.{getattr(function, '__name__', '')}"
            names.setdefault(key, set()).add(str(resolve_name(function)))
    return names
