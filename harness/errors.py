"""What a user may have done wrong: each error is one sentence, and one that says what to do."""

from __future__ import annotations


class UsageError(Exception):
    """Bad input. Shown as `message` and `remedy`, without a traceback; exit code 2."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(f"{message} {remedy}")
        self.message = message
        self.remedy = remedy
