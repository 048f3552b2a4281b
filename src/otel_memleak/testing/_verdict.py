"""What a check of a callable comes to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Outcome = Literal["leak", "no_leak", "cannot_tell"]

MAX_SECONDS: Final = 30.0
TOLERANCE_BYTES_PER_CALL: Final = 1.0
LARGEST_CACHE: Final = 10_000


class LeakError(AssertionError):
    """A callable leaks; the message is the verdict's reason."""


class CannotTellWarning(UserWarning):
    """A check ended without a verdict; the message says what it would take."""


@dataclass(frozen=True, slots=True)
class LeakVerdict:
    """What a check of a callable came to. True when there is no leak, so ``assert check_leak(f)`` works.

    Attributes:
        verdict: ``leak``, ``no_leak`` or ``cannot_tell``.
        bytes_per_call: Memory each call left behind in the stretch that decided, bytes; None when no
            stretch was complete.
        bytes_per_call_low: Lower end of its 95 % interval.
        bytes_per_call_high: Upper end of its 95 % interval.
        calls: Calls made in all.
        seconds: Time the check took.
        reason: One sentence for a person, without a final full stop.
        sites: ``file:line`` of what allocates the memory that stays, worst first, at most three; empty unless
            it is a leak of Python objects.
    """

    verdict: Outcome
    bytes_per_call: float | None
    bytes_per_call_low: float | None
    bytes_per_call_high: float | None
    calls: int
    seconds: float
    reason: str
    sites: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.verdict == "no_leak"

    def __str__(self) -> str:
        return self.reason

    def raise_if_leak(self) -> None:
        """Fail on a leak, and on nothing else.

        Raises:
            LeakError: The verdict is ``leak``.
        """
        if self.verdict == "leak":
            raise LeakError(self.reason)


@dataclass(frozen=True, slots=True)
class Options:
    """How a check is made; the meaning of each is told by ``check_leak``.

    Raises:
        ValueError: A value is out of range; the message names it.
    """

    max_seconds: float = MAX_SECONDS
    tolerance_bytes_per_call: float = TOLERANCE_BYTES_PER_CALL
    largest_cache: int = LARGEST_CACHE
    trace: bool = True

    def __post_init__(self) -> None:
        for name in ("max_seconds", "tolerance_bytes_per_call"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name}={getattr(self, name)!r}: must be a positive number")
        if not 0 <= self.largest_cache < float("inf"):
            raise ValueError(f"largest_cache={self.largest_cache!r}: must not be negative")
