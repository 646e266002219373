"""The form of a trace in a file, checked before a trace is made of it.

Kept apart from `flopaudit.tracing.sites`, which needs no pydantic.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import StrictBool, StrictInt, StrictStr, TypeAdapter
from typing_extensions import TypedDict

_Texts = list[StrictStr]
_Traits = dict[StrictStr, StrictStr]
_Amounts = dict[StrictStr, StrictInt]
# The fields of `ModuleSite`, `Site` and `WorkItem`, in their order.
_Module = tuple[
    StrictStr, StrictStr, _Texts, _Texts, StrictBool, StrictInt, _Traits, _Amounts, _Amounts,
    StrictInt, StrictInt, StrictInt, StrictInt, StrictStr,
]  # fmt: skip
_Site = tuple[StrictStr, StrictStr, StrictStr, StrictInt, _Traits, _Amounts, StrictStr]
_Work = tuple[StrictStr, StrictInt, StrictStr, StrictInt]


class _Form(TypedDict):
    batch: StrictInt
    modules: list[_Module]
    sites: list[_Site]
    work: list[_Work]


@cache
def _adapter() -> TypeAdapter[_Form]:
    return TypeAdapter(_Form)


def check(data: Any) -> None:
    """Check that plain data is that of a trace.

    Raises:
        ValueError: it is not; a site stands before its parent; or work is at a site that is not
            there.
    """
    form = _adapter().validate_python(data)
    if any(not -1 <= site[3] < index for index, site in enumerate(form["sites"])):
        raise ValueError("a site stands before its parent")
    if any(not -1 <= work[1] < len(form["sites"]) for work in form["work"]):
        raise ValueError("there is work at a site that is not in the trace")
