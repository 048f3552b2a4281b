"""Innocent growth that comes from without: traffic, the platform, deployments, the clock."""

from __future__ import annotations

import math

from .noise import HUGE_PAGE_BYTES, start_up
from .patterns import innocent
from .process import (
    DAY,
    HOUR,
    MINUTE,
    Process,
    Shares,
    arrivals,
    autoregressive,
    regular,
    saturation,
    scaled,
    since_last,
    smooth_step,
    staircase,
    total,
    traffic,
)


@innocent(hours=(48, 168))
def daily_wave(process: Process) -> Shares:
    """Memory follows the load of the day."""
    return scaled(traffic(process), process.spread(0.05, 0.8))


@innocent(intervals_s=(60.0,), hours=(120, 168))
def weekly_wave(process: Process) -> Shares:
    """Days on a week: Monday is higher than Sunday, and no leak."""
    return scaled(traffic(process, weekly=True), process.spread(0.08, 0.8))


@innocent(intervals_s=(10.0, 60.0), hours=(12, 24))
def first_daily_rise(process: Process) -> Shares:
    """Started at night: hours of growth into the busiest moment, and some of the way back."""
    peak_s = min(process.uniform(8, 13) * HOUR, 0.75 * process.duration_s)
    busy = traffic(process, phase_s=peak_s)
    return scaled([load - busy[0] for load in busy], process.spread(0.05, 0.6))


@innocent(intervals_s=(10.0, 60.0), hours=(48, 168))
def daily_wave_with_retention(process: Process) -> Shares:
    """The heap follows the day up and only slowly down again: free lists keep what the peak needed."""
    kept, levels = 0.0, []
    release = process.interval_seconds / (process.uniform(4, 20) * HOUR)
    for load in traffic(process):
        kept = max(load, kept - release * (kept - load))
        levels.append(kept)
    return scaled(levels, process.spread(0.08, 0.6))


@innocent(hours=(12, 168))
def traffic_step(process: Process) -> Shares:
    """A new customer, or one replica fewer: more load for good, and the caches that go with it."""
    when_s, rise = process.part(0.2, 0.7), process.spread(0.06, 0.8)
    width_s, warm_s = process.part(0.0005, 0.004), process.part(0.005, 0.04)
    return process.curve(
        lambda t: rise * (0.7 * smooth_step(t, when_s, width_s) + 0.3 * saturation(t - when_s, warm_s))
    )


@innocent(intervals_s=(60.0,), hours=(72, 168))
def traffic_ramp(process: Process) -> Shares:
    """Load is moved over in the course of days, then all of it is here."""
    centre_s, width_s = process.duration_s * process.uniform(0.15, 0.4), process.part(0.02, 0.06)
    busy, height = traffic(process), process.spread(0.1, 0.6)
    return [
        height * (0.2 + 0.8 * smooth_step(t, centre_s, width_s)) * load
        for t, load in zip(process.times, busy, strict=True)
    ]


@innocent()
def busy_requests(process: Process) -> Shares:
    """Concurrency as a queue has it: bursts of requests in flight, each with its memory."""
    slow = autoregressive(process, process.part(0.005, 0.05))
    fast = autoregressive(process, process.spread(process.interval_seconds, 5 * MINUTE))
    height = process.spread(0.03, 0.25)
    return [height * math.exp(0.4 * s + 0.4 * f) for s, f in zip(slow, fast, strict=True)]


@innocent(page_bytes=HUGE_PAGE_BYTES)
def huge_pages(process: Process) -> Shares:
    """Transparent huge pages: resident memory moves in steps of 2 MB, settling into place."""
    settle_s, height = process.part(0.01, 0.1), process.share(process.uniform(4, 40) * HUGE_PAGE_BYTES / 2)
    noise = autoregressive(process, process.spread(10.0, 20 * MINUTE))
    wobble = process.share(process.uniform(0.5, 3) * HUGE_PAGE_BYTES)
    return [
        min(1.0, height) * saturation(t, settle_s) + wobble * n
        for t, n in zip(process.times, noise, strict=True)
    ]


@innocent()
def page_cache(process: Process) -> Shares:
    """Mapped files: pages come in as they are read, and the kernel takes them back when it likes."""
    cap, inflow_s = process.spread(0.08, 0.8), process.part(0.02, 0.2, at_most_s=6 * HOUR)
    reclaim = process.interval_seconds / process.part(0.03, 0.2)
    resident, levels = 0.0, []
    for _ in range(process.count):
        resident += (1.0 - resident) * process.interval_seconds / inflow_s * process.random.random()
        if process.random.random() < reclaim:
            resident *= process.uniform(0.2, 0.8)
        levels.append(cap * resident)
    return levels


@innocent()
def swapped_out(process: Process) -> Shares:
    """Idle pages go to swap at night or under pressure and come back as they are touched."""
    dips = arrivals(process, process.part(0.1, 0.4))
    ages = since_last(process, dips)
    return_s, depth = process.part(0.005, 0.08, at_most_s=6 * HOUR), process.spread(0.05, 0.5)
    return [-depth * (1.0 - saturation(age, return_s)) for age in ages]


@innocent()
def reclaimed_at_high_mark(process: Process) -> Shares:
    """File pages grow to the control group's high mark, then the kernel takes some: uneven, endless teeth."""
    climb_s = process.part(0.02, 0.15, at_most_s=12 * HOUR)
    mark, level, levels = process.spread(0.1, 0.8), process.random.random(), []
    for noise in autoregressive(process, 0.1 * climb_s):
        level += process.interval_seconds / climb_s * max(0.0, 1.0 + 0.5 * noise)
        if level >= 1.0:
            level = process.uniform(0.3, 0.8)
        levels.append(mark * level)
    return levels


@innocent(starts_itself=True)
def restarts(process: Process) -> Shares:
    """Workers that are replaced after so many requests, each of which warms up anew."""
    ages = since_last(process, [0.0, *regular(process, process.part(0.05, 0.3), jitter=0.2)])
    warm_s, height = process.part(0.002, 0.02), process.spread(0.05, 0.6)
    return total(start_up(process, ages), [height * saturation(age, warm_s) for age in ages])


@innocent(intervals_s=(10.0, 60.0), hours=(12, 168), starts_itself=True)
def deployments(process: Process) -> Shares:
    """New versions, mostly a little larger than the last: growth between processes, not within one."""
    deploys = arrivals(process, process.part(0.1, 0.3))
    ages = since_last(process, [0.0, *deploys])
    sizes = staircase(process, ((t, process.random.gauss(0.015, 0.03)) for t in deploys))
    warm_s, height = process.part(0.003, 0.03), process.spread(0.03, 0.4)
    return total(start_up(process, ages), sizes, [height * saturation(age, warm_s) for age in ages])


@innocent(delivery="irregular")
def irregular_looks(process: Process) -> Shares:
    """A process that warms up and then breathes, looked at when there was time for it."""
    warm_s, height = process.part(0.005, 0.06), process.spread(0.05, 0.5)
    breath = autoregressive(process, process.part(0.002, 0.03))
    return [height * (saturation(t, warm_s) + 0.1 * b) for t, b in zip(process.times, breath, strict=True)]


@innocent(delivery="dirty")
def dirty_data(process: Process) -> Shares:
    """A warm cache behind failed readings, gaps, repeats and a clock that is set."""
    warm_s, height = process.part(0.005, 0.06), process.spread(0.03, 0.4)
    return process.curve(lambda t: height * saturation(t, warm_s))


@innocent(intervals_s=(10.0, 60.0), hours=(24, 168))
def nightly_job(process: Process) -> Shares:
    """Once a day a report is made, over a process that otherwise follows the day."""
    at_s, length_s = process.uniform(0.0, DAY), process.uniform(0.3, 2.0) * HOUR
    height, busy = process.spread(0.1, 0.8), scaled(traffic(process), process.spread(0.03, 0.2))
    into = ((t - at_s) % DAY / length_s for t in process.times)
    return total(busy, [height * math.sin(math.pi * x) if x < 1.0 else 0.0 for x in into])
