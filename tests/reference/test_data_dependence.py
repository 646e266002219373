"""The lines of code at which a count depends on the values of the input, and those at which not."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flopaudit
import pytest
import torch
from flopaudit.core.source_lines import depends_on_values, line_in, shown_path
from torch import nn
from torch._higher_order_ops.while_loop import while_loop
from torch.nn import functional

HERE = re.escape(f"tests/reference/{Path(__file__).name}")
X = torch.rand(4, 8)


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])


class Model(nn.Module):
    """A model with a layer, a table of constants, and what it does with them."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)
        self.table = nn.Buffer(torch.tensor([2, 3]))
        self.function = function

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(self, *args, **kwargs)


def branch(model: Model, x: torch.Tensor) -> Any:
    return model.layer(x) if x.sum() > 0 else x


def early_exit(model: Model, x: torch.Tensor) -> Any:
    while x.abs().max().item() > 10:
        x = model.layer(x)
    return model.layer(x)


def written_through_a_view(_: Model, x: torch.Tensor) -> Any:
    kept = torch.zeros(2, 8)
    kept[0].copy_(x[0])
    return x * 2 if bool(kept[1].any()) else x


def routed(model: Model, x: torch.Tensor) -> Any:
    expert = model.layer(x).argmax(-1)
    for each in range(2):
        chosen = torch.where(expert == each)[0]
        x = x.index_add(0, chosen, model.layer(x[chosen]))
    return x


def loop(model: Model, x: torch.Tensor) -> Any:
    body = (lambda x: x.sum() > 100, lambda x: (model.layer(x),), (x,))
    return while_loop(*body)[0]  # type: ignore[no-untyped-call] # torch's own


DEPENDENT: dict[str, tuple[Callable[..., Any], str]] = {
    "a branch": (branch, "return model.layer(x) if x.sum() > 0 else x"),
    "an early exit": (early_exit, "while x.abs().max().item() > 10:"),
    "by a view": (written_through_a_view, "return x * 2 if bool(kept[1].any()) else x"),
    "a mixture": (routed, "chosen = torch.where(expert == each)[0]"),
    "a mask": (lambda _, x: x[x > 0.5] * 2, "x[x > 0.5]"),
    "masked_select": (lambda _, x: x.masked_select(x > 0.5), "x.masked_select"),
    "unique": (lambda _, x: torch.unique(x), "torch.unique(x)"),
    "repeats": (lambda _, x: x.repeat_interleave((x[:, 0] * 3).long(), 0), "repeat_interleave"),
    "a slice": (lambda _, x: x[:, : x[0].argmax()], "x[:, : x[0].argmax()]"),
    "classes": (lambda _, x: functional.one_hot((x * 9).long()), "functional.one_hot"),
    "a range": (lambda _, x: torch.arange(x.sum().ceil()), "torch.arange"),
    "a list": (lambda _, x: [x * each for each in x[0].tolist()], "x[0].tolist()"),
    "numpy": (lambda _, x: x * x.numpy().max(), "x.numpy().max()"),
    "a part": (lambda _, x: torch.tensor_split(x, (x[0, :2] * 3).long()), "tensor_split"),
    "cond": (lambda m, x: torch.cond(x.sum() > 0, m.layer, torch.sin, (x,)), "torch.cond"),
    "while_loop": (loop, "return while_loop(*body)[0]"),
}


@pytest.mark.parametrize("name", DEPENDENT)
def test_the_line_that_decides_is_named(name: str) -> None:
    function, part = DEPENDENT[name]
    for device in ("auto", "own"):
        found = flopaudit.count(Model(function), X, device=device)
        assert found.data_dependent, device
        (line,) = found.data_dependent[:1]
        assert re.fullmatch(rf"`.*{re.escape(part)}.*` at {HERE}:\d+", line), line
        assert found.device == "cpu"


def by_a_constant(model: Model, x: torch.Tensor) -> Any:
    for _ in range(int(model.table.max())):
        x = model.layer(x)
    if bool(model.layer.weight.sum() > 10**6) or x.shape[0] > 10**6:
        x = x * 2
    return x[torch.tensor([True, False, True, True])]


def only_shown(model: Model, x: torch.Tensor) -> Any:
    shown = [f"{x.sum()}", repr(x)]
    assert all(shown)
    zeros = torch.zeros_like(x)
    return model.layer(x * 2 if zeros.sum() > 0 else x)[:, x[0].argmax()]


def checked_size(model: Model, x: torch.Tensor) -> Any:
    return model.layer(x.repeat_interleave(model.table.repeat(2), 0))


@pytest.mark.parametrize("function", [by_a_constant, only_shown, checked_size])
def test_constants_sizes_and_shown_values_do_not_count(function: Callable[..., Any]) -> None:
    found = flopaudit.count(Model(function), X)
    assert found.fallback, "the run on meta tensors failed, as some value was needed"
    assert found.data_dependent == ()


def test_a_run_on_meta_tensors_has_no_values() -> None:
    found = flopaudit.count(Model(lambda m, x: m.layer(x)), X)
    assert (found.device, found.data_dependent) == ("meta", ())


@dataclass
class Batch:
    """An input that is no tensor, but holds one."""

    parts: dict[str, list[torch.Tensor]]
    itself: Any = None


def test_each_line_once_in_the_order_of_execution_from_inputs_of_any_form() -> None:
    def decides(model: Model, batch: Batch, *, scale: torch.Tensor) -> Any:
        (x,) = batch.parts["images"]
        for _ in range(3):
            x = model.layer(x) if x[0, 0] > -9 else x
        return x if scale > 0 else x * 2

    batch = Batch({"images": [X]})
    batch.itself = batch
    found = flopaudit.count(Model(decides), batch, scale=torch.ones(()))
    lines = [line.partition(" at ")[0] for line in found.data_dependent]
    assert lines == [
        "`x = model.layer(x) if x[0, 0] > -9 else x`",
        "`return x if scale > 0 else x * 2`",
    ]


def test_packed_sequences_depend_on_their_lengths() -> None:
    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.GRU(8, 8, batch_first=True)

        def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> Any:
            packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
            return self.layer(packed)[1]

    found = flopaudit.count(Packed(), torch.rand(2, 5, 8), torch.tensor([5, 3]))
    assert "pack_padded_sequence" in found.data_dependent[0]


def test_detection_names_lines_of_its_library() -> None:
    from torchvision.models import detection

    model = detection.fasterrcnn_mobilenet_v3_large_320_fpn(weights=None, weights_backbone=None)
    found = flopaudit.count(model.eval(), [torch.rand(3, 64, 64)])
    places = {line.rpartition(" at ")[2].partition(":")[0] for line in found.data_dependent}
    assert "torchvision/ops/boxes.py" in places
    assert "torchvision/models/detection/roi_heads.py" in places
    assert any("torchvision.nms" in line for line in found.data_dependent), "a C++ operator"


def test_a_layer_of_torch_is_named_where_no_other_code_decides() -> None:
    layer = nn.AdaptiveLogSoftmaxWithLoss(8, 20, [5])
    found = flopaudit.count(layer, X, torch.randint(0, 20, (4,)))
    assert found.data_dependent[0].rpartition(" at ")[2].startswith("torch/nn/modules/adaptive.py:")


def test_bodies_of_regions_are_counted() -> None:
    from torch._higher_order_ops.map import map as each_row

    rows = flopaudit.count(Model(lambda m, x: each_row(m.layer, x)), X)
    assert (rows.macs, rows.lower_bound) == (4 * 8 * 8, False)
    chosen = flopaudit.count(Model(DEPENDENT["cond"][0]), X)
    assert (chosen.macs, chosen.lower_bound) == (4 * 8 * 8, False)
    again = flopaudit.count(Model(loop), X + 100)
    assert again.macs % (4 * 8 * 8) == 0
    assert again.macs


# -- texts ---------------------------------------------------------------------------------------


def test_a_path_is_the_same_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert shown_path("/x/lib/python3.11/site-packages/timm/models/vit.py") == "timm/models/vit.py"
    assert shown_path(str(tmp_path / "own" / "net.py")) == "own/net.py"
    assert shown_path("/home/somebody/net.py", "net") == "net.py"
    assert shown_path("/home/somebody/src/pkg/net.py", "pkg.net") == "pkg/net.py"
    assert shown_path("/home/somebody/src/pkg/__init__.py", "pkg") == "pkg/__init__.py"


def test_few_lines_are_named_and_the_others_counted() -> None:
    lines = [f"`if x:` at net.py:{number}" for number in range(5)]
    start = "The count depends on the values of the input: "
    assert depends_on_values(lines[:1]) == f"{start}{lines[0]}"
    assert depends_on_values(lines) == f"{start}{', '.join(lines[:3])} and 2 more"
    assert depends_on_values([]) == ""


def test_the_innermost_written_line_of_a_stack() -> None:
    stack = (
        '  File "/x/site-packages/pkg/net.py", line 3, in forward\n    return f(x)\n'
        '  File "<eval_with_key>.1", line 5, in forward\n    made = 1\n'
    )
    assert line_in(stack) == "`return f(x)` at pkg/net.py:3"
    assert line_in("") is None
