"""What every series has on top of its pattern: a start, churn, pages, and an imperfect delivery."""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass
from typing import Literal

from .process import DAY, HOUR, MINUTE, Process, Shares, autoregressive, saturation, sawtooth, scaled

PAGE_BYTES = 4096
HUGE_PAGE_BYTES = 2 * 1024 * 1024

Delivery = Literal["regular", "irregular", "dirty"]


@dataclass(frozen=True)
class Delivered:
    """Samples as a detector gets them.

    Attributes:
        times_s: What the clock said; may repeat, jump or run backwards.
        rss_bytes: What was read; NaN for a reading that failed.
        true_times_s: When the sample was really taken.
    """

    times_s: array[float]
    rss_bytes: array[float]
    true_times_s: array[float]


def start_up(process: Process, ages: list[float]) -> Shares:
    """Negative shares while modules load and pools open, at every age of the process."""
    missing, time_constant_s = process.uniform(0.05, 0.6), process.spread(2.0, 3 * MINUTE)
    return [-missing * (1.0 - saturation(age, time_constant_s)) for age in ages]


def churn(process: Process) -> Shares:
    """The restlessness of an innocent process: still, wandering, breathing with requests, or collecting."""
    kind = process.random.choices(("still", "wander", "requests", "teeth"), (2, 3, 3, 2))[0]
    amplitude = process.spread(0.0003, 0.012)
    if kind == "still":
        return _rare_ripples(process)
    if kind == "wander":
        return scaled(autoregressive(process, process.spread(3.0, 0.5 * HOUR)), amplitude)
    if kind == "teeth":
        longest_s = min(2 * HOUR, process.duration_s / 10)
        period_s = process.spread(6 * process.interval_seconds, longest_s)
        return scaled(sawtooth(process, period_s), 3 * amplitude)
    expovariate = process.random.expovariate
    return [amplitude * (expovariate(1.0) + slow) for slow in autoregressive(process, 5 * MINUTE)]


def _rare_ripples(process: Process) -> Shares:
    """Nothing at all for most samples, now and then a few pages more or less that stay a while."""
    level, levels = 0.0, []
    for _ in range(process.count):
        if process.random.random() < 0.005:
            level = abs(process.random.gauss(0.0, 0.0005))
        levels.append(level)
    return levels


def to_bytes(shares: Shares, base_bytes: float, page_bytes: int) -> array[float]:
    """Resident bytes of ``1 + share`` times the base, in whole pages, never below a tenth of the base."""
    return array(
        "d", (page_bytes * round(base_bytes * max(0.1, 1.0 + share) / page_bytes) for share in shares)
    )


def deliver(process: Process, rss_bytes: array[float], manner: Delivery) -> Delivered:
    """Hand the samples over the way the world does."""
    if manner == "irregular":
        return _irregular(process, rss_bytes)
    if manner == "dirty":
        return _dirty(process, rss_bytes)
    return _regular(process, rss_bytes)


def _regular(process: Process, rss_bytes: array[float]) -> Delivered:
    """A timer that wakes a little late, and one reading in a thousand that is missing."""
    times, values = array("d"), array("d")
    interval_s, random = process.interval_seconds, process.random
    for i, value in enumerate(rss_bytes):
        if random.random() >= 0.001:
            times.append(i * interval_s + 0.02 * interval_s * random.random())
            values.append(value)
    return Delivered(_on_the_clock(process, times), values, times)


def _irregular(process: Process, rss_bytes: array[float]) -> Delivered:
    """Looks at random moments, with pauses of up to some per cent of the record."""
    times, values = array("d"), array("d")
    t, random = 0.0, process.random
    while t < process.interval_seconds * len(rss_bytes):
        times.append(t)
        values.append(rss_bytes[int(t / process.interval_seconds)])
        pause = process.duration_s * 0.03 * random.random() if random.random() < 0.002 else 0.0
        t += process.interval_seconds * (0.2 + random.expovariate(1.0)) + pause
    return Delivered(_on_the_clock(process, times), values, times)


def _dirty(process: Process, rss_bytes: array[float]) -> Delivered:
    """Failed readings, gaps, repeats, and a wall clock that is set forward and back."""
    clean = _regular(process, rss_bytes)
    times, values, true_times = array("d"), array("d"), array("d")
    random = process.random
    failing, repeating = process.spread(0.003, 0.05), process.spread(0.002, 0.03)
    gap_until, shift = -1.0, 0.0
    for t, told, value in zip(clean.true_times_s, clean.times_s, clean.rss_bytes, strict=True):
        if random.random() < 1.5 * process.interval_seconds / process.duration_s:
            gap_until = t + process.duration_s * process.spread(0.005, 0.06)
        if random.random() < 2.0 * process.interval_seconds / process.duration_s:
            shift += random.choice((-1, 1)) * process.spread(0.5, min(HOUR, 0.02 * process.duration_s))
        if t < gap_until:
            continue
        for _ in range(2 if random.random() < repeating else 1):
            times.append(told + shift)
            values.append(math.nan if random.random() < failing else value)
            true_times.append(t)
    return Delivered(times, values, true_times)


def _on_the_clock(process: Process, times: array[float]) -> array[float]:
    """The same times as Unix seconds, from some moment of some year."""
    epoch_s = 1.7e9 + process.random.uniform(0.0, 365 * DAY)
    return array("d", (epoch_s + t for t in times))
