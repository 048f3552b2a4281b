"""The labelled series that detection is measured on: is what they claim about themselves true?"""

from __future__ import annotations

import hashlib
import math
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from statistics import median

import pytest

from benchmarks.detection.corpus import (
    LIMITS_MB,
    MATERIAL_SHARE,
    SLOWEST_SHARE_PER_HOUR,
    Series,
    corpus,
    draw,
    plan,
)
from benchmarks.detection.patterns import INNOCENT, LEAKING
from benchmarks.detection.process import DAY, HOUR, MB

TESTS = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def drawn() -> list[Series]:
    """Two series of every pattern."""
    return list(corpus(seed=7, per_pattern=2))


@pytest.fixture(scope="module")
def innocents(drawn: list[Series]) -> list[Series]:
    return [series for series in drawn if not series.leaks]


@pytest.fixture(scope="module")
def leaks(drawn: list[Series]) -> list[Series]:
    return [series for series in drawn if series.leaks]


def readings(series: Series) -> list[float]:
    return [value for value in series.rss_bytes if not math.isnan(value)]


def fingerprint(series: Series) -> str:
    digest = hashlib.sha256()
    for values in (series.times_s, series.rss_bytes, series.true_times_s, series.leaked_bytes):
        digest.update(values.tobytes())
    return digest.hexdigest()


def test_corpus_has_the_variety_it_promises() -> None:
    """A benchmark of a few shapes rewards fitting them: there are many, and none is in both classes."""
    assert len(INNOCENT) >= 22
    assert len(LEAKING) >= 16
    assert not INNOCENT.keys() & LEAKING.keys()


def test_same_seed_gives_the_same_series_in_another_process() -> None:
    """A stranger repeats the figures: neither the process nor its hash seed may matter."""
    program = (
        "import hashlib; from benchmarks.detection.corpus import draw\n"
        "s = draw(3, 'dirty_data', 1)\n"
        "d = hashlib.sha256()\n"
        "for v in (s.times_s, s.rss_bytes, s.true_times_s, s.leaked_bytes): d.update(v.tobytes())\n"
        "print(d.hexdigest())"
    )
    elsewhere = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(TESTS), "PYTHONHASHSEED": "12345"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert fingerprint(draw(3, "dirty_data", 1)) == elsewhere.stdout.strip()


def test_seed_and_number_change_the_series() -> None:
    """Series of one pattern are independent draws, not copies."""
    prints = {fingerprint(draw(seed, "linear", number)) for seed in (1, 2) for number in (0, 1)}

    assert len(prints) == 4


def test_a_series_does_not_depend_on_which_others_are_drawn() -> None:
    """A pattern may be looked at alone, and a new one leaves the old figures as they are."""
    alone = list(corpus(seed=5, per_pattern=2, only=["slow"]))
    among = [s for s in corpus(seed=5, per_pattern=2, only=["idle", "slow"]) if s.pattern == "slow"]

    assert [fingerprint(s) for s in alone] == [fingerprint(s) for s in among]


def test_unknown_pattern_is_named() -> None:
    """A typing error must not measure an empty corpus."""
    with pytest.raises(ValueError, match="no such pattern: lineer"):
        plan(1, ["linear", "lineer"])


def test_plan_counts_every_pattern_equally() -> None:
    """No pattern weighs more than another."""
    entries = plan(3)

    assert len(entries) == 3 * (len(INNOCENT) + len(LEAKING))
    assert len(set(entries)) == len(entries)


def test_records_are_of_the_promised_size(drawn: list[Series]) -> None:
    """Intervals of 1, 10 or 60 s, up to seven days, processes of 30 MB to 8 GB under a usual limit."""
    for series in drawn:
        assert series.interval_seconds in (1.0, 10.0, 60.0), series.id
        assert series.duration_s <= 7 * DAY, series.id
        assert series.reached_limit or series.duration_s >= HOUR, series.id
        assert 30 * MB <= series.base_bytes <= 8192 * MB, series.id
        assert series.limit_bytes / MB in LIMITS_MB, series.id
        assert len(series.times_s) == len(series.rss_bytes) == len(series.true_times_s), series.id


def test_innocent_series_have_no_leak_and_stay_below_the_limit(innocents: list[Series]) -> None:
    """What is labelled innocent lost nothing and died of nothing."""
    for series in innocents:
        assert series.onset_s is None, series.id
        assert not any(series.leaked_bytes), series.id
        assert not series.reached_limit, series.id
        assert max(readings(series)) < series.limit_bytes, series.id


def test_leaks_only_grow_and_begin_at_their_onset(leaks: list[Series]) -> None:
    """The truth that delay and rate are judged by is a leak's: never falling, nothing before the onset."""
    for series in leaks:
        assert series.onset_s is not None, series.id
        assert all(before <= after for before, after in pairwise(series.leaked_bytes)), series.id
        assert series.leaked_at(series.onset_s) == series.leaked_bytes[0] or series.onset_s == 0, series.id
        assert series.leaked_at(series.onset_s + 2 * series.interval_seconds) > 0, series.id


def test_leaks_are_material(leaks: list[Series]) -> None:
    """Nobody can be blamed for missing what does not matter: a leak reaches the limit or costs a tenth."""
    for series in leaks:
        assert series.onset_s is not None
        if series.reached_limit or series.pattern == "hidden_by_restarts":
            continue
        hours = (series.duration_s - series.onset_s) / HOUR
        least = max(MATERIAL_SHARE, SLOWEST_SHARE_PER_HOUR * hours) * series.base_bytes
        assert series.leaked_bytes[-1] >= 0.99 * least, series.id


def test_each_life_between_restarts_loses_a_material_amount() -> None:
    """A leak that restarts hide still costs a tenth of the base per process."""
    for number in range(4):
        series = draw(7, "hidden_by_restarts", number)

        assert max(series.held_bytes) >= 0.99 * MATERIAL_SHARE * series.base_bytes
        assert series.leaked_bytes[-1] > max(series.held_bytes)


def test_a_fatal_leak_reaches_the_limit_within_minutes() -> None:
    """The class of leaks that cannot wait for a day of evidence really is that urgent."""
    for number in range(8):
        series = draw(7, "fast_out_of_memory", number)

        assert series.reached_limit
        assert series.onset_s is not None
        assert series.duration_s - series.onset_s <= 15 * 60


def test_resident_memory_grows_by_what_leaks() -> None:
    """The label is about the series it is attached to: the leak is in the readings."""
    for number in range(6):
        series = draw(7, "linear", number)
        late, middle = readings(series)[-50:], len(readings(series)) // 2
        grown = median(late) - median(readings(series)[middle : middle + 50])
        leaked = series.leaked_bytes[-1] - series.leaked_at(series.duration_s / 2)

        assert grown == pytest.approx(leaked, abs=0.06 * series.base_bytes)


def test_what_is_held_is_resident_at_the_limit(leaks: list[Series]) -> None:
    """A record that ends at the limit ends because memory got there, not a moment earlier."""
    for series in leaks:
        if series.reached_limit:
            assert max(readings(series)) < series.limit_bytes, series.id
            assert max(readings(series)[-500:]) > 0.75 * series.limit_bytes, series.id


def test_readings_are_whole_pages(drawn: list[Series]) -> None:
    """The kernel counts pages; a detector that needs fractions of them would fail outside."""
    for series in drawn:
        page_bytes = (INNOCENT.get(series.pattern) or LEAKING[series.pattern]).page_bytes
        assert all(value % page_bytes == 0 for value in readings(series)), series.id


def test_samples_are_delivered_in_the_order_they_were_taken(drawn: list[Series]) -> None:
    """Only the clock lies, and only in dirty series: the true times never fall."""
    for series in drawn:
        assert all(before <= after for before, after in pairwise(series.true_times_s)), series.id
        if "dirt" not in series.pattern:
            assert all(before < after for before, after in pairwise(series.times_s)), series.id
            assert len(readings(series)) == len(series.rss_bytes), series.id


@pytest.mark.parametrize("pattern", ["dirty_data", "dirtily_seen"])
def test_dirty_series_are_dirty(pattern: str) -> None:
    """Failed readings, repeats, gaps and a clock set back all occur, or robustness is not measured."""
    several = [draw(7, pattern, number) for number in range(6)]
    steps = [(after - before, s.interval_seconds) for s in several for before, after in pairwise(s.times_s)]

    assert all(any(math.isnan(value) for value in s.rss_bytes) for s in several)
    assert any(step == 0 for step, _ in steps)
    assert any(step < 0 for step, _ in steps)
    assert any(step > 10 * interval_s for step, interval_s in steps)


def test_irregular_series_are_irregular() -> None:
    """Spacing varies by more than a timer's jitter."""
    series = draw(7, "irregular_looks", 0)
    steps = sorted(after - before for before, after in pairwise(series.times_s))

    assert steps[len(steps) // 10] < 0.6 * series.interval_seconds
    assert steps[-len(steps) // 10] > 1.8 * series.interval_seconds


def test_some_limits_are_hidden() -> None:
    """Forecasts against a limit are not the only way: a good part of the series has none to see."""
    visible = [
        series.limit_visible for series in corpus(seed=7, per_pattern=4, only=["idle", "linear", "slow"])
    ]

    assert 0 < sum(visible) < len(visible)
