"""One scheduler for all audits of the tests, so that torch is imported once for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from flopaudit.audit import audit_run
from flopaudit.isolation.jobs import Limits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flopaudit.isolation.scheduler import Scheduler


@pytest.fixture(scope="session")
def scheduler() -> Iterator[Scheduler]:
    with audit_run.open_scheduler(2, Limits(120, 4 << 30)) as scheduler:
        yield scheduler
