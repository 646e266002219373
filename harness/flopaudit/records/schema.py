"""The records that are stored and exchanged; frozen, validated on reading, counts exact integers.

History of the format: 1 — the first; a `Finding` has had a `tool_version` since several versions of
a tool can be in one directory, None where it was written before, and the probe, the modules and the
thread behind it since profiles are measured.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from flopaudit.core.causes import Cause
from flopaudit.core.errors import UsageError
from flopaudit.core.specs import ToolKey

SCHEMA_VERSION = 1

Count = Annotated[int, Field(ge=0)]

Quantity = Literal["macs", "flops", "params"]
"""What a finding is about."""


class Status(str, Enum):
    """How a cell, one tool on one model, ended."""

    COUNTED = "counted"
    """The tool returned a number."""
    UNSUPPORTED = "unsupported"
    """The tool's documented interface cannot take the model or its inputs."""
    ERRORED = "errored"
    """The tool raised, or returned something that is not a count."""
    CRASHED = "crashed"
    """The process ended before the tool returned: a signal, an exit, or too much memory."""
    TIMED_OUT = "timed_out"
    """The tool had not returned within its time."""
    UNAVAILABLE = "unavailable"
    """The tool, or the model, could not be loaded here."""


class Unit(str, Enum):
    """What a tool's number is in."""

    MAC = "MAC"
    FLOP = "FLOP"


class Record(BaseModel):
    """Base of all that is stored: frozen, no unknown fields, no coercion."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def line(self) -> str:
        """The record as one line of JSON."""
        return self.model_dump_json()


class Conditions(Record):
    """How the model was run."""

    device: str = "cpu"
    mode: Literal["eval", "train"] = "eval"
    grad: bool = True
    dtype: str = "float32"


class Environment(Record):
    """Where it was run. `tool` is the version of the tool's distribution, if it is installed."""

    flopaudit: str
    python: str
    torch: str
    torchvision: str | None
    tool: str | None
    processor: str


class ModuleRow(Record):
    """What the tool attributes to one module; `count` in the unit of the measurement.

    `operator` is set where the tool tells a module's operators apart.
    """

    path: str
    type: str
    count: int
    params: int | None = None
    operator: str = ""


class Measurement(Record):
    """What one tool said of one model.

    `reported` is the tool's total in `unit`; `macs` the same in multiply-accumulates, None where
    `reported` is an odd number of FLOPs. `raw` is what the tool returned under its own names,
    numbers that JSON has no form for (nan, inf) written as strings.
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

    @model_validator(mode="after")
    def _status_fits(self) -> Measurement:
        counted = self.status is Status.COUNTED
        if counted != (self.reported is not None):
            raise ValueError("a measurement has a `reported` number just when it is `counted`")
        if counted == (self.error is not None):
            raise ValueError("a measurement has an `error` just when it is not `counted`")
        return self

    @property
    def tool_key(self) -> ToolKey:
        """Whose number it is."""
        return (self.tool, self.tool_version or "", self.variant or "")

    @property
    def key(self) -> tuple[str, str, str, str, tuple[str, ...]]:
        """What makes the cell: tool, version, variant, model, inputs."""
        return (*self.tool_key, self.model, self.inputs)

    @property
    def column(self) -> str:
        """The tool's name in a table, with its variant."""
        return f"{self.tool} {self.variant}" if self.variant else self.tool


class OperatorTotal(Record):
    """The executed operators of one module that are of one operator and one call form, added up.

    `macs_by_output` is what transposed convolutions come to by the other custom, which has every
    output meet every weight; 0 where there are none. The lists by call have an entry for each call
    of the module, for modules that are called often.
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
    """The parameters that a module holds itself, and the names the module goes by."""

    path: str
    type: str
    aliases: tuple[str, ...] = ()
    calls: int = 0
    params: Count = 0
    trainable: Count = 0


class Reference(Record):
    """The reference count of one model: totals, and the ledger added up by module and operator."""

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
    operators: tuple[OperatorTotal, ...] = ()
    modules: tuple[ModuleParams, ...] = ()
    seconds: float | None = None
    peak_rss_bytes: int | None = None
    error: str | None = None
    environment: Environment

    @property
    def key(self) -> tuple[str, tuple[str, ...]]:
        """What makes the reference: model and inputs."""
        return (self.model, self.inputs)


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

    @property
    def key(self) -> tuple[str, tuple[str, ...]]:
        """What makes the trace: model and inputs."""
        return (self.model, self.inputs)


class Finding(Record):
    """One part of the difference between a measurement and the reference.

    The amounts of all findings of one measurement and one quantity add up to
    reported - reference, exactly. `quantity` is what is counted: the measurement's unit or params.
    `probe` shows the cause, `modules` is how many it comes from, `issue` a thread about it;
    `rows_that_differ` counts the modules for which the tool says something else than its profile
    although the sum is right.
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
        """Whose number it is about."""
        return (self.tool, self.tool_version or "", self.variant or "")


class SideEffect(Record):
    """One check of what one call of a tool, or its import, left behind.

    `when` says after what: the call gave a number, it or the model raised, the tool was imported;
    `none` where the tool did not take the model or the process ended. `before` and `after` are what
    was there, or how much of it; `amount` is in how many places they differ, and `detail` names
    them. `condition` is of `audit.cases.CONDITIONS`.
    """

    schema_version: Literal[1] = 1
    tool: str
    tool_version: str | None
    variant: str | None = None
    model: str
    condition: str
    when: Literal["success", "raise", "import", "none"]
    check: str
    before: str
    after: str
    changed: bool
    amount: Count
    detail: str = ""

    @model_validator(mode="after")
    def _amount_fits(self) -> SideEffect:
        if self.changed != bool(self.amount):
            raise ValueError("an effect has an `amount` just when something `changed`")
        return self

    @property
    def column(self) -> str:
        """The tool's name in a table, with its variant."""
        return f"{self.tool} {self.variant}" if self.variant else self.tool


def load(kind: type[Record], line: str) -> Any:
    """Read one stored record.

    Raises:
        UsageError: the record is of a version this program does not know.
        ValueError: the line is not such a record (pydantic's ValidationError is one).
    """
    import json

    data = json.loads(line)
    version = data.get("schema_version") if isinstance(data, dict) else None
    if isinstance(version, int) and version != SCHEMA_VERSION:
        raise UsageError(
            f"This file is of schema version {version}, and this program reads {SCHEMA_VERSION}.",
            "Install the flopaudit that wrote it, or run again with another --out.",
        )
    # JSON has no tuples and no enums, so strictness is that of JSON: 1.0 or "1" is no int.
    return kind.model_validate_json(line, strict=True)
