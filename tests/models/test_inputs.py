"""Inputs that are made: nested values, files, functions of the user, caches of transformers."""

from __future__ import annotations

import hashlib
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flopaudit.core.errors import UsageError
from flopaudit.core.specs import parse_inputs, parse_model
from flopaudit.models import inputs
from flopaudit.models.build import build, load
from flopaudit.pipeline.count_model import CountOptions, count_model
from flopaudit.pipeline.model_requests import Phase, model_request
from flopaudit.reference.counter import count
from flopaudit.reference.ledger import Ledger
from flopaudit.reference.peak_memory import peak_activation_bytes
from flopaudit.tracing.watcher import trace

from tests.support.models import nested_inputs
from tests.support.paths import ROOT

HOME = ROOT / "tests" / "support" / "models" / "nested_inputs.py"
IMAGE_MACS = 6 * 6 * 4 * 3 * 9
"""Of `TakesBatch` on an image of 8 x 8."""


def ledger_of(model: str, *given: str, dtype: str = "", phase: Phase | None = None) -> Ledger:
    return count_model(model_request(model, given, dtype=dtype, phase=phase)).ledger


def made(*texts: str) -> inputs.Made:
    return inputs.make(parse_inputs(texts))


def test_nested_values_are_made_as_they_are_written() -> None:
    args, kwargs = made(
        "{image: 1x3x8x8, sizes: [int64:1x2, (none, true)]}", "scale=0.5", 'mode="mean"'
    )
    (batch,) = args
    assert batch["image"].shape == (1, 3, 8, 8)
    assert batch["sizes"][0].dtype is torch.int64
    assert batch["sizes"][1] == (None, True)
    assert kwargs == {"scale": 0.5, "mode": "mean"}
    assert made("float32:()")[0][0].shape == ()


def test_tensors_are_the_same_each_time_and_independent_of_what_is_not_random() -> None:
    first, again = (made("1x4", *more, "x=2x2") for more in ([], ["none", "[0.5]"]))
    assert torch.equal(first[0][0], again[0][0])
    assert torch.equal(first[1]["x"], again[1]["x"])


@pytest.mark.parametrize(
    ("given", "macs"),
    [
        (["{image: 1x3x8x8, sizes: [int64:1x2]}"], IMAGE_MACS),
        (["batch={image: 1x3x8x8}", "twice=true", "mask=none"], 2 * IMAGE_MACS),
        ([f"call:{HOME}:batch"], IMAGE_MACS),
        ([f"batch=call:{HOME}:batch", "twice=true"], 2 * IMAGE_MACS),
        ([f"call:{HOME}:both"], 2 * IMAGE_MACS),
    ],
)
def test_a_model_takes_more_than_tensors(given: list[str], macs: int) -> None:
    assert ledger_of(f"{HOME}:TakesBatch", *given).macs == macs


@pytest.mark.parametrize(
    ("function", "rows"), [("one_tensor", 1), ("by_position", 2), ("by_name", 3)]
)
def test_what_a_function_returns_is_given_as_it_says(function: str, rows: int) -> None:
    assert ledger_of(f"{HOME}:Layers", f"call:{HOME}:{function}").macs == rows * 2 * 8 * 8


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("raises", "ValueError: no data"),
        ("exits", "SystemExit: 3"),
        ("number", "TypeError"),
        ("missing", "has no 'missing'"),
    ],
)
def test_a_function_that_makes_no_inputs(function: str, reason: str) -> None:
    with pytest.raises(UsageError) as caught:
        made(f"call:{HOME}:{function}")
    assert reason in caught.value.message
    assert "\n" not in str(caught.value)


# -- files ---------------------------------------------------------------------------------------


class Unsafe:
    """An object that a file must not make."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("executed",)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make an empty directory the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_files_are_given_as_they_are_structured(here: Path) -> None:
    torch.save(torch.ones(1, 8), "tensor.pt")
    torch.save([torch.ones(2, 8)], "list.pt")
    torch.save({"x": torch.ones(3, 8)}, "dict.pt")
    torch.save(({"image": torch.ones(1, 3, 8, 8), "more": [None, 0.5]},), "nested.pt")
    np.savez("unnamed.npz", np.ones((4, 8), "float32"))
    np.savez("named.npz", x=np.ones((5, 8), ">f4"))
    np.savez("both.npz", np.ones((6, 8), "float32"), mask=np.array([True]))
    np.save("one.npy", np.ones((7, 8), "float32"))
    files = ("tensor.pt", "list.pt", "dict.pt", "unnamed.npz", "named.npz", "one.npy")
    counted = [ledger_of(f"{HOME}:Layers", f"file:{file}").macs // 128 for file in files]
    assert counted == [1, 2, 3, 4, 5, 7]
    assert ledger_of(f"{HOME}:TakesBatch", "file:nested.pt").macs == IMAGE_MACS
    args, kwargs = made("file:both.npz")
    assert args[0].shape == (6, 8)
    assert kwargs["mask"].tolist() == [True]
    assert made("x=file:tensor.pt")[1]["x"].tolist() == torch.ones(1, 8).tolist()
    assert len(list(here.iterdir())) == 8


def test_files_that_are_damaged_or_unsafe(here: Path) -> None:
    torch.save({"x": torch.ones(3, 8)}, "whole.pt")
    Path("cut.pt").write_bytes(Path("whole.pt").read_bytes()[:300])
    Path("text.pt").write_text("hello")
    Path("text.npz").write_text("PK hello")
    Path("empty.pt").touch()
    torch.save(Unsafe(), "unsafe.pt")
    Path("pickled.pt").write_bytes(pickle.dumps(Unsafe()))
    np.savez("object.npz", np.array([Unsafe()], dtype=object))
    np.savez("words.npz", np.array(["a"]))
    Path("folder.pt").mkdir()
    os.mkfifo("fifo.pt")
    reasons = {
        "cut.pt": "damaged", "text.pt": "damaged", "text.npz": "damaged", "empty.pt": "damaged",
        "unsafe.pt": "could execute code", "pickled.pt": "could execute code",
        "object.npz": "could execute code", "words.npz": "something else than numbers",
        "folder.pt": "not a regular file", "fifo.pt": "not a regular file",
        "missing.pt": "There is no file 'missing.pt'",
    }  # fmt: skip
    for file, reason in reasons.items():
        with pytest.raises(UsageError) as caught:
            made(f"file:{file}")
        assert reason in caught.value.message, file
        assert file in caught.value.message
        assert len(str(caught.value)) < 300
    assert not (here / "executed").exists()


def test_a_missing_file_is_noticed_before_anything_is_built() -> None:
    for given in ("file:no.pt", "x=[file:no.pt]", "call:no.py:make"):
        with pytest.raises(UsageError, match=r"There is no file 'no\.p"):
            model_request(f"{HOME}:Layers", [given])


def test_the_content_of_files_has_digests(here: Path) -> None:
    Path("data.pt").write_bytes(b"one")
    Path("make.py").write_bytes(b"two")
    specs = parse_inputs(["x={a: [file:data.pt]}", "call:make.py:f", "call:a.b:f", "1x3"])
    expected = {
        "data.pt": hashlib.sha256(b"one").hexdigest(),
        "make.py": hashlib.sha256(b"two").hexdigest(),
    }
    assert inputs.content_digests(specs) == expected
    assert len(list(here.iterdir())) == 2


# -- the cache of transformers ---------------------------------------------------------------------

WIDTH, INNER, HEADS, KV_HEADS, LAYERS, WINDOW = 64, 96, 4, 2, 2, 16
SIZES = (
    f"hidden_size={WIDTH}&intermediate_size={INNER}&num_hidden_layers={LAYERS}&vocab_size=128"
    f"&num_attention_heads={HEADS}&num_key_value_heads={KV_HEADS}"
)
KV_WIDTH = KV_HEADS * WIDTH // HEADS
ATTENTION = 2 * WIDTH * WIDTH + 2 * WIDTH * KV_WIDTH
LLAMA = ATTENTION + 3 * WIDTH * INNER
MIXTRAL = ATTENTION + WIDTH * 8 + 2 * 3 * WIDTH * INNER  # 8 experts to choose from, 2 that run


@pytest.mark.parametrize(
    ("model", "products", "window"),
    [
        (f"llama?{SIZES}", LLAMA, None),
        (f"mistral?{SIZES}&sliding_window={WINDOW}", LLAMA, WINDOW),
        (f"mixtral?{SIZES}", MIXTRAL, None),
        (f"gpt2?n_embd={WIDTH}&n_layer={LAYERS}&n_head={HEADS}", 12 * WIDTH * WIDTH, None),
    ],
)
def test_a_phase_is_counted_as_by_hand(model: str, products: int, window: int | None) -> None:
    context = 100
    name = f"transformers:{model}"
    prefill = ledger_of(name, phase=Phase("prefill", context))
    decode = ledger_of(name, phase=Phase("decode", context))
    keys = min(context + 1, window or context + 1)
    assert decode.macs == LAYERS * (products + 2 * WIDTH * keys)
    assert prefill.macs == LAYERS * context * (products + 2 * WIDTH * context)
    assert (prefill.device, decode.device) == ("meta", "meta")


SMALL = f"transformers:llama?{SIZES}"


def test_a_decode_step_is_in_the_inputs_and_reads_back() -> None:
    request = model_request(SMALL, phase=Phase("decode", 12))
    assert request.inputs == ("input_ids=int64:1x1", "cache=cache:1x12")
    assert model_request(SMALL, request.inputs) == request
    assert model_request(SMALL, phase=Phase("prefill", 12)).inputs == ("input_ids=int64:1x12",)


def test_a_decoder_goes_on_from_its_encoder() -> None:
    sizes = "d_model=32&d_kv=8&d_ff=64&num_layers=1&num_heads=4&vocab_size=64"
    request = model_request(f"transformers:t5?{sizes}", phase=Phase("decode", 10))
    assert request.inputs == (
        "decoder_input_ids=int64:1x1",
        "encoder_outputs=encoded:{input_ids: int64:1x128}",
        "cache=cache:{input_ids: int64:1x128, decoder_input_ids: int64:1x10}",
    )
    own, crossed, inner = 4 * 32 * 32, 2 * 32 * 32, 2 * 32 * 64
    assert count_model(request).ledger.macs == own + crossed + inner + 2 * 32 * (11 + 128)


def test_no_run_sees_a_cache_that_another_has_grown() -> None:
    loaded = load(parse_model(SMALL), ("input_ids=int64:1x1", "cache=cache:1x9"))
    model, kwargs = loaded.model, dict(loaded.kwargs)
    alone = count(model, **kwargs).macs
    assert count(model, device="own", **kwargs).macs == alone
    assert peak_activation_bytes(model, **kwargs) == peak_activation_bytes(model, **kwargs)
    traces = [trace(model, (), kwargs) for _ in range(2)]
    assert traces[0] == traces[1]
    assert count(model, **kwargs).macs == alone
    assert kwargs["cache"].get_seq_length() == 9
    assert not any(layer.keys.is_meta for layer in kwargs["cache"].layers)


def test_a_cache_of_the_user_is_left_as_it_was() -> None:
    x, cache = nested_inputs.grown()
    model = nested_inputs.Remembers()
    for device in ("meta", "own", "auto"):
        assert count(model, x, cache, device=device).macs == 4 * 8
    assert cache.tokens.shape == (1, 3, 8)
    assert ledger_of(f"{HOME}:Remembers", f"call:{HOME}:grown").macs == 4 * 8


def test_a_cache_of_a_fixed_size_is_counted_in_full() -> None:
    """A static cache is written into in place, and attention reads all of it."""
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        hidden_size=WIDTH, intermediate_size=INNER, num_hidden_layers=LAYERS, vocab_size=128,
        num_attention_heads=HEADS, num_key_value_heads=KV_HEADS,
    )  # fmt: skip
    model = transformers.LlamaModel(config).eval()
    cache, token = (
        transformers.StaticCache(config=config, max_cache_len=32),
        torch.ones(1, 1).long(),
    )
    with torch.no_grad():
        model(input_ids=token, cache=cache)
    before = [layer.keys.clone() for layer in cache.layers]
    for _ in range(2):
        assert count(model, input_ids=token, cache=cache).macs == LAYERS * (LLAMA + 2 * WIDTH * 32)
    assert all(map(torch.equal, before, (layer.keys for layer in cache.layers)))


@pytest.mark.parametrize(
    ("model", "phase", "reason"),
    [
        ("transformers:bert", Phase("decode", 8), "BertModel returns no cache"),
        ("transformers:vit", Phase("prefill", 8), "ViTModel takes no tokens"),
        ("transformers:gpt2?n_positions=50", Phase("decode", 50), "takes 50 tokens, not 51"),
        ("resnet18", Phase("decode", 8), "--phase is for models of transformers"),
    ],
)
def test_models_without_such_a_phase(model: str, phase: Phase, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        model_request(model, phase=phase)


def test_a_cache_needs_a_model_that_has_one() -> None:
    with pytest.raises(UsageError, match="needs a model"):
        made("cache:1x8")
    with pytest.raises(UsageError, match="--phase makes the inputs"):
        model_request(SMALL, ["input_ids=int64:1x1"], phase=Phase("decode", 8))


# -- factories and dtypes --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("factory", "layers", "width"),
    [
        ("Layers", 2, 8),
        ("Layers?depth=3", 3, 8),
        ("Layers?depth=3&width=16", 3, 16),
        ("Outer.Inner?depth=5", 5, 8),
        ("partial", 3, 8),
        ("partial?width=4", 3, 4),
        ("built", 4, 8),
        ("with_needs?depth=1&width=8&name=wide&scale=0.5", 1, 8),
    ],
)
def test_factories_of_each_form(factory: str, layers: int, width: int) -> None:
    assert ledger_of(f"{HOME}:{factory}", f"1x{width}").macs == layers * width**2


@pytest.mark.parametrize(
    ("factory", "message", "remedy"),
    [
        ("Layers?deep=3", "'Layers' does not take deep", "It takes depth, width"),
        ("half?depth=3", "'half' does not take depth", "It takes no arguments"),
        ("with_needs", "'with_needs' needs depth, width", "?depth=VALUE&width=VALUE'"),
        ("with_needs?width=3", "'with_needs' needs depth", "?width=3&depth=VALUE'"),
        ("built?depth=3", "'built' in", "Leave out '?depth=3'"),
        ("number", "is a int, and cannot be called", "Name a function or class"),
        ("Outer.Missing", "has no 'Outer.Missing'", "Name a function or class"),
        ("Layers?a.b=3", "does not take a.b", "It takes depth"),
    ],
)
def test_factories_that_cannot_be_called(factory: str, message: str, remedy: str) -> None:
    with pytest.raises(UsageError) as caught:
        build(parse_model(f"{HOME}:{factory}"))
    assert message in caught.value.message
    assert remedy in caught.value.remedy


def test_builds_of_a_module_object_are_independent() -> None:
    spec = parse_model(f"{HOME}:built")
    one, other = build(spec), build(spec)
    weights = [next(model.parameters()) for model in (one, other)]
    assert torch.equal(*weights)
    weights[0].data.zero_()
    assert not torch.equal(*weights)
    with torch.device("meta"):
        assert not next(build(spec).parameters()).is_meta


def test_torchvision_takes_options() -> None:
    ten, usual = ledger_of("resnet18?num_classes=10"), ledger_of("resnet18")
    assert usual.params - ten.params == 990 * 513
    assert model_request("vit_b_16?image_size=384").inputs == ("1x3x384x384",)
    for options, reason in {
        "weights=DEFAULT": "nothing is downloaded",
        "weights_backbone=x": "nothing is downloaded",
        "pretrained=true": "nothing is downloaded",
        "colour=1": "does not build 'resnet18' with these options",
    }.items():
        with pytest.raises(UsageError, match=reason):
            ledger_of(f"resnet18?{options}")


@pytest.mark.parametrize("model", ["resnet18", SMALL, "timm:vit_tiny_patch16_224"])
def test_a_dtype_changes_bytes_and_no_count(model: str) -> None:
    usual, narrow = ledger_of(model), ledger_of(model, dtype="bf16")
    assert narrow.macs == usual.macs
    assert narrow.params == usual.params
    assert sum(m.bytes for m in narrow.modules) < 0.6 * sum(m.bytes for m in usual.modules)
    assert model_request(model, dtype="fp32") == model_request(model)


def test_inputs_follow_the_dtype_of_the_model() -> None:
    assert model_request("resnet18@half").inputs == ("float16:1x3x224x224",)
    request = model_request(f"{HOME}:Layers", ["1x8"], dtype="fp64")
    assert (str(request.spec), request.inputs) == (f"{HOME}:Layers@float64", ("float64:1x8",))
    assert count_model(request).ledger.rows[0].dtype == "float64"
    with pytest.raises(UsageError, match="is not float32"):
        model_request("resnet18@bf16", dtype="fp32")


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize(
    ("model", "given", "weights", "wanted"),
    [
        ("Layers@bfloat16", "float32:1x8", "bfloat16", "float32"),
        ("half", "1x8", "float16", "float32"),
        ("Layers", "float64:1x8", "float32", "float64"),
    ],
)
def test_inputs_of_another_dtype_than_the_weights(
    model: str, given: str, weights: str, wanted: str, *, static: bool
) -> None:
    request = model_request(f"{HOME}:{model}", [given])
    with pytest.raises(UsageError) as caught:
        count_model(request, CountOptions(static=static))
    assert caught.value.message == f"The weights are {weights}, and an input is {wanted}."
    assert f"{weights}:1x8" in caught.value.remedy
    assert f"--dtype {wanted}" in caught.value.remedy


def test_an_input_of_another_dtype_that_the_model_converts() -> None:
    class Converts(nested_inputs.Layers):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x.half())

    ledger = count(Converts().half(), torch.rand(1, 8))
    assert ledger.macs == 2 * 8 * 8
    assert ledger.fallback == "an input is float32, and no weight is"


def test_a_file_is_executed_again_when_it_has_changed(here: Path) -> None:
    head = (
        "import torch\nfrom torch import nn\n"
        "torch.library.custom_op('test_inputs::same{0}', lambda x: x.clone(), mutates_args=(),"
        " schema='(Tensor x) -> Tensor')\n"
        "def make(): return nn.Linear(8, {0}, bias=False)\n"
    )
    for width in (5, 7):
        (here / "net.py").write_text(head.format(width))
        spec = parse_model("net.py:make")
        for _ in range(2):  # an operator can be defined only once
            assert isinstance(built := build(spec), torch.nn.Linear)
            assert built.out_features == width
