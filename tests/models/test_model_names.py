"""Names of timm and transformers without an import of them, and what is said of unknown ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest
from flopaudit.core.errors import UsageError, closest
from flopaudit.core.specs import parse_model
from flopaudit.models import libraries, model_names, timm_zoo, transformers_zoo
from flopaudit.models.model_names import check, families, unknown_model
from timm.models import _registry


@pytest.mark.parametrize("source", ["timm", "transformers"])
def test_names_and_families_are_those_of_the_library(source: str) -> None:
    library = libraries.library(source)
    assert families(source) == {name: library.family(name) for name in library.names()}
    assert list(families(source)) == library.names()


def test_every_name_that_timm_takes_is_taken() -> None:
    every = set(_registry._model_entrypoints)  # noqa: SLF001 - also those of earlier releases
    assert every > set(timm_zoo.names())
    for name in every:
        check("timm", name)
    check("timm", "resnet50.a1_in1k")
    with pytest.raises(UsageError, match="no timm model 'resnet5'"):
        check("timm", "resnet5")


def test_classes_of_transformers_are_taken() -> None:
    for name in ("LlamaForCausalLM", "BertModel", "CLIPTextModelWithProjection"):
        assert callable(transformers_zoo.factory(parse_model(f"transformers:{name}")))
        check("transformers", name)
    with pytest.raises(UsageError, match="Did you mean transformers:LlamaForCausalLM"):
        check("transformers", "LlamaForCausalML")


@pytest.mark.parametrize(
    ("source", "name", "first"),
    [
        ("torchvision", "resnet5", "resnet50?"),
        ("torchvision", "ResNet-50", "resnet50?"),
        ("torchvision", "resnt50", "resnet50?"),
        ("torchvision", "vit-b-16", "vit_b_16?"),
        ("torchvision", "mobilnet_v2", "mobilenet_v2"),
        ("torchvision", "shuffle", "shufflenet_v2_x0_5"),
        ("torchvision", "gpt2", "transformers:gpt2?"),
        ("torchvision", "gpt22", "transformers:gpt2?"),
        ("torchvision", "bert", "transformers:bert?"),
        ("torchvision", "lama", "transformers:llama"),
        ("torchvision", "vit_tiny_patch16_224", "timm:vit_tiny_patch16_224?"),
        ("torchvision", "timm/resnet50.a1_in1k", "timm:resnet50.a1_in1k?"),
        ("timm", "resnet5", "timm:resnet50"),
        ("timm", "vit_tny_patch16_224", "timm:vit_tiny_patch16_224"),
        ("timm", "bert", "transformers:bert?"),
        ("timm", "vit_b_16", "vit_b_16"),
        ("transformers", "lama", "transformers:llama"),
        ("transformers", "gpt22", "transformers:gpt2?"),
        ("transformers", "resnet50", "resnet50"),
    ],
)
def test_the_closest_name_comes_first(source: str, name: str, first: str) -> None:
    error = unknown_model(source, name)
    assert error.message == f"There is no {source} model '{name}'."
    assert error.remedy.startswith(f"Did you mean {first}")
    assert error.remedy.count(",") < 5


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("bert-base-uncased", "bert"),
        ("google/vit-base-patch16-224", "vit"),
        ("meta-llama/Llama-2-7b", "llama"),
        ("meta-llama/Meta-Llama-3-8B-Instruct", "llama"),
        ("openai/clip-vit-base-patch32", "clip"),
        ("facebook/deit-base-patch16-224", "deit"),
        ("microsoft/resnet-50", "resnet"),
        ("google/gemma-2b", "gemma"),
        ("google/gemma-2-9b", "gemma2"),
        ("EleutherAI/gpt-neo-125m", "gpt_neo"),
        ("google/flan-t5-base", "t5"),
        ("Qwen/Qwen2.5-7B", "qwen2"),
        ("roberta-large", "roberta"),
    ],
)
def test_a_name_of_the_hub_leads_to_its_type(name: str, kind: str) -> None:
    for source in ("torchvision", "transformers"):
        error = unknown_model(source, name)
        assert error.message.startswith(f"'{name}' looks like a name of the Hugging Face Hub")
        assert error.remedy.startswith(f"Write transformers:{kind}, with options")
    assert kind in families("transformers")


@pytest.mark.parametrize("name", ["xyzzy", "a/b", "--", "模"])
def test_nothing_is_suggested_for_what_is_like_nothing(name: str) -> None:
    assert unknown_model("torchvision", name).remedy == "`flopaudit models` lists them."


def test_a_library_that_is_missing_is_no_source_of_suggestions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(source: str) -> NoReturn:
        raise UsageError(f"{source} is not installed.", "")

    monkeypatch.setattr(model_names, "families", missing)
    assert unknown_model("torchvision", "resnet5").remedy == "Did you mean resnet50?"
    assert "flopaudit models" in unknown_model("torchvision", "gpt2").remedy
    with pytest.raises(UsageError, match="timm is not installed"):
        check("timm", "resnet50")


def test_closeness_ignores_case_and_signs_and_prefers_the_whole_name() -> None:
    names = ["resnet50", "wide_resnet50_2", "resnet18", "fcn_resnet50"]
    assert closest("resnet5", names) == ["resnet50"]
    assert closest("RESNET_50", names) == ["resnet50"]
    assert closest("resnet50", ["wide_resnet50_2"]) == ["wide_resnet50_2"]
    assert closest("thopp", ["thop", "torchstat", "fvcore", "ptflops"]) == ["thop"]
    assert closest("gpt2", ["vgg11"], {"t:": ["gpt2", "gptj"]}) == ["t:gpt2"]
    assert closest("vgg1", ["vgg11"], {"t:": ["vgg11", "vgg12"]})[0] == "vgg11"
    assert closest("", names) == closest("zzz", names) == []
    assert len(closest("net", [f"net{i}" for i in range(20)])) == 5


@pytest.mark.parametrize("alias", ["hf", "huggingface"])
def test_other_names_of_transformers_are_stored_as_transformers(alias: str) -> None:
    spec = parse_model(f"{alias}:llama?num_hidden_layers=2")
    assert str(spec) == "transformers:llama?num_hidden_layers=2"
    assert parse_model(str(spec)) == spec


TYPOS = (
    "count timm:resnet5", "count transformers:lama", "count hf:gpt22", "count gpt2",
    "count google/vit-base-patch16-224", "count timm:resnet50 --input 1by3",
    "count timm:resnet50 --input flot32:1x3", "count resnet18 --convention macz",
    "run --models timm:resnet50,resnet5", "run --models timm:resnet50 --tools thopp",
    "run --sample tim:3", "settle hf:lama", "settle timm:resnet50 --tools thopp",
    "settle nowhere.py:net", "audit --models timm:resnet5", "audit --tools ptflops:atem",
    "probe --tools thopp", "probe --tools ptflops:atem", "models vit_tny --source timm",
    "models lamaa --source transformers", "matrix cnov", "models --source tim", "cont",
)  # fmt: skip


SLOW = ("torch", "timm", "transformers", "pandas", "thop", "ptflops")


def test_a_typo_is_answered_within_a_second_and_without_a_library(tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "from flopaudit.cli.app import main\n"
        f"SLOW = {SLOW!r}\n"
        f"for line in {TYPOS!r}:\n"
        "    sys.argv = ['flopaudit', *line.split()]\n"
        "    started = time.process_time()\n"
        "    try: main()\n"
        "    except SystemExit as done: assert done.code == 2, (line, done.code)\n"
        "    seconds = time.process_time() - started\n"
        "    assert seconds < 1, (line, seconds)\n"
        "    slow = {*SLOW} & {*sys.modules}\n"
        "    assert not slow, (line, slow)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    answers = done.stderr.splitlines()
    assert len(answers) == len(TYPOS)
    hinted = ("Did you mean", "Write ", "Check the path", "Add --input")
    assert all(any(hint in answer for hint in hinted) for answer in answers), done.stderr
    assert not list(tmp_path.iterdir())
