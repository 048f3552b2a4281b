"""A clock that moves when told to."""

from __future__ import annotations


class ManualClock:
    """A clock for tests of time-dependent behaviour, without waiting.

    Args:
        unix_s: What `unix_s` says at first, in seconds since the epoch.
    """

    def __init__(self, unix_s: float = 1_700_000_000.0) -> None:
        self._start_unix_s = unix_s
        self._elapsed_s = 0.0

    def advance(self, seconds: float) -> None:
        """Let time pass.

        Raises:
            ValueError: Time would go back.
        """
        if not seconds >= 0:
            raise ValueError(f"seconds={seconds!r}: must not be negative")
        self._elapsed_s += seconds

    def monotonic_s(self) -> float:
        """Seconds since construction."""
        return self._elapsed_s

    def unix_s(self) -> float:
        """Seconds since the Unix epoch."""
        return self._start_unix_s + self._elapsed_s
