"""Outcomes of cells: typed results that workers hand over, and their form as one line of JSON.

A worker runs foreign code, which may write anything into its pipe. `decode_outcome` therefore
accepts nothing but an outcome of exactly the right types.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from flopaudit.records.schema import (
    Count,
    ModuleParams,
    ModuleRow,
    OperatorTotal,
    When,
    first_problem,
)
from flopaudit.reference.ledger import Ledger

Failure = Literal["unsupported", "errored", "crashed", "timed_out", "unavailable"]
"""The ways in which a cell ends without a result, as `records.schema.Status` has them."""

EXACT = ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True)
class Counted:
    """A tool's number, as returned and as an exact integer in the tool's unit."""

    __pydantic_config__: ClassVar[ConfigDict] = EXACT

    raw: dict[str, Any]
    reported: Count
    params: Count | None = None
    modules: tuple[ModuleRow, ...] = ()
    kind: Literal["counted"] = "counted"


@dataclass(frozen=True)
class ReferenceCounted:
    """The reference count of a model (see `records.schema.Reference`)."""

    __pydantic_config__: ClassVar[ConfigDict] = EXACT

    device: str
    fallback: str | None
    macs: Count
    params: Count
    trainable_params: Count
    components: dict[str, int] = field(default_factory=dict)
    uncounted_ops: dict[str, int] = field(default_factory=dict)
    user_formulas: dict[str, str] = field(default_factory=dict)
    data_dependent: tuple[str, ...] = ()
    operators: tuple[OperatorTotal, ...] = ()
    modules: tuple[ModuleParams, ...] = ()
    kind: Literal["reference"] = "reference"


@dataclass(frozen=True)
class Traced:
    """The trace of a model as plain data."""

    __pydantic_config__: ClassVar[ConfigDict] = EXACT

    trace: dict[str, Any]
    kind: Literal["trace"] = "trace"


@dataclass(frozen=True)
class Check:
    """One check of an audit: the state before and after, and in how many places they differ."""

    __pydantic_config__: ClassVar[ConfigDict] = EXACT

    check: str
    before: str
    after: str
    amount: Count
    detail: str = ""


@dataclass(frozen=True)
class Audited:
    """The checks of one call of a tool, or of its import."""

    __pydantic_config__: ClassVar[ConfigDict] = EXACT

    when: When
    checks: tuple[Check, ...]
    kind: Literal["audit"] = "audit"


@dataclass(frozen=True)
class LedgerCounted:
    """The ledger of a model, condensed, for `flopaudit count`.

    Attributes:
        ledger: by operators and modules.
        peak_activation_bytes: of the forward pass; None if it was not measured.
        torch: the version.
    """

    __pydantic_config__: ClassVar[ConfigDict] = EXACT

    ledger: Ledger
    peak_activation_bytes: Count | None
    torch: str
    kind: Literal["ledger"] = "ledger"


@dataclass(frozen=True)
class ClaimsSettled:
    """The answers to claims about a model, for programs and as lines of text."""

    __pydantic_config__: ClassVar[ConfigDict] = EXACT

    answers: dict[str, Any]
    lines: tuple[str, ...]
    kind: Literal["claims"] = "claims"


@dataclass(frozen=True)
class Refused:
    """A request that cannot be met as it was made: the fields of a `core.errors.UsageError`."""

    __pydantic_config__: ClassVar[ConfigDict] = EXACT

    message: str
    remedy: str
    kind: Literal["refused"] = "refused"


@dataclass(frozen=True)
class Failed:
    """The reason for which there is no result; `raw` is what the tool returned, if it returned.

    `remedy` is set if what the user gave is wrong, such as a formula: the run ends with it.
    """

    __pydantic_config__: ClassVar[ConfigDict] = EXACT

    status: Failure
    error: str
    raw: dict[str, Any] | None = None
    remedy: str | None = None
    kind: Literal["failed"] = "failed"


Result = Annotated[
    Counted
    | ReferenceCounted
    | Traced
    | Audited
    | LedgerCounted
    | ClaimsSettled
    | Refused
    | Failed,
    Field(discriminator="kind"),
]


@dataclass(frozen=True)
class Outcome:
    """The result of a cell, and what the cell took.

    Attributes:
        result: of the kind that the cell's task gives, or `Failed`.
        seconds: wall time of the tool's call, or of the process if the call did not return.
        peak_rss_bytes: the most memory that the process held.
        output_excerpt: the beginning and end of what the process printed.
    """

    __pydantic_config__: ClassVar[ConfigDict] = EXACT

    result: Result
    seconds: float | None = None
    peak_rss_bytes: int | None = None
    output_excerpt: str = ""

    @property
    def status(self) -> str:
        """One word for how the cell ended."""
        if isinstance(self.result, Failed):
            return self.result.status
        return "audited" if isinstance(self.result, Audited) else "counted"

    @property
    def error(self) -> str | None:
        """The reason for which there is no result; None if there is one."""
        return self.result.error if isinstance(self.result, Failed) else None


def failed(status: Failure, error: str) -> Outcome:
    """Return the outcome of a cell that has no result."""
    return Outcome(Failed(status, error))


@cache
def _adapter() -> TypeAdapter[Outcome]:
    return TypeAdapter(Outcome)


def encode_outcome(outcome: Outcome) -> bytes:
    """Return an outcome as one line of JSON."""
    return _adapter().dump_json(outcome) + b"\n"


def decode_outcome(line: bytes) -> Outcome:
    """Read an outcome that a worker has handed over.

    Raises:
        ValueError: the line is not an outcome; the message says which part of it is wrong.
    """
    try:
        return _adapter().validate_json(line, strict=True)
    except ValidationError as error:
        raise ValueError(first_problem(error)) from error
