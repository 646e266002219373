"""The ledger: one row for each executed operator, and the readings that are added up from it.

Comes from `harness.counter`; pure data, knows nothing of torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harness.work import NOTHING, Work

if TYPE_CHECKING:
    import pandas as pd

Shape = tuple[int, ...]


@dataclass(frozen=True)
class OperatorRow:
    """One execution of one operator.

    Attributes:
        operator: as torch names it, such as aten.convolution.default.
        form: the function, method or operator it was called by, such as
            torch.nn.functional.relu or torch.Tensor.__add__; "" where torch itself called it.
        path: qualified name of the innermost module that was running, "" for the root.
        type: that module's class name.
        call: which call of that module it was, from 1 on.
        kind: what sort of work it is, one of the kinds in `harness.formulas`.
        inputs, outputs: shapes of the tensors that came in and went out.
        dtype: of the first tensor that went in.
        work: what it cost.
    """

    operator: str
    form: str
    path: str
    type: str
    call: int
    kind: str
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]
    dtype: str
    work: Work


@dataclass(frozen=True)
class ModuleEntry:
    """A module of the counted model: names, calls, and the parameters it holds itself."""

    path: str
    type: str
    aliases: tuple[str, ...]
    calls: int
    params: int
    trainable: int


@dataclass(frozen=True)
class Ledger:
    """Everything that one run of a model executed.

    Attributes:
        rows: in the order of execution.
        modules: every module of the model, each once, the root first.
        device: the device the model was run on, meta or the model's own.
        fallback: why it could not be run on meta tensors, if that was tried and failed.
        uncounted_ops: operators without a formula, and how often each ran.
    """

    rows: tuple[OperatorRow, ...]
    modules: tuple[ModuleEntry, ...]
    device: str
    fallback: str | None = None
    uncounted_ops: Counter[str] = field(default_factory=Counter)

    @property
    def work(self) -> Work:
        """The sum of all rows."""
        return sum_work(self.rows)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of convolution, linear, matrix product and attention."""
        return sum(row.work.macs for row in self.rows)

    @property
    def flops(self) -> int:
        """Two for each multiply-accumulate."""
        return 2 * self.macs

    @property
    def params(self) -> int:
        """Learned values, each parameter counted once however often it is shared."""
        return sum(module.params for module in self.modules)

    @property
    def trainable_params(self) -> int:
        """Those of `params` that require a gradient."""
        return sum(module.trainable for module in self.modules)

    def components(self) -> dict[str, int]:
        """Exact counts: MACs by kind of product, bias adds, and all other operations by kind."""
        totals: Counter[str] = Counter()
        for row in self.rows:
            work = row.work
            if work.macs:
                totals[f"{row.kind}_macs"] += work.macs
            totals["bias_adds"] += work.bias_adds
            totals[f"{_OTHER.get(row.kind, row.kind)}_ops"] += (
                work.flops_all - 2 * work.macs - work.bias_adds
            )
        return {name: count for name, count in sorted(totals.items()) if count}

    def by(self, key: str) -> dict[str, Work]:
        """Work added up by a field of the rows: `path`, `operator`, `kind`, `form` or `type`."""
        groups: dict[str, list[OperatorRow]] = {}
        for row in self.rows:
            groups.setdefault(getattr(row, key), []).append(row)
        return {name: sum_work(rows) for name, rows in groups.items()}

    def to_pandas(self) -> pd.DataFrame:
        """One line for each row, the work's components as columns."""
        import pandas as pd

        frame: pd.DataFrame = pd.DataFrame(list(self._flat()))
        return frame

    def _flat(self) -> Iterator[dict[str, object]]:
        for row in self.rows:
            flat = {**vars(row), **vars(row.work), "flops_all": row.work.flops_all}
            del flat["work"]
            yield flat


# Scaling and softmax inside fused attention are the activation's share of it.
_OTHER = {
    "attention": "activation",
    "conv": "elementwise",
    "linear": "elementwise",
    "matmul": "elementwise",
}


def sum_work(rows: Iterable[OperatorRow]) -> Work:
    """The work of several rows added up."""
    return sum((row.work for row in rows), NOTHING)
