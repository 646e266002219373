"""Users' formulas: what they are given, what they may return, and which operators they count."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import flopaudit
import pytest
import torch
from flopaudit import Work
from flopaudit.core.errors import UsageError
from flopaudit.reference import user_formulas
from flopaudit.reference.export_counter import count_static
from flopaudit.reference.user_formulas import FormulaError, files, registry
from flopaudit.tracing.watcher import trace
from torch import nn
from torch.utils import flop_counter

from tests.support.models.custom_operators import OPS, LowRank

LOW_RANK = "flopaudit_custom::low_rank"
X = torch.rand(4, 8)
HERE = Path(__file__).name


@pytest.fixture(autouse=True)
def _empty_registries() -> Iterator[None]:
    with _as_in_another_process(), mock.patch.dict(flop_counter.flop_registry):
        yield


@contextmanager
def _as_in_another_process() -> Iterator[None]:
    """Hide what is registered, and what is kept because of it."""
    with (
        mock.patch.dict(registry.registered(), clear=True),
        mock.patch.dict(files.loaded, clear=True),
        mock.patch.object(user_formulas, "state", object),
    ):
        yield


class Calls(nn.Module):
    """A model that is one function."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Any) -> Any:
        return self.function(*args)


def test_an_operator_of_somebody_else_is_never_zero_nor_that_of_aten() -> None:
    """`linear` may do anything in another namespace, and products of integers are products."""
    x, u = torch.randint(0, 9, (4, 8)), torch.randint(0, 9, (8, 3))
    for operator, args in ((OPS.linear, (X, X.T)), (OPS.of_integers, (x, u))):
        for found in (
            flopaudit.count(Calls(operator), *args),
            flopaudit.count(Calls(operator), *args, device="own"),
            count_static(Calls(operator), *args),
        ):
            assert (found.macs, dict(found.uncounted_ops)) == (0, {str(operator.default): 1})
            assert found.lower_bound
    composite = flopaudit.count(Calls(OPS.composite), X, X.T)
    assert (composite.macs, composite.lower_bound) == (4 * 8 * 4, False)


def test_a_formula_counts_its_operator_in_every_way() -> None:
    assert flopaudit.count(LowRank(), X).uncounted_ops
    assert count_static(LowRank(), X).uncounted_ops

    @flopaudit.register_formula(LOW_RANK)
    def low_rank(x: Any, u: Any, v: Any, *, scale: float) -> int:
        rows, columns = x
        assert (x.dtype, u.numel(), v.shape, v.ndim, scale) == ("float32", 16, (2, 8), 2, 2.0)
        return int(rows * columns * u[1] + rows * v[0] * v[1])

    model = LowRank()
    counted = [
        flopaudit.count(model, X),
        flopaudit.count(model, X, device="own"),
        count_static(model, X),
    ]
    for found in counted:
        assert found.macs == 4 * 8 * 8 + 4 * 8 * 2 + 4 * 2 * 8
        assert not found.lower_bound
        (origin,) = found.user_formulas.values()
        assert list(found.user_formulas) == ["flopaudit_custom.low_rank.default"]
        assert origin.startswith(f"{HERE} (sha256 ")
    assert trace(model, (X,), {}).macs == counted[0].macs


def test_a_formula_may_return_work_of_several_kinds() -> None:
    def low_rank(*_: Any, out_shape: Any, **__: Any) -> Any:
        return {
            "linear": 100,
            "attention": Work(macs=10, bias_adds=5),
            "activation": Work(elementary=out_shape.numel(), comparisons=1),
        }

    flopaudit.register_formula(LOW_RANK, low_rank)
    found = flopaudit.count(Calls(OPS.low_rank), X, X.T, X)
    assert found.components() == {
        "activation_ops": 33, "attention_macs": 10, "bias_adds": 5, "linear_macs": 100,
    }  # fmt: skip
    assert found.bytes_accessed == 4 * (4 * 32), "read and written once, though of three kinds"
    flopaudit.register_formula(LOW_RANK, lambda *_, **__: 0, override=True)
    assert flopaudit.count(Calls(OPS.low_rank), X, X.T, X).rows == ()
    flopaudit.register_formula(LOW_RANK, lambda *_, **__: 7, kind="linear", override=True)
    assert flopaudit.count(Calls(OPS.low_rank), X, X.T, X).components() == {"linear_macs": 7}


NAMES: list[Any] = [
    LOW_RANK, f"{LOW_RANK}.default", "flopaudit_custom.low_rank.default",
    "torch.ops.flopaudit_custom.low_rank", OPS.low_rank, OPS.low_rank.default,
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=str)
def test_an_operator_may_be_named_in_any_way(name: Any) -> None:
    class Seven:
        def __call__(self, *_: Any, **__: Any) -> int:
            return 7

    flopaudit.register_formula(name, functools.partial(Seven()))
    assert flopaudit.count(LowRank(), X).macs == 4 * 8 * 8 + 7


def test_what_torch_and_torchvision_define() -> None:
    """C++ operators that are left uncounted, a function of torch.library, and an aten operator."""
    from torchvision import ops

    @torch.library.custom_op("flopaudit_custom::shifted", mutates_args=())
    def shifted(x: torch.Tensor) -> torch.Tensor:
        return x + 1

    pool = Calls(lambda x, boxes: ops.roi_pool(x, [boxes], 2))
    args = (torch.rand(1, 3, 8, 8), torch.tensor([[0.0, 0.0, 4.0, 4.0]]))
    assert list(flopaudit.count(pool, *args).uncounted_ops) == ["torchvision.roi_pool.default"]
    flopaudit.register_formula("torchvision::roi_pool", lambda *_, **__: Work(comparisons=5))
    flopaudit.register_formula(shifted, lambda x: Work(adds=x.numel()))
    flopaudit.register_formula("aten::special_bessel_j0", lambda x: Work(elementary=x.numel()))
    assert flopaudit.count(pool, *args).work == Work(comparisons=5)
    found = flopaudit.count(Calls(lambda x: torch.special.bessel_j0(shifted(x))), X)
    assert found.work == Work(adds=32, elementary=32)
    assert len(found.user_formulas) == 2


def test_a_triton_kernel_wrapped_as_an_operator() -> None:
    triton = pytest.importorskip("triton")
    from tests.support.models import triton_operator

    assert triton
    added = Calls(lambda x: triton_operator.added(x, x))
    kernel = Calls(lambda x: triton_operator.call_kernel(x, x))
    name = "flopaudit_custom.added.default"
    assert list(flopaudit.count(added, X).uncounted_ops) == [name]
    assert list(count_static(added, X).uncounted_ops) == [name]
    assert count_static(kernel, X).lower_bound
    flopaudit.register_formula(triton_operator.added, lambda x, _: Work(adds=x.numel()))
    for count in (flopaudit.count, count_static):
        assert count(added, X).work == Work(adds=32)
    flopaudit.register_formula(triton_operator.add_kernel, lambda **of: Work(adds=of["n"]))
    static = count_static(kernel, X)
    assert static.work == Work(adds=32)
    assert not static.lower_bound


def test_formulas_registered_with_torch_are_honoured_and_marked() -> None:
    register: Any = flop_counter.register_flop_formula
    register(OPS.low_rank)(lambda x, u, *_, **__: 2 * x[0] * x[1] * u[1])
    register(OPS.linear, get_raw=True)(lambda *_, out_val: 32 + (out_val.ndim == 2))
    register(torch.ops.aten.add)(lambda *_, **__: 10**9)
    found = flopaudit.count(Calls(lambda x: OPS.low_rank(x, x.T, x, scale=1.0) + 1), X)
    assert (found.macs, found.work.adds) == (4 * 8 * 4, 32), "an addition is counted as ever"
    (origin,) = found.user_formulas.values()
    register_flop_formula = "torch.utils.flop_counter.register_flop_formula"
    assert origin.startswith(f"{register_flop_formula} in {HERE} (sha256 ")
    odd = flopaudit.count(Calls(OPS.linear), X, X.T)
    assert (odd.macs, odd.flops_all) == (0, 33)
    flopaudit.register_formula(LOW_RANK, lambda *_, **__: 5)
    assert flopaudit.count(Calls(OPS.low_rank), X, X.T, X).macs == 5


NO_FUNCTION: Any = 5
REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: flopaudit.register_formula("aten::mm", lambda *_: 1), "which flopaudit counts itself"),
    (lambda: flopaudit.register_formula("aten::cat", lambda *_: 1), "which flopaudit counts"),
    (lambda: flopaudit.register_formula("quantized::add", lambda *_: 1), "counts itself"),
    (lambda: flopaudit.register_formula("low_rank", lambda *_: 1), "not the name of an operator"),
    (lambda: flopaudit.register_formula(3, lambda *_: 1), "3 is not an operator"),
    (lambda: flopaudit.register_formula("a::b", lambda *_: 1, kind="dense"), "the kind 'dense'"),
    (lambda: flopaudit.register_formula("a::b", NO_FUNCTION), "is 5, which cannot be called"),
]


@pytest.mark.parametrize(("register", "message"), REFUSED)
def test_registration_is_refused(register: Callable[[], Any], message: str) -> None:
    with pytest.raises(FormulaError, match=message):
        register()


def test_two_formulas_for_one_operator_are_refused() -> None:
    for _ in range(2):  # as a cell of a notebook that runs again
        flopaudit.register_formula(LOW_RANK, _seven)
    with pytest.raises(FormulaError, match=r"has two formulas, in test_user_formulas\.py"):
        flopaudit.register_formula(LOW_RANK, lambda *_, **__: 8)


def _seven(*_: Any, **__: Any) -> int:
    return 7


WRONG: list[tuple[Callable[..., Any], str]] = [
    (lambda *_, **__: -1, "returned -1, and a count is not negative"),
    (lambda *_, **__: 64.0, "returned 64.0, which is not a whole number"),
    (lambda *_, **__: None, "returned None"),
    (lambda *_, **__: True, "returned True"),
    (lambda *_, **__: {"dense": 1}, "returned the kind 'dense'"),
    (lambda *_, **__: {"activation": 1}, "returned multiply-accumulates of the kind 'activation'"),
    (lambda *_, **__: Work(adds=-1), "returned -1"),
    (lambda *_, **__: Work(adds=0.5), "returned 0.5"),  # type: ignore[arg-type] # on purpose
    (lambda *_, **__: 1 // 0, "raised ZeroDivisionError"),
    (lambda _: 1, r"raised TypeError: .* argument"),
]


@pytest.mark.parametrize(("formula", "message"), WRONG)
def test_what_is_no_count_is_one_clear_sentence(formula: Callable[..., Any], message: str) -> None:
    flopaudit.register_formula(LOW_RANK, formula)
    start = f"^The formula of {LOW_RANK} in {HERE} "
    for count in (flopaudit.count, count_static):
        with pytest.raises(FormulaError, match=start + message):
            count(LowRank(), X)


# -- files ---------------------------------------------------------------------------------------

TEXT = """
import flopaudit, helper
@flopaudit.register_formula("flopaudit_custom::low_rank")
def low_rank(x, u, v, scale, out_shape):
    assert scale == 1.0 and tuple(out_shape) == (4, 8)
    return helper.SEVEN
print("noise")
"""


def test_a_file_travels_to_another_process(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "own.py"
    path.write_text(TEXT)
    (tmp_path / "helper.py").write_text("SEVEN = 7\n")
    with mock.patch.object(sys, "path", [*sys.path]):
        assert user_formulas.digest() == ""
        user_formulas.load(path)
        user_formulas.load(path)
        assert capsys.readouterr().out == "", "standard output is the program's own"
        flopaudit.register_formula("flopaudit_custom::linear", lambda *_: 9)
        register: Any = flop_counter.register_flop_formula
        register(OPS.of_integers)(lambda *_, **__: 22)
        sent, digest = user_formulas.sources(), user_formulas.digest()
        assert _counts() == (7, 9)
        path.write_text("this is not Python")  # what was loaded is what counts
        with _as_in_another_process():
            assert _counts() == (0, 0)
            user_formulas.install(sent)
            assert _counts() == (7, 9)
            assert user_formulas.sources()[0] == sent[0]
            flop_counter.flop_registry.pop(OPS.of_integers)
            (found,) = flopaudit.count(Calls(OPS.of_integers), X, X.T).rows
            assert found.work.macs == 11
    assert [each.path for each in sent] == [str(path), "", ""]
    assert len(digest) == 64


def _counts() -> tuple[int, int]:
    low_rank = flopaudit.count(Calls(OPS.low_rank), X, X.T, X)
    return low_rank.macs, flopaudit.count(Calls(OPS.linear), X, X.T).macs


def test_a_count_holds_as_long_as_its_formulas() -> None:
    before = flopaudit.count(LowRank(), X)
    assert user_formulas.still_hold(before.uncounted_ops, before.user_formulas)
    flopaudit.register_formula(LOW_RANK, _seven)
    assert not user_formulas.still_hold(before.uncounted_ops, before.user_formulas)
    after = flopaudit.count(LowRank(), X)
    assert user_formulas.still_hold(after.uncounted_ops, after.user_formulas)
    changed = {name: f"{origin[:-2]}0)" for name, origin in after.user_formulas.items()}
    assert not user_formulas.still_hold({}, changed)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = (", r"bad.py are not Python: .*never closed, in line 1"),
        ("raise SystemExit(3)", r"bad.py raised SystemExit: 3"),
        ("missing", r"bad.py raised NameError: name 'missing' is not defined"),
        ("import flopaudit\nflopaudit.register_formula('x', 1)", r"bad.py .*cannot be called|is 1"),
        (None, r"bad.py cannot be read: No such file"),
    ],
)
def test_a_wrong_file_is_one_sentence(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "bad.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError, match=message), mock.patch.object(sys, "path", [*sys.path]):
        user_formulas.load(path)


def test_the_nearest_project_names_its_files(tmp_path: Path) -> None:
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    project = tmp_path / "pyproject.toml"
    project.write_text('[tool.flopaudit]\nformulas = ["own.py", "more/own.py"]\n')
    (tmp_path / "a" / "pyproject.toml").write_text("[tool.other]\nflopaudit = 1\n")
    assert user_formulas.formula_files(below) == [tmp_path / "own.py", tmp_path / "more/own.py"]
    for text, message in (
        ("[tool.flopaudit]\nformulas = 3\n", "has no list of files as formulas"),
        ("[tool.flopaudit]\nformula = []\n", "has the unknown 'formula'"),
        ("[tool.flopaudit", "cannot be read"),
    ):
        project.write_text(text)
        with pytest.raises(UsageError, match=message):
            user_formulas.formula_files(below)
