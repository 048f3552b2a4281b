"""The pieces of the detector, each against values worked out by hand."""

from __future__ import annotations

import math
import statistics

import pytest

from otel_memleak.detector._envelope import WINDOW, Envelope
from otel_memleak.detector._evidence import (
    Evidence,
    accelerates,
    clear_of_noise,
    credible,
    crookedness,
    decelerates,
    doubt,
    going_on,
    held,
    material,
    new,
    weigh,
)
from otel_memleak.detector._forecast import forecast
from otel_memleak.detector._patience import Patience, time_left_s
from otel_memleak.detector._pattern import classify
from otel_memleak.detector._rss import RssWatch, Thresholds, resolve_thresholds
from otel_memleak.detector._trend import Trend, fit
from otel_memleak.types import MB

HOURS = [float(i) for i in range(16)]


def straight(count: int = 32, slope: float = 3.0) -> Trend:
    return fit([float(i) for i in range(count)], [100.0 + slope * i for i in range(count)])


def evidence(values: list[float], *, every_s: float = 600.0) -> Evidence:
    """The window that some bytes at even times make, at the start of a life."""
    envelope = Envelope(0.0, every_s)
    for i, value in enumerate([*values, values[-1]]):
        envelope.add(i * every_s, value)
    return weighed(envelope)


def weighed(envelope: Envelope) -> Evidence:
    """The longest window of an envelope's finest buckets."""
    finest = envelope.levels[0]
    window = finest.window(WINDOW)
    past = envelope.before(window.times_s[0], 0)
    return weigh(window, finest.swings(WINDOW), past, envelope.start_s)


def test_the_slope_is_the_median_of_all_pairwise_slopes() -> None:
    """Theil-Sen by its definition, on points without any order to them."""
    values = [5.0, 9.0, 2.0, 11.0, 30.0, 7.0, 15.0, 21.0, 12.0, 40.0, 33.0, 19.0, 25.0, 50.0, 28.0, 35.0]
    pairs = [(values[j] - values[i]) / (j - i) for i in range(16) for j in range(i + 1, 16)]
    trend = fit(HOURS, values)

    assert trend.slope == pytest.approx(statistics.median(pairs))
    assert trend.early == pytest.approx(fit(HOURS[:8], values[:8]).slope)
    assert trend.late == pytest.approx(fit(HOURS[8:], values[8:]).slope)


def test_wild_points_do_not_turn_the_line() -> None:
    """A quarter of the points anywhere: the slope stays within 5 %."""
    values = [100.0 + 3.0 * i for i in range(32)]
    for i in (2, 7, 9, 14, 20, 23, 27, 30):
        values[i] += 1000.0 if i % 2 else -1000.0

    assert fit([float(i) for i in range(32)], values).slope == pytest.approx(3.0, rel=0.05)


def test_a_straight_line_fits_exactly() -> None:
    """No deviation, and quarters and halves that agree."""
    trend = straight()

    assert trend.deviation_bytes == pytest.approx(0.0, abs=1e-9)
    assert (trend.early, trend.late, *trend.quarters) == pytest.approx((3.0,) * 6)
    assert trend.at(0.0) == pytest.approx(100.0)
    assert trend.low < 3.0 < trend.high


def test_autocorrelated_noise_widens_the_interval() -> None:
    """A slow wobble is worth fewer points than the same sizes in quick alternation."""
    times = [float(i) for i in range(32)]
    quick = fit(times, [3.0 * i + 10.0 * (-1) ** i for i in range(32)])
    slow = fit(times, [3.0 * i + 10.0 * (1 if math.sin(i / 3.0) > 0 else -1) for i in range(32)])

    assert slow.high - slow.low > 1.5 * (quick.high - quick.low)


def test_the_envelope_keeps_what_is_left_behind() -> None:
    """The lowest sample of each bucket, with its own time, on every width."""
    envelope = Envelope(0.0, 10.0)
    for t in range(85):
        envelope.add(float(t), 100.0 + (t * 7) % 10)
    fine, coarse = envelope.levels[0], envelope.levels[1]

    assert list(fine.lows) == [100.0] * 8
    assert list(fine.times) == [0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0]
    assert list(coarse.times) == [0.0, 20.0, 40.0]
    assert set(fine.highs) == {109.0}


def test_every_width_keeps_its_last_window() -> None:
    """However long the series, each width that lasted long enough has a full window of its last buckets."""
    envelope = Envelope(0.0, 1.0)
    for t in range(5000):
        envelope.add(float(t), 1000.0 + t)

    for power, level in enumerate(envelope.levels[:7]):
        times = level.window(WINDOW).times_s
        assert len(times) == WINDOW
        assert times[-1] >= 5000 - 3 * 2**power
        assert len(level.times) < 2 * WINDOW


def test_the_past_is_seen_from_every_width() -> None:
    """The highest trough and peak before a time, also long before what the finest buckets remember."""
    envelope = Envelope(0.0, 1.0)
    for t in range(3000):
        envelope.add(float(t), 500.0 if 100 <= t < 400 else 100.0 + (90.0 if t % 50 == 0 else 0.0))
    past = envelope.before(2990.0, 0)
    assert past is not None

    assert past.trough_bytes == 500.0
    assert past.peak_bytes == 500.0
    assert envelope.before(0.0, 0) is None


def test_an_old_level_can_be_looked_up() -> None:
    """The envelope at a time, from the finest buckets that still remember it."""
    envelope = Envelope(0.0, 1.0)
    for t in range(3000):
        envelope.add(float(t), 1000.0 + t)

    assert envelope.low_at(2990.0) == pytest.approx(3990.0, abs=1.0)
    assert envelope.low_at(1500.0) == pytest.approx(2500.0, abs=64.0)
    assert envelope.since(1500.0).times_s[0] >= 1500.0


def test_the_forecast_divides_what_is_left_by_the_pace() -> None:
    """100 bytes left at 3 bytes a second."""
    ahead = forecast(200.0, 100.0, straight())
    assert ahead is not None
    assert ahead.high is not None

    assert ahead.seconds == pytest.approx(100.0 / 3.0)
    assert ahead.low < ahead.seconds < ahead.high


def test_a_forecast_is_less_certain_the_further_it_looks() -> None:
    """Half a window ahead the pace that was seen holds; ten windows ahead anything may have happened to it."""
    near, far = forecast(150.0, 100.0, straight()), forecast(1000.0, 100.0, straight())
    assert near is not None
    assert far is not None
    assert near.high is not None
    assert far.high is not None

    assert near.high / near.low < 2.0
    assert 8.0 < far.high / far.low < 25.0


def test_there_is_no_forecast_without_limit_or_growth() -> None:
    """None rather than a number nobody can use; at the limit, no time is left."""
    assert forecast(None, 100.0, straight()) is None
    assert forecast(200.0, 100.0, straight(slope=-1.0)) is None
    over = forecast(200.0, 250.0, straight())
    assert over is not None
    assert over.seconds == 0.0


def test_each_question_has_a_no() -> None:
    """Growth of a hundredth, in noise, at its end, given back, or below an earlier trough is not credible."""
    clean = [200.0 * MB] * 40 + [200.0 * MB + i * MB for i in range(1, 33)]
    assert credible(evidence(clean))

    small = [v if v == 200.0 * MB else 200.0 * MB + (v - 200.0 * MB) / 20 for v in clean]
    noisy = [v + (i * 7 % 13) * 4 * MB for i, v in enumerate(clean)]
    ended = [min(v, 217.0 * MB) for v in clean]
    given_back = [*clean[:-1], 201.0 * MB]
    seen = [230.0 * MB] * 20 + clean[20:]

    assert not material(evidence(small))
    assert not clear_of_noise(evidence(noisy))
    assert not going_on(evidence(ended))
    assert not held(evidence(given_back))
    assert not new(evidence(seen))


def test_a_short_rise_has_to_leave_earlier_peaks_behind() -> None:
    """The rising edge of a batch is no news when batches have been as high; a rise as long as the age is."""
    envelope = Envelope(0.0, 10.0)
    for t in range(0, 20_000, 10):
        envelope.add(float(t), (300.0 if t % 2000 == 1000 else 200.0) * MB)
    for i in range(34):
        envelope.add(20_000.0 + 10.0 * i, (200.0 + 3.0 * i) * MB)

    assert not new(weighed(envelope))


def test_doubts_only_ever_add() -> None:
    """One for the cleanest growth there is late in a life; more with noise, a step, a pause."""
    clean = [100.0 * MB] * 40 + [100.0 * MB + i * MB for i in range(1, 33)]
    noisy = [v + (i % 2) * 3 * MB for i, v in enumerate(clean)]
    stepped = [v + (8 * MB if i > 60 else 0) for i, v in enumerate(clean)]
    paused = [min(v, 126.0 * MB) for v in clean]

    assert doubt(evidence(clean)) == pytest.approx(1.0, abs=0.01)
    assert min(doubt(evidence(v)) for v in (noisy, stepped, paused)) > 1.2


def test_bends_are_told_from_lines() -> None:
    """Growth that clearly speeds up or slows down in every quarter, and a line that does neither."""
    up = evidence([100.0 * MB + i**2 * MB / 32 for i in range(32)])
    down = evidence([100.0 * MB + 60 * MB * (1 - math.exp(-i / 20)) for i in range(32)])
    line = evidence([100.0 * MB + i * MB for i in range(32)])

    assert (accelerates(up), decelerates(up)) == (True, False)
    assert (accelerates(down), decelerates(down)) == (False, True)
    assert (accelerates(line), decelerates(line)) == (False, False)


def test_growth_that_levels_off_below_the_limit_has_all_the_time() -> None:
    """An exponential is continued to where it leads: 160 MB, which is below one limit and above the other."""
    down = evidence([100.0 * MB + 60 * MB * (1 - math.exp(-i / 20)) for i in range(32)])
    truth = -20 * 600.0 * math.log(1 - 55 / 60) - 31 * 600.0

    assert time_left_s(down, 200.0 * MB) == math.inf
    assert time_left_s(down, 155.0 * MB) == pytest.approx(truth, rel=0.25)


def test_patience_is_a_share_of_the_time_left() -> None:
    """Proportional to what is left where that is short, and bounded where it is long."""
    line = evidence([100.0 * MB] * 40 + [100.0 * MB + i * MB for i in range(1, 33)])
    patience = Patience(None, 300.0)
    short, double = patience.needed_s(line, 142.0 * MB), patience.needed_s(line, 152.0 * MB)

    assert double == pytest.approx(2.0 * short, rel=0.05)
    assert patience.needed_s(line, 1e6 * MB) == pytest.approx(2.6 * 3600.0, rel=0.02)


def test_growth_that_bends_is_watched_longer_where_there_is_room() -> None:
    """A straight line says in hours what a curve takes a working day to say; at the start both say less."""
    before = [100.0 * MB] * 40
    line = [*before, *(100.0 * MB + i * MB for i in range(1, 33))]
    curve = [*before, *(100.0 * MB + i**1.6 * MB / 8 for i in range(1, 33))]
    patience = Patience(None, 300.0)
    straight, bent, young = (
        patience.needed_s(evidence(values), 1e6 * MB) for values in (line, curve, line[40:])
    )

    assert crookedness(evidence(line)) < 0.05 < 0.3 < crookedness(evidence(curve))
    assert bent > 1.8 * straight
    assert young == pytest.approx(1.8 * straight, rel=0.02)


def test_the_start_of_a_process_takes_more_of_the_time_left() -> None:
    """The same line towards the same limit: a third more patience when the process begins with it."""
    line = [100.0 * MB + i * MB for i in range(1, 33)]
    patience = Patience(None, 60.0)
    later, start = (
        patience.needed_s(evidence(values), 145.0 * MB) for values in ([100.0 * MB] * 64 + line, line)
    )

    assert start == pytest.approx(0.66 / 0.5 * later, rel=0.02)


def test_bent_growth_since_the_start_waits_for_the_evening() -> None:
    """Where the limit is days away, not where it is near, nor for a line, nor later in a life."""
    curve = [100.0 * MB + i**1.4 * MB / 4 for i in range(1, 33)]
    line = [100.0 * MB + i * MB for i in range(1, 33)]
    patience = Patience(None, 300.0)
    far, near = (patience.needed_s(evidence(curve), limit * MB) for limit in (1000.0, 300.0))
    straight = patience.needed_s(evidence(line), 1000.0 * MB)
    later = patience.needed_s(evidence([100.0 * MB] * 64 + curve), 1000.0 * MB)

    assert far == pytest.approx(16.0 * 3600.0, rel=0.02)
    assert max(near, straight, later) < 0.7 * far


def test_a_bend_upwards_is_no_noise_except_at_the_start() -> None:
    """Growth that accelerates is doubted for its distance from a line at the start of a process only."""
    curve = [100.0 * MB + i**2 * MB / 32 for i in range(1, 33)]
    patience = Patience(None, 60.0)
    later, start = (
        patience.needed_s(evidence(values), 160.0 * MB) for values in ([100.0 * MB] * 64 + curve, curve)
    )

    assert doubt(evidence(curve)) > 1.3
    assert start > 1.25 * 0.66 / 0.5 * later


@pytest.mark.parametrize(
    ("values", "pattern"),
    [
        ([float(i) for i in range(32)], "linear"),
        ([float(i * i) for i in range(32)], "accelerating"),
        ([math.sqrt(i) for i in range(32)], "decelerating"),
        ([10.0 * (i // 8) for i in range(32)], "stepwise"),
        ([10.0 * (i // 8) + 3.0 * min(i % 8, 3) for i in range(32)], "bursts"),
    ],
)
def test_patterns_by_hand(values: list[float], pattern: str) -> None:
    """Few increments that stand alone are steps, that adjoin are bursts; else the halves tell the bend."""
    assert classify(values, fit([float(i) for i in range(32)], values)) == pattern


def test_a_threshold_is_left_after_the_hold_time_only() -> None:
    """Below 95 % for the whole hold time, and not a sample earlier."""
    watch, thresholds = RssWatch(300.0), Thresholds(100.0, 200.0)
    watch.add(0.0, 100.0, thresholds)
    assert (watch.severity, watch.threshold_bytes) == ("warning", 100.0)
    watch.add(299.0, 96.0, thresholds)
    watch.add(598.0, 94.0, thresholds)
    assert watch.severity == "warning"
    watch.add(600.0, 94.0, thresholds)
    assert watch.severity is None


def test_automatic_thresholds() -> None:
    """80 and 90 % of a limit, 256 and 512 MB without."""
    assert resolve_thresholds("auto", "auto", 1000.0) == Thresholds(800.0, 900.0)
    assert resolve_thresholds("auto", "auto", None) == Thresholds(256.0 * MB, 512.0 * MB)
    assert resolve_thresholds(0, None, 1000.0) == Thresholds(None, None)
