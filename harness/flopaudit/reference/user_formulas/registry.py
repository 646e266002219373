"""The registry of users' formulas: what is registered for which operator, and how it is called.

A user's formula is called as its operator was, with the sizes of each tensor in place of the
tensor, as `torch.utils.flop_counter.register_flop_formula` does it.
"""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from operator import index
from pathlib import Path
from typing import Any, TypeVar, overload

from flopaudit.core.errors import UsageError
from flopaudit.core.first_line import named
from flopaudit.reference import operators
from flopaudit.reference.cost import Work
from flopaudit.reference.formulas import Call, Parts
from flopaudit.reference.kinds import PRODUCT_KINDS, Kind

_Function = TypeVar("_Function", bound=Callable[..., Any])


class FormulaError(UsageError):
    """A user's formula cannot be registered, or did not return a count."""


class Shape(tuple[int, ...]):  # noqa: SLOT001 - a tuple with an attribute has no slots
    """The sizes of a tensor, as a user's formula gets them in place of the tensor.

    Attributes:
        dtype: of the tensor, such as `float32`.
    """

    dtype: str = ""

    @property
    def shape(self) -> Shape:
        """The sizes themselves, so that a formula may be written as for a tensor."""
        return self

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self)

    def numel(self) -> int:
        """Return the number of elements."""
        count = 1
        for size in self:
            count *= size
        return count


@dataclass(frozen=True)
class UserFormula:
    """A formula that a user gave for an operator.

    Attributes:
        operator: its name as `namespace::op`, or as `namespace::op.overload` for one overload.
        function: called as the operator, with a `Shape` in place of each tensor.
        kind: of the multiply-accumulates that it returns as one number.
        origin: where it is from, such as `formulas.py (sha256 1234abcd)`.
        raw: whether it takes the tensors and the result `out_val`, as torch's own registry has it,
            and returns FLOPs.
    """

    operator: str
    function: Callable[..., Any]
    kind: Kind
    origin: str
    raw: bool = False

    def parts(self, call: Call, defaults: Mapping[str, Any] | None = None) -> Parts:
        """Return the work of a call, by kind.

        Args:
            call: of the operator.
            defaults: the arguments that the call leaves out, or that torch has left out because
                they were the operator's defaults.

        Raises:
            FormulaError: the function raised, or returned something that is not a count.
        """
        try:
            returned = self._returned(call, defaults or {})
        except Exception as error:
            raise self._error(f"raised {named(error).rstrip('.')}", _GETS) from error
        try:
            return _flops(returned) if self.raw else _parts(returned, self.kind)
        except ValueError as error:
            raise self._error(f"returned {error}", _RETURNS) from error

    def _returned(self, call: Call, defaults: Mapping[str, Any]) -> Any:
        if self.raw:
            return self.function(*call.args, **call.kwargs, out_val=call.out)
        args, kwargs = _shapes(list(call.args)), _shapes(dict(call.kwargs))
        more = {**defaults, "out_shape": _shapes(call.out)}
        wanted = _left_to_give(self.function, len(args))
        return self.function(
            *args, **{name: more[name] for name in wanted if name in more}, **kwargs
        )

    def _error(self, what: str, remedy: str) -> FormulaError:
        return FormulaError(
            f"The formula of {self.operator} in {self.origin.partition(' (sha256')[0]} {what}.",
            remedy,
        )


_GETS = (
    "It is called as the operator is, with the sizes of each tensor in place of the tensor, and "
    "with out_shape if it has a parameter of that name."
)
_RETURNS = (
    "Return the multiply-accumulates as a whole number, a flopaudit.Work, or a dict of these by "
    "kind."
)


def _shapes(value: Any) -> Any:
    """Return a value with the sizes of each tensor in place of the tensor."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        sizes = Shape(int(size) for size in value.shape)
        sizes.dtype = str(value.dtype).removeprefix("torch.")
        return sizes
    if isinstance(value, (list, tuple)):
        items = [_shapes(item) for item in value]
        return tuple(items) if isinstance(value, tuple) else items
    if isinstance(value, dict):
        return {name: _shapes(item) for name, item in value.items()}
    return value


def _left_to_give(function: Callable[..., Any], given: int) -> list[str]:
    """Return the names of the parameters of a function that its positional arguments leave out.

    Args:
        function: a user's formula.
        given: how many arguments it gets by position.
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # a callable of C has none
        return []
    by_place = [each for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD][given:]
    by_name = [each for each in parameters if each.kind is each.KEYWORD_ONLY]
    return [each.name for each in (*by_place, *by_name)]


# -- what a formula returned ---------------------------------------------------------------------


def _parts(returned: Any, kind: Kind) -> Parts:
    """Return what a formula returned as work by kind.

    Raises:
        ValueError: it is not a count; the message says what it is.
    """
    if not isinstance(returned, Mapping):
        return [_part(kind, returned)]
    return [_part(_kind(name), value) for name, value in returned.items()]


def _part(kind: Kind, value: Any) -> tuple[Kind, Work]:
    if not isinstance(value, Work):
        value = Work(macs=_whole(value))
    work = Work(**{each.name: _whole(getattr(value, each.name)) for each in fields(Work)})
    if work.macs and kind not in PRODUCT_KINDS:
        products = ", ".join(PRODUCT_KINDS)
        raise ValueError(
            f"multiply-accumulates of the kind '{kind}', and those are of the kinds {products}"
        )
    return kind, work


def _whole(value: Any) -> int:
    try:
        whole = index(value)
    except TypeError:
        whole = None
    if whole is None or isinstance(value, bool):
        raise ValueError(f"{value!r:.100}, which is not a whole number")
    if whole < 0:
        raise ValueError(f"{value!r:.100}, and a count is not negative")
    return whole


def _flops(returned: Any) -> Parts:
    """Return FLOPs as products; an odd number of them as operations that are not products."""
    flops = _whole(returned)
    work = Work(muls=flops) if flops % 2 else Work(macs=flops // 2)
    return [(Kind.MATMUL, work)]


def _kind(name: Any) -> Kind:
    """Return the kind of a name.

    Raises:
        ValueError: there is no such kind.
    """
    try:
        return Kind(name)
    except ValueError:
        names = ", ".join(kind for kind in Kind if kind is not Kind.UNKNOWN)
        raise ValueError(f"the kind {name!r}, and the kinds are {names}") from None


# -- registration --------------------------------------------------------------------------------

_registered: dict[str, UserFormula] = {}
_changes: list[str] = []
known_origins: dict[str, str] = {}
"""The origins of files that have been executed, by path: the text may be another's by now."""


@overload
def register_formula(
    operator: object, formula: None = None, *, kind: str = "matmul", override: bool = False
) -> Callable[[_Function], _Function]: ...


@overload
def register_formula(
    operator: object, formula: _Function, *, kind: str = "matmul", override: bool = False
) -> _Function: ...


def register_formula(
    operator: object,
    formula: Callable[..., Any] | None = None,
    *,
    kind: str = "matmul",
    override: bool = False,
) -> Any:
    """Register a formula for an operator that the reference has none for.

    Args:
        operator: its name, such as `mylib::low_rank`, or `mylib::low_rank.default` for one
            overload; or the operator itself.
        formula: called as the operator, with a tuple of the sizes in place of each tensor, and with
            `out_shape`, those of the result, if it has a parameter of that name. It returns the
            multiply-accumulates; or a `flopaudit.Work` that has other operations too; or a dict of
            these by kind. Without it, the result is a decorator.
        kind: of the work: conv, linear, matmul or attention for multiply-accumulates.
        override: replace the formula that the operator has.

    Returns:
        The formula, or a decorator that returns it.

    Raises:
        FormulaError: the operator has a formula, or the name or the kind cannot be read.
    """
    if formula is None:
        return lambda function: register_formula(operator, function, kind=kind, override=override)
    if not callable(formula):
        raise FormulaError(
            f"The formula of {operator} is {formula!r:.100}, which cannot be called.", _RETURNS
        )
    name = name_of(operator)
    try:
        known_kind = _kind(kind)
    except ValueError as error:
        raise FormulaError(f"The formula of {name} has {error}.", "Give one of them.") from None
    add(UserFormula(name, formula, known_kind, origin_of(formula)), override=override)
    return formula


def add(formula: UserFormula, *, override: bool = False) -> None:
    """Add a formula to the registry.

    Raises:
        FormulaError: the operator has one, and it is not `override`.
    """
    name = formula.operator
    before = _registered.get(name)
    remedy = "Leave it out, or register it with override=True."
    if before is not None and not override and not _same(before, formula):
        raise FormulaError(
            f"{name} has two formulas, in {before.origin} and in {formula.origin}.", remedy
        )
    if before is None and not override and is_counted(name):
        raise FormulaError(
            f"{formula.origin} has a formula of {name}, which flopaudit counts itself.", remedy
        )
    _registered[name] = formula
    _changes.append(name)


def _same(one: UserFormula, other: UserFormula) -> bool:
    """Whether both are the same function of the same file, which is defined again."""
    return _place(one.function) == _place(other.function)


def _place(function: Any) -> tuple[str, str]:
    return _file_of(function), getattr(function, "__qualname__", type(function).__qualname__)


def is_counted(name: str) -> bool:
    """Whether the reference has a formula of its own for an operator, or knows it to be free."""
    base = name.partition(".")[0].removeprefix("aten::")
    last = base.rpartition("::")[2]
    free = operators.is_of_torch(base) and (
        operators.listed(last, operators.VIEWS) or operators.listed(last, operators.DATA_MOVEMENT)
    )
    return free or operators.known(base, operators.FORMULAS) is not None


_NAME = re.compile(r"(?P<namespace>\w+)(::|\.)(?P<base>\w+)(\.(?P<overload>\w+))?")


def name_of(operator: object) -> str:
    """Return the name of an operator as `namespace::op`, or as `namespace::op.overload`.

    Args:
        operator: a name in any of its forms; or an operator of torch, an operator that
            torch.library.custom_op returned, a higher-order operator or a triton kernel.

    Raises:
        FormulaError: it has no such name.
    """
    if isinstance(operator, str):
        found = _NAME.fullmatch(operator.removeprefix("torch.ops."))
        if not found:
            raise FormulaError(
                f"'{operator:.100}' is not the name of an operator.",
                'Write it as "namespace::op", such as "mylib::low_rank".',
            )
        last = f".{found['overload']}" if found["overload"] else ""
        return f"{found['namespace']}::{found['base']}{last}"
    for attribute in ("_qualified_op_name", "_qualname"):
        name = getattr(operator, attribute, None)
        if isinstance(name, str):
            return name
    schema = getattr(operator, "_schema", None)
    if schema is not None:
        return f"{schema.name}.{schema.overload_name or 'default'}"
    if hasattr(operator, "namespace") and callable(getattr(operator, "name", None)):
        return f"{operator.namespace}::{operator.name()}"  # type: ignore[attr-defined] # as checked
    if hasattr(operator, "arg_names") and hasattr(operator, "fn"):
        while hasattr(operator.fn, "fn"):  # an autotuner, or heuristics, of triton
            operator = operator.fn
        return f"triton::{operator.fn.__name__}"
    raise FormulaError(
        f"{operator!r:.100} is not an operator.",
        'Give its name as "namespace::op", such as "mylib::low_rank".',
    )


def find(operator: object, overload_name: str = "") -> UserFormula | None:
    """Return the formula registered for an operator, that of its overload first.

    Args:
        operator: as `name_of` takes it, without an overload.
        overload_name: such as `default`.
    """
    if not _registered:
        return None
    name = name_of(operator)
    return _registered.get(f"{name}.{overload_name or 'default'}") or _registered.get(name)


def changes() -> int:
    """Return how often a formula was added."""
    return len(_changes)


def registered() -> Mapping[str, UserFormula]:
    """Return all formulas by the names of their operators."""
    return _registered


# -- origins -------------------------------------------------------------------------------------


def origin_of(function: Any) -> str:
    """Return the file that a function is from, with the beginning of the hash of its content."""
    file = _file_of(function)
    if file in known_origins:
        return known_origins[file]
    try:
        content = Path(file).read_bytes()
    except OSError:
        code = getattr(inspect.unwrap(function), "__code__", None)
        text = repr((code.co_code, code.co_consts, code.co_names)) if code else repr(function)
        return f"a session (sha256 {_short(re.sub('0x[0-9a-f]+', '', text).encode())})"
    return origin_of_file(file, content)


def origin_of_file(file: str, content: bytes) -> str:
    """Return the name of a file with the beginning of the hash of its content."""
    name = Path(file).name.encode(errors="backslashreplace").decode()
    return f"{name} (sha256 {_short(content)})"


def _short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:8]


def _file_of(function: Any) -> str:
    function = inspect.unwrap(function)
    function = getattr(function, "func", function)  # of functools.partial
    method = vars(type(function)).get("__call__")  # of an object that can be called
    code = getattr(function, "__code__", None) or getattr(method, "__code__", None)
    return str(code.co_filename) if code is not None else ""
