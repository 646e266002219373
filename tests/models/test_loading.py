"""Loading of a user's model: by its file, in its package, beside files of any name."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from flopaudit.core.errors import UsageError
from flopaudit.core.specs import parse_model
from flopaudit.models import loading
from flopaudit.models.build import build
from flopaudit_adapters import find

LINEAR = "from torch import nn\ndef make(): return nn.Linear(8, {width}, bias=False)\n"
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write files in an empty current directory; forget what was imported from them."""
    monkeypatch.chdir(tmp_path)
    known, path, finders = set(sys.modules), list(sys.path), list(sys.meta_path)

    def write(**files: str) -> Path:
        for name, text in files.items():
            file = tmp_path / f"{name.replace('__in__', '/')}.py"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return tmp_path

    yield write
    sys.path[:], sys.meta_path[:] = path, finders
    for name in set(sys.modules) - known:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def width(spec: str) -> int:
    """Build a model and return the width of its layer."""
    model = build(parse_model(spec))
    assert isinstance(model, torch.nn.Linear)
    return model.out_features


@pytest.mark.parametrize("name", ["types", "torch", "json", "thop", "my-net", "net.v2", "__main__"])
def test_file_of_any_name_takes_no_place(write: Write, name: str) -> None:
    taken = sys.modules.get(name)
    helper = "import json, types, torch\nWIDTH = torch.tensor([json.loads('5')]).numel() + 4\n"
    write(**{name: "from helper import WIDTH\n" + LINEAR.format(width="WIDTH"), "helper": helper})
    before = list(sys.path)
    assert width(f"{name}.py:make") == 5
    assert taken is None or sys.modules[name] is taken
    assert sys.path == before
    assert importlib.import_module("json").loads("1") == 1


def test_file_is_known_by_the_name_of_its_module(write: Write) -> None:
    """So pickling, dataclasses and the source of a class work, as when it is imported."""
    code = (
        "from __future__ import annotations\n"
        "import dataclasses\nfrom torch import nn\n"
        "@dataclasses.dataclass\nclass Config:\n    width: int = 3\n"
        "class Net(nn.Module):\n    def forward(self, x): return x\n"
    )
    write(net=code, thop=code)
    for name, expected in (("net", "net"), ("thop", "flopaudit_model_thop")):
        module = sys.modules[loading.find(f"{name}.py", "Net").__module__]
        assert module.__name__ == expected
        assert sys.modules[expected] is module
        assert type(pickle.loads(pickle.dumps(module.Net()))) is module.Net  # noqa: S301 - its own
        assert "def forward" in inspect.getsource(module.Net)
        assert dataclasses.asdict(module.Config()) == {"width": 3}


def test_edited_file_and_its_edited_sibling_are_read_again(write: Write) -> None:
    """Even if Python's cache of compiled files could not tell: same size, same second."""
    folder = write(
        net="import helper\n" + LINEAR.format(width="helper.WIDTH"), helper="WIDTH = 3\n"
    )
    assert width("net.py:make") == 3
    stat = (folder / "helper.py").stat()
    write(helper="WIDTH = 4\n")
    os.utime(folder / "helper.py", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert width("net.py:make") == 4


def test_two_files_of_one_name_have_their_own_siblings(write: Write) -> None:
    code = "from helper import WIDTH\n" + LINEAR.format(width="WIDTH")
    write(a__in__net=code, a__in__helper="WIDTH = 3", b__in__net=code, b__in__helper="WIDTH = 4")
    assert [width(f"{each}/net.py:make") for each in "abab"] == [3, 4, 3, 4]


def test_file_that_fails_leaves_nothing_behind(write: Write) -> None:
    write(net="raise ValueError('no such luck')")
    with pytest.raises(ValueError, match="no such luck"):
        build(parse_model("net.py:make"))
    assert "net" not in sys.modules


@pytest.mark.parametrize("package", ["pkg", "json", "fvcore", "pkg__in__inner"])
def test_file_with_relative_imports_is_a_part_of_its_package(write: Write, package: str) -> None:
    """Whatever the name of the package, which may be that of an installed one."""
    top = package.partition("__in__")[0]
    write(**{f"{top}__in____init__": "BASE = 2\n", f"{package}__in____init__": "BASE = 2\n"})
    write(**{f"{package}__in__width": "from . import BASE\nWIDTH = BASE + 3\n"})
    lazy = "def make():\n    from .width import WIDTH\n    return nn.Linear(8, WIDTH)\n"
    code = "from torch import nn\n" + lazy
    write(**{f"{package}__in__net": code, f"{package}__in__{top}": "raise SystemExit"})
    taken = sys.modules.get(top)
    assert width(f"{package.replace('__in__', '/')}/net.py:make") == 5
    assert taken is None or sys.modules[top] is taken


def test_relative_imports_without_a_package_say_what_to_write(write: Write) -> None:
    code = "from .width import WIDTH\n" + LINEAR.format(width="WIDTH")
    write(pkg__in__net=code, pkg__in__width="WIDTH = 5")
    with pytest.raises(UsageError, match=r"'net.py' has relative imports.* Write pkg\.net:NAME"):
        build(parse_model("pkg/net.py:make"))
    assert width("pkg.net:make") == 5


def test_file_in_another_copy_of_an_installed_package_is_refused(write: Write) -> None:
    """Its own imports by name would be those of the installed copy."""
    write(fvcore__in____init__="", fvcore__in__nn__in____init__="")
    write(fvcore__in__nn__in__flop_count="from . import x\n")
    with pytest.raises(UsageError, match=r"another 'fvcore' is in .*site-packages") as caught:
        build(parse_model("fvcore/nn/flop_count.py:make"))
    assert "fvcore.nn.flop_count:NAME" in caught.value.remedy


def test_module_of_the_current_directory_comes_after_installed_ones(write: Write) -> None:
    write(torch="raise SystemExit", pkg__in__net=LINEAR.format(width=7))
    write(fvcore__in____init__="", fvcore__in__net=LINEAR.format(width=6))
    assert width("pkg.net:make") == 7
    assert isinstance(build(parse_model("torch.nn:ReLU")), torch.nn.ReLU)
    with pytest.raises(UsageError, match=r"no module 'fvcore.net'.* Write fvcore/net.py:factory"):
        build(parse_model("fvcore.net:make"))
    assert width("fvcore/net.py:make") == 6
    write(pkg__in__needs="import no_such_package\n")
    with pytest.raises(UsageError, match=r"no module 'no_such_package'. Run where") as caught:
        build(parse_model("pkg.needs:make"))
    assert "pkg/needs.py" not in caught.value.remedy


ADAPTER = """
from __future__ import annotations
import dataclasses, json
from helper import COUNT
from flopaudit_adapters.contract import Tool, ToolResult

@dataclasses.dataclass
class Options:
    depth: int = 3

TOOL = Tool("fake", "torch", "torch", "MAC", lambda *_: ToolResult({}, COUNT), "", "")
"""


@pytest.mark.parametrize(
    ("place", "spec"),
    [
        ("thop", "thop.py:TOOL"),
        ("json", "json.py:TOOL"),
        ("pkg__in__adapter", "pkg/adapter.py:TOOL"),
        ("adapter", "adapter:TOOL"),
    ],
)
def test_adapter_of_any_name_takes_no_place(write: Write, place: str, spec: str) -> None:
    json, folder = sys.modules["json"], place.rpartition("__in__")[0]
    write(**{place: ADAPTER, (f"{folder}__in__" if folder else "") + "helper": "COUNT = 7\n"})
    assert find(spec).name == "fake"
    assert sys.modules["json"] is json
    assert "fake" not in str(sys.modules.get("thop"))
    write(torch="raise SystemExit", helper="raise SystemExit")
    with pytest.raises(LookupError, match="There is no module 'nowhere'"):
        find("nowhere:TOOL")


def test_adapter_may_import_relative_to_its_package(write: Write) -> None:
    write(pkg__in____init__="", pkg__in__helper="COUNT = 7\n")
    write(pkg__in__adapter=ADAPTER.replace("from helper", "from .helper"))
    assert find("pkg/adapter.py:TOOL").name == "fake"
