"""A series of any length, thinned to what a picture can show: least, mean and most of every stretch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Final

_CAPACITY: Final = 2048
_GAP_SPACINGS: Final = 8.0


@dataclass(slots=True)
class Stretch:
    """Samples next to each other.

    Attributes:
        first_s: Time of the first, seconds.
        last_s: Time of the last, seconds.
        least_bytes: The least of them.
        most_bytes: The most of them.
        sum_bytes: Their sum.
        samples: How many.
    """

    first_s: float
    last_s: float
    least_bytes: float
    most_bytes: float
    sum_bytes: float
    samples: int

    @property
    def middle_s(self) -> float:
        """Time in its middle, seconds."""
        return (self.first_s + self.last_s) / 2

    @property
    def mean_bytes(self) -> float:
        """Mean of its samples."""
        return self.sum_bytes / self.samples

    def join(self, later: Stretch) -> None:
        """Take in the stretch behind it."""
        self.last_s = later.last_s
        self.least_bytes = min(self.least_bytes, later.least_bytes)
        self.most_bytes = max(self.most_bytes, later.most_bytes)
        self.sum_bytes += later.sum_bytes
        self.samples += later.samples


class ThinnedSeries:
    """Keeps between 1024 and 2048 stretches, however many samples come; all of them while they are fewer.

    Samples that are no numbers or go back in time are left out.
    """

    def __init__(self) -> None:
        self.stretches: list[Stretch] = []
        self.samples = 0
        self._per_stretch = 1
        self._latest_s = -math.inf

    def add(self, time_s: float, rss_bytes: float) -> None:
        """Takes the next sample."""
        if not (self._latest_s < time_s < math.inf and 0 < rss_bytes < math.inf):
            return
        self._latest_s = time_s
        self.samples += 1
        sample = Stretch(time_s, time_s, rss_bytes, rss_bytes, rss_bytes, 1)
        if self.stretches and self.stretches[-1].samples < self._per_stretch:
            self.stretches[-1].join(sample)
            return
        if len(self.stretches) == _CAPACITY:
            self._halve()
        self.stretches.append(sample)

    def pieces(self) -> Iterator[list[Stretch]]:
        """Yields the runs of stretches between which no sample is missing for long."""
        if not self.stretches:
            return
        steps = [later.middle_s - earlier.middle_s for earlier, later in pairwise(self.stretches)]
        longest_s = _GAP_SPACINGS * median(steps) if steps else math.inf
        piece = [self.stretches[0]]
        for earlier, later in pairwise(self.stretches):
            if later.first_s - earlier.last_s > longest_s:
                yield piece
                piece = []
            piece.append(later)
        yield piece

    def _halve(self) -> None:
        for earlier, later in zip(self.stretches[::2], self.stretches[1::2], strict=True):
            earlier.join(later)
        del self.stretches[1::2]
        self._per_stretch *= 2
