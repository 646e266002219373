"""Coverage: every layer of torch.nn is counted, forward and backward, and every ATen operator.

A small layer is run as users run it, in training and evaluation mode, on CPU and on meta tensors.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from flopaudit.reference import operators
from flopaudit.reference.formulas import Call
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

Make = Callable[[], tuple[nn.Module, tuple[Any, ...]]]


def rand(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, requires_grad=True)


def classes(*shape: int) -> torch.Tensor:
    return torch.zeros(*shape, dtype=torch.long)


def signs(*shape: int) -> torch.Tensor:
    return torch.ones(*shape)


_POINTWISE = [
    "CELU", "ELU", "GELU", "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh", "Identity",
    "LeakyReLU", "LogSigmoid", "Mish", "PReLU", "RReLU", "ReLU", "ReLU6", "SELU", "SiLU",
    "Sigmoid", "Softplus", "Softshrink", "Softsign", "Tanh", "Tanhshrink", "Dropout",
    "AlphaDropout", "FeatureAlphaDropout", "Flatten",
]  # fmt: skip
_OVER_ROWS = ["Softmax", "Softmin", "LogSoftmax"]
_POOLS = ["MaxPool", "AvgPool"]
_ADAPTIVE = ["AdaptiveAvgPool", "AdaptiveMaxPool"]
_PADS = ["ConstantPad", "ReflectionPad", "ReplicationPad", "ZeroPad", "CircularPad"]
_PAIRS = ["L1Loss", "MSELoss", "SmoothL1Loss", "HuberLoss", "KLDivLoss", "BCEWithLogitsLoss",
          "BCELoss", "PoissonNLLLoss", "SoftMarginLoss", "MultiLabelSoftMarginLoss",
          "HingeEmbeddingLoss", "PairwiseDistance", "CosineSimilarity"]  # fmt: skip
_BY_DIMS = {1: (2, 4, 8), 2: (2, 4, 8, 8), 3: (2, 4, 4, 4, 4)}


def layer(name: str, *args: Any, **kwargs: Any) -> nn.Module:
    made: nn.Module = getattr(nn, name)(*args, **kwargs)
    return made


def made(name: str, inputs: tuple[Any, ...], *args: Any, **kwargs: Any) -> Make:
    """Return a function that builds the layer and its inputs."""
    return lambda: (layer(name, *args, **kwargs), inputs)


# The arguments of the layers, by number of dimensions.
_DIMENSIONAL: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(_POOLS, (2,)),
    **dict.fromkeys(_ADAPTIVE, (3,)),
    **dict.fromkeys(("BatchNorm", "InstanceNorm"), (4,)),
    **dict.fromkeys(("Conv", "ConvTranspose"), (4, 6, 3)),
    **dict.fromkeys(_PADS, (1,)),
    "ConstantPad": (1, 0.0),
    "Dropout": (),
    "LPPool": (2, 2),
}


def _by_dims() -> Iterator[tuple[str, Make]]:
    for dims, shape in _BY_DIMS.items():
        for name, args in _DIMENSIONAL.items():
            yield f"{name}{dims}d", made(f"{name}{dims}d", (rand(*shape),), *args)


def _recurrent() -> Iterator[tuple[str, Make]]:
    for name in ("RNN", "LSTM", "GRU"):
        yield name, made(name, (rand(5, 2, 4),), 4, 6, 2, bidirectional=True, dropout=0.1)
        yield f"{name}Cell", made(f"{name}Cell", (rand(2, 4),), 4, 6)


_OTHERS: dict[str, Make] = {
    "Bilinear": lambda: (nn.Bilinear(3, 4, 5), (rand(2, 3), rand(2, 4))),
    "ChannelShuffle": lambda: (nn.ChannelShuffle(2), (rand(2, 4, 3, 3),)),
    "CosineEmbeddingLoss": lambda: (
        nn.CosineEmbeddingLoss(),
        (rand(2, 3), rand(2, 3), signs(2)),
    ),
    "CrossEntropyLoss": lambda: (nn.CrossEntropyLoss(), (rand(2, 3), classes(2))),
    "CTCLoss": lambda: (
        nn.CTCLoss(),
        (rand(6, 2, 4).log_softmax(-1), classes(2, 3) + 1, (6, 6), (3, 3)),
    ),
    "Embedding": lambda: (nn.Embedding(5, 4, max_norm=1.0), (classes(2, 3),)),
    "EmbeddingBag": lambda: (nn.EmbeddingBag(5, 4, mode="sum"), (classes(2, 3),)),
    "Fold": lambda: (nn.Fold((4, 4), 2), (rand(2, 4, 9),)),
    "FractionalMaxPool2d": lambda: (nn.FractionalMaxPool2d(2, 3), (rand(2, 4, 8, 8),)),
    "FractionalMaxPool3d": lambda: (nn.FractionalMaxPool3d(2, 2), (rand(2, 4, 4, 4, 4),)),
    "GLU": lambda: (nn.GLU(), (rand(2, 4),)),
    "GaussianNLLLoss": lambda: (nn.GaussianNLLLoss(), (rand(2, 3), rand(2, 3), rand(2, 3))),
    "GroupNorm": lambda: (nn.GroupNorm(2, 4), (rand(2, 4, 3),)),
    "LayerNorm": lambda: (nn.LayerNorm(4), (rand(2, 4),)),
    "Linear": lambda: (nn.Linear(4, 5), (rand(2, 4),)),
    "LocalResponseNorm": lambda: (nn.LocalResponseNorm(2), (rand(2, 4, 3, 3),)),
    "MarginRankingLoss": lambda: (nn.MarginRankingLoss(), (rand(2), rand(2), signs(2))),
    "MultiMarginLoss": lambda: (nn.MultiMarginLoss(), (rand(2, 3), classes(2))),
    "MultiheadAttention": lambda: (
        nn.MultiheadAttention(8, 2),
        (rand(3, 2, 8), rand(5, 2, 8), rand(5, 2, 8)),
    ),
    "NLLLoss": lambda: (nn.NLLLoss(), (rand(2, 3), classes(2))),
    "NLLLoss2d": lambda: (nn.NLLLoss(), (rand(2, 3, 4, 4), classes(2, 4, 4))),
    "PixelShuffle": lambda: (nn.PixelShuffle(2), (rand(2, 4, 3, 3),)),
    "PixelUnshuffle": lambda: (nn.PixelUnshuffle(2), (rand(2, 4, 4, 4),)),
    "RMSNorm": lambda: (nn.RMSNorm(4), (rand(2, 4),)),
    "Softmax2d": lambda: (nn.Softmax2d(), (rand(2, 4, 3, 3),)),
    "Threshold": lambda: (nn.Threshold(0.1, 0.0), (rand(2, 4),)),
    "Transformer": lambda: (
        nn.Transformer(8, 2, 1, 1, 16),
        (rand(3, 2, 8), rand(5, 2, 8)),
    ),
    "TransformerEncoderLayer": lambda: (nn.TransformerEncoderLayer(8, 2, 16), (rand(3, 2, 8),)),
    "TransformerDecoderLayer": lambda: (
        nn.TransformerDecoderLayer(8, 2, 16),
        (rand(3, 2, 8), rand(5, 2, 8)),
    ),
    "TransformerEncoder": lambda: (
        nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 1),
        (rand(3, 2, 8),),
    ),
    "TransformerDecoder": lambda: (
        nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 16), 1),
        (rand(3, 2, 8), rand(5, 2, 8)),
    ),
    "TripletMarginLoss": lambda: (nn.TripletMarginLoss(), (rand(2, 3), rand(2, 3), rand(2, 3))),
    "TripletMarginWithDistanceLoss": lambda: (
        nn.TripletMarginWithDistanceLoss(),
        (rand(2, 3), rand(2, 3), rand(2, 3)),
    ),
    "Unflatten": lambda: (nn.Unflatten(1, (2, 2)), (rand(2, 4),)),
    "Unfold": lambda: (nn.Unfold(2), (rand(2, 4, 4, 4),)),
    "Upsample": lambda: (nn.Upsample(scale_factor=2, mode="bicubic"), (rand(2, 4, 3, 3),)),
    "UpsamplingBilinear2d": lambda: (nn.UpsamplingBilinear2d((6, 6)), (rand(2, 4, 3, 3),)),
    "UpsamplingNearest2d": lambda: (nn.UpsamplingNearest2d((6, 6)), (rand(2, 4, 3, 3),)),
    "AdaptiveLogSoftmaxWithLoss": lambda: (
        nn.AdaptiveLogSoftmaxWithLoss(8, 10, [4]),
        (rand(3, 8), classes(3)),
    ),
}


def _layers() -> dict[str, Make]:
    return {
        **_OTHERS,
        **{name: made(name, (rand(2, 3, 4, 4),)) for name in _POINTWISE},
        **{name: made(name, (rand(2, 4),), -1) for name in _OVER_ROWS},
        **{name: made(name, (rand(2, 4), torch.rand(2, 4))) for name in _PAIRS},
        **dict(_by_dims()),
        **dict(_recurrent()),
    }


LAYERS = _layers()

# Layers without arithmetic of their own, or that need several processes or special inputs.
LEFT_OUT = {
    "Container", "DataParallel", "Module", "ModuleDict", "ModuleList", "ParameterDict",
    "ParameterList",
    "Sequential", "RNNBase", "RNNCellBase", "Buffer", "Parameter",
    "SyncBatchNorm",  # several processes
    "CrossMapLRN2d",  # a Python loop of plain operators
    "MaxUnpool1d", "MaxUnpool2d", "MaxUnpool3d",  # movement, needs indices
    "MultiLabelMarginLoss",  # uncounted: its work depends on the targets' values
    "LinearCrossEntropyLoss",
}  # fmt: skip
# Gradients without a formula; see UNCOUNTED.
WITHOUT_GRADIENT = {
    "CTCLoss": "_ctc_loss_backward",
    "MultiMarginLoss": "multi_margin_loss_backward",
    "LSTM": "mkldnn_rnn_layer_backward",
}
# They read values, which meta tensors do not have, or torch cannot run them on meta.
VALUES = {
    "AdaptiveLogSoftmaxWithLoss",
    "CTCLoss",
    "FractionalMaxPool3d",
    "GaussianNLLLoss",
    "MultiMarginLoss",
    "RReLU",
}


class _Names(TorchDispatchMode):
    """A mode that notes operators that are in none of the tables."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # torch's own
        self.unknown: set[str] = set()
        self.crashed: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func._schema.name  # noqa: SLF001 - the only way
        entry = operators.known(name.removeprefix("aten::"), operators.FORMULAS)
        if entry:
            entry[1](Call(args, kwargs or {}, out))
        elif not is_free(func):
            self.unknown.add(name.partition("::")[2].rstrip("_"))
        return out


def is_free(operator: Any) -> bool:
    """Whether an operator is a view, or is in a table of operators that compute nothing."""
    schema = operator._schema  # noqa: SLF001 - the only way
    base = schema.name.partition("::")[2]
    if any(r.alias_info is not None and not r.alias_info.is_write for r in schema.returns):
        return True
    tables = (operators.VIEWS, operators.DATA_MOVEMENT)
    return any(operators.listed(base, table) for table in tables)


def _first(out: Any) -> torch.Tensor:
    tensor: torch.Tensor = _first(out[0]) if isinstance(out, tuple) else out
    return tensor


def run(name: str, *, training: bool, device: str) -> set[str]:
    """Run a layer forward and backward; return the operators that are in none of the tables."""
    torch.manual_seed(0)
    model, inputs = LAYERS[name]()
    model.train(training).to(device)
    moved = [
        value.detach().to(device).requires_grad_(value.requires_grad)
        if isinstance(value, torch.Tensor)
        else value
        for value in inputs
    ]
    seen = _Names()
    with seen:
        out = _first(model(*moved))
        if out.requires_grad:
            out.sum().backward()  # type: ignore[no-untyped-call] # torch's own
    return seen.unknown


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", sorted(LAYERS))
def test_layer_is_counted(name: str, training: object) -> None:
    unknown = run(name, training=bool(training), device="cpu")
    assert unknown <= {WITHOUT_GRADIENT.get(name)}


@pytest.mark.parametrize("name", sorted(set(LAYERS) - VALUES))
def test_layer_is_counted_on_meta(name: str) -> None:
    assert run(name, training=True, device="meta") <= {WITHOUT_GRADIENT.get(name)}


def test_every_layer_of_torch_is_run_or_left_out() -> None:
    layers = {
        name
        for name, found in vars(nn).items()
        if inspect.isclass(found) and issubclass(found, nn.Module) and not name.startswith("Lazy")
    }
    assert layers - set(LAYERS) <= LEFT_OUT


# -- ATen as a whole -------------------------------------------------------------------------------


def aten_operators() -> Iterator[Any]:
    """Yield overloads that are executed as they are; composite ones decompose first."""
    has_kernel = torch._C._dispatch_has_kernel_for_dispatch_key  # noqa: SLF001 - not public
    for full in torch._C._dispatch_get_all_op_names():  # noqa: SLF001 - the only list there is
        if not full.startswith("aten::"):
            continue
        base, _, overload = full.removeprefix("aten::").partition(".")
        composite = has_kernel(full, "CompositeImplicitAutograd")
        packet = getattr(torch.ops.aten, base, None)
        operator = getattr(packet, overload or "default", None)
        if operator is not None and not composite and not base.endswith("_out"):
            yield operator


def test_every_operator_of_aten_is_decided() -> None:
    """Every operator has a formula, moves data, is a view, or is left out with a reason."""
    undecided = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = list(aten_operators())
    for operator in found:
        base = operator._schema.name.removeprefix("aten::")  # noqa: SLF001 - the only way
        known = operators.known(base, operators.FORMULAS) or is_free(operator)
        if not known and base not in operators.UNCOUNTED and "_test_" not in base:
            undecided.add(base)
    assert not {base for base in undecided if base.rstrip("_") not in operators.UNCOUNTED} - {
        "_foobar",  # torch's own test
    }
    assert len(found) > 1000


def test_tables_do_not_contradict_each_other() -> None:
    tables = [set(operators.FORMULAS), operators.VIEWS, operators.DATA_MOVEMENT]
    tables.append(set(operators.UNCOUNTED))
    for index, table in enumerate(tables):
        for other in tables[index + 1 :]:
            assert not set(table) & set(other)
