"""Innocent growth that comes from within: caches, collectors, allocators, buffers, code."""

from __future__ import annotations

import math

from .patterns import innocent
from .process import (
    HOUR,
    MB,
    MINUTE,
    Process,
    Shares,
    arrivals,
    autoregressive,
    bump,
    in_force,
    regular,
    running_max,
    saturation,
    sawtooth,
    scaled,
    since_last,
    staircase,
    total,
    traffic,
)


@innocent()
def idle(process: Process) -> Shares:
    """Nothing but the churn every process has."""
    return process.flat()


@innocent()
def warm_up(process: Process) -> Shares:
    """Fast growth that flattens."""
    time_constant_s, height = process.part(0.005, 0.1), process.spread(0.05, 1.0)
    return process.curve(lambda t: height * saturation(t, time_constant_s))


@innocent()
def warm_up_in_two_stages(process: Process) -> Shares:
    """Flat after the start, then a second warm-up when the first real traffic arrives."""
    first_s, second_s = process.part(0.002, 0.02), process.part(0.01, 0.08)
    delay_s, height = process.part(0.1, 0.4), process.spread(0.05, 0.6)
    share = process.uniform(0.3, 0.7)
    return process.curve(
        lambda t: height * (share * saturation(t, first_s) + (1 - share) * saturation(t - delay_s, second_s))
    )


@innocent()
def cache_fill(process: Process) -> Shares:
    """Keys repeat more and more often, so that a cache without a bound still stops growing."""
    half_s, height = process.part(0.02, 0.12), process.spread(0.08, 1.2)
    noise = autoregressive(process, half_s)
    return [
        height * saturation(t, half_s) * (1 + 0.01 * n) for t, n in zip(process.times, noise, strict=True)
    ]


@innocent()
def cache_fill_linear(process: Process) -> Shares:
    """Every request adds an entry until the cap: a leak to the eye, until it stops."""
    full_s, height = process.part(0.06, 0.6, at_most_s=18 * HOUR), process.spread(0.06, 0.6)
    stored, level, wobble = [], 0.0, autoregressive(process, 0.1 * full_s)
    for noise in wobble:
        level += max(0.0, process.interval_seconds / full_s * (1.0 + 0.2 * noise))
        stored.append(height * min(1.0, level))
    return stored


@innocent()
def lru_with_drifting_entries(process: Process) -> Shares:
    """A full cache of so many entries whose mean size wanders over hours, within bounds."""
    full_s, height = process.part(0.01, 0.08), process.spread(0.1, 1.0)
    drift = autoregressive(process, process.part(0.03, 0.3))
    swing = process.uniform(0.03, 0.12)
    return [
        height * saturation(t, full_s) * (1.0 + swing * math.tanh(d))
        for t, d in zip(process.times, drift, strict=True)
    ]


@innocent()
def collector_teeth(process: Process) -> Shares:
    """Garbage piles up, then is collected."""
    period_s = max(8 * process.interval_seconds, process.part(0.003, 0.08))
    return scaled(sawtooth(process, period_s), process.spread(0.02, 0.3))


@innocent()
def collector_generations(process: Process) -> Shares:
    """Small teeth on large ones: young and old generation."""
    old_s = max(40 * process.interval_seconds, process.part(0.03, 0.2, at_most_s=10 * HOUR))
    young = scaled(sawtooth(process, old_s / process.uniform(8, 20)), process.spread(0.01, 0.06))
    return total(young, scaled(sawtooth(process, old_s), process.spread(0.05, 0.3)))


@innocent()
def arena_creep(process: Process) -> Shares:
    """Each new record of concurrency maps another arena that is never unmapped; records become rare."""
    load = autoregressive(process, process.part(0.002, 0.02))
    busy = [min(1.5, max(0.0, 0.5 + 0.3 * noise)) for noise in load]
    height = process.spread(0.05, 0.4)
    return total(scaled(running_max(busy), 0.7 * height), scaled(busy, 0.3 * height))


@innocent()
def fragmentation_plateaus(process: Process) -> Shares:
    """A few steps, each later and lower than the one before."""
    time_s, rise = process.part(0.01, 0.08), process.spread(0.03, 0.2)
    steps = []
    for _ in range(process.random.randint(3, 6)):
        steps.append((time_s, rise))
        time_s, rise = time_s * process.uniform(1.4, 2.2), rise * process.uniform(0.3, 0.8)
    return staircase(process, steps)


@innocent()
def model_reload(process: Process) -> Shares:
    """Every so often the new model is loaded beside the old one; sizes differ, without a trend."""
    reloads = regular(process, process.part(0.08, 0.3, at_most_s=12 * HOUR), jitter=0.03)
    ages, length_s = since_last(process, reloads), process.spread(30.0, 5 * MINUTE)
    doubled = scaled(bump(ages, length_s), process.uniform(0.3, 0.9))
    return total(doubled, in_force(process, reloads, [process.random.gauss(0.0, 0.015) for _ in reloads]))


@innocent()
def compaction(process: Process) -> Shares:
    """A log-structured store: memory tables fill and flush, now and then everything is merged."""
    flush_s = max(10 * process.interval_seconds, process.spread(2 * MINUTE, 0.5 * HOUR))
    merges = regular(process, flush_s * process.uniform(6, 15), jitter=0.3)
    ages = since_last(process, merges)
    heap = scaled(sawtooth(process, flush_s, jitter=0.3), process.spread(0.03, 0.15))
    return total(heap, scaled(bump(ages, 0.7 * flush_s, warm=0.8), process.spread(0.05, 0.3)))


@innocent()
def buffer_ratchet(process: Process) -> Shares:
    """A buffer doubles for the largest message so far and never shrinks; messages have a largest size."""
    cap = process.spread(0.05, 0.5)
    largest = [
        (t, cap * min(1.0, 0.01 * process.random.paretovariate(0.9)))
        for t in arrivals(process, process.part(0.002, 0.02))
    ]
    capacity, steps = cap / 64, []
    for t, size in largest:
        grown = cap / 2 ** math.floor(math.log2(cap / size)) if size > capacity else capacity
        steps.append((t, grown - capacity))
        capacity = grown
    return staircase(process, steps)


@innocent()
def code_paths_warming(process: Process) -> Shares:
    """Lazy imports, compiled templates, query plans: each path once, the rare ones late."""
    fading_s, height = process.part(0.03, 0.12), process.spread(0.05, 0.5)
    paths = process.random.randint(15, 80)
    first_uses = [process.random.expovariate(1.0 / fading_s) for _ in range(paths)]
    sizes = [process.random.expovariate(1.0) for _ in range(paths)]
    return scaled(staircase(process, zip(first_uses, sizes, strict=True)), height / sum(sizes))


@innocent()
def session_store(process: Process) -> Shares:
    """Sessions live for a fixed time: a rise as long as that time, then as many leave as come."""
    ttl = max(1, round(process.part(0.05, 0.4, at_most_s=24 * HOUR) / process.interval_seconds))
    busy = traffic(process) if process.duration_s > 30 * HOUR else process.flat(1.0)
    height, sums, alive = process.spread(0.05, 0.6), [0.0], []
    for i, load in enumerate(busy):
        sums.append(sums[-1] + max(0.0, process.random.gauss(load, 0.3 * load)))
        alive.append(height * (sums[-1] - sums[max(0, i + 1 - ttl)]) / ttl)
    return alive


@innocent()
def batch_that_ends(process: Process) -> Shares:
    """A job collects its result for long, writes it, and lets go; more than once in a long record."""
    jobs = regular(process, process.part(0.2, 0.8), jitter=0.2)
    ages = since_last(process, jobs)
    length_s, decline_s = process.part(0.04, 0.15, at_most_s=8 * HOUR), process.part(0.001, 0.03)
    height = process.spread(0.08, 0.8)
    return [
        height * (age / length_s if age < length_s else max(0.0, 1.0 - (age - length_s) / decline_s))
        for age in ages
    ]


@innocent()
def batch_spikes(process: Process) -> Shares:
    """Short jobs on a timetable, each with its own appetite."""
    jobs = regular(process, process.part(0.01, 0.12), jitter=0.05)
    ages, length_s = since_last(process, jobs), process.spread(10.0, 10 * MINUTE)
    height = process.spread(0.1, 1.0)
    appetite = in_force(process, jobs, [process.uniform(0.4, 1.0) for _ in jobs])
    return [height * a * b for a, b in zip(appetite, bump(ages, length_s), strict=True)]


@innocent()
def logarithmic_growth(process: Process) -> Shares:
    """Ever rarer novelties (labels, routes, interned strings): it never quite stops, and never matters."""
    scale_s, height = process.part(0.0005, 0.006), process.spread(0.02, 0.15)
    whole = math.log1p(process.duration_s / scale_s)
    return process.curve(lambda t: height * math.log1p(t / scale_s) / whole)


@innocent()
def connection_pool(process: Process) -> Shares:
    """One connection at a time, on demand, up to the pool's maximum."""
    most = process.random.randint(5, 50)
    gap_s = process.part(0.05, 0.35, at_most_s=12 * HOUR) / most
    size = min(process.share(process.spread(0.2, 4.0) * MB), 0.5 / most)
    opened = arrivals(process, gap_s, start_s=process.part(0.01, 0.2))[:most]
    return staircase(process, ((t, size) for t in opened))


@innocent()
def thread_pool(process: Process) -> Shares:
    """Threads with their stacks and arenas, up to the pool's maximum, on the first busy hours."""
    most = process.random.randint(4, 32)
    gap_s = process.part(0.03, 0.25, at_most_s=8 * HOUR) / most
    size = min(process.share(process.uniform(0.5, 8.0) * MB), 0.8 / most)
    return staircase(process, ((t, size) for t in arrivals(process, gap_s)[:most]))


@innocent()
def trimmed_heap(process: Process) -> Shares:
    """Free pages pile up at the top of the heap until they are given back at once."""
    trims = arrivals(process, process.part(0.04, 0.2, at_most_s=10 * HOUR))
    ages = since_last(process, [0.0, *trims])
    fill_s, height = process.part(0.01, 0.05, at_most_s=3 * HOUR), process.spread(0.05, 0.4)
    return [height * saturation(age, fill_s) for age in ages]


@innocent()
def queue_backlog(process: Process) -> Shares:
    """The consumer falls behind for a while, several times, and catches up every time."""
    begins = arrivals(process, process.part(0.1, 0.3))
    behind_s, ahead_s = process.part(0.015, 0.06, at_most_s=4 * HOUR), process.part(0.01, 0.06)
    height, backlog, left, sizes = process.spread(0.1, 0.8), 0.0, 0.0, []
    due = iter([*begins, math.inf])
    next_s = next(due)
    for t in process.times:
        if t >= next_s:
            left, next_s = behind_s * process.uniform(0.4, 1.2), next(due)
        left -= process.interval_seconds
        backlog += process.interval_seconds * (1.0 / behind_s if left > 0 else -1.0 / ahead_s)
        backlog = min(1.5, max(0.0, backlog))
        sizes.append(height * backlog)
    return sizes


@innocent()
def data_set_in_stages(process: Process) -> Shares:
    """Partitions are loaded one after the other until the whole table is in memory, and it stays."""
    partitions = process.random.randint(6, 40)
    span_s, start_s = process.part(0.03, 0.2, at_most_s=6 * HOUR), process.part(0.02, 0.3)
    sizes = [process.uniform(0.6, 1.4) for _ in range(partitions)]
    height = process.spread(0.2, 1.5) / sum(sizes)
    return staircase(
        process, ((start_s + span_s * i / partitions, height * size) for i, size in enumerate(sizes))
    )
