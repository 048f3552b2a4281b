"""What witnesses beside resident memory make of growth: series with a known truth."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from random import Random

import pytest

from otel_memleak.detector import LeakDetector
from otel_memleak.types import MB, LeakAlert
from property.strategies import leaks

Said = Callable[[float], dict[str, float]]
DAY_S = 100.0


def watch(rss_mb: Callable[[float], float], said: Said, seconds: float = 300.0) -> list[LeakAlert]:
    """Alerts about a process sampled every 250 ms with patience of 20 s, some noise, and what it says."""
    detector = LeakDetector(
        2000 * MB,
        sampling_interval_seconds=0.25,
        baseline_window_seconds=5.0,
        patience_seconds=20.0,
        rss_warning_bytes=None,
        rss_critical_bytes=None,
    )
    noise = Random(3)
    alerts = [
        detector.update(t, rss_mb(t) * MB + noise.random() * 2e5, **said(t))
        for t in (0.25 * step for step in range(int(4 * seconds)))
    ]
    return [alert for alert in alerts if alert is not None]


def nothing(time_s: float) -> dict[str, float]:
    return {}


def growing(time_s: float) -> float:
    """By 0.3 MB/s."""
    return 60.0 + 0.3 * time_s


def rise(time_s: float) -> float:
    """From 0 to 1 as a day begins."""
    return (1.0 - math.cos(math.pi * min(1.0, time_s / DAY_S))) / 2.0


def counted(rate: Callable[[float], float]) -> Said:
    """Requests served so far at such a rate per second."""
    counts = itertools.accumulate(rate(0.25 * step) * 0.25 for step in range(10_000))
    return lambda time_s: {"requests": next(counts)}


def heap(in_use_mb: float, kept_mb: float, blocks: float = 1e5) -> dict[str, float]:
    return {
        "malloc_in_use_bytes": in_use_mb * MB,
        "malloc_kept_bytes": kept_mb * MB,
        "allocated_blocks": blocks,
    }


def test_without_witnesses_such_growth_is_a_leak() -> None:
    """What the tests here acquit by witnesses would be convicted without."""
    assert leaks(watch(growing, nothing))


def test_free_lists_that_grow_are_no_leak() -> None:
    """Memory that the program has freed and that malloc keeps is fragmentation."""
    assert leaks(watch(growing, lambda t: heap(40.0, 5.0 + 0.3 * t))) == []


def test_pages_of_files_are_no_leak() -> None:
    """The kernel takes them back."""
    assert leaks(watch(growing, lambda t: {"file_bytes": 0.3 * t * MB})) == []


def test_a_leak_is_found_beside_file_pages_and_free_lists() -> None:
    """What excuses some of the growth must not excuse all of it."""

    def said(time_s: float) -> dict[str, float]:
        return {**heap(40.0 + 0.1 * time_s, 5.0 + 0.1 * time_s), "file_bytes": 0.1 * time_s * MB}

    (leak, *_) = leaks(watch(growing, said))

    assert leak.growth_bytes_per_hour == pytest.approx(360.0 * MB, rel=0.05)


def test_what_goes_to_swap_still_grows() -> None:
    """Resident memory that stands still, because the kernel swaps, is no recovery."""
    (leak, *_) = leaks(watch(lambda t: 60.0, lambda t: {"swapped_bytes": 0.3 * t * MB}))

    assert leak.growth_bytes_per_hour == pytest.approx(1080.0 * MB, rel=0.05)
    assert "went to swap" in leak.why


def test_being_swapped_out_is_no_growth() -> None:
    """A process that idles is swapped out under pressure of its neighbours, at constant size."""
    rss = lambda t: 200.0 - 0.4 * t  # noqa: E731

    assert leaks(watch(rss, lambda t: {"swapped_bytes": 0.4 * t * MB})) == []


def test_in_use_convicts_sooner_and_growth_that_nobody_accounts_for_later() -> None:
    """Growth that the allocators vouch for is watched less long than growth that they know nothing of."""
    slow = lambda t: 300.0 + 0.3 * t  # noqa: E731
    in_use = leaks(watch(slow, lambda t: heap(200.0 + 0.3 * t, 5.0)))[0]
    silent = leaks(watch(slow, nothing))[0]
    mapped = leaks(watch(slow, lambda t: heap(200.0, 5.0)))[0]

    assert in_use.time_s < silent.time_s < mapped.time_s
    assert "in use" in in_use.why
    assert "mapped past both" in mapped.why


def test_patience_set_by_the_user_is_a_least() -> None:
    """Nobody who asks for 20 s is told after 15."""
    (leak, *_) = leaks(watch(lambda t: 60.0 + 3.0 * t, lambda t: heap(40.0 + 3.0 * t, 5.0)))

    assert leak.time_s >= 20.0


def test_blocks_alone_vouch_for_growth_but_never_against_it() -> None:
    """Where malloc cannot be asked, native memory is invisible: that is no reason for doubt."""
    silent = leaks(watch(growing, nothing))[0]
    flat = leaks(watch(growing, lambda t: {"allocated_blocks": 1e5}))[0]

    assert flat.time_s == silent.time_s


def test_the_first_daily_rise_is_no_leak_where_requests_are_counted() -> None:
    """Memory that follows the rate of requests stops growing when the rate does."""
    rss = lambda t: 60.0 + 20.0 * rise(t)  # noqa: E731

    assert leaks(watch(rss, nothing)), "on resident memory alone it looks like a leak"
    assert leaks(watch(rss, counted(lambda t: 20.0 + 180.0 * rise(t)))) == []


def test_a_leak_by_request_is_found_on_a_day_that_begins() -> None:
    """It goes with the number of requests, not with their rate."""
    served = 0.0

    def said(time_s: float) -> dict[str, float]:
        nonlocal served
        served += 0.25 * (20.0 + 180.0 * rise(time_s))
        return {"requests": served}

    (leak, *_) = leaks(watch(lambda t: 60.0 + 0.002 * served, said))

    assert leak.time_s < DAY_S
    assert leak.growth_bytes_per_request == pytest.approx(0.002 * MB, rel=0.05)


def test_quiet_nights_do_not_hide_a_leak_by_request() -> None:
    """By the wall clock it grows in steps; by the clock of requests in a straight line."""
    rate = lambda t: 200.0 if t % 40.0 < 8.0 else 2.0  # noqa: E731
    served = 0.0

    def alerts(say: bool) -> list[LeakAlert]:
        nonlocal served
        served = 0.0

        def said(time_s: float) -> dict[str, float]:
            nonlocal served
            served += 0.25 * rate(time_s)
            return {"requests": served} if say else {}

        return watch(lambda t: 60.0 + 0.002 * served, said, 200.0)

    with_requests, without = alerts(True), alerts(False)

    assert leaks(with_requests)
    assert not leaks(without) or leaks(with_requests)[0].time_s < leaks(without)[0].time_s
    assert not [alert for alert in with_requests if alert.event == "memleak.resolved"]


def test_growth_by_the_clock_is_not_put_down_to_requests() -> None:
    """A timer that leaks leaves nothing per request, and a varying load shows it."""
    rate = lambda t: 200.0 if t % 30.0 < 15.0 else 20.0  # noqa: E731

    (leak, *_) = leaks(watch(growing, counted(rate)))

    assert leak.growth_bytes_per_request is None


def test_a_counter_that_is_set_back_counts_on() -> None:
    """A route table that is reset must not turn the clock of requests back."""
    plain = counted(lambda t: 100.0)

    def reset(time_s: float) -> dict[str, float]:
        return {"requests": plain(time_s)["requests"] % 3000.0}

    (leak, *_) = leaks(watch(growing, reset))

    assert leak.growth_bytes_per_request == pytest.approx(0.003 * MB, rel=0.05)


@pytest.mark.parametrize("name", ["malloc_kept_bytes", "file_bytes", "swapped_bytes"])
def test_a_witness_that_speaks_up_late_is_no_step(name: str) -> None:
    """What it says first is where it counts from; the series goes on where it was."""
    late = lambda t: {name: 30.0 * MB} if t > 60.0 else {}  # noqa: E731

    assert watch(lambda t: 100.0, late) == []


def test_what_was_said_last_stands() -> None:
    """The dear witnesses are read now and then; growth in between is that of the others."""
    now_and_then = lambda t: heap(40.0, 5.0 + 0.3 * t) if int(4 * t) % 10 == 0 else {}  # noqa: E731

    assert leaks(watch(growing, now_and_then)) == []


def test_memory_given_back_inside_the_heap_is_no_restart() -> None:
    """After `malloc_trim` the kept bytes are no longer resident; what is in use is a bound from below."""

    def rss(time_s: float) -> float:
        return 300.0 if time_s % 50.0 < 40.0 else 130.0

    assert leaks(watch(rss, lambda t: heap(100.0, 180.0))) == []


def test_the_state_stays_small() -> None:
    """A week of witnesses takes no more than a detector may."""
    detector = LeakDetector(1000 * MB)
    for minute in range(7 * 1440):
        detector.update(60.0 * minute, 100 * MB, requests=minute, **heap(50.0, 5.0))

    track = detector._watch.testimony._track
    assert track is not None
    assert track.nbytes < 24 * 1024


def test_an_rss_alert_says_when_it_is_mostly_free_lists() -> None:
    """A limit that is near is told of whatever the reason; the reason is told with it."""
    detector = LeakDetector(100 * MB)
    (alert,) = [
        alert
        for second in range(10)
        if (alert := detector.update(second, (50.0 if second < 5 else 85.0) * MB, **heap(20.0, 60.0)))
    ]

    assert alert.event == "memleak.rss"
    assert "freed memory that malloc keeps" in alert.why


def test_threads_and_tasks_that_multiply_are_told() -> None:
    """A thousand more tasks say what to look for; they decide nothing."""
    (leak, *_) = leaks(watch(growing, lambda t: {"asyncio_tasks": 10.0 * t, "threads": 8.0}))

    assert "more asyncio tasks" in leak.why
    assert "threads" not in leak.why


def filling(size: float, per_second: float, until: float = math.inf) -> Said:
    """A cache of such a size that takes entries at such a pace."""

    def said(time_s: float) -> dict[str, float]:
        entries = min(size, per_second * min(time_s, until))
        return {"cache_entries": entries, "cache_room": size - entries if time_s < until else 0.0}

    return said


def test_a_bounded_cache_that_fills_is_no_leak_until_it_should_be_full() -> None:
    """Its line ends below the limit."""
    rss = lambda t: 60.0 + 0.3 * min(t, 90.0)  # noqa: E731

    assert leaks(watch(rss, nothing)), "on resident memory alone it looks like a leak"
    assert leaks(watch(rss, filling(9000.0, 100.0))) == []


def test_growth_that_goes_on_when_the_cache_is_full_is_a_leak() -> None:
    """The excuse ends with the room."""
    (leak, *_) = leaks(watch(growing, filling(6000.0, 100.0)))

    assert 60.0 < leak.time_s < 120.0


def test_a_cache_that_would_not_fit_below_the_limit_is_no_excuse() -> None:
    """A bound of a million entries is as good as none."""
    by_cache = leaks(watch(growing, filling(1e6, 100.0)))[0]

    assert by_cache.time_s == leaks(watch(growing, nothing))[0].time_s


def test_a_cache_that_hardly_fills_is_no_excuse() -> None:
    """A few entries beside a leak leave megabytes each, as it were: beyond the limit."""
    beside = leaks(watch(growing, filling(5000.0, 0.5)))[0]

    assert beside.time_s == leaks(watch(growing, nothing))[0].time_s
