"""Settlement of a live model: in a script, from a thread, for models that are hard to copy."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flopaudit
import psutil
import pytest
import torch
from flopaudit.audit import model_state, process_state, snapshot, torch_state
from flopaudit.core.errors import UsageError
from flopaudit.models.live import saved_model
from flopaudit.pipeline import settle_model
from torch import nn

from tests.support.command_line import Done, flopaudit_here
from tests.support.command_line import flopaudit as command
from tests.support.stored_settlements import settlement_of

BLOCK = """
import torch
from torch import nn

class {name}(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.norm = nn.BatchNorm1d(width)

    def forward(self, x):
        import late_{name}
        return late_{name}.use(self.norm(self.linear(x)))
"""

NET = """
import torch
from torch import nn
from kept import Kept
from edited import Edited

SCALE = 2

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.blocks = nn.Sequential(Kept(8), Edited(8))
        self.act = lambda x: torch.relu(x) * SCALE

    def forward(self, x, mask=None):
        y = self.blocks(self.act(self.conv(x)).mean((2, 3)))
        return y if mask is None else y * mask

def make():
    return Net()
"""

USE = """
import json, pathlib, flopaudit
from concurrent.futures import ThreadPoolExecutor

pathlib.Path("edited.py").write_text("from kept import Kept as Edited")
with ThreadPoolExecutor() as pool:
    call = pool.submit(flopaudit.settle, make(), torch.rand(2, 3, 9, 9), mask=torch.ones(2, 8),
                       tools=["thop", "fvcore"])
print(json.dumps(call.result().to_dict()))
"""


def python(*args: str, cwd: Path, text: str | None = None) -> Done:
    """Run Python in a folder; its temporary files are in the folder `temporary` there."""
    (cwd / "temporary").mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, *args],
        cwd=cwd, env={**os.environ, "TMPDIR": str(cwd / "temporary")}, input=text,
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


def files(folder: Path) -> set[str]:
    """Return all files and folders in a folder but for caches of Python and torch."""
    caches = ("__pycache__", "torchinductor_")
    every = {path.relative_to(folder) for path in folder.rglob("*")}
    return {str(path) for path in every if not any(cache in str(path) for cache in caches)}


@pytest.mark.slow
def test_a_script_gets_what_the_command_says_of_the_same_model(tmp_path: Path) -> None:
    """The model is of the script, of a module, and of one that is edited after its import."""
    for name in ("Kept", "Edited"):
        (tmp_path / f"{name.lower()}.py").write_text(BLOCK.format(name=name))
        (tmp_path / f"late_{name}.py").write_text("from torch import sigmoid as use\n")
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "script.py").write_text(NET + USE)
    sizes = ("--input", "2x3x9x9", "--input", "mask=2x8")
    told = command(
        "settle", "net.py:make", *sizes, "--tools", "thop,fvcore", "--json", cwd=tmp_path
    )
    assert told.returncode == 0, told.stderr
    before = files(tmp_path) | {"temporary"}
    done = python("script.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert files(tmp_path) == before, "nothing is left in this folder or the temporary one"
    live, expected = json.loads(done.stdout), json.loads(told.stdout)
    assert (live.pop("model"), expected.pop("model")) == ("Net", "net.py:make")
    # The command's model is built in another way, and its inputs are random.
    for key in ("identity", "records", "own_values"):
        assert live.pop(key) != expected.pop(key)
    assert live == expected
    assert str(tmp_path) not in done.stdout, "no path of a folder that is gone is shown"
    assert [tool["status"] for tool in live["tools"]] == ["counted", "counted"]
    assert live["reference"]["macs"] > 0


HARD = """
import concurrent.futures, torch, torchvision, flopaudit
from torch import nn
from torch.nn.utils.parametrizations import weight_norm
import torch.utils.flop_counter
import operators

@torch.library.custom_op("live_test::twice", mutates_args=())
def twice(x: torch.Tensor) -> torch.Tensor:
    return x * 2

@twice.register_fake
def _(x):
    return torch.empty_like(x)

@torch.utils.flop_counter.register_flop_formula(torch.ops.live_test.thrice)
def flops_of_thrice(shape, *, out_shape=None):
    return 1000

flopaudit.register_formula("live_test::twice", lambda shape: 7)

class Nested(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = weight_norm(nn.Linear(8, 4, dtype=torch.float64))

    def forward(self, batch, memory):
        y = self.linear(batch["images"][0]) + torch.zeros(4)
        return torch.ops.live_test.thrice(twice(y)) * memory

class Raising(nn.Linear):
    def forward(self, x):
        raise ValueError("not today")

torch.set_default_dtype(torch.float64)
images = {"images": (torch.rand(2, 8), None), "name": "x"}
nested = flopaudit.settle(Nested(), images, kwargs={"memory": torch.ones(4)}, tools="flop_counter")
assert nested.tools[0]["reported"] == 2 * 2 * 8 * 4 + 1000, nested
assert nested.reference["macs"] == 2 * 8 * 4 + 7 + 1000 // 2, nested
assert len(nested.reference["user_formulas"]) == 2, nested.reference

def forward(self, x):
    return self.fc(x)

torchvision.models.ResNet.forward = forward
resnet = torchvision.models.resnet18()
with concurrent.futures.ThreadPoolExecutor() as pool:
    raising = pool.submit(flopaudit.settle, Raising(8, 4), torch.rand(1, 8), tools="thop",
                          memory="2G")
    replaced = pool.submit(flopaudit.settle, resnet, torch.rand(1, 512), tools="thop")
raising, replaced = raising.result(), replaced.result()
assert raising.reference["macs"] is None, raising
assert "not today" in raising.verdict and "not today" in raising.tools[0]["error"], raising
assert "ResNet.forward is not what its file defines" in replaced.verdict, replaced
print("done")
"""

OPERATORS = """
import torch

library = torch.library.Library("live_test", "FRAGMENT")
library.define("thrice(Tensor x) -> Tensor")
library.impl("thrice", lambda x: x * 3, "CompositeExplicitAutograd")
"""


@pytest.mark.slow
def test_a_script_without_a_file_settles_models_that_are_hard_to_copy(tmp_path: Path) -> None:
    (tmp_path / "operators.py").write_text(OPERATORS)
    done = python("-", cwd=tmp_path, text=HARD)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
    assert files(tmp_path) == {"temporary", "operators.py"}


@pytest.mark.slow
def test_an_interrupted_settlement_leaves_no_processes_and_no_files(tmp_path: Path) -> None:
    (tmp_path / "temporary").mkdir()
    text = (
        "import flopaudit, torch\n"
        "class Slow(torch.nn.Linear):\n"
        "    def forward(self, x):\n"
        "        open('started', 'w').close()\n"
        "        while True: pass\n"
        "flopaudit.settle(Slow(8, 4), torch.rand(1, 8))\n"
    )
    script = subprocess.Popen(
        [sys.executable, "-c", text],
        cwd=tmp_path, env={**os.environ, "TMPDIR": str(tmp_path / "temporary")},
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not (tmp_path / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    below = psutil.Process(script.pid).children(recursive=True)
    assert below
    script.send_signal(signal.SIGINT)
    _, error = script.communicate(timeout=30)
    assert "KeyboardInterrupt" in error
    _, alive = psutil.wait_procs(below, timeout=10)
    assert alive == []
    assert files(tmp_path) == {"temporary", "started"}


class Noisy(nn.Module):
    """A model in training mode whose forward changes much of what it can reach."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.norm = nn.BatchNorm1d(8)
        self.drop = nn.Dropout()
        self.calls = 0
        self.linear.register_forward_hook(lambda *_: None)
        self.linear.bias.requires_grad = False

    def forward(self, x: Any) -> Any:
        self.calls += 1
        torch.set_num_threads(1)
        x.add_(1)
        return self.drop(self.norm(self.linear(x)))


STATES = {**model_state.STATES, **torch_state.STATES, **process_state.STATES}


def test_the_model_and_this_process_are_left_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model, x = Noisy().train(), torch.rand(4, 8)
    model(x.clone()).sum().backward()
    before_x = x.clone()
    printed = (tmp_path / "out", tmp_path / "err")
    for file in printed:
        file.touch()
    context = snapshot.SnapshotContext(model, tmp_path, printed)
    with torch.no_grad():
        before = snapshot.take(STATES, context)
        settled = flopaudit.settle(model, x, tools="thop")
        after = snapshot.take(STATES, context)
    changed = [each for each in snapshot.compare(STATES, before, after) if each.amount]
    assert changed == []
    assert torch.equal(x, before_x)
    assert settled.tools[0]["status"] == "counted"
    assert settled.settlement["model"] == "Noisy"
    assert (settled.reference["params"], settled.reference["trainable_params"]) == (88, 80)


class Holding(nn.Module):
    """A model that holds a value."""

    def __init__(self, held: object) -> None:
        super().__init__()
        self.inner = nn.ReLU()
        self.inner.held = held  # type: ignore[assignment] # what a user might hang on a module


def test_what_cannot_be_copied_is_named() -> None:
    values = (threading.Lock(), (item for item in "ab"))
    for value in values:
        with pytest.raises(UsageError, match=r"Holding\.inner\.held cannot be copied.*file\.py"):
            flopaudit.settle(Holding(value), torch.rand(1))
    with pytest.raises(UsageError, match="Input 2 cannot be copied"):
        flopaudit.settle(nn.Linear(1, 1), torch.rand(1), values[0])
    with pytest.raises(UsageError, match="The input mask cannot be copied"):
        flopaudit.settle(nn.Linear(1, 1), torch.rand(1), mask=[values[1]])


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"tools": "thopp"}, "thopp"),
    ({"tools": torch.ones(1)}, r'`tools` is a Tensor.*kwargs=\{"tools"'),
    ({"memory": torch.ones(1)}, r'`memory` is a Tensor.*kwargs=\{"memory"'),
    ({"memory": "much"}, "much"),
    ({"memory": 0}, "`memory` is 0"),
    ({"timeout": 0}, "`timeout` is 0"),
    ({"timeout": float("nan")}, "`timeout` is nan"),
    ({"jobs": 0}, "`jobs` is 0"),
    ({"kwargs": [1]}, "kwargs"),
    ({"kwargs": {"mask": 1}, "mask": 2}, "'mask' is given twice"),
]


@pytest.mark.parametrize(("options", "message"), WRONG)
def test_wrong_options_are_refused_at_once(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        flopaudit.settle(nn.Linear(1, 1), torch.rand(1), **options)


@pytest.mark.parametrize(
    ("model", "inputs", "message"),
    [
        (nn.Linear, (), "is a type, not a torch.nn.Module"),
        ({"w": torch.ones(1)}, (), "is a dict, not a torch.nn.Module"),
        ("resnet18", (torch.ones(1),), "shapes"),
        ("no_such_model", (), "no_such_model"),
    ],
)
def test_what_is_no_model_is_refused(model: Any, inputs: tuple[Any, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        flopaudit.settle(model, *inputs)


def test_a_named_model_is_answered_from_stored_results(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    stored = settlement_of("resnet50")
    found = settle_model.Stored(stored, "a place")
    monkeypatch.setattr(settle_model, "stored", lambda *_, **__: found)
    assert flopaudit.settle("resnet50").to_dict() == stored
    assert list(tmp_path.iterdir()) == []


class Executed:
    """An object that, when it is loaded, makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


def test_no_text_names_a_saved_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Loading one executes what is in it."""
    saved_model.save(nn.Linear(8, 4), (Executed(tmp_path / "executed"),), {}, tmp_path)
    for text in (f"object:{tmp_path}/model.pt", f"object:{tmp_path}/model.pt:Linear"):
        done = flopaudit_here("count", text, "--input", "1x8", capsys=capsys)
        assert done.returncode == 2
        assert "object" in done.stderr
    assert files(tmp_path) == {"model.pt", "modules.json"}


@pytest.fixture(autouse=True)
def _no_folder_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    folder = tmp_path.parent / f"{tmp_path.name}-temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    yield
    assert list(folder.iterdir()) == []
