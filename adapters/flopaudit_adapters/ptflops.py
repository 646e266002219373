"""ptflops: MACs by module hooks and patched functionals (`pytorch`) or a dispatch mode (`aten`).

With its per-layer report in plain MACs, ptflops prints exact numbers; the rows are read from that
report. When the model raises, ptflops prints a traceback and returns (None, None), so the result
holds None. Older versions have one backend only and take inputs in another way; the first versions
print only rounded numbers, so there are no rows.
"""

from __future__ import annotations

import inspect
import io
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from typing import Any

from flopaudit_adapters.contract import (
    LoadedModel,
    ModuleCount,
    Tool,
    ToolResult,
    Unsupported,
    known_to,
    own_rows,
)


def _measure(loaded: LoadedModel, variant: str | None) -> ToolResult:
    from ptflops import get_model_complexity_info

    if variant != "pytorch" and find_spec(f"ptflops.{variant}_engine") is None:
        raise Unsupported(f"this version of ptflops has no {variant} backend")
    printed = io.StringIO()
    macs, params = get_model_complexity_info(
        loaded.model,
        _resolution(loaded),
        as_strings=False,
        print_per_layer_stat=True,
        input_constructor=_input_constructor(loaded),
        ost=printed,
        # Any unit but GMac, MMac and KMac prints the number itself.
        **known_to(get_model_complexity_info, backend=variant, flops_units="Mac", param_units=""),
    )
    if macs is None:
        sys.stdout.write(printed.getvalue())
    parse = _aten_rows if variant == "aten" else _pytorch_rows
    rows = tuple(parse(printed.getvalue(), loaded.model)) if macs is not None else ()
    return ToolResult(raw={"macs": macs, "params": params}, count=macs, params=params, rows=rows)


def _input_constructor(loaded: LoadedModel) -> Callable[[Any], Any] | None:
    """Give ptflops the inputs that all tools get: a tensor, or inputs by the names of forward.

    A dict by position is given by name too, because ptflops takes a dict for all of the names.
    By default ptflops feeds uninitialised memory, on which some models run differently. Versions
    that accept only names do so where possible, because named inputs do not reach their hooks.
    """
    import torch

    if len(loaded.inputs) == 1 and not loaded.kwargs and not isinstance(loaded.inputs[0], dict):
        [given] = loaded.inputs
        if _takes_tensors():
            return lambda _resolution: given
        if isinstance(given, torch.Tensor) and given.is_floating_point() and len(given) == 1:
            return None
    names = list(inspect.signature(loaded.model.forward).parameters)
    named = {**dict(zip(names, loaded.inputs, strict=False)), **loaded.kwargs}
    return lambda _resolution: named


def _takes_tensors() -> bool:
    """Whether this version distinguishes a tensor from a dict of names."""
    import ptflops

    engine = getattr(ptflops, "pytorch_engine", None)
    run = engine.get_flops_pytorch if engine else ptflops.get_model_complexity_info
    return "dict" in run.__code__.co_names


def _resolution(loaded: LoadedModel) -> tuple[int, ...]:
    """Return the size of the first tensor without its batch: ptflops asks for it, but is fed."""
    first = _first_tensor((*loaded.inputs, *loaded.kwargs.values()))
    return tuple(first.shape[1:]) if first is not None else (1,)


def _first_tensor(value: Any) -> Any:
    import torch

    if isinstance(value, torch.Tensor):
        return value
    held = value.values() if isinstance(value, Mapping) else value
    if not isinstance(value, (Mapping, list, tuple)):
        return None
    return next((found for found in map(_first_tensor, held) if found is not None), None)


_HEADER = re.compile(
    r"^(?P<indent> *)\((?P<name>[^()]+)\): (?:\d+ x )?(?P<type>\w+)\((?P<rest>.*)$"
)
_COUNTS = re.compile(r"(?P<params>\d+), [\d.]+% Params, (?P<macs>[\d.e+]+) Mac, [\d.]+% MACs")


def _pytorch_rows(printed: str, model: Any) -> Iterator[ModuleCount]:
    """Yield the modules whose own count is not the sum of their children's."""
    counts, children = _module_counts(printed)
    types = {path: type(module).__name__ for path, module in model.named_modules()}
    waiting = [""]
    while waiting:
        path = waiting.pop()
        inside = children.get(path, [])
        if inside and sum(_total(child, counts, children) for child in inside) == _total(
            path, counts, children
        ):
            waiting.extend(reversed(inside))
        elif path in counts:
            # A module with children has a count of its own if ptflops counts nothing in them.
            macs, params = counts[path]
            yield ModuleCount(path, types.get(path, "?"), macs, params)


def _total(
    path: str, counts: dict[str, tuple[float, int]], children: dict[str, list[str]]
) -> float:
    """Return a module's count; a ModuleList prints none, so it is the sum of its children's."""
    if path in counts:
        return counts[path][0]
    return sum(_total(child, counts, children) for child in children.get(path, []))


def _module_counts(
    printed: str,
) -> tuple[dict[str, tuple[float, int]], dict[str, list[str]]]:
    """Return (macs, params) by path, descendants included, and the paths of children by path."""
    counts: dict[str, tuple[float, int]] = {}
    children: dict[str, list[str]] = {}
    stack: list[tuple[int, list[str]]] = [(-1, [""])]
    for line in printed.splitlines():
        header = _HEADER.match(line)
        if header:
            indent = len(header["indent"])
            while stack[-1][0] >= indent:
                stack.pop()
            named = {parent: _names(header["name"]) for parent in stack[-1][1]}
            paths = [f"{p}.{name}" if p else name for p, names in named.items() for name in names]
            for path in paths:
                children.setdefault(path.rpartition(".")[0], []).append(path)
            stack.append((indent, paths))
        found = _COUNTS.search(header["rest"] if header else line)
        if found:
            for path in stack[-1][1]:
                counts[path] = (float(found["macs"]), int(found["params"]))
    return counts, children


def _names(name: str) -> list[str]:
    """Expand the range that torch prints for equal neighbours, such as (0-3): 4 x Linear(…)."""
    first, dash, last = name.partition("-")
    if dash and first.isdigit() and last.isdigit():
        return [str(index) for index in range(int(first), int(last) + 1)]
    return [name]


def _aten_rows(printed: str, model: Any) -> Iterator[ModuleCount]:
    """Yield the children of the root, and the root with the remainder, by operator."""
    totals: dict[str, dict[str, int]] = {}
    module = ""
    for line in printed.splitlines():
        if line.startswith("Module:"):
            module = line.removeprefix("Module:").strip()
            totals[module] = {}
        elif module and line.endswith(" Mac"):
            operator, _, macs = line.removesuffix(" Mac").rpartition(": ")
            totals[module][operator] = int(macs)
    totals[""] = totals.pop("Global", {})
    types = {"": type(model).__name__}
    types |= {name: type(child).__name__ for name, child in model.named_children()}
    # A child without counts is not printed; anything that ran there is part of the root's row.
    return own_rows(totals, {name: types[name] for name in types if name in totals})


TOOL = Tool(
    name="ptflops",
    distribution="ptflops",
    package="ptflops",
    unit="MAC",
    measure=_measure,
    summary="module hooks and patched functionals, or dispatched operators",
    url="https://github.com/sovrasov/flops-counter.pytorch",
    variants=("pytorch", "aten"),
)
