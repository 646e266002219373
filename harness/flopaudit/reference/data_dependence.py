"""Watch over the values of a model's inputs: where what runs, or its sizes, depends on them.

On meta tensors no value exists, so a run that needs one falls back to real tensors. In that run a
mark spreads from the input's tensors through the operators, by storage: views share it, and what is
written to receives it. Where Python reads a marked value, or a marked value decides the size of a
result, the line of code is noted. Values of parameters and constants, and sizes, are not marked.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import FrameType, FunctionType, ModuleType
from typing import Any

import torch
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map_only

from flopaudit.core.source_lines import line_of
from flopaudit.reference.formulas.free import names
from flopaudit.reference.ledger_entries import inside

MOST_LINES = 20
"""Lines that are noted at most."""

_TORCH = f"{Path(torch.__file__).parent}/"
_LAYERS = f"{_TORCH}nn/"
_HERE = f"{Path(__file__).parent}/"
_COUNTER = f"{_HERE}counter.py"

_OF_SIZES = names(
    """
    empty_like full_like new_empty new_empty_strided new_full new_ones new_zeros ones_like
    rand_like randint_like randn_like zeros_like
    """
)
"""Operators whose result has the sizes of its arguments and none of their values."""

_DECIDING = {
    "aten::_ctc_loss": (2, 3),
    "aten::_pack_padded_sequence": (1,),
    "aten::_pad_packed_sequence": (1,),
    "aten::masked_select": (1,),
}
"""The positions of the arguments that decide a size, where only some of them do."""

_UNTAGGED = names("_coalesce _pack_padded_sequence _pad_packed_sequence _to_sparse")
"""Operators whose result has a size by values, though torch has not marked them so."""

_READS = {
    **{f"torch.Tensor.{name}": 0 for name in ("__array__", "__dlpack__", "numpy", "tolist")},
    "torch.Tensor.tensor_split": 1,
    "torch.tensor_split": 1,
}
"""Functions that read values and run no operator for it: the position of what they read."""

_SHOWS = frozenset(["torch.Tensor.__repr__", "torch.Tensor.__format__"])
"""Methods that read values only to show them."""

_INDEXES = frozenset(["torch.Tensor.__getitem__", "torch.Tensor.__setitem__"])


class ValueWatch:
    """The lines of code at which one run of a model depends on its inputs' values.

    Args:
        inputs: of the model's call, nested in any way.
    """

    def __init__(self, inputs: Any) -> None:
        self._marked: dict[StorageWeakRef, None] = {}
        self._lines: dict[str, None] = {}
        self.function = ""
        self.sizes_only = False
        for tensor in _tensors_of_inputs(inputs, set()):
            self.mark(tensor)

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines in the order of execution, each once."""
        return tuple(self._lines)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch what this thread executes within the context."""
        with _Operators(self), _Functions(self):
            yield

    def mark(self, tensor: torch.Tensor) -> None:
        """Mark a tensor, and all that share its memory, as dependent on the input's values."""
        key = _storage(tensor)
        if key is not None:
            self._marked[key] = None

    def is_marked(self, values: Any) -> bool:
        """Whether some tensor among values depends on the input's values."""
        return any(_storage(tensor) in self._marked for tensor in _tensors(values))

    def note(self) -> None:
        """Note the line that is running."""
        if len(self._lines) < MOST_LINES and self.function not in _SHOWS:
            line = _line()
            if line is not None:
                self._lines[line] = None


def _line() -> str | None:
    """Return the line of the model that is running; of torch's layers if it has none of its own."""
    found: list[tuple[FrameType, int]] = []
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the caller's frames are needed
    while frame is not None and frame.f_code.co_filename != _COUNTER:
        found.append((frame, frame.f_lineno))
        frame = frame.f_back
    return line_of(found, [_TORCH, _HERE], [_LAYERS])


def _storage(tensor: torch.Tensor) -> StorageWeakRef | None:
    """Return a key of a tensor's memory that no later tensor gets; None if it has none."""
    try:
        return StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call] # torch's own
    except (NotImplementedError, RuntimeError):  # sparse and nested tensors have no single one
        return None


def _tensors(values: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors among values and in the containers among them."""
    return (leaf for leaf in tree_leaves(values) if isinstance(leaf, torch.Tensor))


def _tensors_of_inputs(values: Any, seen: set[int]) -> Iterator[torch.Tensor]:
    """Yield the tensors among a model's inputs, those that objects hold included.

    Args:
        values: of which some may be objects, such as a dataclass or a cache of keys and values.
        seen: the objects that have been looked into, by id: they may hold each other.
    """
    for leaf in tree_leaves(values):
        if isinstance(leaf, torch.Tensor):
            yield leaf
        elif id(leaf) not in seen and not isinstance(leaf, _NO_INPUTS):
            seen.add(id(leaf))
            names = [field.name for field in fields(leaf)] if is_dataclass(leaf) else ()
            held = [getattr(leaf, name) for name in (*names, *getattr(leaf, "__dict__", ()))]
            yield from _tensors_of_inputs(held, seen)


_NO_INPUTS = (type, ModuleType, FunctionType, torch.nn.Module)
"""What may be among a model's inputs, but is code rather than values."""


class _Operators(TorchDispatchMode):  # type: ignore[no-untyped-call] # torch's own
    """A mode that spreads the marks, and notes where they decide something."""

    supports_higher_order_operators = True

    def __init__(self, watch: ValueWatch) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # torch's own
        self._watch = watch

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        watch, kwargs = self._watch, kwargs or {}
        if not watch.is_marked((args, kwargs)):
            return func(*inside(self, func, args), **kwargs)
        if _decides(func, args, kwargs, watch):
            watch.note()
        args = inside(self, func, args)
        if str(func) == "while_loop":
            args = (self._noted(args[0]), *args[1:])
        out = func(*args, **kwargs)
        for tensor in (*_results(func, out), *_written(func, args, kwargs)):
            watch.mark(tensor)
        return out

    def _noted(self, condition: Any) -> Any:
        """Return the condition of a loop such that the line is noted if its result is marked."""

        def run(*values: Any) -> Any:
            result = condition(*values)
            if self._watch.is_marked(result):
                self._watch.note()
            return result

        return run


class _Functions(TorchFunctionMode):
    """A mode that notes the methods that read values without an operator."""

    def __init__(self, watch: ValueWatch) -> None:
        super().__init__()
        self._watch = watch

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        watch, kwargs = self._watch, kwargs or {}
        if watch.function:
            return func(*args, **kwargs)
        watch.function = str(resolve_name(func))
        watch.sizes_only = watch.function in _INDEXES and not _has_slice_by_value(args)
        try:
            place = _READS.get(watch.function)
            if place is not None and watch.is_marked(args[place : place + 1]):
                watch.note()
            return func(*args, **kwargs)
        finally:
            watch.function, watch.sizes_only = "", False


def _has_slice_by_value(args: Any) -> bool:
    """Whether an index has a slice with a tensor as a bound; one element alone has no size."""
    index = args[1] if len(args) > 1 else None
    parts = index if isinstance(index, (tuple, list)) else (index,)
    return any(
        isinstance(bound, torch.Tensor)
        for part in parts
        if isinstance(part, slice)
        for bound in (part.start, part.stop, part.step)
    )


# -- operators -----------------------------------------------------------------------------------


def _decides(func: Any, args: Any, kwargs: Any, watch: ValueWatch) -> bool:
    """Whether a marked value is read by an operator, or decides the size of its result."""
    schema = getattr(func, "_schema", None)
    if schema is None:
        return str(func) == "cond" and watch.is_marked(args[0])
    if torch.Tag.data_dependent_output in func.tags:
        return not watch.sizes_only
    name = str(schema.name)
    if name == "aten::index":
        masks = [t for t in _tensors(args[1:]) if t.dtype in (torch.bool, torch.uint8)]
        return watch.is_marked(masks)
    if name == "aten::repeat_interleave" and kwargs.get("output_size") is not None:
        return False
    base = name.rpartition("::")[2]
    if torch.Tag.dynamic_output_shape in func.tags or base in _UNTAGGED:
        places = _DECIDING.get(name)
        return watch.is_marked([args[i] for i in places if i < len(args)] if places else args)
    return not name.startswith("aten::") and _has_size_by_value(func, args, kwargs)


_BY_VALUE: dict[Any, bool] = {}


def _has_size_by_value(func: Any, args: Any, kwargs: Any) -> bool:
    """Whether an operator of another library says of its result that its size is by values."""
    if func not in _BY_VALUE:
        _BY_VALUE[func] = _sizes_unknown(func, args, kwargs)
    return _BY_VALUE[func]


def _sizes_unknown(func: Any, args: Any, kwargs: Any) -> bool:
    """Whether torch cannot tell the sizes of a result from those of the arguments."""
    from torch.fx.experimental.symbolic_shapes import ShapeEnv  # takes long, and is rarely needed

    no_functions = torch._C.DisableTorchFunction()  # noqa: SLF001 - torch has no public name for it
    shapes = FakeTensorMode(shape_env=ShapeEnv())
    with warnings.catch_warnings(), no_functions, _disable_current_modes(), shapes as mode:
        warnings.simplefilter("ignore")
        try:
            fake = tree_map_only(
                torch.Tensor, lambda t: mode.from_tensor(t, static_shapes=True), (args, kwargs)
            )
            out = func(*fake[0], **fake[1])
        except (DataDependentOutputException, DynamicOutputShapeException):
            return True
        except Exception:  # noqa: BLE001 - without a rule for fake tensors, torch does not know it
            return False
        return any(not isinstance(size, int) for t in _tensors(out) for size in t.shape)


def _results(func: Any, out: Any) -> Iterable[torch.Tensor]:
    """Return the tensors of a result that have values of the arguments."""
    schema = getattr(func, "_schema", None)
    if schema is not None and str(schema.name).rpartition("::")[2] in _OF_SIZES:
        return ()
    return _tensors(out)


def _written(func: Any, args: Any, kwargs: Any) -> Iterator[torch.Tensor]:
    """Yield the arguments that an operator writes to."""
    schema = getattr(func, "_schema", None)
    for index, argument in enumerate(schema.arguments if schema is not None else ()):
        if argument.alias_info is not None and argument.alias_info.is_write:
            given = args[index] if index < len(args) else kwargs.get(argument.name)
            yield from _tensors(given)
