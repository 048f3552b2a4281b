"""Time as a parameter."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Protocol

    class Clock(Protocol):
        """What the engine needs to know of time."""

        def monotonic_s(self) -> float:
            """Seconds that never go back."""
            ...

        def unix_s(self) -> float:
            """Seconds since the Unix epoch."""
            ...


class SystemClock:
    """The process's clocks, with Unix time that does not jump.

    Unix time is read once and carried forward by the monotonic clock, so that an NTP step or an operator's
    ``date -s`` is no gap and no burst in a series of samples.
    """

    __slots__ = ("_offset_s",)

    def __init__(self) -> None:
        self._offset_s = time.time() - time.monotonic()

    def monotonic_s(self) -> float:
        """Seconds of the monotonic clock."""
        return time.monotonic()

    def unix_s(self) -> float:
        """Unix time as of construction plus what the monotonic clock says has passed."""
        return self._offset_s + time.monotonic()
