"""The count is the same in every way of running a model, and the model is not changed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import flopaudit
import pytest
import torch
import torchvision
from flopaudit.core.specs import ModelSpec, parse_input
from flopaudit.models.build import build, make_inputs
from flopaudit.models.torchvision_zoo import torchvision_models
from flopaudit.reference.counter import Device, UncountedError
from flopaudit.reference.ledger import Ledger
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations

BATCH, SIZE = 2, 16


class Block(nn.Module):
    """A model with each of the operators that torch runs in more than one way."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, SIZE, 3, padding="same")
        self.norm = nn.BatchNorm2d(SIZE)
        self.layer = nn.TransformerEncoderLayer(SIZE, 4, 32, batch_first=True)
        self.attention = nn.MultiheadAttention(SIZE, 2, batch_first=True)
        self.rnn = nn.GRU(SIZE, SIZE, batch_first=True)
        self.tied = nn.Linear(SIZE, SIZE)
        self.tied_again = self.tied

    def forward(self, image: Any) -> Any:
        x = functional.gelu(self.norm(self.conv(image)))
        x = self.layer(x.flatten(2).transpose(1, 2))
        x = x + self.attention(x, x, x, need_weights=False)[0]
        x = self.rnn(x)[0]
        x = functional.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None])[:, 0]
        return self.tied_again(torch.relu(self.tied(x))).mean(1)


def image(**options: Any) -> torch.Tensor:
    return torch.rand(BATCH, 3, 6, 6, **options)


def block() -> Block:
    torch.manual_seed(0)
    return Block().eval()


@pytest.fixture(scope="module")
def plain() -> Ledger:
    return flopaudit.count(block(), image(), device="meta")


def in_half() -> Ledger:
    return flopaudit.count(block().to(torch.bfloat16), image().to(torch.bfloat16), device="meta")


def without_gradients() -> Ledger:
    with torch.no_grad():
        return flopaudit.count(block(), image(), device="own")


def in_inference_mode() -> Ledger:
    with torch.inference_mode():
        return flopaudit.count(block(), image(), device="meta")


def under_autocast() -> Ledger:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return flopaudit.count(block(), image(), device="own")


def compiled() -> Ledger:
    model: Any = torch.compile(block())
    return flopaudit.count(model, image(), device="own")


def through_functional_call() -> Ledger:
    model = block()
    state = dict(model.named_parameters()) | dict(model.named_buffers())

    class Calls(nn.Module):
        def forward(self, x: Any) -> Any:
            return torch.func.functional_call(model, state, (x,))

    return flopaudit.count(Calls(), image(), device="own")


WAYS: dict[str, Callable[[], Ledger]] = {
    "cpu": lambda: flopaudit.count(block(), image(), device="own"),
    "auto": lambda: flopaudit.count(block(), image()),
    "frozen": lambda: flopaudit.count(block().requires_grad_(False), image(), device="own"),  # noqa: FBT003 - torch's own
    "no gradients": without_gradients,
    "inference mode": in_inference_mode,
    "half": in_half,
    "double": lambda: flopaudit.count(block().double(), image().double(), device="own"),
    "channels last": lambda: flopaudit.count(
        block().to(memory_format=torch.channels_last),
        image().contiguous(memory_format=torch.channels_last),
        device="own",
    ),
    "autocast": under_autocast,
    "compiled": compiled,
    "functional call": through_functional_call,
    "moved to meta": lambda: flopaudit.count(block().to("meta"), image(device="meta")),
}


@pytest.mark.parametrize("way", WAYS)
def test_same_count_whatever_the_way(way: str, plain: Ledger) -> None:
    found = WAYS[way]()
    assert not found.uncounted_ops
    assert found.work == plain.work
    if way != "functional call":  # there the model's modules are not those of what is counted
        assert found.params == plain.params
        own = {path: work for path, work in found.by("path").items() if work.flops_all}
        expected = {path: work for path, work in plain.by("path").items() if work.flops_all}
        assert own == expected


def test_by_hand(plain: Ledger) -> None:
    tokens, pairs = BATCH * 36, BATCH * 36 * 36
    layer = 4 * SIZE * SIZE + 2 * SIZE * 32
    macs = tokens * (3 * 9 * SIZE + layer + 4 * SIZE * SIZE + 6 * SIZE * SIZE + 2 * SIZE * SIZE)
    assert plain.macs == macs + 3 * pairs * 2 * SIZE


@pytest.mark.parametrize("training", [False, True])
def test_dropout_and_mode_change_no_products(training: object) -> None:
    found = flopaudit.count(block().train(bool(training)), image(), device="meta")
    assert found.macs == flopaudit.count(block(), image(), device="meta").macs


def test_parametrized_and_subclassed_layers_count_as_layers() -> None:
    class Own(nn.Linear):
        pass

    plain = flopaudit.count(nn.Linear(8, 4), torch.rand(3, 8))
    assert flopaudit.count(Own(8, 4), torch.rand(3, 8)).macs == plain.macs
    normed = parametrizations.weight_norm(nn.Linear(8, 4))
    found = flopaudit.count(normed, torch.rand(3, 8))
    assert found.by("kind")["linear"].macs == plain.macs
    assert not found.uncounted_ops


def test_module_called_many_times_is_counted_each_time() -> None:
    class Loops(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x: Any) -> Any:
            for _ in range(5):
                x = self.linear(x)
            return x

    found = flopaudit.count(Loops(), torch.rand(2, 4))
    assert found.macs == 5 * 2 * 4 * 4
    assert [row.call for row in found.rows] == [1, 2, 3, 4, 5]
    assert found.params == 4 * 4 + 4


def test_shared_parameters_are_counted_once() -> None:
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight = first.weight
    assert flopaudit.count(nn.Sequential(first, second), torch.rand(1, 4)).params == 16 + 4 + 4


def state_of(model: nn.Module) -> list[Any]:
    values = [tensor.clone() for tensor in model.state_dict().values()]
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]  # noqa: SLF001 - what is checked
    return [values, hooks, [m.training for m in model.modules()], torch.get_rng_state()]


def same(left: Any, right: Any) -> bool:
    if isinstance(left, torch.Tensor):
        return torch.equal(left, right)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


@pytest.mark.parametrize("device", ["meta", "own"])
@pytest.mark.parametrize("backward", [False, True])
def test_model_is_left_as_it_was(device: str, backward: object) -> None:
    model = block().train()
    before, given = state_of(model), image()
    before[3] = torch.get_rng_state()
    flopaudit.count(model, given, device=device, backward=bool(backward))  # type: ignore[arg-type] # parametrized
    assert same(state_of(model), before)
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("device", ["meta", "own"])
def test_model_that_raises_is_left_as_it_was(device: str) -> None:
    model = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(5, 5)).train()
    given = torch.rand(3, 4)
    before = state_of(model)
    with pytest.raises(RuntimeError):
        flopaudit.count(model, given, device=device)  # type: ignore[arg-type] # parametrized
    assert same(state_of(model), before)
    hooks = torch.nn.modules.module
    assert not hooks._global_forward_hooks  # noqa: SLF001 - what is checked
    assert not hooks._global_forward_pre_hooks  # noqa: SLF001 - what is checked
    assert flopaudit.count(nn.Linear(4, 4), torch.rand(1, 4)).macs == 16


def test_counts_can_be_nested() -> None:
    inner: list[int] = []

    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x: Any) -> Any:
            inner.append(flopaudit.count(nn.Linear(4, 8), torch.rand(3, 4), device="own").macs)
            return self.linear(x)

    found = flopaudit.count(Counts(), torch.rand(2, 4), device="own")
    assert inner == [3 * 4 * 8]
    assert found.by("path")["linear"].macs == 2 * 4 * 4


def test_counts_in_several_threads_do_not_mix() -> None:
    sizes, found = range(4, 12), {}
    start = threading.Barrier(len(sizes))

    def work(size: int) -> None:
        start.wait()
        model = nn.Sequential(*(nn.Linear(size, size) for _ in range(20)))
        for device in ("meta", "own"):
            macs = flopaudit.count(model, torch.rand(3, size), device=device).macs
            found[size, device] = macs

    threads = [threading.Thread(target=work, args=(size,)) for size in sizes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {(n, d): 20 * 3 * n * n for n in sizes for d in ("meta", "own")}


def test_strict_fails_on_an_operator_without_a_formula() -> None:
    class Rare(nn.Module):
        def forward(self, x: Any) -> Any:
            return torch.special.bessel_j0(x)

    with pytest.raises(UncountedError, match="bessel_j0"):
        flopaudit.count(Rare(), torch.rand(3), strict=True)


def test_quantized_model_costs_the_same_products() -> None:
    engines = torch.backends.quantized.supported_engines
    torch.backends.quantized.engine = next(e for e in engines if e not in {"none", "onednn"})
    given, name = torch.rand(1, 3, 224, 224), "quantized_resnet18"
    found = flopaudit.count(torchvision.models.get_model(name, quantize=True).eval(), given)
    assert found.macs == flopaudit.count(torchvision.models.get_model(name).eval(), given).macs
    assert found.device == "cpu"
    assert not found.uncounted_ops


WHERE: tuple[Device, Device] = ("meta", "own")
SMALL = sorted(
    name
    for name, model in torchvision_models().items()
    if model.family != "detection"
    and model.weights is not None
    and (model.weights.published_gmacs or 0) < 1
)


@pytest.mark.parametrize("name", SMALL)
def test_zoo_costs_the_same_on_meta_and_on_the_processor(name: str) -> None:
    model = build(ModelSpec("torchvision", name))
    inputs = make_inputs(tuple(map(parse_input, torchvision_models()[name].inputs)))
    meta, own = (flopaudit.count(model, *inputs, device=way) for way in WHERE)
    assert own.device == "cpu"
    assert own.by("path") == meta.by("path")
