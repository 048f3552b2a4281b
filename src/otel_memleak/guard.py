"""What goes wrong inside this package stays inside: counted, said once, never raised into the application."""

from __future__ import annotations

import logging
from typing import Final

from otel_memleak.wording import LONGEST_SENTENCE, describe, plain

_LOG: Final = logging.getLogger("otel_memleak")
_KINDS_REMEMBERED: Final = 64

reraise: bool = False
"""Set by the project's own tests, so that a swallowed failure cannot hide a bug."""


class Guard:
    """Counts swallowed failures and logs each kind once.

    It remembers at most 64 kinds (a place and an exception type), so a failure that never repeats itself
    cannot make it grow.
    """

    __slots__ = ("_said", "errors")

    def __init__(self) -> None:
        self._said: set[tuple[str, str]] = set()
        self.errors = 0
        """Failures swallowed so far."""

    def swallow(self, place: str, error: BaseException) -> None:
        """Take note of a failure.

        Args:
            place: What was being done, in words that fit after "while".
            error: The exception; it is not kept, because its traceback would keep the frames alive.
        """
        self.errors += 1
        kind = (place, type(error).__name__)
        if kind not in self._said and len(self._said) < _KINDS_REMEMBERED:
            self._said.add(kind)
            say_quietly(
                logging.WARNING,
                f"otel_memleak failed while {place}: {describe(error)}. The application is not affected; "
                "this is said once, further failures are counted in memleak.overhead.errors",
            )
        if reraise:
            raise error


def say_quietly(level: int, message: str) -> None:
    """Log a line, whatever the application's handlers do with it."""
    try:
        _LOG.log(level, "%s", plain(message, LONGEST_SENTENCE))
    except Exception:
        if reraise:
            raise
