"""The form of a profile in its file, checked before a profile is made of it."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict


class _Habits(TypedDict):
    view: str
    per_sample: bool
    of_one_input: bool
    last_call: bool
    each_parent: int
    hides_inside: bool


class _Params(TypedDict):
    of: str
    seen: list[str]
    inside: bool
    root: bool
    each_parent: int
    uncalled: bool


class _Rule(TypedDict):
    site: str
    outcome: str
    formula: dict[str, str]
    traits: dict[str, str]
    probes: list[str]


class _Outcome(TypedDict):
    probe: str
    cases: int
    counted: int
    exact: int
    params_exact: int
    says: dict[str, str] | None
    note: str


class _Form(TypedDict):
    profile_version: int
    tool: str
    version: str
    variant: str | None
    unit: str
    torch: str
    habits: _Habits
    params: _Params
    rules: list[_Rule]
    probes: list[_Outcome]


@cache
def _adapter() -> TypeAdapter[_Form]:
    return TypeAdapter(_Form)


def check(data: Any) -> None:
    """Check that plain data is that of a profile; fields that it does not know are left alone.

    Raises:
        ValueError: it is not; the message is the first thing that is wrong.
    """
    try:
        _adapter().validate_python(data, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"{place}: {first['msg']}") from error
