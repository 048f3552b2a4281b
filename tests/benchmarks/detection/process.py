"""An imaginary process and the vocabulary its memory is described in.

A pattern draws a curve in *shares*: memory above the resting level of the process, where 1.0 is that level
itself. Shares keep a pattern meaningful from a 30 MB worker to an 8 GB model server; what has a size of its
own (a thread's stack, a huge page) is converted through ``Process.share``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from random import Random

MB = 1024 * 1024
MINUTE = 60.0
HOUR = 3600.0
DAY = 24 * HOUR

Shares = list[float]


@dataclass(frozen=True)
class Process:
    """One process under observation.

    Attributes:
        random: Source of every draw for this series.
        interval_seconds: Time between two samples.
        count: Number of samples, were nothing to go wrong.
        base_bytes: Resting level.
    """

    random: Random
    interval_seconds: float
    count: int
    base_bytes: float

    @property
    def duration_s(self) -> float:
        return self.count * self.interval_seconds

    @cached_property
    def times(self) -> list[float]:
        """Seconds since the first sample, one per sample."""
        return [i * self.interval_seconds for i in range(self.count)]

    def curve(self, height: Callable[[float], float]) -> Shares:
        """Evaluate ``height`` (of seconds since the start) at every sample."""
        return [height(t) for t in self.times]

    def flat(self, height: float = 0.0) -> Shares:
        return [height] * self.count

    def uniform(self, low: float, high: float) -> float:
        return self.random.uniform(low, high)

    def spread(self, low: float, high: float) -> float:
        """Log-uniform draw: every order of magnitude as likely as the next."""
        return math.exp(self.random.uniform(math.log(low), math.log(high)))

    def part(self, low: float, high: float, at_most_s: float = math.inf) -> float:
        """A time span that is a log-uniform part of the record, in seconds, cut at ``at_most_s``."""
        return min(at_most_s, self.duration_s * self.spread(low, high))

    def share(self, size_bytes: float) -> float:
        return size_bytes / self.base_bytes

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability


def total(*parts: Sequence[float]) -> Shares:
    """Pointwise sum."""
    return [sum(column) for column in zip(*parts, strict=True)]


def scaled(curve: Iterable[float], factor: float) -> Shares:
    return [factor * height for height in curve]


def saturation(t: float, time_constant_s: float) -> float:
    """0 to 1, fast at first: what fills from a finite stock does this."""
    return 1.0 - math.exp(-t / time_constant_s) if t > 0 else 0.0


def smooth_step(t: float, centre_s: float, width_s: float) -> float:
    """0 to 1 around ``centre_s``."""
    return 1.0 / (1.0 + math.exp(-max(-60.0, min(60.0, (t - centre_s) / width_s))))


def running_max(curve: Iterable[float]) -> Shares:
    """High-water mark: what an allocator that returns nothing keeps."""
    highest = -math.inf
    marks: Shares = []
    for height in curve:
        highest = max(highest, height)
        marks.append(highest)
    return marks


def autoregressive(process: Process, memory_s: float) -> Shares:
    """AR(1) noise of unit standard deviation whose memory fades with ``memory_s``."""
    keep = math.exp(-process.interval_seconds / memory_s)
    kick = math.sqrt(1.0 - keep * keep)
    gauss = process.random.gauss
    value = gauss(0.0, 1.0)
    values: Shares = []
    for _ in range(process.count):
        value = keep * value + kick * gauss(0.0, 1.0)
        values.append(value)
    return values


def arrivals(process: Process, mean_gap_s: float, start_s: float = 0.0) -> list[float]:
    """Times of a Poisson process over the record, in seconds."""
    times: list[float] = []
    t = start_s + process.random.expovariate(1.0 / mean_gap_s)
    while t < process.duration_s:
        times.append(t)
        t += process.random.expovariate(1.0 / mean_gap_s)
    return times


def regular(process: Process, period_s: float, jitter: float = 0.0, start_s: float = 0.0) -> list[float]:
    """Times of a timetable: every ``period_s``, each late or early by up to ``jitter`` of it."""
    times: list[float] = []
    t = start_s + period_s * process.random.random()
    while t < process.duration_s:
        times.append(t)
        t += period_s * (1.0 + jitter * process.uniform(-1.0, 1.0))
    return times


def staircase(process: Process, steps: Iterable[tuple[float, float]]) -> Shares:
    """Cumulated ``(time_s, rise)`` steps, sampled."""
    heights: Shares = []
    pending = sorted(steps)
    level, position = 0.0, 0
    for t in process.times:
        while position < len(pending) and pending[position][0] <= t:
            level += pending[position][1]
            position += 1
        heights.append(level)
    return heights


def in_force(process: Process, times_s: Sequence[float], levels: Sequence[float]) -> Shares:
    """The latest of ``levels`` at every sample, each valid from its time; 0 before the first."""
    changes = (level - previous for previous, level in pairwise([0.0, *levels]))
    return staircase(process, zip(times_s, changes, strict=True))


def since_last(process: Process, starts: Sequence[float]) -> list[float]:
    """Seconds since the latest of ``starts`` (sorted) at every sample; infinite before the first of them."""
    ages: list[float] = []
    latest, position = -math.inf, 0
    for t in process.times:
        while position < len(starts) and starts[position] <= t:
            latest = starts[position]
            position += 1
        ages.append(t - latest)
    return ages


def sawtooth(process: Process, period_s: float, jitter: float = 0.15) -> Shares:
    """Teeth from about 0 to about 1: garbage piles up and is collected, never exactly alike."""
    heights: Shares = []
    position, end, top, floor = 0.0, period_s * process.random.random(), 1.0, 0.0
    for t in process.times:
        while t >= end:
            position, end = end, end + period_s * (1.0 + jitter * process.uniform(-1.0, 1.0))
            top, floor = 1.0 + jitter * process.uniform(-1.0, 1.0), 0.1 * jitter * process.random.random()
        heights.append(floor + (top - floor) * (t - position) / (end - position))
    return heights


def bump(ages: Sequence[float], length_s: float, warm: float = 0.1) -> Shares:
    """1 for ``length_s`` after each start, rising during the first ``warm`` of it."""
    return [min(1.0, age / (warm * length_s)) if age < length_s else 0.0 for age in ages]


def traffic(process: Process, phase_s: float | None = None, weekly: bool = False) -> Shares:
    """Requests per second over the day, between about 0.1 and 1: a quiet night, a busy day, noise.

    Args:
        process: Whose traffic.
        phase_s: Time of the busiest moment, seconds after the first sample; drawn when None.
        weekly: Whether two days in seven are quiet.
    """
    peak = process.uniform(0.0, DAY) if phase_s is None else phase_s
    night, sharpness = process.uniform(0.1, 0.4), process.uniform(0.8, 2.0)
    weekend_start = peak + (process.random.randint(0, 6) + 0.5) * DAY
    weekend = process.uniform(0.3, 0.6) if weekly else 1.0
    wobble = autoregressive(process, 0.5 * HOUR)
    loads: Shares = []
    for t, noise in zip(process.times, wobble, strict=True):
        hump = (0.5 + 0.5 * math.cos(2 * math.pi * (t - peak) / DAY)) ** sharpness
        quiet = weekend if (t - weekend_start) % (7 * DAY) < 2 * DAY else 1.0
        loads.append(max(0.02, (night + (1.0 - night) * hump) * quiet * (1.0 + 0.04 * noise)))
    return loads
