"""Records that are stored and exchanged: frozen, validated on reading, counts as exact integers.

Version 1 of the format is the first. Files that were written before these fields were added lack
`tool_version`, `probe`, `modules` and `issue` of a `Finding`; they read as their defaults. A record
without a `fingerprint` is of an unknown model, and its cell is measured again.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from flopaudit.core import checksum
from flopaudit.core.causes import Cause
from flopaudit.core.errors import UsageError
from flopaudit.core.files import parse_json
from flopaudit.core.specs import ToolKey
from flopaudit.core.text import visible_json

SCHEMA_VERSION = 1

Count = Annotated[int, Field(ge=0)]

Quantity = Literal["macs", "flops", "params"]
"""The quantity that a finding is about."""

When = Literal["success", "raise", "import", "none"]
"""What an audit looked at: a call that gave a number, one that raised, an import, or nothing."""


class Status(str, Enum):
    """The way in which a cell, one tool on one model, ended."""

    COUNTED = "counted"
    """The tool returned a number."""
    UNSUPPORTED = "unsupported"
    """The tool's documented interface cannot take the model or its inputs."""
    ERRORED = "errored"
    """The tool raised, or returned something that is not a count."""
    CRASHED = "crashed"
    """The process ended before the tool returned: a signal, an exit, or too much memory."""
    TIMED_OUT = "timed_out"
    """The tool did not return within its time limit."""
    UNAVAILABLE = "unavailable"
    """The tool, or the model, could not be loaded here."""


FAILURES = (Status.CRASHED, Status.TIMED_OUT, Status.UNAVAILABLE)
"""Outcomes that make a run fail: the tool did not get to answer."""


class Unit(str, Enum):
    """The unit of a tool's number."""

    MAC = "MAC"
    FLOP = "FLOP"


class Record(BaseModel):
    """Base of all records: frozen, without unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def line(self) -> str:
        """Return the record as one line of JSON, with a checksum."""
        return checksum.add(visible_json(self.model_dump_json()))


class Conditions(Record):
    """The conditions under which the model was run."""

    device: str = "cpu"
    mode: Literal["eval", "train"] = "eval"
    grad: bool = True
    dtype: str = "float32"


class Environment(Record):
    """The environment of a run; `tool` is the version of the tool's distribution, if installed."""

    flopaudit: str
    python: str
    torch: str
    torchvision: str | None
    tool: str | None
    processor: str


class CellLimits(Record):
    """The time and memory that a cell was allowed to take."""

    timeout_seconds: float
    memory_bytes: Count


class ModelIdentity(Record):
    """All that defines the model of a cell: a stored count is of this model and of no other.

    `structure` is a digest of the built model: its module tree, the shapes and types of parameters
    and buffers, the code of its classes and the plain attributes of its modules. `inputs_digest` is
    one of the inputs, `sources` has one of each source file that defines a class of the model, and
    `versions` those of the distributions they are from. `fingerprint` is a digest of all of these.
    """

    schema_version: Literal[1] = 1
    model: str
    inputs: tuple[str, ...]
    seed: int
    structure: str
    inputs_digest: str
    sources: dict[str, str] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    fingerprint: str

    @property
    def key(self) -> tuple[str, tuple[str, ...]]:
        """The names by which the model is requested: model and inputs."""
        return (self.model, self.inputs)


class ModuleRow(Record):
    """The tool's count for one module, in the unit of the measurement.

    `operator` is set if the tool distinguishes the operators of a module.
    """

    path: str
    type: str
    count: int
    params: int | None = None
    operator: str = ""


class Measurement(Record):
    """The result of one tool on one model.

    `reported` is the tool's total in `unit`; `macs` is the same in multiply-accumulates, None if
    `reported` is an odd number of FLOPs. `raw` holds the totals that the tool returned, under its
    own names; numbers that JSON cannot hold (nan, inf) are strings. `fingerprint` is that of the
    `ModelIdentity`, `adapter` a digest of the adapter's source, and `limits` are those of the cell.
    """

    schema_version: Literal[1] = 1
    tool: str
    tool_version: str | None
    variant: str | None = None
    model: str
    inputs: tuple[str, ...]
    conditions: Conditions
    status: Status
    raw: dict[str, Any] | None = None
    unit: Unit
    reported: Count | None = None
    macs: Count | None = None
    params: Count | None = None
    modules: tuple[ModuleRow, ...] = ()
    seconds: float | None = None
    peak_rss_bytes: int | None = None
    output_excerpt: str = ""
    error: str | None = None
    environment: Environment
    fingerprint: str | None = None
    adapter: str | None = None
    limits: CellLimits | None = None

    @model_validator(mode="after")
    def _status_fits(self) -> Measurement:
        counted = self.status is Status.COUNTED
        if counted != (self.reported is not None):
            raise ValueError("a measurement has a `reported` number if and only if it is `counted`")
        if counted == (self.error is not None):
            raise ValueError("a measurement has an `error` if and only if it is not `counted`")
        return self

    @property
    def tool_key(self) -> ToolKey:
        """The tool variant that reported the number."""
        return (self.tool, self.tool_version or "", self.variant or "")

    @property
    def key(self) -> tuple[str, str, str, str, tuple[str, ...]]:
        """The identity of the cell: tool, version, variant, model, inputs."""
        return (*self.tool_key, self.model, self.inputs)

    @property
    def variant_name(self) -> str:
        """The name of the tool variant in a table."""
        return f"{self.tool} {self.variant}" if self.variant else self.tool


class OperatorTotal(Record):
    """The sum of the executions of one operator in one call form within one module.

    `macs_by_output` is the count of transposed convolutions by the other convention, in which every
    output meets every weight; 0 if there are none. The lists by call have an entry for each call of
    the module, for modules that are called more than once.
    """

    path: str
    type: str
    operator: str
    form: str
    kind: str
    executions: int
    macs: Count
    macs_by_output: Count = 0
    bias_adds: Count
    flops_all: Count
    muls: Count = 0
    elementary: Count = 0
    input_elements: Count
    output_elements: Count
    macs_by_call: tuple[int, ...] = ()
    bias_adds_by_call: tuple[int, ...] = ()
    input_elements_by_call: tuple[int, ...] = ()


class ModuleParams(Record):
    """The parameters that a module holds itself, and all names of the module."""

    path: str
    type: str
    aliases: tuple[str, ...] = ()
    calls: int = 0
    params: Count = 0
    trainable: Count = 0


class Reference(Record):
    """The reference count of one model: totals, and the ledger summed by module and operator.

    `uncounted_ops` are the calls of operators without a formula: with any, the totals are lower
    bounds. `user_formulas` says of operators that a user's formula counted where it comes from.
    `data_dependent` are lines of code at which the count depends on the values of the input.
    """

    schema_version: Literal[1] = 1
    model: str
    inputs: tuple[str, ...]
    device: str
    fallback: str | None = None
    batch: int = 1
    macs: Count | None = None
    params: Count | None = None
    trainable_params: Count | None = None
    components: dict[str, int] = Field(default_factory=dict)
    uncounted_ops: dict[str, int] = Field(default_factory=dict)
    user_formulas: dict[str, str] = Field(default_factory=dict)
    data_dependent: tuple[str, ...] = ()
    operators: tuple[OperatorTotal, ...] = ()
    modules: tuple[ModuleParams, ...] = ()
    seconds: float | None = None
    peak_rss_bytes: int | None = None
    error: str | None = None
    environment: Environment
    status: Status = Status.COUNTED
    fingerprint: str | None = None
    limits: CellLimits | None = None

    @property
    def key(self) -> tuple[str, tuple[str, ...]]:
        """The identity of the reference: model and inputs."""
        return (self.model, self.inputs)

    @property
    def lower_bound(self) -> bool:
        """Whether the totals are lower bounds, because an operator without a formula ran."""
        return bool(self.uncounted_ops)


class TraceRecord(Record):
    """The trace of one model (see `flopaudit.tracing`) as plain data, or why there is none."""

    schema_version: Literal[1] = 1
    trace_version: int = 1
    model: str
    inputs: tuple[str, ...]
    trace: dict[str, Any] | None = None
    seconds: float | None = None
    error: str | None = None
    environment: Environment
    status: Status = Status.COUNTED
    fingerprint: str | None = None
    limits: CellLimits | None = None

    @property
    def key(self) -> tuple[str, tuple[str, ...]]:
        """The identity of the trace: model and inputs."""
        return (self.model, self.inputs)


class Finding(Record):
    """One part of the difference between a measurement and the reference.

    The amounts of all findings of one measurement and one quantity add up to
    reported - reference, exactly. `quantity` is the measurement's unit or params. `probe` names a
    probe that shows the cause, `modules` is the number of modules involved, and `issue` is a public
    thread about it. `rows_that_differ` is the number of modules for which the tool reports another
    count than its profile predicts, although the sum is right.
    """

    schema_version: Literal[1] = 1
    tool: str
    tool_version: str | None = None
    variant: str | None
    model: str
    inputs: tuple[str, ...]
    quantity: Quantity
    cause: Cause
    amount: int
    evidence: str
    rows_that_differ: int = 0
    probe: str | None = None
    modules: int = 0
    issue: str | None = None

    @property
    def tool_key(self) -> ToolKey:
        """The tool variant that the finding is about."""
        return (self.tool, self.tool_version or "", self.variant or "")


class SideEffect(Record):
    """One check of the side effects of one call of a tool, or of its import.

    `when` is what happened before the check: the call gave a number, the call or the model raised,
    or the tool was imported; `none` if the tool refused the model or the process ended. `before`
    and `after` are the two states, or their sizes; `amount` is the number of places in which they
    differ, and `detail` names them. `condition` is one of `audit.cases.CONDITIONS`.
    """

    schema_version: Literal[1] = 1
    tool: str
    tool_version: str | None
    variant: str | None = None
    model: str
    condition: str
    when: When
    check: str
    before: str
    after: str
    changed: bool
    amount: Count
    detail: str = ""

    @model_validator(mode="after")
    def _amount_fits(self) -> SideEffect:
        if self.changed != bool(self.amount):
            raise ValueError("an effect has an `amount` if and only if something `changed`")
        return self

    @property
    def variant_name(self) -> str:
        """The name of the tool variant in a table."""
        return f"{self.tool} {self.variant}" if self.variant else self.tool


def load(kind: type[Record], line: str, place: str = "This file") -> Any:
    """Read one stored record.

    Args:
        kind: the kind of record that is expected.
        line: the record as JSON.
        place: where the line is, for an error message.

    Raises:
        UsageError: the record is of a version this program does not know.
        ChangedError: the line was changed after it was written.
        ValueError: the line is not such a record (pydantic's ValidationError is one).
    """
    text, state = checksum.check(line)
    data = parse_json(text)
    version = data.get("schema_version") if isinstance(data, dict) else None
    if isinstance(version, int) and version != SCHEMA_VERSION:
        raise UsageError(
            f"{place} is of schema version {version}, and this program reads {SCHEMA_VERSION}.",
            "Install the flopaudit that wrote it, or run again with another --out.",
        )
    # JSON has no tuples and no enums, so strictness is that of JSON: 1.0 or "1" is no int.
    record = kind.model_validate_json(text, strict=True)
    unsealed = state is checksum.State.ABSENT and getattr(record, "fingerprint", None)
    if state is checksum.State.CHANGED or unsealed:
        raise checksum.ChangedError("its checksum is not that of its text")
    return record


def first_problem(error: ValueError) -> str:
    """Return the first thing that is wrong with a record, in one line."""
    if not isinstance(error, ValidationError):
        return str(error).splitlines()[0]
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(map(str, first["loc"]))
    return f"{place}: {first['msg']}" if place else first["msg"]
