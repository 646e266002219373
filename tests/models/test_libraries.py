"""Models of timm and transformers: how they are named, what they are fed, what is counted."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from flopaudit.core.errors import UsageError
from flopaudit.core.input_values import DTYPES, tensor
from flopaudit.core.specs import (
    LIBRARIES,
    ModelSpec,
    parse_input,
    parse_inputs,
    parse_model,
    parse_options,
)
from flopaudit.isolation.jobs import Limits
from flopaudit.isolation.outcomes import Counted
from flopaudit.isolation.tasks import Assignment
from flopaudit.isolation.worker import run
from flopaudit.models.build import make_inputs, make_kwargs
from flopaudit.pipeline.count_model import count_model
from flopaudit.pipeline.model_requests import model_lines, model_request
from flopaudit.reports.count_report import ModelCount
from flopaudit.studies import coverage
from flopaudit_adapters import find
from flopaudit_adapters.contract import LoadedModel, Unsupported, positional
from hypothesis import given
from hypothesis import strategies as st

IDENTIFIERS = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
NAMES = st.from_regex(r"[a-z][a-z0-9_.-]{0,12}", fullmatch=True)
OPTIONS = st.dictionaries(
    IDENTIFIERS,
    st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    max_size=4,
)
SMALL = "vocab_size=128&hidden_size=64&intermediate_size=96&num_hidden_layers=2"
SMALL_LLAMA = f"transformers:llama?{SMALL}&num_attention_heads=4&num_key_value_heads=2"
SMALL_T5 = "transformers:t5?d_model=32&d_kv=8&d_ff=64&num_layers=1&num_heads=4&vocab_size=64"


@given(
    shape=st.lists(st.integers(0, 512), min_size=1, max_size=5),
    dtype=st.sampled_from(DTYPES),
    name=st.just("") | IDENTIFIERS,
)
def test_an_input_reads_back(shape: list[int], dtype: str, name: str) -> None:
    spec = tensor(tuple(shape), dtype, name)
    assert parse_input(str(spec)) == spec


@given(source=st.sampled_from(LIBRARIES), name=NAMES, options=OPTIONS)
def test_a_model_reads_back_with_its_options(
    source: str, name: str, options: dict[str, Any]
) -> None:
    text = "&".join(f"{key}={str(value).lower()}" for key, value in options.items())
    spec = ModelSpec(source, name, options=text)
    assert parse_model(str(spec)) == spec
    assert parse_options(text) == options


@given(shape=st.lists(st.integers(1, 9), min_size=1, max_size=4))
def test_inputs_with_names_are_keywords_and_the_others_are_not(shape: list[int]) -> None:
    size = "x".join(map(str, shape))
    specs = parse_inputs((size, f"mask=bool:{size}", f"int64:{size}"))
    assert [tensor.dtype for tensor in make_inputs(specs)] == [torch.float32, torch.int64]
    assert {key: tensor.dtype for key, tensor in make_kwargs(specs).items()} == {"mask": torch.bool}


@pytest.mark.parametrize(
    ("text", "message", "remedy"),
    [
        ("timm:", "not a model", "timm:NAME"),
        ("transformers:llama?", "not a model", "transformers:llama?"),
        ("transformers:bert:BertModel", "not a model", "transformers:TYPE"),
        ("transformers:llama?layers", "'layers' in '?layers' is not an option", "each once"),
        ("transformers:llama?a=1&a=2", "'a=2'", "each once"),
        ("transformers:lama", "no transformers model 'lama'", "llama"),
        ("transformers:LlamaForCausalLm", "no transformers model", "LlamaForCausalLM"),
        ("transformers:AutoModel", "no transformers model", "AutoModel"),
        ("transformers:llama?num_layer=2", "no llama option", "num_hidden_layers"),
        ("transformers:clip?text_config.hiden_size=2", "no clip_text_model option", "hidden_size"),
        ("transformers:llama?hidden_size.more=2", "not a configuration", "dot"),
        ("transformers:llama?hidden_size=wide", "does not take these options", "other options"),
        ("transformers:autoformer", "needs 'past_values'", "--input past_values="),
        ("timm:resnet5O", "no timm model 'resnet5O'", "resnet50"),
        ("timm:xyzzy_plugh", "no timm model", "flopaudit models --source timm"),
    ],
)
def test_error_has_a_remedy(text: str, message: str, remedy: str) -> None:
    with pytest.raises(UsageError) as caught:
        model_request(text)
    assert message in caught.value.message
    assert remedy in caught.value.remedy


def test_options_that_timm_does_not_take() -> None:
    with pytest.raises(UsageError, match="does not build 'resnet18' with these options"):
        count_model(model_request("timm:resnet18?colour=1"))


def test_input_that_is_given_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="'x' is given twice"):
        parse_inputs(("x=1x3", "x=1x4"))


@pytest.mark.parametrize("source", LIBRARIES)
def test_a_library_that_is_not_there(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == source else found(name)
    )
    with pytest.raises(UsageError, match=f"{source} is not installed") as caught:
        model_request(f"{source}:resnet18")
    assert caught.value.remedy == f"pip install 'flopaudit[{source}]'."


def test_reading_imports_no_library() -> None:
    code = (
        "import sys, flopaudit.pipeline.model_requests, flopaudit.models.libraries\n"
        "import flopaudit.studies.coverage\n"
        "from flopaudit.core.specs import parse_model\n"
        "parse_model('timm:resnet18'); parse_model('transformers:bert?hidden_size=8')\n"
        "assert not {'torch', 'timm', 'transformers'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        ("timm:vit_tiny_patch16_224", ("1x3x224x224",)),
        ("timm:resnet18?in_chans=1", ("1x1x224x224",)),
        ("timm:vit_tiny_patch16_224?img_size=96", ("1x3x96x96",)),
        ("transformers:bert", ("input_ids=int64:1x128",)),
        ("transformers:LlamaForCausalLM", ("input_ids=int64:1x128",)),
        ("transformers:t5", ("input_ids=int64:1x128", "decoder_input_ids=int64:1x128")),
        ("transformers:whisper", ("input_features=1x80x3000", "decoder_input_ids=int64:1x128")),
        ("transformers:vit?image_size=384", ("pixel_values=1x3x384x384",)),
        ("transformers:clip", ("input_ids=int64:1x77", "pixel_values=1x3x224x224")),
        ("transformers:sam", ("pixel_values=1x3x1024x1024",)),
        ("transformers:wav2vec2", ("input_values=1x16000",)),
        ("transformers:videomae", ("pixel_values=1x16x3x224x224",)),
    ],
)
def test_inputs_that_a_model_implies(model: str, inputs: tuple[str, ...]) -> None:
    assert model_request(model).inputs == inputs


def test_inputs_that_are_given_come_first() -> None:
    assert model_request("transformers:bert", ["int64:1x7"]).inputs == ("int64:1x7",)


def count(model: str, *inputs: str) -> ModelCount:
    result = count_model(model_request(model, inputs))
    assert not result.ledger.uncounted_ops
    return result


def test_a_timm_model_is_counted_on_meta() -> None:
    result = count("timm:vit_tiny_patch16_224")
    assert result.ledger.params == 5_717_416
    assert (result.ledger.macs, result.ledger.device) == (1_253_683_200, "meta")
    assert next(result.lines()).startswith("timm:vit_tiny_patch16_224 · 1×3×224×224 · ")


def test_a_llama_is_counted_as_by_hand() -> None:
    tokens, layers, width, inner, heads, kv_heads = 128, 2, 64, 96, 4, 2
    head = width // heads
    projections = width * width * 2 + width * kv_heads * head * 2 + 3 * width * inner
    attention = 2 * tokens * heads * head
    result = count(SMALL_LLAMA)
    assert result.ledger.macs == tokens * layers * (projections + attention)
    assert "input_ids=int64:1×128" in next(result.lines())


def test_a_head_is_counted_with_its_class() -> None:
    bare = count(SMALL_LLAMA).ledger.macs
    headed = count(SMALL_LLAMA.replace(":llama", ":LlamaForCausalLM")).ledger.macs
    assert headed - bare == 128 * 64 * 128


def test_each_expert_that_is_chosen_is_counted() -> None:
    sizes = SMALL_LLAMA.partition("?")[2]
    one, two = (
        count(f"transformers:mixtral?{sizes}&num_experts_per_tok={n}").ledger for n in (1, 2)
    )
    assert two.macs - one.macs == 128 * 2 * 3 * 64 * 96
    assert two.device == "meta"


def test_a_part_of_a_configuration_can_be_set() -> None:
    whole, half = (
        count(f"transformers:clip?text_config.num_hidden_layers={n}").ledger for n in (12, 6)
    )
    assert whole.params - half.params == 6 * (12 * 512**2 + 13 * 512)


@pytest.mark.parametrize(
    "model",
    [
        "timm:convnext_nano",
        "timm:swin_tiny_patch4_window7_224",
        "transformers:bert",
        "transformers:gpt2",
        "transformers:vit",
        "transformers:swin",
        "transformers:mamba?num_hidden_layers=2",
        SMALL_T5,
    ],
)
def test_others_have_a_formula_for_every_operator(model: str) -> None:
    assert count(model).ledger.macs > 0


class Scaled(torch.nn.Module):
    """Takes two tensors, the second of which scales the first."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(8, 4)

    def forward(self, x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        """Scale what the linear layer gives."""
        scaled: torch.Tensor = self.linear(x) * scale
        return scaled


X, SCALE = torch.rand(1, 8), torch.rand(1, 4)


@pytest.mark.parametrize(
    "loaded",
    [
        LoadedModel(Scaled(), (X, SCALE)),
        LoadedModel(Scaled(), (X,), {"scale": SCALE}),
        LoadedModel(Scaled(), (), {"scale": SCALE, "x": X}),
    ],
)
@pytest.mark.parametrize(
    ("tool", "variant"),
    [
        ("thop", None),
        ("fvcore", None),
        ("ptflops", "pytorch"),
        ("ptflops", "aten"),
        ("flop_counter", None),
        ("reference", None),
    ],
)
def test_tools_take_keywords_as_they_can(
    tool: str, variant: str | None, loaded: LoadedModel
) -> None:
    outcome = run(Assignment(tool, variant, loaded))
    assert outcome.status == "counted", outcome
    if tool != "reference":
        plain = find(tool).measure(LoadedModel(Scaled(), (X, SCALE)), variant)
        assert isinstance(outcome.result, Counted)
        assert outcome.result.reported == plain.count


def test_keywords_that_are_not_next_have_no_position() -> None:
    assert positional(LoadedModel(Scaled(), (X,), {"scale": SCALE})) == (X, SCALE)
    with pytest.raises(Unsupported, match="parameters of forward, which are x"):
        positional(LoadedModel(Scaled(), (), {"scale": SCALE}))


def test_models_of_a_library_are_listed() -> None:
    lines = model_lines("convnext_n*", "timm")
    assert {"convnext_nano"} <= {line["model"] for line in lines}
    assert {line["family"] for line in lines} == {"convnext"}
    (line,) = model_lines("wav2vec2-bert", "transformers")
    assert line["family"] == "Wav2Vec2BertModel"
    with pytest.raises(UsageError, match="no source 'keras'"):
        model_lines("*", "keras")


def test_a_survey_goes_on_where_it_was(tmp_path: Path) -> None:
    path, limits = tmp_path / "timm.csv", Limits(60, 8 << 30)
    coverage.survey("timm", "test_vit*", path, limits)
    rows = coverage.read(path)
    assert len(rows) > 1
    assert all(int(row.macs) > 0 and row.device == "meta" for row in rows), rows
    whole = path.read_text()
    lines = whole.splitlines(keepends=True)
    path.write_text("".join(lines[:2]) + lines[2][:9])  # as a kill leaves it
    coverage.survey("timm", "test_vit*", path, limits)
    assert [row.model for row in coverage.read(path)] == [row.model for row in rows]
    assert path.read_text().startswith("".join(lines[:2]))
