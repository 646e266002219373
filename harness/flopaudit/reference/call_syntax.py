"""The syntax of a call: `torch.nn.functional.relu(x)`, `x.relu()` or an operator such as `+`.

torch reports `x + y` and `x.add(y)` as the same function, but a tool that patches methods sees only
one of them. The bytecode instruction of the calling frame distinguishes the two.
"""

from __future__ import annotations

import dis
from functools import lru_cache
from types import CodeType, FrameType
from typing import Any

import torch
from torch.overrides import resolve_name

_METHODS = "torch.Tensor."
_FUNCTIONS = "torch.nn.functional"
_BETWEEN = ("torch.overrides", "torch._jit_internal")
"""Modules whose frames lie between a call and the mode that is notified of it."""


def syntax_name(func: Any, frame: FrameType) -> str:
    """Return the qualified name by which a torch function was called.

    Args:
        func: the function that a TorchFunctionMode receives.
        frame: the frame of the code that made the call.

    Returns:
        The function's qualified name. For an operator, the method behind it, such as
        torch.Tensor.__add__.
    """
    name = _name(func)
    if name.startswith(_METHODS):
        method = name.removeprefix(_METHODS)
        code = frame.f_code
        # Built-in functions such as `sum` use the operator: the code does not even name the method.
        named = method in code.co_names or "getattr" in code.co_names
        unnamed = not named and hasattr(torch.Tensor, _dunder(method))
        if unnamed or _is_operator(code, frame.f_lasti):
            return _METHODS + _dunder(method)
    return name


def is_held(name: str, frame: FrameType) -> bool:
    """Whether a function was called through a reference taken before the call.

    `from torch.nn.functional import relu` and `self.act = relu` hold the function itself. A
    replacement that a tool puts into torch.nn.functional is then not called.

    Args:
        name: the name that `syntax_name` returns.
        frame: the frame of the code that made the call.
    """
    home, _, base = name.rpartition(".")
    if home not in {_FUNCTIONS, "torch"}:
        return False
    caller = _caller(frame, base) if home == _FUNCTIONS else frame
    return caller.f_globals.get("__name__") != home and not _looks_up(caller.f_code, base)


_LOOKUPS: dict[tuple[int, str], tuple[CodeType, bool]] = {}


def _looks_up(code: CodeType, base: str) -> bool:
    """Whether code takes an attribute of this name off a module, or one whose name it computes."""
    known = _LOOKUPS.get((id(code), base))
    if known is None:
        taken = {i.argval for i in dis.get_instructions(code) if i.opname in _OFF_A_MODULE}
        known = (code, base in taken or "getattr" in code.co_names)
        _LOOKUPS[id(code), base] = known
    return known[1]


_OFF_A_MODULE = ("LOAD_ATTR", "LOAD_METHOD")


def _caller(frame: FrameType, base: str) -> FrameType:
    """The frame that called a function, past the frames of torch and of the function itself."""
    while frame.f_back is not None and (
        frame.f_globals.get("__name__") in _BETWEEN
        or (
            frame.f_globals.get("__name__") == _FUNCTIONS
            and frame.f_code.co_name.removeprefix("_").startswith(base)
        )
    ):
        frame = frame.f_back
    return frame


@lru_cache(maxsize=4096)
def _name(func: Any) -> str:
    return resolve_name(func) or str(getattr(func, "__name__", func))


def _dunder(method: str) -> str:
    if method.startswith("__"):
        return method
    return f"__i{method[:-1]}__" if method.endswith("_") else f"__{method}__"


_KINDS: dict[tuple[int, int], tuple[CodeType, bool]] = {}


def _is_operator(code: CodeType, offset: int) -> bool:
    """Whether the instruction at an offset is an operator rather than a call."""
    # By identity, because code objects are slow to hash. Each is kept, so its id is not reused.
    known = _KINDS.get((id(code), offset))
    if known is None:
        name = dis.opname[code.co_code[offset]]
        known = (code, name.startswith(("BINARY_", "INPLACE_", "COMPARE_", "UNARY_")))
        _KINDS[id(code), offset] = known
    return known[1]
