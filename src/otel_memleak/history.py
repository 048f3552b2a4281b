"""The last samples, in two flat arrays: 16 bytes a sample, allocated as they come, never more than asked."""

from __future__ import annotations

from array import array
from collections.abc import Iterator


class History:
    """A ring of ``(time_s, rss_bytes)`` with a fixed capacity.

    1000 samples take about 16 KB. When it is full the oldest sample gives way.

    Args:
        capacity: Samples kept, at least 1.

    Raises:
        ValueError: The capacity is below 1.
    """

    __slots__ = ("_capacity", "_next", "_rss_bytes", "_time_s", "dropped")

    def __init__(self, capacity: int = 1000) -> None:
        if capacity < 1:
            raise ValueError(f"capacity={capacity!r}: must be at least 1")
        self._capacity = capacity
        self._time_s = array("d")
        self._rss_bytes = array("q")
        self._next = 0
        self.dropped = 0
        """Samples that gave way to newer ones."""

    @property
    def capacity(self) -> int:
        """Samples kept at most."""
        return self._capacity

    def append(self, time_s: float, rss_bytes: int) -> None:
        """Keep a sample; the oldest one goes when there is no room."""
        if len(self._time_s) < self._capacity:
            self._time_s.append(time_s)
            self._rss_bytes.append(rss_bytes)
            return
        self._time_s[self._next] = time_s
        self._rss_bytes[self._next] = rss_bytes
        self._next = (self._next + 1) % self._capacity
        self.dropped += 1

    def __len__(self) -> int:
        return len(self._time_s)

    def __iter__(self) -> Iterator[tuple[float, int]]:
        """Samples as ``(time_s, rss_bytes)``, oldest first."""
        order = (*range(self._next, len(self._time_s)), *range(self._next))
        return ((self._time_s[i], self._rss_bytes[i]) for i in order)

    @property
    def nbytes(self) -> int:
        """Bytes the samples take."""
        return self._time_s.itemsize * len(self._time_s) + self._rss_bytes.itemsize * len(self._rss_bytes)
