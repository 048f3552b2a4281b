"""Leaks. A pattern gives the shape of what is lost, and what surrounds it; the corpus decides how much."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .noise import HUGE_PAGE_BYTES, start_up
from .patterns import Growth, leaking
from .process import (
    DAY,
    HOUR,
    MINUTE,
    Process,
    Shares,
    arrivals,
    autoregressive,
    bump,
    regular,
    saturation,
    sawtooth,
    scaled,
    since_last,
    smooth_step,
    staircase,
    total,
    traffic,
)


def integral(process: Process, rates: Sequence[float], from_s: float = 0.0) -> Shares:
    """What has flowed at these rates since ``from_s``; leaks only grow, so a negative rate counts as none."""
    flowed, sums = 0.0, []
    for t, rate in zip(process.times, rates, strict=True):
        flowed += max(0.0, rate) if t > from_s else 0.0
        sums.append(flowed)
    return sums


def ramp(process: Process, from_s: float, roughness: float = 0.1) -> Shares:
    """A straight leak with the unevenness of real requests."""
    gauss = process.random.gauss
    return integral(process, [1.0 + roughness * gauss(0.0, 1.0) for _ in process.times], from_s)


def warm(process: Process) -> Shares:
    """A short warm-up: no leak comes alone."""
    time_constant_s, height = process.part(0.002, 0.02), process.spread(0.02, 0.3)
    return process.curve(lambda t: height * saturation(t, time_constant_s))


@leaking()
def linear(process: Process) -> Growth:
    """So much per request, at a steady load."""
    return Growth(warm(process), ramp(process, process.part(0.001, 0.1)))


@leaking(intervals_s=(60.0,), hours=(48, 168))
def slow(process: Process) -> Growth:
    """Per cent per day: days of growth that no threshold in megabytes per hour would see."""
    return Growth(warm(process), ramp(process, process.part(0.001, 0.05), roughness=0.5))


@leaking(intervals_s=(1.0, 10.0), hours=(1, 8), fatal=True)
def fast_out_of_memory(process: Process) -> Growth:
    """Quiet for long, then dead within minutes."""
    kill_s = max(25 * process.interval_seconds, process.spread(1.5 * MINUTE, 15 * MINUTE))
    return Growth(warm(process), ramp(process, process.duration_s - kill_s))


@leaking()
def late_onset(process: Process) -> Growth:
    """Healthy for a good part of the record, until a feature is switched on."""
    return Growth(warm(process), ramp(process, process.duration_s * process.uniform(0.25, 0.6)))


@leaking()
def square_root(process: Process) -> Growth:
    """Slowing for ever and never ending: unique keys of a growing population."""
    from_s = process.part(0.001, 0.1)
    return Growth(warm(process), process.curve(lambda t: math.sqrt(max(0.0, t - from_s))))


@leaking()
def sublinear_fragmentation(process: Process) -> Growth:
    """Fragmentation under churn of ever larger objects: a power of time below one, in uneven pieces."""
    power, from_s = process.uniform(0.65, 0.9), process.part(0.005, 0.1)
    whole = process.duration_s - from_s
    pieces = ((from_s + whole * (i / 400) ** (1 / power), process.uniform(0.3, 1.7)) for i in range(1, 401))
    return Growth(warm(process), staircase(process, pieces))


@leaking()
def exponential(process: Process) -> Growth:
    """Each leaked object begets more: nothing for long, then everything."""
    from_s, doublings = process.part(0.001, 0.2), process.uniform(2.5, 6.0)
    span_s = (process.duration_s - from_s) / doublings
    return Growth(warm(process), process.curve(lambda t: 2 ** (max(0.0, t - from_s) / span_s) - 1.0))


@leaking()
def quadratic(process: Process) -> Growth:
    """The rate itself grows steadily, as with a list that is copied longer each time."""
    from_s = process.part(0.001, 0.2)
    return Growth(warm(process), process.curve(lambda t: max(0.0, t - from_s) ** 2))


@leaking(intervals_s=(10.0, 60.0), hours=(48, 168))
def with_daily_load(process: Process) -> Growth:
    """So much per request, and hardly a request at night."""
    busy = traffic(process)
    breathing = scaled(busy, process.spread(0.005, 0.06))
    return Growth(total(warm(process), breathing), integral(process, busy))


@leaking(intervals_s=(60.0,), hours=(120, 168))
def with_weekly_load(process: Process) -> Growth:
    """So much per request, over a week with its weekend."""
    busy = traffic(process, weekly=True)
    breathing = scaled(busy, process.spread(0.005, 0.06))
    return Growth(total(warm(process), breathing), integral(process, busy))


@leaking()
def slowing_with_traffic(process: Process) -> Growth:
    """The load falls for good, and the leak with it."""
    when_s, rest = process.duration_s * process.uniform(0.35, 0.7), process.uniform(0.2, 0.6)
    width_s = process.part(0.002, 0.03)
    busy = process.curve(lambda t: 1.0 - (1.0 - rest) * smooth_step(t, when_s, width_s))
    noise = autoregressive(process, process.part(0.001, 0.01))
    rates = [load * (1.0 + 0.2 * n) for load, n in zip(busy, noise, strict=True)]
    return Growth(total(warm(process), scaled(busy, process.spread(0.005, 0.05))), integral(process, rates))


@leaking()
def stepwise(process: Process) -> Growth:
    """A table doubles, a log segment opens: nothing for a while, then a piece."""
    pieces = process.random.randint(10, 50)
    steps = regular(process, process.duration_s / pieces, jitter=0.5)
    return Growth(warm(process), staircase(process, ((t, process.uniform(0.6, 1.4)) for t in steps)))


@leaking()
def per_batch_job(process: Process) -> Growth:
    """Each run of a job keeps some of its data; the spike of the run hides it."""
    period_s = process.part(0.02, 0.08)
    runs = regular(process, period_s, jitter=0.05)
    length_s = period_s * process.uniform(0.05, 0.4)
    ages = since_last(process, runs)
    running = [float(age < length_s) for age in ages]
    spikes = scaled(running, process.spread(0.02, 0.4))
    return Growth(total(warm(process), spikes), integral(process, running))


@leaking()
def bursty(process: Process) -> Growth:
    """Rare errors, each of which strands something; few are large."""
    events = arrivals(process, process.duration_s / process.spread(40, 1500))
    return Growth(
        warm(process), staircase(process, ((t, min(8.0, process.random.paretovariate(1.6))) for t in events))
    )


@leaking()
def under_teeth(process: Process) -> Growth:
    """Garbage collected in teeth that are larger than an hour of the leak."""
    period_s = max(8 * process.interval_seconds, process.part(0.005, 0.06))
    teeth = scaled(sawtooth(process, period_s), process.spread(0.05, 0.3))
    return Growth(total(warm(process), teeth), ramp(process, process.part(0.001, 0.1)))


@leaking(intervals_s=(10.0, 60.0), hours=(48, 168))
def under_daily_wave(process: Process) -> Growth:
    """The nights grow: the day hides it from everyone who compares noon with midnight."""
    wave = scaled(traffic(process), process.spread(0.1, 0.6))
    return Growth(wave, ramp(process, 0.0))


@leaking(starts_itself=True)
def hidden_by_restarts(process: Process) -> Growth:
    """Workers are replaced before it shows; every one of them leaks."""
    restarts_s = regular(process, process.part(0.1, 0.3), jitter=0.1)
    ages = since_last(process, [0.0, *restarts_s])
    return Growth(start_up(process, ages), ramp(process, 0.0), tuple(restarts_s))


@leaking(intervals_s=(10.0, 60.0), hours=(12, 168), starts_itself=True)
def after_deployment(process: Process) -> Growth:
    """Healthy versions, then one that leaks: the fall at the deployment is followed by the climb."""
    bad_s = process.duration_s * process.uniform(0.3, 0.6)
    earlier = [t for t in arrivals(process, 0.5 * bad_s) if t < 0.9 * bad_s]
    ages = since_last(process, [0.0, *earlier, bad_s])
    sizes = staircase(process, ((t, process.random.gauss(0.0, 0.02)) for t in [*earlier, bad_s]))
    return Growth(total(start_up(process, ages), sizes), ramp(process, bad_s))


@leaking()
def beside_cache_fill(process: Process) -> Growth:
    """A cache fills, as it may; what goes on when it is full is the leak."""
    fill_s, height = process.part(0.02, 0.12), process.spread(0.1, 0.8)
    filling = process.curve(lambda t: height * saturation(t, fill_s))
    return Growth(filling, ramp(process, process.part(0.001, 0.1)))


@leaking()
def connections(process: Process) -> Growth:
    """Connections that nobody closes, some tens of kilobytes each."""
    load = autoregressive(process, process.part(0.005, 0.05))
    rates = [max(0.0, 1.0 + 0.4 * n + process.random.gauss(0.0, 0.5)) for n in load]
    return Growth(warm(process), integral(process, rates, process.part(0.001, 0.1)))


@leaking()
def threads(process: Process) -> Growth:
    """Threads that never end: a stack and an arena at a time, in steps of megabytes."""
    pieces = process.random.randint(25, 200)
    return Growth(
        warm(process), staircase(process, ((t, 1.0) for t in arrivals(process, process.duration_s / pieces)))
    )


@leaking()
def partly_collected(process: Process) -> Growth:
    """Cycles with finalisers: the collector gets some of them back, never all."""
    period_s = max(10 * process.interval_seconds, process.part(0.02, 0.1))
    kept = ramp(process, process.part(0.001, 0.05))
    returned = scaled(sawtooth(process, period_s, jitter=0.3), process.spread(0.04, 0.2))
    return Growth(total(warm(process), returned), kept)


@leaking()
def with_model_reload(process: Process) -> Growth:
    """Each reload leaves a part of the old model behind."""
    reloads = regular(process, process.part(0.02, 0.07), jitter=0.03)
    loading = bump(since_last(process, reloads), process.spread(30.0, 5 * MINUTE))
    doubled = scaled(loading, process.spread(0.2, 0.7))
    return Growth(doubled, staircase(process, ((t, process.uniform(0.7, 1.3)) for t in reloads)))


@leaking(page_bytes=HUGE_PAGE_BYTES)
def in_huge_pages(process: Process) -> Growth:
    """A straight leak that resident memory shows in steps of 2 MB."""
    return Growth(warm(process), ramp(process, process.part(0.001, 0.1)))


@leaking(delivery="irregular")
def irregularly_seen(process: Process) -> Growth:
    """A straight leak, looked at when there was time for it."""
    return Growth(warm(process), ramp(process, process.part(0.001, 0.1)))


@leaking(delivery="dirty")
def dirtily_seen(process: Process) -> Growth:
    """A leak behind failed readings, gaps, repeats and a clock that is set."""
    return Growth(warm(process), ramp(process, process.part(0.001, 0.1)))


@leaking(intervals_s=(10.0, 60.0), hours=(48, 168))
def in_office_hours(process: Process) -> Growth:
    """Used eight hours a day and silent for sixteen: two thirds of the record are flat."""
    opens_s, height = process.uniform(0.0, DAY), process.spread(0.01, 0.1)
    open_now = [(t - opens_s) % DAY < 8 * HOUR for t in process.times]
    used = [max(0.0, process.random.gauss(1.0, 0.3)) if now else 0.0 for now in open_now]
    return Growth([height * now for now in open_now], integral(process, used))
