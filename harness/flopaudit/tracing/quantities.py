"""The additive quantities and the traits of calls and modules.

Only shapes, flags and the reference's own work are used. The quantities are those of
`flopaudit.tracing.sites.QUANTITIES`, over which the formulas of tools are fitted. Traits are other
properties that may matter to a tool, as text.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import zip_longest
from math import prod
from typing import Any

import torch

from flopaudit.reference.cost import Work, added
from flopaudit.reference.kinds import Kind

_ATTENTION_KINDS = (Kind.ATTENTION, Kind.ACTIVATION)
_FACTORS = 2


def of_call(
    name: str, args: Any, kwargs: Mapping[str, Any], out: Any, work: Work
) -> dict[str, int]:
    """Return the quantities of one call of a function or an operator."""
    tensors = list(tensors_in((*args, *kwargs.values())))
    found = _common(tensors, out, work)
    outputs = found["outputs"]
    first = next(tensors_in((out,)), None)
    dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
    if "softmax" in name and isinstance(dim, int) and first is not None and first.ndim:
        found["rows"] = outputs // max(first.shape[dim], 1)
    if len(tensors) >= _FACTORS and tensors[0].ndim != tensors[1].ndim:
        found["aligned_left"] = _aligned_left(tensors[0].shape, tensors[1].shape)
    if work.macs and len(tensors) >= _FACTORS and tensors[1].ndim:
        found["macs_of_first"] = tensors[0].numel() * tensors[1].shape[-1]
    if work.macs:
        found["macs_to_4_digits"] = to_digits(work.macs)
    if _weight(name, args, kwargs) is not None:
        found["affine"] = outputs
    if "conv" in name and len(tensors) >= _FACTORS:
        found.update(_of_convolution(tensors[0], tensors[1], first))
    return found


_WEIGHTS = {
    "torch.batch_norm": 1,
    "torch.instance_norm": 1,
    "torch.layer_norm": 2,
    "torch.group_norm": 2,
    "torch.nn.functional.batch_norm": 3,
    "torch.nn.functional.instance_norm": 3,
    "torch.nn.functional.layer_norm": 2,
    "torch.nn.functional.group_norm": 2,
}
"""The position of the weight among the arguments of normalisation functions."""


def _weight(name: str, args: Any, kwargs: Mapping[str, Any]) -> Any:
    """Return the weight of a normalisation function; None if it has none."""
    place = _WEIGHTS.get(name)
    if place is None:
        return None
    return args[place] if len(args) > place else kwargs.get("weight")


def _common(tensors: list[torch.Tensor], out: Any, work: Work) -> dict[str, int]:
    first = next(tensors_in((out,)), None)
    return {
        "calls": 1,
        "inputs": tensors[0].numel() if tensors else 0,
        "outputs": first.numel() if first is not None else 0,
        "macs": work.macs,
        "bias_adds": work.bias_adds,
    }


def _aligned_left(first: Sequence[int], second: Sequence[int]) -> int:
    """Return the elements of two shapes that are broadcast from their first dimensions on."""
    return prod(max(sides) for sides in zip_longest(first, second, fillvalue=1))


def to_digits(macs: int) -> int:
    """Return products as half of the operations, rounded to four digits."""
    return int(float(f"{2 * macs:.3e}")) // 2


def _of_convolution(
    image: torch.Tensor, weight: torch.Tensor, out: torch.Tensor | None
) -> dict[str, int]:
    """Return the products if every output position is multiplied by every weight of its group."""
    if out is None or weight.ndim <= 2 or out.ndim < weight.ndim - 1:  # noqa: PLR2004 - a kernel
        return {}
    kernel = weight.shape[2:]
    positions = prod(out.shape[-len(kernel) :])
    batch = image.shape[0] if image.ndim == weight.ndim else 1
    return {"macs_by_output": batch * positions * weight.numel()}


def of_module(
    module: torch.nn.Module,
    args: Any,
    kwargs: Mapping[str, Any],
    out: Any,
    inside: Mapping[Kind, Work],
) -> dict[str, int]:
    """Return the quantities of one call of a module.

    Args:
        module: that was called.
        args: of the call, by position.
        kwargs: of the call, by keyword.
        out: the result.
        inside: the reference's work of all that the call ran, by kind.
    """
    tensors = list(tensors_in((*args, *kwargs.values())))
    found = _common(tensors, out, added(inside.values()))
    first = next(tensors_in((out,)), None)
    outputs = found["outputs"]
    if first is not None and first.ndim:
        found["of_first"] = outputs // max(first.shape[0], 1)
        found["positions"] = outputs // max(first.shape[1], 1) if first.ndim > 1 else outputs
    weight = getattr(module, "weight", None)
    if isinstance(weight, torch.Tensor):
        found["affine"] = outputs
        found["weights"] = weight.numel()
        if first is not None and first.ndim:
            found["weights_by_sample"] = weight.numel() * first.shape[0]
        if tensors and "Conv" in type(module).__name__:
            found.update(_of_convolution(tensors[0], weight, first))
    bias = getattr(module, "bias", None)
    if isinstance(bias, torch.Tensor) and first is not None and first.ndim:
        found["biases"] = bias.numel()
        found["biases_by_sample"] = bias.numel() * first.shape[0]
    found.update(_of_attributes(module, tensors[0] if tensors else None, first, inside))
    return found


def _of_attributes(
    module: torch.nn.Module,
    image: torch.Tensor | None,
    out: torch.Tensor | None,
    inside: Mapping[Kind, Work],
) -> Iterator[tuple[str, int]]:
    """Yield the quantities that depend on attributes of a layer, such as `num_heads`."""
    inputs = image.numel() if image is not None else 0
    outputs = out.numel() if out is not None else 0
    dim, shape = getattr(module, "dim", None), getattr(module, "normalized_shape", None)
    if isinstance(dim, int) and out is not None and -out.ndim <= dim < out.ndim:
        yield "rows", outputs // max(out.shape[dim], 1)
    elif isinstance(shape, tuple):
        yield "rows", outputs // max(prod(shape), 1)
    heads, width = getattr(module, "num_heads", None), getattr(module, "head_dim", None)
    if isinstance(heads, int) and isinstance(width, int):
        # The softmax takes one exponential for each score.
        yield "scores", sum(inside[kind].elementary for kind in _ATTENTION_KINDS if kind in inside)
    hidden, width = getattr(module, "hidden_size", None), getattr(module, "input_size", None)
    if isinstance(hidden, int) and isinstance(width, int) and width:
        directions = 2 if getattr(module, "bidirectional", False) else 1
        yield "states", inputs // width * hidden * getattr(module, "num_layers", 1) * directions
    kernel = getattr(module, "kernel_size", None)
    if kernel is not None and out is not None:
        yield from _of_kernel(kernel, out)
    elif hasattr(module, "output_size") and out is not None and image is not None:
        yield "summands", _shares(image.shape, out.shape) * outputs


def _shares(image: Sequence[int], out: Sequence[int]) -> int:
    """Return the inputs for each output, if each side is divided and the remainder dropped."""
    sides = zip(image[2:], out[2:], strict=False)
    return prod(old // new for old, new in sides if new)


def _of_kernel(kernel: Any, out: torch.Tensor) -> Iterator[tuple[str, int]]:
    """Yield the elements of the kernel at each position, and for each output."""
    sizes = kernel if isinstance(kernel, tuple) else (kernel,)
    if not all(isinstance(size, int) for size in sizes):
        return
    spatial = len(sizes) if isinstance(kernel, tuple) else max(out.ndim - 2, 1)
    area = prod(sizes) if isinstance(kernel, tuple) else sizes[0] ** spatial
    channels = out.shape[-spatial - 1] if out.ndim > spatial else 1
    yield "taps", area * (out.numel() // max(channels, 1))
    yield "summands", area * out.numel()


def tensors_in(values: Iterable[Any]) -> Iterator[torch.Tensor]:
    """Yield the tensors among values, and in the lists, tuples and dicts among them."""
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from tensors_in(value)
        elif isinstance(value, dict):
            yield from tensors_in(value.values())


def traits_of_call(name: str, args: Any, kwargs: Mapping[str, Any]) -> dict[str, str]:
    """Return flags, words and dimensions of a call, by argument name if that is known."""
    named = {**_named(name, args), **kwargs}
    found = {
        key: _word(value)
        for key, value in named.items()
        if isinstance(value, (bool, str)) or (key in kwargs and isinstance(value, (int, float)))
    }
    dims = ",".join(str(tensor.ndim) for tensor in tensors_in((*args, *kwargs.values())))
    if name.endswith("einsum"):
        found = {"equation": _equation(next(iter(found.values()), ""))}
    return {"ndims": dims, **found}


def _named(name: str, args: Any) -> dict[str, Any]:
    return dict(zip(_parameters(name, len(args)), args, strict=True))


@lru_cache(maxsize=4096)
def _parameters(name: str, count: int) -> tuple[str, ...]:
    """Return the names of a function's first parameters; numbers if they are not known."""
    home, _, base = name.rpartition(".")
    func = getattr(torch.nn.functional, base, None) if home == "torch.nn.functional" else None
    try:
        known = list(inspect.signature(func).parameters) if func is not None else []
    except ValueError:
        known = []
    return tuple(known[i] if i < len(known) else f"#{i}" for i in range(count))


def _word(value: bool | str | float) -> str:  # noqa: FBT001 - what an argument was
    """Write a flag or word as it is, a number as 0, 1 or more, because sizes vary."""
    if isinstance(value, (bool, str)):
        return str(value)
    return "none" if value == 0 else "one" if value == 1 else "some"


def _equation(text: str) -> str:
    """Return an einsum's equation with its letters renamed by their order."""
    letters: dict[str, str] = {}
    for letter in text:
        if letter.isalpha():
            letters.setdefault(letter, chr(ord("a") + len(letters)))
    return "".join(letters.get(letter, letter) for letter in text if letter != " ")


def traits_of_module(
    module: torch.nn.Module, args: Any, kwargs: Mapping[str, Any], out: Any
) -> dict[str, str]:
    """Return flags, words and numbers among a module's attributes, and its inputs' dimensions."""
    plain = {
        name: _word(value)
        for name, value in sorted(vars(module).items())
        if isinstance(value, (bool, str, int)) and not name.startswith("_")
    }
    tensors = list(tensors_in((*args, *kwargs.values())))
    dims = ",".join(str(tensor.ndim) for tensor in tensors)
    absent = {name: "absent" for name, held in module._parameters.items() if held is None}  # noqa: SLF001 - torch has no public way
    return {
        "ndims": dims,
        "keywords": ",".join(sorted(kwargs)),
        "divides": _word(_divides(tensors[:1], out)),
        **plain,
        **absent,
    }


def _divides(image: Sequence[torch.Tensor], out: Any) -> bool:
    """Whether each side of an input is a multiple of the same side of the output."""
    made = next(tensors_in((out,)), None)
    if not image or made is None or made.ndim != image[0].ndim:
        return True
    sides = zip(image[0].shape, made.shape, strict=True)
    return all(new == 0 or old % new == 0 for old, new in sides)
