"""A slow leak under the daily wave of a service: seen by what each hour adds to the same hour of yesterday."""

from __future__ import annotations

import math
from array import array
from random import Random

import pytest

from otel_memleak.detector._days import BUCKETS, take_apart
from otel_memleak.detector._envelope import Window
from otel_memleak.detector._patience import DAY_S
from otel_memleak.detector._progress import Progress
from otel_memleak.detector._watch import GrowthWatch
from otel_memleak.types import MB
from property.strategies import HOUR, START, Shape, fed, leaks, quiet, sampled

WEEK_H = 7 * 24.0
EVERY_S = 120.0


def office_day(base: float, swing: float) -> Shape:
    """Falls and rises again, so that no hour is flat. A process that starts in its rise is a case of its own."""
    return lambda hour: base + swing * (1.0 + math.cos(2.0 * math.pi * hour / 24.0)) / 2.0


def window(rise_mb_per_day: float, swing_mb: float, *, days: float = 4.0, noise_mb: float = 0.0) -> Window:
    """Buckets of two hours and eight minutes, as fine as they are for samples a minute apart."""
    random, wave = Random(3), office_day(1000.0, swing_mb)
    times = [index * 7680.0 for index in range(int(days * DAY_S / 7680.0))][-BUCKETS:]
    lows = [wave(t / HOUR) + rise_mb_per_day * t / DAY_S + random.uniform(-noise_mb, noise_mb) for t in times]
    return Window(array("d", times), array("d", [low * MB for low in lows]))


def test_what_repeats_every_day_is_taken_away() -> None:
    """Of a wave of 300 MB and a rise of 20 MB a day the rise is left, at the height of an average hour."""
    raw = window(20.0, 300.0)
    days = take_apart(raw)

    assert days is not None
    first, last = days.rest.lows_bytes[0] / MB, days.rest.lows_bytes[-1] / MB
    assert last - first == pytest.approx(20.0 * (raw.times_s[-1] - raw.times_s[0]) / DAY_S, abs=3.0)
    assert days.depth_bytes / MB == pytest.approx(150.0, abs=8.0)
    assert days.regular


@pytest.mark.parametrize("factor", [0.5, 3.0])
def test_a_window_is_taken_apart_at_any_scale(factor: float) -> None:
    """Twice the memory is twice the rest; an hour later is an hour later."""
    raw = window(20.0, 300.0, noise_mb=2.0)
    scaled = Window(
        array("d", [t + 5 * HOUR for t in raw.times_s]), array("d", [v * factor for v in raw.lows_bytes])
    )

    one, other = take_apart(raw), take_apart(scaled)

    assert one is not None
    assert other is not None
    assert list(other.rest.lows_bytes) == pytest.approx([v * factor for v in one.rest.lows_bytes])
    assert other.depth_bytes == pytest.approx(one.depth_bytes * factor)


def test_two_days_are_too_few() -> None:
    """One rise from a day to the next may be a Monday."""
    assert take_apart(window(20.0, 300.0, days=2.5)) is None


def test_what_does_not_rise_at_every_hour_is_not_regular() -> None:
    """A service deployed every other day with a little more memory rises, too: at once, and not at each hour."""
    raw = window(0.0, 300.0)
    deployed = [low + 60 * MB * math.floor(t / (1.7 * DAY_S)) for t, low in zip(*raw, strict=True)]
    days = take_apart(Window(raw.times_s, array("d", deployed)))

    assert days is not None
    assert not days.regular


def test_a_leak_under_the_wave_is_found_once_with_its_onset() -> None:
    """3 MB/h under a wave of 300 MB, from the fourth day on: found after three days, dated and named rightly.

    It is neither ended nor told again when memory falls every evening.
    """
    wave = office_day(1000.0, 300.0)
    alerts = fed(
        quiet(32_000.0),
        sampled(lambda h: wave(h) + 3.0 * max(0.0, h - 72.0), 1.5 * WEEK_H, every_s=EVERY_S, noise_mb=5.0),
    )

    assert [alert.event for alert in alerts] == ["memleak.leak"]
    [alert] = alerts
    assert (alert.time_s - START) / DAY_S < 6.2, "three days of leaking"
    assert alert.onset_s is not None
    assert (alert.onset_s - START) / DAY_S == pytest.approx(3.0, abs=0.5)
    assert alert.growth_bytes_per_hour == pytest.approx(3.0 * MB, rel=0.1)
    assert alert.pattern == "linear"
    assert "from day to day" in alert.why


@pytest.mark.parametrize("end_h", [236, 240, 244, 250])
def test_an_onset_long_before_the_window_is_dated_to_the_day(end_h: int) -> None:
    """Buckets that reach back so far are of whole days: half a day more or less, whatever hour it is now."""
    wave, watch = office_day(1000.0, 300.0), GrowthWatch(60.0, 300.0, None)
    for time_s, rss in sampled(lambda h: wave(h) + 3.0 * max(0.0, h - 48.0), end_h, noise_mb=5.0):
        watch.envelope.add(time_s - START, rss)
    index = watch.envelope.finest(DAY_S / 16.0)
    finding = watch._look_by_day(index, watch.envelope.levels[index], None, 0.0)

    assert finding is not None
    assert finding.evidence.times_s[0] > 5 * DAY_S
    assert Progress(finding, watch.envelope).onset_s / DAY_S == pytest.approx(2.0, abs=0.75)


@pytest.mark.parametrize("kind", ["same", "weekends", "uneven", "kept"])
def test_days_that_differ_are_no_leak(kind: str) -> None:
    """Three weeks of equal days, of quiet weekends, of days by chance, and of a first day that is kept."""
    random = Random(5)
    heights = [random.uniform(0.7, 1.3) for _ in range(22)]

    def shape(hour: float) -> float:
        day = int(hour // 24)
        height = {"weekends": 0.4 if day % 7 in (0, 6) else 1.0, "uneven": heights[day]}.get(kind, 1.0)
        kept = 100.0 * min(hour, 30.0) / 30.0 if kind == "kept" else 0.0
        return office_day(1000.0, 200.0 * height)(hour) + kept

    assert leaks(fed(quiet(32_000.0), sampled(shape, 3 * WEEK_H, every_s=EVERY_S, noise_mb=5.0))) == []


def test_a_leak_under_the_wave_that_is_mended_ends() -> None:
    """The days are equal again: the incident is resolved, and none is opened after it."""
    wave = office_day(1000.0, 300.0)
    shape = lambda h: wave(h) + 3.0 * min(max(0.0, h - 24.0), 120.0)  # noqa: E731

    alerts = fed(quiet(32_000.0), sampled(shape, 4 * WEEK_H, every_s=EVERY_S, noise_mb=5.0))

    assert [alert.event for alert in alerts] == ["memleak.leak", "memleak.resolved"]
