"""Nesting and calling of modules, around layers that every tool counts."""

from __future__ import annotations

from typing import Any

from flopaudit.probes.definition import (
    IMAGES,
    Case,
    Make,
    Probe,
    cut,
    function,
    layer,
    sized,
)

# Channels in and out, height and width.
_CONVS = ((2, 3, 7, 9), (3, 5, 8, 11), (5, 2, 9, 6), (4, 7, 5, 10), (7, 4, 10, 8), (3, 11, 9, 5),
          (6, 3, 7, 12))  # fmt: skip
_CONV = [cut((1, i, h, w), sizes=(i, o)) for i, o, h, w in _CONVS]
_CONV_SQUARE = [cut((1, i, h, w), sizes=(i, i)) for i, _, h, w in _CONVS]
# Rows, features in, features out.
_LINEARS = ((2, 3, 5), (3, 5, 7), (5, 4, 3), (7, 2, 4), (4, 7, 2), (6, 5, 11), (9, 3, 4))
_LINEAR = [cut((n, i), sizes=(i, o)) for n, i, o in _LINEARS]
_LINEAR_SQUARE = [cut((n, i), sizes=(i, i)) for n, i, _ in _LINEARS]
_CHANNELS = [cut(shape, sizes=(shape[1],)) for shape in IMAGES]
_ONE = sized(IMAGES)


def _conv(torch: Any, ins: int, outs: int) -> Any:
    return torch.nn.Conv2d(ins, outs, 3, padding=1)


def _linear(torch: Any, ins: int, outs: int) -> Any:
    return torch.nn.Linear(ins, outs)


def _relu(torch: Any) -> Any:
    return torch.nn.ReLU()


def own(name: str, *inside: Make) -> Make:
    """Return a function that builds a class of `custom_modules`, from layers or from sizes."""

    def make(torch: Any, *sizes: Any) -> Any:
        from flopaudit.probes.structure import custom_modules

        built = [each(torch, *sizes) for each in inside]
        return getattr(custom_modules, name)(*(built or sizes))

    return make


def _times(torch: Any, features: int, times: int) -> Any:
    from flopaudit.probes.structure import custom_modules

    return custom_modules.Times(torch.nn.Linear(features, features), times)


def _relu_times(torch: Any, times: int) -> Any:
    from flopaudit.probes.structure import custom_modules

    return custom_modules.Times(torch.nn.ReLU(), times)


def _twice(torch: Any, inside: Any, x: Any) -> Any:
    del torch
    return inside(inside(x))


def _on_parts(torch: Any, inside: Any, x: Any) -> Any:
    """Call a layer on an image, on its upper four rows, and on its left three columns."""
    del torch
    inside(x[:, :, :4])
    inside(x[..., :3])
    return inside(x)


def _in(guard: str) -> Make:
    def call(torch: Any, inside: Any, x: Any) -> Any:
        with getattr(torch, guard)():
            return inside(x)

    return call


def _directly(torch: Any, inside: Any, x: Any) -> Any:
    del torch
    return inside.forward(x)


def _by_keyword(torch: Any, inside: Any, x: Any) -> Any:
    del torch
    return inside(input=x)


def _checkpointed(torch: Any, inside: Any, x: Any) -> Any:
    from torch.utils.checkpoint import checkpoint

    del torch
    return checkpoint(inside, x, use_reentrant=False)


def _with_hook(torch: Any, ins: int, outs: int) -> Any:
    conv = torch.nn.Conv2d(ins, outs, 3)
    conv.register_forward_hook(_pass_on)
    return conv


def _pass_on(_module: Any, _args: Any, _out: Any) -> None:
    """Do nothing, as a hook."""


def _with_pre_hook(torch: Any, ins: int, outs: int) -> Any:
    conv = torch.nn.Conv2d(ins, outs, 3)
    conv.register_forward_pre_hook(_pass_in)
    return conv


def _pass_in(_module: Any, _args: Any) -> None:
    """Do nothing, as a hook."""


def _parametrized(norm: str, kind: str, *, old: bool = False) -> Make:
    def make(torch: Any, ins: int, outs: int) -> Any:
        inside = _conv(torch, ins, outs) if kind == "Conv2d" else _linear(torch, ins, outs)
        home = torch.nn.utils if old else torch.nn.utils.parametrizations
        return getattr(home, norm)(inside)

    return make


def _held(home: str, name: str) -> Make:
    def make(torch: Any) -> Any:
        from functools import partial, reduce

        from flopaudit.probes.structure import custom_modules

        function = getattr(reduce(getattr, filter(None, home.split(".")), torch), name)
        if name == "softmax":
            return custom_modules.Held(partial(function, dim=-1))
        if name in {"matmul", "add"}:
            return custom_modules.HeldOfTwo(function)
        return custom_modules.Held(function)

    return make


def _sequential(torch: Any, ins: int, outs: int) -> Any:
    return torch.nn.Sequential(
        torch.nn.Conv2d(ins, outs, 3), torch.nn.BatchNorm2d(outs), torch.nn.ReLU()
    )


def _nested(torch: Any, ins: int, outs: int) -> Any:
    return torch.nn.Sequential(
        torch.nn.Sequential(torch.nn.Sequential(_conv(torch, ins, outs)), torch.nn.ReLU())
    )


def _list(torch: Any, ins: int, outs: int) -> Any:
    return torch.nn.ModuleList((torch.nn.Linear(ins, outs), torch.nn.Linear(outs, ins)))


def _dict(torch: Any, ins: int, outs: int) -> Any:
    return torch.nn.ModuleDict(
        {"up": torch.nn.Linear(ins, outs), "down": torch.nn.Linear(outs, ins)}
    )


_CALLS: dict[str, tuple[str, Make, list[Case], Make | None]] = {
    "called_n_times": (
        "a Linear called once to five times",
        _times,
        [
            cut((n, i), sizes=(i, times))
            for (n, i, _), times in zip(_LINEARS, (1, 2, 3, 5, 4, 2, 1), strict=True)
        ],
        None,
    ),
    "conv2d_called_twice": ("a Conv2d called twice", _conv, _CONV_SQUARE, _twice),
    "linear_called_twice": ("a Linear called twice", _linear, _LINEAR_SQUARE, _twice),
    "conv2d_on_three_sizes": ("a Conv2d called on three sizes", _conv, _CONV, _on_parts),
    "relu_called_n_times": (
        "a ReLU called once to five times",
        _relu_times,
        [cut(shape, sizes=(times,)) for shape, times in zip(IMAGES, (1, 2, 3, 5, 4), strict=True)],
        None,
    ),
    "relu_on_three_sizes": ("a ReLU called on three sizes", _relu, list(_ONE), _on_parts),
    "batch_norm2d_called_twice": (
        "a BatchNorm2d called twice",
        lambda torch, channels: torch.nn.BatchNorm2d(channels),
        _CHANNELS,
        _twice,
    ),
    "conv2d_by_keyword": ("a Conv2d called with input=x", _conv, _CONV, _by_keyword),
    "linear_by_keyword": ("a Linear called with input=x", _linear, _LINEAR, _by_keyword),
    "relu_by_keyword": ("a ReLU called with input=x", _relu, list(_ONE), _by_keyword),
    "conv2d_forward": ("a Conv2d whose forward is called", _conv, _CONV, _directly),
    "linear_forward": ("a Linear whose forward is called", _linear, _LINEAR, _directly),
    "relu_forward": ("a ReLU whose forward is called", _relu, list(_ONE), _directly),
    "conv2d_hook": ("a Conv2d with a forward hook", _with_hook, _CONV, None),
    "conv2d_pre_hook": ("a Conv2d with a forward pre-hook", _with_pre_hook, _CONV, None),
    "conv2d_no_grad": ("a Conv2d in no_grad", _conv, _CONV, _in("no_grad")),
    "conv2d_inference_mode": ("a Conv2d in inference_mode", _conv, _CONV, _in("inference_mode")),
    "linear_no_grad": ("a Linear in no_grad", _linear, _LINEAR, _in("no_grad")),
    "linear_inference_mode": (
        "a Linear in inference_mode",
        _linear,
        _LINEAR,
        _in("inference_mode"),
    ),
    "conv2d_checkpointed": ("a checkpointed Conv2d", _conv, _CONV, _checkpointed),
    "linear_checkpointed": ("a checkpointed Linear", _linear, _LINEAR, _checkpointed),
    "weight_norm_conv2d": (
        "a Conv2d under parametrizations.weight_norm",
        _parametrized("weight_norm", "Conv2d"),
        _CONV,
        None,
    ),
    "weight_norm_linear": (
        "a Linear under parametrizations.weight_norm",
        _parametrized("weight_norm", "Linear"),
        _LINEAR,
        None,
    ),
    "old_weight_norm_conv2d": (
        "a Conv2d under utils.weight_norm, the old form",
        _parametrized("weight_norm", "Conv2d", old=True),
        _CONV,
        None,
    ),
    "spectral_norm_conv2d": (
        "a Conv2d under parametrizations.spectral_norm",
        _parametrized("spectral_norm", "Conv2d"),
        _CONV,
        None,
    ),
    "spectral_norm_linear": (
        "a Linear under parametrizations.spectral_norm",
        _parametrized("spectral_norm", "Linear"),
        _LINEAR,
        None,
    ),
}

_CONTAINERS: dict[str, tuple[str, Make, list[Case], Make | None]] = {
    "sequential": ("Conv2d, BatchNorm2d and ReLU in a Sequential", _sequential, _CONV, None),
    "sequential_nested": ("a Conv2d two Sequentials deep, and a ReLU", _nested, _CONV, None),
    "module_list": (
        "two Linears of a ModuleList",
        _list,
        _LINEAR,
        lambda torch, layers, x: layers[1](layers[0](x)),
    ),
    "module_dict": (
        "two Linears of a ModuleDict",
        _dict,
        _LINEAR,
        lambda torch, layers, x: layers["down"](layers["up"](x)),
    ),
    "parent": ("a Conv2d in a module of its own", own("Parent", _conv), _CONV, None),
    "returns_tuple": ("a module that gives a tuple", own("Pair", _conv), _CONV, None),
    "returns_tuple_inside": (
        "a module that gives a tuple, of which one is used",
        own("Pair", _conv),
        _CONV,
        lambda torch, pair, x: pair(x)[0],
    ),
    "returns_dict": ("a module that gives a dict", own("Named", _conv), _CONV, None),
    "returns_dict_inside": (
        "a module that gives a dict, of which one is used",
        own("Named", _conv),
        _CONV,
        lambda torch, named, x: named(x)["out"],
    ),
    "leaf_returns_tuple": (
        "a module without children that gives a tuple, of which one is used",
        own("LeafPair"),
        list(_ONE),
        lambda torch, pair, x: pair(x)[0],
    ),
    "leaf_returns_dict": (
        "a module without children that gives a dict, of which one is used",
        own("LeafDict"),
        list(_ONE),
        lambda torch, named, x: named(x)["out"],
    ),
    "leaf_of_two": (
        "a module without children that takes two tensors",
        own("LeafOfTwo"),
        [cut(shape, shape) for shape in IMAGES],
        None,
    ),
    "leaf_of_two_by_keyword": (
        "a module without children that takes two tensors, one by keyword",
        own("LeafOfTwo"),
        [cut(shape, shape) for shape in IMAGES],
        lambda torch, leaf, x, other: leaf(x, other=other),
    ),
    "own_conv2d": (
        "a leaf with its own parameters and functional.conv2d",
        own("OwnConv"),
        [
            cut(case.shapes[0], sizes=(*case.sizes, k))
            for case, k in zip(_CONV, (3, 2, 3, 1, 4, 2, 5), strict=True)
        ],
        None,
    ),
    "own_linear": (
        "a leaf with its own parameters and functional.linear",
        own("OwnLinear"),
        _LINEAR,
        None,
    ),
    "own_matmul": ("a leaf with its own parameter and @", own("OwnMatmul"), _LINEAR, None),
    "linear_and_function": (
        "a Linear and functional.relu in one module",
        own("LinearWithAct"),
        _LINEAR,
        None,
    ),
    "linear_with_child": (
        "a subclass of Linear that has a child",
        own("LinearChildUnused"),
        _LINEAR,
        None,
    ),
    "residual": ("a Conv2d and a residual add", own("Residual", _conv), _CONV_SQUARE, None),
    "layer_scale": ("a leaf that scales each channel", own("Scaled"), _CHANNELS, None),
    "squeeze_excite": (
        "squeeze and excite",
        own("Squeezed"),
        [cut((1, i, h, w), sizes=(i, o)) for i, o, h, w in _CONVS],
        None,
    ),
    "drop_path": ("DropPath that multiplies by ones", own("ByFactor"), list(_ONE), None),
    **{
        f"held_{key}": (
            f"a module that keeps {key} of {home} and calls it",
            _held(home, key),
            list(_ONE),
            None,
        )
        for home, key in (
            ("nn.functional", "relu"),
            ("nn.functional", "gelu"),
            ("nn.functional", "silu"),
            ("nn.functional", "softmax"),
            ("nn.functional", "relu6"),
            ("", "matmul"),
            ("", "add"),
        )
    },
    "imported_relu": ("a module that has imported relu", own("Imported"), list(_ONE), None),
    "never_taken": ("a branch that is never taken", own("Branching"), _LINEAR, None),
    "dead_conv2d": (
        "a ReLU, and a Conv2d whose result is thrown away",
        own("Wasteful", lambda torch, i, _o: torch.nn.ReLU(), _conv),
        _CONV,
        None,
    ),
}


def _dead_function(torch: Any, x: Any) -> Any:
    torch.nn.functional.gelu(x)
    return torch.nn.functional.relu(x)


def _dead_product(torch: Any, a: Any, b: Any) -> Any:
    torch.matmul(a, b)
    return a + 1


PROBES: tuple[Probe, ...] = (
    *(
        layer(f"structure/{key}", about, make, cases, call)
        for key, (about, make, cases, call) in {**_CALLS, **_CONTAINERS}.items()
    ),
    function(
        "structure/dead_function", "functional.gelu, thrown away, and relu", _dead_function, _ONE
    ),
    function(
        "structure/dead_product",
        "torch.matmul, thrown away",
        _dead_product,
        [cut((n, k), (k, m)) for n, k, m in _LINEARS],
    ),
)
