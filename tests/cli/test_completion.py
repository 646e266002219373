"""Completion in the shell, as bash and zsh ask for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from flopaudit.cli import completion
from flopaudit.models.torchvision_zoo import torchvision_models

from tests.support.command_line import flopaudit, flopaudit_here

RESNETS = ["resnet101", "resnet152", "resnet18", "resnet34", "resnet50"]


def in_bash(*words: str) -> dict[str, str]:
    """Return the variables with which bash requests completions of the last word."""
    return {
        "_FLOPAUDIT_COMPLETE": "complete_bash",
        "COMP_WORDS": "\n".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("flopaudit se", ["settle"]),
        ("flopaudit study sp", ["speed"]),
        ("flopaudit count resnet", RESNETS),
        ("flopaudit count tim", ["timm:"]),
        ("flopaudit count probe : conv/conv2d_b", ["conv/conv2d_bias"]),
        ("flopaudit run --models resnet18,vgg11", ["resnet18,vgg11", "resnet18,vgg11_bn"]),
        ("flopaudit run --tools thop,fv", ["thop,fvcore"]),
        ("flopaudit settle resnet18 --tools thop,ptflops : a", ["aten"]),
        ("flopaudit probe --tools ptflops :", ["pytorch", "aten"]),
        ("flopaudit audit --tools=flop", ["flop_counter"]),
        ("flopaudit audit --tools = flop", ["flop_counter"]),
        ("flopaudit run --tools = ptflops : a", ["aten"]),
        ("flopaudit matrix emb", ["embedding"]),
        ("flopaudit matrix conv/conv2d_b", ["conv/conv2d_bias"]),
        ("flopaudit count resnet18 --convention mac", ["macs", "macs-layers"]),
        ("flopaudit count resnet18 --convention macs+bias+n", ["macs+bias+norm"]),
        ("flopaudit count resnet18 --by m", ["module"]),
        ("flopaudit run --preset q", ["quick"]),
        ("flopaudit models --source t", ["torchvision", "timm", "transformers"]),
        ("flopaudit run --tools nothing", []),
    ],
)
def test_bash(
    words: str,
    found: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in in_bash(*words.split(" ")).items():
        monkeypatch.setenv(name, value)
    done = flopaudit_here(capsys=capsys)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == found


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("flopaudit run --tools thop,fv", ['"thop,fvcore"']),
        ("flopaudit run --tools thop,ptflops:a", [r'"thop,ptflops\\:aten"']),
        ("flopaudit count resnet", [f'"{name}"' for name in RESNETS]),
    ],
)
def test_zsh(words: str, found: list[str], tmp_path: Path) -> None:
    variables = {"_FLOPAUDIT_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": words}
    done = flopaudit(cwd=tmp_path, variables=variables)
    assert done.returncode == 0, done.stderr
    listed = "\n".join(found)
    assert done.stdout.strip() == f"_arguments '*: :(({listed}))'"


@pytest.mark.parametrize(
    "words",
    ["flopaudit count resn", "flopaudit run --tools th", "flopaudit matrix co",
     "flopaudit count resnet18 --convention ma", "flopaudit count probe:co"],
)  # fmt: skip
def test_it_imports_no_torch(words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONVERBOSE", "1")
    variables = {"_FLOPAUDIT_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": words}
    done = flopaudit(cwd=tmp_path, variables=variables)
    imported = {line.split("'")[1] for line in done.stderr.splitlines() if "import '" in line}
    assert "flopaudit.cli.completion" in imported
    assert not {"torch", "torchvision", "numpy", "pandas"} & imported
    assert "_arguments" in done.stdout


def test_kept_versions_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "ptflops-0.6.9" / "ptflops-0.6.9.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Name: ptflops\nVersion: 0.6.9\n")
    monkeypatch.setenv("FLOPAUDIT_TOOLS", str(tmp_path))
    assert completion.tool_list("ptflops=") == ["ptflops==0.6.9"]
    assert "ptflops:aten==0.6.9" in completion.tool_list("ptflops")
    variables = in_bash("flopaudit", "run", "--tools", "thop,ptflops", "==", "0")
    done = flopaudit(cwd=tmp_path, variables=variables)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0.6.9\n", "")


def test_what_is_in_the_list_is_not_proposed() -> None:
    proposed = completion.tool_list("thop,fvcore,")
    assert "thop,fvcore,ptflops" in proposed
    assert not any(name.endswith((",thop", ",fvcore")) for name in proposed)
    assert len(completion.model_list("")) == len(torchvision_models()) + 3


def test_the_shell_gets_a_script(tmp_path: Path) -> None:
    for shell in ("bash", "zsh", "fish"):
        done = flopaudit(cwd=tmp_path, variables={"_FLOPAUDIT_COMPLETE": f"source_{shell}"})
        assert done.returncode == 0
        assert f"_FLOPAUDIT_COMPLETE=complete_{shell}" in done.stdout
        assert "flopaudit" in done.stdout
