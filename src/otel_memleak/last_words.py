"""How near the limit is, and when it is time for last words. Numbers only.

The kernel gives no notice before it kills a process for its memory. So at 95 % of the limit whatever is known
goes out at once; and because a minute between two samples may be longer than the rest of a life, resident
memory alone is read more often while it moves towards that mark.
"""

from __future__ import annotations

import math
from typing import Final

SHARE: Final = 0.95
PREPARED_SHARE: Final = 0.85
_PREPARED_LOOKS: Final = 4.0
_ARMED_AGAIN_SHARE: Final = 0.9
_LOOKS_AHEAD: Final = 4.0
"""Looks still to come before the mark at the present pace: each takes a quarter of the time that is left."""

_MOST_LOOKS: Final = 60.0
_SHORTEST_PAUSE_S: Final = 0.1


class Approach:
    """Follows resident memory towards the limit.

    Args:
        interval_s: Seconds between two samples.
    """

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._shortest_s = min(interval_s, max(_SHORTEST_PAUSE_S, interval_s / _MOST_LOOKS))
        self._last: tuple[float, float] | None = None
        self._spoken = False
        self._left_s = math.inf

    def look(self, now_s: float, rss_bytes: float, limit_bytes: float | None) -> bool:
        """Take in a reading.

        Args:
            now_s: Monotonic seconds.
            rss_bytes: Resident memory.
            limit_bytes: The limit that kills; None when there is none.

        Returns:
            Whether the mark has been crossed: once, and again after memory was below 90 % of the limit.
        """
        if limit_bytes is None:
            self._left_s = math.inf
            return False
        self._left_s = self._seconds_left(now_s, rss_bytes, SHARE * limit_bytes)
        if rss_bytes < _ARMED_AGAIN_SHARE * limit_bytes:
            self._spoken = False
        if rss_bytes < SHARE * limit_bytes or self._spoken:
            return False
        self._spoken = True
        return True

    def _seconds_left(self, now_s: float, rss_bytes: float, mark_bytes: float) -> float:
        last, self._last = self._last, (now_s, rss_bytes)
        if last is None:
            return 0.0  # no pace yet: a second look soon, or the whole first interval would be unseen
        if now_s <= last[0] or rss_bytes <= last[1] or rss_bytes >= mark_bytes:
            return math.inf
        return (mark_bytes - rss_bytes) * (now_s - last[0]) / (rss_bytes - last[1])

    def near(self, rss_bytes: float, limit_bytes: float | None) -> bool:
        """Whether last words should be ready: above 85 % of the limit, or there in a few samples."""
        if limit_bytes is None or self._spoken:
            return False
        soon = 0.0 < self._left_s < _PREPARED_LOOKS * self._interval_s
        return soon or rss_bytes >= PREPARED_SHARE * limit_bytes

    @property
    def pause_s(self) -> float:
        """Seconds until the next reading; the sampling interval unless the mark is near."""
        return min(self._interval_s, max(self._shortest_s, self._left_s / _LOOKS_AHEAD))


def opening(rss_bytes: float, limit_bytes: float) -> str:
    """How the sentence begins: ``RSS is 487 MB, 95 % of the limit of 512 MB``."""
    from otel_memleak.messages import format_mb

    share = math.floor(100.0 * rss_bytes / limit_bytes)
    return f"RSS is {format_mb(rss_bytes)} MB, {share} % of the limit of {format_mb(limit_bytes)} MB"


def growth_clause(bytes_per_hour: float, since_s: float | None, now_s: float) -> str:
    """What is known of the growth."""
    from otel_memleak.messages import format_duration, format_mb

    text = f"growing {format_mb(bytes_per_hour)} MB/h"
    return text if since_s is None else f"{text} for {format_duration(max(0.0, now_s - since_s))}"
