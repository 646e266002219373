"""The second way to the reference number: a model is exported, not run, and its graph is read.

A model and its arguments come in, a `Ledger` goes out, as from `flopaudit.reference.counter`. Here
torch.export traces the model over meta or fake tensors; each operator of the ATen graph is booked
with the same formulas, and one that has none is first taken apart. Beside the numbers of the rows
only `calls` of modules is less exact: a call that leaves no operator in the graph is not seen.

What cannot be exported, or costs what only the data decide, raises `NotExportable`.
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

from flopaudit.reference import operators
from flopaudit.reference.formulas import Call, Formula
from flopaudit.reference.graph_export import NotExportable, export, sentence
from flopaudit.reference.kinds import Kind
from flopaudit.reference.ledger import Ledger, OperatorRow, sum_work
from flopaudit.reference.ledger_entries import (
    Entry,
    described,
    entry,
    full_name,
    modules_of,
    plan,
    tensors_in,
    unknown,
)

__all__ = ["NotExportable", "count_static"]

# Only exported graphs hold these: they check what the tracer took for granted.
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
        model: left as it was found; eval or training mode is kept.
        *args: what to call the model with: tensors, or nests of them; only shapes are used.
        **kwargs: passed on to the model.

    Returns:
        The ledger of every operator in the graph; its device is `export`, its fallback the reason
        why the model could not be exported on meta tensors, where it was exported otherwise.

    Raises:
        NotExportable: torch.export fails, or the data decide what runs.
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
    )


# -- from a graph to rows ------------------------------------------------------------------------


class _Origin(NamedTuple):
    """What a node comes from: a module of the model, its type and call, and the function called."""

    path: str
    type: str
    call: int
    form: str


class _Reader:
    """Reads the graphs of one model into rows."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.unknown: set[str] = set()
        self._calls: dict[str, list[str]] = {}
        self._apart: dict[Any, list[Node]] = {}
        # A module of several names goes by the first, as where it is run.
        self._ids = {path: id(module) for path, module in model.named_modules()}
        first = {number: path for path, number in self._ids.items()}
        named = model.named_modules(remove_duplicate=False)
        self._names = {path: first[id(module)] for path, module in named}

    def calls_by_id(self) -> Counter[int]:
        """How often each module was called, by its id."""
        calls = {
            self._ids[path]: len(keys) for path, keys in self._calls.items() if path in self._ids
        }
        return Counter(calls)

    def rows(self, owner: GraphModule, outer: _Origin) -> Iterator[OperatorRow]:
        """The rows of a graph and of the graphs in it, in order.

        Args:
            owner: holds the graph, and as attributes the graphs in it.
            outer: the origin of nodes that tell none of their own.
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
            # A module that is not part of the model is booked under the one that called it.
            path = self._names.get(name, path)
            call = self._call_number(path if name in self._names else name, key)
        form = _form(node.meta["torch_fn"][1]) if "torch_fn" in node.meta else ""
        return _Origin(path, kind, call, form)

    def _call_number(self, path: str, key: str) -> int:
        """Which call of a module this is; the tracer writes a new key for each call and name."""
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
        """The row of one operator, if it does any arithmetic."""
        planned = _plan_of(operator)
        found = planned and entry(operator, planned, origin.form, call)
        if planned is None or found is None:
            return
        if planned[1] is unknown:
            self.unknown.add(str(operator))
        yield _row(found, origin)

    def _parts(self, operator: Any, call: Call) -> list[Node]:
        """The operators that one comes to; each kind of call is traced once."""
        leaves, spec = tree_flatten((call.args, call.kwargs))
        key = (operator, str(spec), *map(_signature, leaves))
        if key not in self._apart:
            self._apart[key] = _take_apart(operator, call)
        return self._apart[key]

    def _region(self, owner: GraphModule, node: Node, origin: _Origin) -> Iterator[OperatorRow]:
        """The rows of the graphs that a higher-order operator runs."""
        name, call = str(node.target), _call(node)
        inner = [each for each in node.all_input_nodes if each.op == "get_attr"]
        bodies = [list(self.rows(getattr(owner, str(each.target)), origin)) for each in inner]
        if name == "cond":
            yield from _either(bodies)
        elif name == "flex_attention":
            kind, formula = operators.HIGHER_ORDER[name]
            yield _row(described(name, kind, call, formula(call), {}), origin)
            yield from _for_each_score(bodies, call)
        elif name in _ONCE:
            yield from chain.from_iterable(bodies)
        elif name == "while_loop":
            raise NotExportable("How often a while_loop runs its body depends on the data.")
        else:
            self.unknown.add(name)
            yield _row(described(name, Kind.UNKNOWN, call, unknown(call), {}), origin)


def _either(bodies: list[list[OperatorRow]]) -> list[OperatorRow]:
    """The rows of the first branch, where all cost the same."""
    if len({sum_work(body) for body in bodies}) > 1:
        raise NotExportable("Which branch of a cond runs depends on the data; they cost unalike.")
    return bodies[0]


def _for_each_score(bodies: list[list[OperatorRow]], call: Call) -> Iterator[OperatorRow]:
    """The rows of what flex_attention does to a score, which its graphs hold for one."""
    query, key = call.args[:2]
    scores = prod(query.shape[:-1]) * key.shape[-2]
    return (row._replace(work=row.work * scores) for row in chain.from_iterable(bodies))


def _row(found: Entry, origin: _Origin) -> OperatorRow:
    return found.at(origin.path, origin.type, origin.call, origin.form)


# -- nodes and operators -------------------------------------------------------------------------


def _call(node: Node) -> Call:
    """Arguments and result of a node, fake tensors in the place of nodes.

    Raises:
        NotExportable: a size is not known, since it depends on the data.
    """
    args, kwargs = map_arg((node.args, node.kwargs), _value)
    call = Call(args, kwargs, _value(node))
    sizes = (size for t in tensors_in((*args, *kwargs.values(), call.out)) for size in t.shape)
    if any(not isinstance(size, int) for size in sizes):
        raise NotExportable(f"The sizes that {node.target} works on depend on the data.")
    return call


def _value(node: Node) -> Any:
    return node.meta.get("val")


@lru_cache(maxsize=4096)
def _plan_of(operator: OpOverload) -> tuple[Kind, Formula] | None:
    """Kind and formula of an operator, None where it only makes a view."""
    return None if full_name(operator) in _CHECKS else plan(operator)


def _is_known(operator: OpOverload) -> bool:
    planned = _plan_of(operator)
    return planned is None or planned[1] is not unknown


def _signature(leaf: Any) -> Any:
    """What tells apart two arguments of an operator: of a tensor, all but its values."""
    if isinstance(leaf, torch.Tensor):
        return (leaf.shape, leaf.stride(), leaf.dtype)
    return (type(leaf), leaf)


def _take_apart(operator: OpOverload, call: Call) -> list[Node]:
    """Trace an operator into those that the tables know, or that have no parts.

    That is done on meta, wherever the model is: there torch takes no short cuts of a device's own.

    Raises:
        NotExportable: torch cannot trace it there.
    """
    leaves, spec = tree_flatten((call.args, call.kwargs))
    leaves = [_on_meta(leaf) for leaf in leaves]
    places = [place for place, leaf in enumerate(leaves) if isinstance(leaf, torch.Tensor)]

    def run(*tensors: torch.Tensor) -> Any:
        given = dict(zip(places, tensors, strict=True))
        filled = [given.get(place, leaf) for place, leaf in enumerate(leaves)]
        args, kwargs = tree_unflatten(filled, spec)
        return operator(*args, **kwargs)

    trace = make_fx(run, decomposition_table=_decompositions(), tracing_mode="fake")
    try:
        with torch.no_grad():
            traced = trace(*(leaves[place] for place in places))
    except Exception as error:
        raise NotExportable(f"{operator} cannot be taken apart: {sentence(error)}") from error
    return [node for node in traced.graph.nodes if isinstance(node.target, OpOverload)]


def _on_meta(leaf: Any) -> Any:
    if isinstance(leaf, torch.Tensor):
        return torch.empty_strided(leaf.shape, leaf.stride(), dtype=leaf.dtype, device="meta")
    return torch.device("meta") if isinstance(leaf, torch.device) else leaf


@lru_cache(maxsize=1)
def _decompositions() -> dict[Any, Any]:
    """How torch takes apart each operator that has no entry in any table."""
    table: dict[Any, Any] = torch.export.default_decompositions()
    return {operator: how for operator, how in table.items() if not _is_known(operator)}


@lru_cache(maxsize=4096)
def _form(torch_fn: str) -> str:
    """The name of a torch function that a graph calls by type and name; "" if several answer."""
    found = _functions().get(torch_fn, set())
    return next(iter(found)) if len(found) == 1 else ""


@lru_cache(maxsize=1)
def _functions() -> dict[str, set[str]]:
    """Qualified names of all torch functions, by type and short name."""
    names: dict[str, set[str]] = {}
    for functions in get_overridable_functions().values():
        for function in functions:
            key = f"{type(function).__name__}.{getattr(function, '__name__', '')}"
            names.setdefault(key, set()).add(str(resolve_name(function)))
    return names
