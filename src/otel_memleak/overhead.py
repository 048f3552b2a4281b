"""What watching may cost: a share of one core, held to over a stretch of time, not moment by moment.

Two buckets of CPU seconds fill at that share and start full. Samples draw on one that holds ten minutes'
worth: one that runs dry means that sampling itself is too dear, and the samples are spaced out. Everything
draws on the other, which holds a day's worth, because a diagnosis costs seconds at once and is rare: when
that one is dry, no further diagnosis begins until it has filled up. Sampling is not slowed for what a
diagnosis has cost: that would save nothing to speak of, and find leaks later.
"""

from __future__ import annotations

import logging
from typing import Final

from otel_memleak.guard import say_quietly

SAMPLING_WINDOW_S: Final = 600.0
DIAGNOSIS_WINDOW_S: Final = 86_400.0
MAX_STRETCH: Final = 10.0
"""Sampling is slowed to this at most: a detector that sees nothing is no saving."""

_COMMON_INTERVAL_S: Final = 10.0
_MOST_FOR_HASTE: Final = 0.01

_MARGIN: Final = 1.1
_RECENT: Final = 0.2


def share_at(share: float, interval_s: float) -> float:
    """What watching may cost at a sampling interval.

    Whoever has samples taken several times a second (to see within a minute whether a test leaks) has asked
    for what that costs; spacing them out would take back what was configured.

    Args:
        share: Share of one core, at an interval of ten seconds and more.
        interval_s: Seconds between samples.

    Returns:
        The share, below ten seconds in proportion more, up to 1 % of a core.
    """
    hasty = share * max(1.0, _COMMON_INTERVAL_S / max(interval_s, 1e-3))
    return max(share, min(hasty, _MOST_FOR_HASTE))


class Bucket:
    """CPU seconds that may be spent; negative when more was spent than there was.

    Args:
        share: CPU seconds that come in per second.
        window_s: Seconds whose income it holds, and starts with.
    """

    __slots__ = ("_capacity_s", "_share", "_time_s", "left_s")

    def __init__(self, share: float, window_s: float) -> None:
        self._share = share
        self._capacity_s = self.left_s = share * window_s
        self._time_s: float | None = None

    @property
    def half_full(self) -> bool:
        """Whether at least half of what it holds is there."""
        return self.left_s >= 0.5 * self._capacity_s

    def spend(self, now_s: float, cpu_s: float) -> None:
        """Take out what was spent and put in what has come in since the last time."""
        passed_s = max(0.0, now_s - self._time_s) if self._time_s is not None else 0.0
        self._time_s = now_s
        self.left_s = min(self._capacity_s, self.left_s + passed_s * self._share) - cpu_s


class Overhead:
    """Keeps the cost of watching within its budget.

    Args:
        share: Share of one core, 0.001 for 0.1 %; 0 is no limit.
        interval_s: Seconds between samples, as configured.
    """

    def __init__(self, share: float, interval_s: float) -> None:
        self._share = share
        self._interval_s = interval_s
        self._sampling = Bucket(share, SAMPLING_WINDOW_S)
        self._all = Bucket(share, DIAGNOSIS_WINDOW_S)
        self._sampling_s = self._diagnosis_s = self._used_s = 0.0
        self._sample_s: float | None = None
        self._slowed = False
        self._said: set[str] = set()

    @property
    def allows_diagnosis(self) -> bool:
        """Whether a diagnosis may begin."""
        return not self._share or self._all.left_s > 0.0

    @property
    def interval_s(self) -> float:
        """Seconds to leave between two samples."""
        if not self._slowed or self._sample_s is None:
            return self._interval_s
        needed_s = _MARGIN * self._sample_s / self._share
        return min(max(needed_s, self._interval_s), MAX_STRETCH * self._interval_s)

    def account(self, now_s: float, sampling_s: float, diagnosis_s: float) -> float:
        """Take note of what has been used.

        Args:
            now_s: Monotonic time.
            sampling_s: CPU seconds of the sampling thread until now.
            diagnosis_s: CPU seconds of all diagnoses until now, those of forked copies included.

        Returns:
            CPU seconds altogether; it never falls, also when the thread is another one.
        """
        sample_s = _since(self._sampling_s, sampling_s)
        rest_s = _since(self._diagnosis_s, diagnosis_s)
        self._sampling_s, self._diagnosis_s = sampling_s, diagnosis_s
        self._used_s += sample_s + rest_s
        if self._sample_s is None:
            # What the first sample costs is loading, once.
            self._sample_s = sample_s = 0.0
        if self._share:
            self._sampling.spend(now_s, sample_s)
            self._all.spend(now_s, sample_s + rest_s)
            self._decide(sample_s)
        return self._used_s

    def _decide(self, sample_s: float) -> None:
        known = self._sample_s or sample_s
        self._sample_s = known + _RECENT * (sample_s - known)
        if self._sampling.left_s < 0.0:
            self._slowed = True
            self._say("sampling", f"samples are spaced out, at most {MAX_STRETCH:g} times")
        elif self._sampling.half_full:
            self._slowed = False
        if not self.allows_diagnosis:
            self._say("diagnosis", "the next diagnosis waits until that is made good")

    def _say(self, what: str, consequence: str) -> None:
        if what not in self._said:
            self._said.add(what)
            say_quietly(
                logging.WARNING,
                f"otel_memleak has used more than overhead_budget allows ({100 * self._share:g} % of a core) "
                f"on {what}: {consequence}. This is said once",
            )


def _since(before_s: float, now_s: float) -> float:
    """What a counter has counted; one that fell has begun anew."""
    return now_s - before_s if now_s >= before_s else now_s
