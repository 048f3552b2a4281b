"""The corpus: labelled memory series, drawn from a seed.

    for series in corpus(seed=1, per_pattern=8): ...

A series is drawn from ``(seed, pattern, number)`` alone, so one pattern can be looked at without the rest and
adding a pattern changes no other series. Everything comes from the standard library's generator, which keeps
its sequence over Python versions.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from random import Random
from statistics import median

from . import ambient, innocent, leaking
from .noise import churn, deliver, start_up, to_bytes
from .patterns import INNOCENT, LEAKING, Growth, Pattern
from .process import HOUR, MB, Process, Shares, scaled, total

RECORDS: tuple[tuple[float, tuple[float, ...]], ...] = (
    (1.0, (1, 2, 4)),
    (10.0, (4, 8, 12, 24, 48)),
    (60.0, (12, 24, 48, 72, 120, 168)),
)
"""Sampling interval in seconds, and the lengths in hours one keeps a record at that interval."""

PATTERN_MODULES = (innocent, ambient, leaking)
"""Importing them fills the registers, in this order."""

LIMITS_MB = tuple(size << power for power in range(4, 15) for size in (2, 3))
"""Container sizes that people choose."""

MATERIAL_SHARE = 0.10
"""A leak that never reaches the limit loses at least this much of the resting level."""

SLOWEST_SHARE_PER_HOUR = 0.003
"""… and at least this much of it per hour."""


@dataclass(frozen=True)
class Series:
    """One labelled series.

    Attributes:
        id: ``pattern/number``.
        pattern: Name of the pattern.
        leaks: The truth.
        interval_seconds: Nominal time between samples.
        limit_bytes: The limit that would kill the process.
        limit_visible: Whether a detector is told.
        base_bytes: Resting level.
        times_s: Times as delivered: Unix seconds, not always increasing.
        rss_bytes: Resident bytes as delivered, NaN for a failed reading.
        true_times_s: When each delivered sample was taken, seconds after the first.
        leaked_bytes: The truth, one per nominal interval from time 0: bytes lost so far, in all lives.
        held_bytes: The same, less what restarts gave back.
        onset_s: Last moment before anything had leaked; None without a leak.
        reached_limit: Whether the record ends because the limit was reached.
    """

    id: str
    pattern: str
    leaks: bool
    interval_seconds: float
    limit_bytes: float
    limit_visible: bool
    base_bytes: float
    times_s: array[float]
    rss_bytes: array[float]
    true_times_s: array[float]
    leaked_bytes: array[float]
    held_bytes: array[float]
    onset_s: float | None
    reached_limit: bool

    @property
    def duration_s(self) -> float:
        return len(self.leaked_bytes) * self.interval_seconds

    def leaked_at(self, t: float) -> float:
        """Bytes leaked until ``t`` seconds after the first sample, interpolated."""
        return interpolate(self.leaked_bytes, t / self.interval_seconds)

    def held_at(self, t: float) -> float:
        """Bytes leaked and still resident at ``t``."""
        return interpolate(self.held_bytes, t / self.interval_seconds)


def interpolate(values: array[float], position: float) -> float:
    """Value at a fractional index, clamped to the ends."""
    last = len(values) - 1
    inside = min(max(position, 0.0), float(last))
    left = int(inside)
    right = min(left + 1, last)
    return values[left] + (inside - left) * (values[right] - values[left])


def corpus(seed: int = 1, per_pattern: int = 8, only: Collection[str] = ()) -> Iterator[Series]:
    """Yield ``per_pattern`` series of every pattern (or of those in ``only``), innocent patterns first.

    Raises:
        ValueError: A name in ``only`` is no pattern.
    """
    for name, number in plan(per_pattern, only):
        yield draw(seed, name, number)


def plan(per_pattern: int, only: Collection[str] = ()) -> list[tuple[str, int]]:
    """The ``(pattern, number)`` pairs of a corpus, in order; see ``corpus``."""
    known = {**INNOCENT, **LEAKING}
    if unknown := set(only) - known.keys():
        raise ValueError(f"no such pattern: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return [(name, number) for name in known if not only or name in only for number in range(per_pattern)]


def draw(seed: int, name: str, number: int) -> Series:
    """Draw one series."""
    pattern = INNOCENT.get(name) or LEAKING[name]
    random = Random(f"{seed}/{name}/{number}")
    process = _process(pattern, random)
    shape = pattern.draw(process)
    growth = shape if isinstance(shape, Growth) else Growth(shape, process.flat())
    return _observe(pattern, f"{name}/{number}", process, growth)


def _process(pattern: Pattern, random: Random) -> Process:
    """A process of usual size, watched at an interval and for a time that suit the pattern."""
    shortest, longest = pattern.hours
    records = [
        (interval_s, hours)
        for interval_s, lengths in RECORDS
        for hours in lengths
        if interval_s in pattern.intervals_s and shortest <= hours <= longest
    ]
    interval_s, hours = random.choice(records)
    base_mb = min(8192.0, max(30.0, random.lognormvariate(5.4, 1.2)))
    return Process(random, interval_s, round(hours * HOUR / interval_s), base_mb * MB)


def _observe(pattern: Pattern, series_id: str, process: Process, growth: Growth) -> Series:
    background = total(growth.background, churn(process))
    if not pattern.starts_itself and process.chance(0.85):
        background = total(background, start_up(process, process.times))
    limit_bytes = _limit(process, 1.0 + max(background))
    leaked = _scaled_leak(pattern, process, growth, background, limit_bytes)
    held = _less_restarts(process, leaked, growth.restarts_s)
    rss = to_bytes(total(background, held), process.base_bytes, pattern.page_bytes)
    end = next((i for i, value in enumerate(rss) if value >= limit_bytes), process.count)
    delivered = deliver(process, rss[:end], pattern.delivery)
    return Series(
        id=series_id,
        pattern=pattern.name,
        leaks=pattern.leaks,
        interval_seconds=process.interval_seconds,
        limit_bytes=limit_bytes,
        limit_visible=process.chance(0.75),
        base_bytes=process.base_bytes,
        times_s=delivered.times_s,
        rss_bytes=delivered.rss_bytes,
        true_times_s=delivered.true_times_s,
        leaked_bytes=array("d", scaled(leaked[:end], process.base_bytes)),
        held_bytes=array("d", scaled(held[:end], process.base_bytes)),
        onset_s=_onset(process, leaked) if pattern.leaks else None,
        reached_limit=end < process.count,
    )


def _limit(process: Process, peak_share: float) -> float:
    """A usual container size with room above the innocent peak: between a sixth of it and twice of it."""
    wanted_mb = peak_share * process.base_bytes / MB * process.uniform(1.2, 2.5)
    return MB * LIMITS_MB[min(bisect_left(LIMITS_MB, wanted_mb), len(LIMITS_MB) - 1)]


def _scaled_leak(
    pattern: Pattern, process: Process, growth: Growth, background: Shares, limit_bytes: float
) -> Shares:
    """The leak in shares: as much as kills the process within the record, or as much as matters."""
    lost = growth.leaked[-1]
    if lost <= 0:
        return growth.leaked
    headroom = process.share(limit_bytes) - 1.0 - median(background)
    if growth.restarts_s:
        longest_life = max(_less_restarts(process, growth.leaked, growth.restarts_s))
        per_life = max(MATERIAL_SHARE, headroom * process.uniform(0.15, 0.8))
        return scaled(growth.leaked, per_life / longest_life)
    if pattern.fatal:
        return scaled(growth.leaked, 1.1 * headroom / lost)
    if process.chance(0.4):
        return scaled(growth.leaked, headroom * process.uniform(1.05, 2.0) / lost)
    hours = (process.duration_s - _onset(process, growth.leaked)) / HOUR
    least = max(MATERIAL_SHARE, SLOWEST_SHARE_PER_HOUR * hours)
    return scaled(growth.leaked, max(least, headroom * process.spread(0.1, 0.95)) / lost)


def _less_restarts(process: Process, leaked: Shares, restarts_s: tuple[float, ...]) -> Shares:
    """What of the leak is still resident when every restart gives back what had leaked before."""
    held, given_back, position = [], 0.0, 0
    for t, lost in zip(process.times, leaked, strict=True):
        while position < len(restarts_s) and restarts_s[position] <= t:
            given_back, position = lost, position + 1
        held.append(lost - given_back)
    return held


def _onset(process: Process, leaked: Shares) -> float:
    first = next((i for i, lost in enumerate(leaked) if lost > 0), 0)
    return process.times[max(0, first - 1)]
