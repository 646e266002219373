"""Bad usage: one sentence and a remedy on standard error, and exit code 2."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from flopaudit.pipeline import model_requests
from flopaudit.probes import PROBES

from tests.support.command_line import flopaudit, flopaudit_here


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make an empty directory the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("args", "message", "remedy"),
    [
        (["count", "resnet5O"], "no torchvision model 'resnet5O'", "resnet50"),
        (["count", "xyzzy"], "no torchvision model 'xyzzy'", "flopaudit models"),
        (["count", "resnet5"], "no torchvision model 'resnet5'", "Did you mean resnet50?"),
        (["settle", "gpt2"], "no torchvision model 'gpt2'", "Did you mean transformers:gpt2?"),
        (["run", "--models", "hf:gpt22"], "no transformers model 'gpt22'", "transformers:gpt2?"),
        (["count", "bert-base-uncased"], "Hugging Face Hub", "Write transformers:bert, with"),
        (["count", "hf:google/vit-base-patch16-224"], "Hugging Face Hub", "transformers:vit, with"),
        (["models", "resnt"], "No model matches 'resnt'", "Did you mean resnet"),
        (["models", "nom/layer", "--source", "probe"], "No model", "Did you mean norm/layer"),
        (["count", "resnet18", "--input", "flot32:1x3"], "not a dtype", "Did you mean float32?"),
        (["count", "resnet18", "--convention", "flops+bais"], "'flops+bais'", "mean flops+bias?"),
        (["run", "--models", "resnet18", "--tools", "thopp"], "no tool", "Did you mean thop?"),
        (["audit", "--tools", "ptflops:atem"], "variant of ptflops 'atem'", "Did you mean aten?"),
        (["matrix", "cnov"], "No probe matches 'cnov'", "Did you mean conv?"),
        (["run", "--sample", "tim:3"], "no source 'tim'", "Did you mean timm?"),
        (["study", "agreement", "--models", "resnet5"], "model 'resnet5'", "mean resnet50?"),
        (["count", "timm:xyzzy"], "no timm model 'xyzzy'", "models --source timm"),
        (["count", "transformers:lama"], "no transformers model 'lama'", "llama"),
        (["models", "--source", "keras"], "not 'keras'", "torchvision, timm, transformers or"),
        (["models", "--source", "tim"], "not 'tim'", "Did you mean timm?"),
        (["count", "resnet"], "no torchvision model 'resnet'", "Did you mean"),
        (["count", "nowhere.py:net", "--input", "1x3"], "no file 'nowhere.py'", "Check the path"),
        (["count", "no.such:net", "--input", "1x3"], "no module 'no'", "file.py:factory"),
        (["count", "json:loads"], "needs an input shape", "--input"),
        (["count", "json:nothing", "--input", "1"], "no 'nothing'", "Name a function"),
        (["count", "resnet18", "--input", "3by4"], "'3by4' is not an input", "1x3x224x224"),
        (["count", "resnet18", "--input", "complex:1x3"], "not a dtype", "complex64"),
        (["count", "resnet18", "--input", "1x4x64x64"], "does not run on", "--input"),
        (["count", "resnet18", "--input", "[1x3"], "a comma or ']' is missing", "1x3x224x224"),
        (["count", "resnet18", "--input", "[" * 9999], "nested more than", "--input-from"),
        (["count", "resnet18", "--input", "[8]"], "a shape or a number, so write", "int:3"),
        (["count", "resnet18", "--input-file", "no.pt"], "There is no file 'no.pt'", "Check"),
        (["run", "--models", "resnet18", "--input-file", "/dev/null"], "not a regular", "Check"),
        (["count", "resnet18", "--input-from", "make"], "'make' is not a function", "file.py:f"),
        (["settle", "resnet18", "--input-from", "no.py:f"], "no file 'no.py'", "Check the path"),
        (["count", "resnet18?weights=DEFAULT"], "nothing is downloaded", "Leave out weights"),
        (["count", "resnet18?"], "no options after the '?'", "?depth=3"),
        (["count", "resnet18", "--dtype", "int8"], "'int8' is not a dtype", "bfloat16"),
        (["count", "resnet18@int8"], "'int8' is not a dtype", "bfloat16"),
        (["run", "--models", "resnet18@fp16", "--dtype", "fp32"], "not float32", "--dtype"),
        (
            ["count", "resnet18", "--dtype", "bf16", "--input", "float32:1x3x64x64"],
            "The weights are bfloat16, and an input is float32.",
            "--dtype float32",
        ),
        (["count", "resnet18", "--phase", "decode"], "needs the number of tokens", "--context"),
        (["settle", "resnet18", "--context", "9"], "the context of a phase", "--phase prefill"),
        (
            ["count", "resnet18", "--phase", "decode", "--context", "9"],
            "models of transformers",
            "cache=cache:1x512",
        ),
        (
            ["run", "--sample", "timm:1:1", "--phase", "decode", "--context", "9"],
            "cannot be combined",
            "alone",
        ),
        (["count", "resnet18", "--by", "colour"], "not 'colour'", "--by takes module, op or kind"),
        (["count", "resnet18", "--by", "modul"], "not 'modul'", "Did you mean module?"),
        (["count", "resnet18", "--static", "--backward"], "both given", "Give one"),
        (["count", "resnet18", "--convention", "mac"], "no convention 'mac'", "Use one of macs"),
        (["models", "xyzzy"], "No model matches", "lists all"),
        (["run"], "needs models", "--preset quick"),
        (["run", "--preset", "slow"], "not 'slow'", "--preset takes quick or torchvision"),
        (["run", "--preset", "quik"], "not 'quik'", "Did you mean quick?"),
        (["bench", "--preset", "quik"], "not 'quik'", "Did you mean quick?"),
        (["run", "--models", "resnet18", "--tools", "thopp"], "no tool 'thopp'", "flopaudit tools"),
        (["run", "--models", "resnet18", "--memory", "lots"], "not an amount", "8G"),
        (["settle", "resnet18", "--memory", "lots"], "not an amount", "8G"),
        (["probe", "--memory", "lots"], "not an amount", "8G"),
        (["audit", "--memory", "lots"], "not an amount", "8G"),
        *(
            (["run", "--models", "resnet18", "--memory", amount], "not an amount", "8G")
            for amount in ("0", "0G", "-1", "-1G", "1e9", "inf", "nan", "9" * 400, "9" * 30 + "T")
        ),
        *(
            (["run", "--models", "resnet18", "--timeout", seconds], "no time limit", "600")
            for seconds in ("inf", "1e999")
        ),
        *(
            (["settle", "resnet18", "--timeout", seconds], "--timeout", "--help")
            for seconds in ("nan", "-inf", "0", "-1")
        ),
        (["run", "--models", "resnet18", "--jobs", "0"], "--jobs", "--help"),
        (["run", "--preset", "quick", "--models", "resnet18"], "Both", "Give"),
        (["run", "--models", "resnet18", "--tools", "thop==0.0.1"], "no thop 0.0.1", "install"),
        (["run", "--models", "resnet18", "--tools", "thop@no"], "no folder 'no'", "--target"),
        (["run", "--draw", "timm:60:4"], "No such option: --draw", "flopaudit run --help"),
        (["run", "--sample", "timm"], "'timm' is not a sample", "--sample timm:60:4"),
        (["run", "--sample", "timm:1:1", "--preset", "quick"], "cannot be combined", "alone"),
        (["run", "--sample", "probe:9999:1"], f"probe has {len(PROBES)} models", "at most"),
        (["run", "thop"], "unexpected extra argument", "flopaudit run --help"),
        (["probe", "thop", "fvcore"], "takes tools as an option", "--tools thop,fvcore"),
        (["probe", "thop,fvcore"], "takes tools as an option", "--tools thop,fvcore"),
        (["audit", "thop"], "takes tools as an option", "--tools thop"),
        (["install"], "takes versions", "flopaudit install thop=="),
        (["install", "thop"], "'thop' is not a version", "thop==0.1.1"),
        (["study", "coverage", "--source", "probe"], "probes", "--source torchvision"),
        (["explode"], "explode", "--help"),
        (["settle"], "Missing argument 'MODEL'", "flopaudit settle --help"),
        (["run", "--model", "resnet18"], "No such option: --model.", "Did you mean --models?"),
        (["settle", "resnet18", "--colour"], "option: --colour. `", "flopaudit settle --help"),
        (["run", "--models", ","], "--models names nothing", "commas"),
        (["settle", "resnet18", "--tools", " , "], "--tools names nothing", "commas"),
        (["matrix", "--tools", ","], "--tools names nothing", "commas"),
        (["audit", "--models", ","], "--models names nothing", "commas"),
        (["count", "resnet18", "--depth", "2"], "--depth", "--by module"),
        (["settle", "resnet18", "--markdown", "--json"], "both given", "Give one of them"),
        (
            ["settle", "resnet18", "--claim", "3.8G", "--markdown", "--tools", "thop"],
            "--claim cannot be combined with --tools and --markdown.",
            "Leave out",
        ),
        (["cont"], "cont", "count"),
    ],
)
def test_bad_usage_is_one_sentence_and_a_remedy(
    args: list[str], message: str, remedy: str, empty: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = flopaudit_here(*args, capsys=capsys)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert remedy in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout
    assert len(done.stderr.splitlines()) <= 2
    assert not list(empty.iterdir()), "nothing is written"


@pytest.mark.parametrize(
    ("args", "listed"), [([], ["settle", "run", "count"]), (["study"], ["agreement", "speed"])]
)
def test_a_missing_command_gets_the_help_on_standard_error(
    args: list[str], listed: list[str], tmp_path: Path
) -> None:
    done = flopaudit(*args, cwd=tmp_path, columns=80)
    assert (done.returncode, done.stdout) == (2, "")
    assert all(f"│ {name} " in done.stderr for name in listed)
    assert "A command is missing. Start with `flopaudit " in done.stderr.splitlines()[-1]


def test_an_interrupt_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def pressed(*_args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(model_requests, "model_lines", pressed)
    done = flopaudit_here("models", capsys=capsys)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr.split("\n") == ["", "Stopped.", ""]


@pytest.mark.parametrize("module", ["flopaudit.cli.run", "flopaudit.reports.terminal"])
def test_an_interrupt_while_the_program_is_imported_is_one_sentence(
    module: str, tmp_path: Path
) -> None:
    code = (
        "import sys\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, *_more):\n"
        f"        if name == {module!r}: raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupting())\n"
        "from flopaudit.__main__ import main\n"
        "sys.argv = ['flopaudit', 'models', 'alexnet']\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "\nStopped.\n")


def test_out_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = flopaudit("run", "--models", "resnet18", "--out", "file/below", cwd=tmp_path)
    assert done.returncode == 2
    assert "Cannot write to file/below" in done.stderr


def test_traceback_is_shown_if_asked_for(tmp_path: Path) -> None:
    done = flopaudit("--traceback", "count", "xyzzy", cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "UsageError: There is no torchvision model 'xyzzy'" in done.stderr


def test_reader_that_leaves_early(tmp_path: Path) -> None:
    command = f"{sys.executable} -m flopaudit models | head -n 2"
    done = subprocess.run(
        ["/bin/bash", "-o", "pipefail", "-c", command],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert not done.stderr
