"""The level a process settles at: the median of its first samples."""

from __future__ import annotations

from array import array

from otel_memleak.median import median

MIN_SAMPLES = 5
_CAPACITY = 512


class Baseline:
    """Median of the first samples that span a window; None until they do.

    The samples are dropped once the median is known, and thinned evenly when there are very many, so that
    the cost does not depend on the sampling interval.

    Args:
        window_s: Seconds the samples have to span.
    """

    __slots__ = ("_first", "_kept", "_seen", "_stride", "_window", "settled", "value_bytes")

    def __init__(self, window_s: float) -> None:
        self._window = window_s
        self.value_bytes: float | None = None
        self.restart()

    def restart(self) -> None:
        """Begin anew with the next sample; the old value stands until there is a new one."""
        self._kept: array[float] = array("d")
        self.settled = False
        self._first = 0.0
        self._seen = 0
        self._stride = 1

    def add(self, elapsed_s: float, rss_bytes: float) -> None:
        """Take one sample; no more are needed once it is settled."""
        kept = self._kept
        if not self._seen:
            self._first = elapsed_s
        if self._seen % self._stride == 0:
            kept.append(rss_bytes)
            if len(kept) >= _CAPACITY:
                del kept[1::2]
                self._stride *= 2
        self._seen += 1
        if len(kept) >= MIN_SAMPLES and elapsed_s - self._first >= self._window:
            self.value_bytes = median(kept)
            self._kept = array("d")
            self.settled = True
