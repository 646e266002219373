"""The ledger: one row for each executed operator, and the totals read from it.

`flopaudit.reference.counter` and `flopaudit.reference.export_counter` make ledgers. A ledger is
pure data and needs no torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

from flopaudit.core import html_text
from flopaudit.reference.conventions import Convention, convention
from flopaudit.reference.cost import NOTHING, Work
from flopaudit.reference.kinds import Kind

if TYPE_CHECKING:
    import pandas as pd

Shape = tuple[int, ...]

FORWARD, BACKWARD = "forward", "backward"


class OperatorRow(NamedTuple):
    """One execution of one operator, or of a function that is counted whole.

    Attributes:
        operator: its name in torch, such as aten.convolution.default.
        form: the call syntax: the function, method or operator it was called by, such as
            torch.nn.functional.relu or torch.Tensor.__add__; "" if torch itself called it.
        path: qualified name of the innermost module that was running, "" for the root.
        type: that module's class name.
        call: which call of that module it was, counted from 1.
        kind: the kind of work.
        inputs: shapes of the input tensors.
        outputs: shapes of the output tensors.
        dtype: of the first input tensor.
        work: its cost.
        alternatives: its cost under alternative conventions, by their names.
        elements_read: elements of all input tensors, as the operator sees them.
        elements_written: elements of all output tensors.
        bytes_read: the same in bytes.
        bytes_written: the same in bytes.
        phase: forward or backward.
    """

    operator: str
    form: str
    path: str
    type: str
    call: int
    kind: Kind
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]
    dtype: str
    work: Work
    alternatives: dict[str, Work] = {}  # noqa: RUF012 - never written to
    elements_read: int = 0
    elements_written: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    phase: str = FORWARD


@dataclass(frozen=True)
class ModuleEntry:
    """A module of the counted model: its names, its calls, and its own parameters and buffers.

    Attributes:
        path: the qualified name, "" for the root.
        type: the class name.
        aliases: other names of the same module.
        calls: how often it was called.
        params: elements of the parameters that no earlier module holds.
        trainable: those of them that require a gradient.
        params_by_dtype: `params` by dtype.
        buffers: elements of the buffers that no earlier module holds.
        bytes: size of those parameters and buffers.
    """

    path: str
    type: str
    aliases: tuple[str, ...]
    calls: int
    params: int
    trainable: int
    params_by_dtype: dict[str, int] = field(default_factory=dict)
    buffers: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class Ledger:
    """The record of everything that one run of a model executed.

    Attributes:
        rows: in the order of execution.
        modules: every module of the model, each once, the root first.
        device: on which the model ran: meta, the model's own, or `export` if it did not run.
        fallback: why the model could not run on meta tensors, if that was tried and failed.
        uncounted_ops: operators without a formula, and how often each ran.
        user_formulas: operators counted by a user's formula, and where each comes from.
        data_dependent: lines of code at which the count depends on the values of the input, in
            the order of execution; they are looked for where the model ran on real tensors.
    """

    rows: tuple[OperatorRow, ...]
    modules: tuple[ModuleEntry, ...]
    device: str
    fallback: str | None = None
    uncounted_ops: Counter[str] = field(default_factory=Counter)
    user_formulas: dict[str, str] = field(default_factory=dict)
    data_dependent: tuple[str, ...] = ()

    @property
    def lower_bound(self) -> bool:
        """Whether the totals are lower bounds, because an operator without a formula ran."""
        return bool(self.uncounted_ops)

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
    def flops_all(self) -> int:
        """Every scalar operation."""
        return sum(row.work.flops_all for row in self.rows)

    @property
    def params(self) -> int:
        """Elements of all parameters, each counted once however often it is shared."""
        return sum(module.params for module in self.modules)

    @property
    def trainable_params(self) -> int:
        """Those of `params` that require a gradient."""
        return sum(module.trainable for module in self.modules)

    @property
    def params_by_dtype(self) -> dict[str, int]:
        """`params` by dtype."""
        totals: Counter[str] = Counter()
        for module in self.modules:
            totals.update(module.params_by_dtype)
        return dict(totals)

    @property
    def buffers(self) -> int:
        """Elements of all buffers."""
        return sum(module.buffers for module in self.modules)

    @property
    def model_bytes(self) -> int:
        """Bytes of all parameters and buffers, as they are stored."""
        return sum(module.bytes for module in self.modules)

    @property
    def elements_accessed(self) -> int:
        """Memory access cost: elements that all operators read and write, without caching."""
        return sum(row.elements_read + row.elements_written for row in self.rows)

    @property
    def bytes_accessed(self) -> int:
        """Memory access cost in bytes."""
        return sum(row.bytes_read + row.bytes_written for row in self.rows)

    @property
    def intensity(self) -> Fraction:
        """Arithmetic intensity: scalar operations for each byte accessed; 0 if none is accessed."""
        accessed = self.bytes_accessed
        return Fraction(self.flops_all, accessed) if accessed else Fraction(0)

    def condensed(self) -> Ledger:
        """Return a ledger with the same totals and few rows, which are without calls and shapes.

        There is one row for the executions of an operator in a module that differ only in these.
        """
        groups: dict[tuple[object, ...], list[OperatorRow]] = {}
        for row in self.rows:
            names = (row.operator, row.form, row.path, row.type, row.kind, row.dtype, row.phase)
            groups.setdefault((*names, *row.alternatives), []).append(row)
        return replace(self, rows=tuple(map(_sum_of_rows, groups.values())))

    def read(self, by: str | Convention = "macs") -> int:
        """Return the total under a convention.

        Args:
            by: a convention or its name; see `flopaudit.reference.conventions`.

        Raises:
            ConventionError: there is no convention of that name.
        """
        chosen = convention(by) if isinstance(by, str) else by
        return sum(chosen.of(row.kind, row.work, row.alternatives) for row in self.rows)

    def components(self) -> dict[str, int]:
        """Return MACs by kind of product, bias adds, and all other operations by kind."""
        totals: Counter[str] = Counter()
        for row in self.rows:
            work = row.work
            if work.macs:
                totals[f"{row.kind}_macs"] += work.macs
            totals["bias_adds"] += work.bias_adds
            totals[f"{_BESIDE_PRODUCTS.get(row.kind, row.kind)}_ops"] += work.others
        return {name: count for name, count in sorted(totals.items()) if count}

    def by(self, key: str) -> dict[str, Work]:
        """Return the work by a field of the rows, such as `path`, `operator`, `kind` or `phase`."""
        groups: dict[str, list[OperatorRow]] = {}
        for row in self.rows:
            groups.setdefault(getattr(row, key), []).append(row)
        return {name: sum_work(rows) for name, rows in groups.items()}

    def __str__(self) -> str:
        lines = [f"{name:<24}{number:>22,}" for name, number in self._totals().items()]
        return "\n".join([*self._notes(), *lines])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        rows = [(name, f"{number:,}") for name, number in self._totals().items()]
        notes = map(html_text.paragraph, self._notes())
        return html_text.block([*notes, html_text.table(("", "count"), rows, {"count"})])

    def _totals(self) -> dict[str, int]:
        """The totals that are shown, by the names they are shown with."""
        components = self.components().items()
        return {
            "MACs": self.macs,
            "FLOPs": self.flops,
            "all FLOPs": self.flops_all,
            **{name.replace("_macs", " MACs").replace("_", " "): n for name, n in components},
            "parameters": self.params,
            "bytes accessed": self.bytes_accessed,
        }

    def _notes(self) -> list[str]:
        """What a reader of the totals has to know."""
        names = ", ".join(f"{name} ({n})" for name, n in sorted(self.uncounted_ops.items()))
        return [f"Not counted, because there is no formula: {names}"] if names else []

    def to_dict(self) -> dict[str, Any]:
        """Return the totals as plain data; all counts are integers."""
        return {
            "macs": self.macs,
            "flops": self.flops,
            "flops_all": self.flops_all,
            "components": self.components(),
            "params": self.params,
            "trainable_params": self.trainable_params,
            "params_by_dtype": self.params_by_dtype,
            "buffers": self.buffers,
            "model_bytes": self.model_bytes,
            "elements_accessed": self.elements_accessed,
            "bytes_accessed": self.bytes_accessed,
            "uncounted_ops": dict(self.uncounted_ops),
            "device": self.device,
            "fallback": self.fallback,
        }

    def to_pandas(self) -> pd.DataFrame:
        """Return a table with a line for each row and the parts of its work as columns."""
        import pandas as pd

        frame: pd.DataFrame = pd.DataFrame(list(self._flat()))
        return frame

    def _flat(self) -> Iterator[dict[str, object]]:
        for row in self.rows:
            flat = {**row._asdict(), **vars(row.work), "flops_all": row.work.flops_all}
            del flat["work"], flat["alternatives"]
            yield flat


# Scaling and softmax inside fused attention count as activation.
_BESIDE_PRODUCTS = {
    Kind.ATTENTION: Kind.ACTIVATION,
    Kind.CONVOLUTION: Kind.ELEMENTWISE,
    Kind.LINEAR: Kind.ELEMENTWISE,
    Kind.MATMUL: Kind.ELEMENTWISE,
}


def _sum_of_rows(rows: Sequence[OperatorRow]) -> OperatorRow:
    """Return one row for several that differ only in their calls and shapes."""
    return rows[0]._replace(
        call=0,
        inputs=(),
        outputs=(),
        work=sum_work(rows),
        alternatives={
            name: sum((row.alternatives[name] for row in rows), NOTHING)
            for name in rows[0].alternatives
        },
        elements_read=sum(row.elements_read for row in rows),
        elements_written=sum(row.elements_written for row in rows),
        bytes_read=sum(row.bytes_read for row in rows),
        bytes_written=sum(row.bytes_written for row in rows),
    )


def sum_work(rows: Iterable[OperatorRow]) -> Work:
    """Return the sum of the work of several rows."""
    return sum((row.work for row in rows), NOTHING)
