"""Messages between scheduler, zygote and hosts: each a line of JSON over a socket."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from flopaudit.core.specs import ModelSpec
from flopaudit.isolation.jobs import Cell, Limits
from flopaudit.isolation.memory_share import Footprint
from flopaudit.isolation.outcomes import EXACT, Failure, Outcome
from flopaudit.records.schema import ModelIdentity, first_problem
from flopaudit.reference.user_formulas import FormulaSource


@dataclass(frozen=True)
class BuildModel:
    """Scheduler to host: hold this model, in place of the one before.

    With `prebuilt`, it is built now; otherwise the tasks of the cells build it. `formulas` are the
    user's, and with `identify` the answer has the identity of the built model.
    """

    __pydantic_config__: ClassVar[ConfigDict] = EXACT

    model: ModelSpec
    inputs: tuple[str, ...]
    prebuilt: bool = True
    formulas: tuple[FormulaSource, ...] = ()
    identify: bool = False
    kind: Literal["build_model"] = "build_model"


@dataclass(frozen=True)
class RunCell:
    """Scheduler to host: fork a worker for this cell; `id` is its place among the job's cells."""

    __pydantic_config__: ClassVar[ConfigDict] = EXACT

    id: int
    cell: Cell
    limits: Limits
    kind: Literal["run_cell"] = "run_cell"


@dataclass(frozen=True)
class ZygoteReady:
    """Zygote to scheduler: everything is imported, and hosts can be forked.

    The memory that the zygote holds by now, in bytes, is what each cell begins with.
    """

    __pydantic_config__: ClassVar[ConfigDict] = EXACT

    footprint: Footprint
    kind: Literal["zygote_ready"] = "zygote_ready"


@dataclass(frozen=True)
class ZygoteFailed:
    """Zygote to scheduler: torch cannot be imported, and the zygote ends."""

    __pydantic_config__: ClassVar[ConfigDict] = EXACT

    error: str
    kind: Literal["zygote_failed"] = "zygote_failed"


@dataclass(frozen=True)
class HostStarted:
    """Host to scheduler: the host runs, as this process."""

    __pydantic_config__: ClassVar[ConfigDict] = EXACT

    pid: int
    kind: Literal["host_started"] = "host_started"


@dataclass(frozen=True)
class ModelBuilt:
    """Host to scheduler: the model is in memory, if the host is to build it, and cells can run."""

    __pydantic_config__: ClassVar[ConfigDict] = EXACT

    identity: ModelIdentity | None = None
    kind: Literal["model_built"] = "model_built"


@dataclass(frozen=True)
class BuildFailed:
    """Host to scheduler: there is no such model, its factory raised, or no host could start."""

    __pydantic_config__: ClassVar[ConfigDict] = EXACT

    error: str
    status: Failure = "unavailable"
    kind: Literal["build_failed"] = "build_failed"


@dataclass(frozen=True)
class CellFinished:
    """Host to scheduler: the worker of this cell has ended."""

    __pydantic_config__: ClassVar[ConfigDict] = EXACT

    id: int
    outcome: Outcome
    kind: Literal["cell_finished"] = "cell_finished"


Message = Annotated[
    BuildModel
    | RunCell
    | ZygoteReady
    | ZygoteFailed
    | HostStarted
    | ModelBuilt
    | BuildFailed
    | CellFinished,
    Field(discriminator="kind"),
]


class MessageError(Exception):
    """A line is not a message: a fault of this program, because only its processes write them."""


@cache
def _adapter() -> TypeAdapter[Message]:
    return TypeAdapter(Message)


def encode(message: Message) -> bytes:
    """Return a message as one line of JSON, in UTF-8 also where a path in it is not."""
    try:
        return _adapter().dump_json(message) + b"\n"
    except PydanticSerializationError:
        data = _adapter().dump_python(message, mode="json")
        return json.dumps(data, ensure_ascii=False).translate(_CARRIED).encode() + b"\n"


_CARRIED = {code: code - 0xDC80 + 0x10FF00 for code in range(0xDC80, 0xDD00)}
"""What stands in a message for a byte of a path that is not UTF-8: a character of private use."""

_BYTES = {carried: code for code, carried in _CARRIED.items()}
_MARKS = (b"\xf4\x8f\xbc", b"\xf4\x8f\xbd")  # with which all these characters begin


def decode(line: bytes) -> Message:
    """Read a message.

    Raises:
        MessageError: the kind of message is unknown, or a field is missing or has a wrong type.
    """
    try:
        found = _adapter().validate_json(line, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        if first["type"] == "union_tag_invalid":
            raise MessageError(f"unknown message '{first['ctx']['tag']}'") from error
        raise MessageError(f"malformed message: {first_problem(error)}") from error
    return _with_bytes(found) if any(mark in line for mark in _MARKS) else found


def _with_bytes(value: Any) -> Any:
    """Return a value with the bytes of paths again."""
    if isinstance(value, str):
        return value.translate(_BYTES)
    if isinstance(value, tuple):
        return tuple(map(_with_bytes, value))
    if is_dataclass(value) and not isinstance(value, type):
        return replace(
            value, **{f.name: _with_bytes(getattr(value, f.name)) for f in fields(value)}
        )
    return value


class Channel:
    """One end of a socket on which each message is a line of JSON."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._buffer = b""

    def fileno(self) -> int:
        """Return the descriptor, for select."""
        return self.sock.fileno()

    def send(self, message: Message) -> None:
        """Send one message.

        Raises:
            OSError: the other end is gone.
        """
        self.sock.sendall(encode(message))

    def receive(self) -> list[Message] | None:
        """Return the messages that have arrived, waiting for data; None if the other end is gone.

        Raises:
            MessageError: a line is not a message.
        """
        try:
            data = self.sock.recv(1 << 16)
        except ConnectionError:
            data = b""
        if not data:
            return None
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        return [decode(line) for line in lines]

    def close(self) -> None:
        """Close this end."""
        self.sock.close()
