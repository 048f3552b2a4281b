"""Readings for the origin: taken from a process, kept in bounded number."""

from __future__ import annotations

import sys
import tracemalloc
from pathlib import Path

import pytest

from otel_memleak.diagnosis._witnesses import WitnessSeries, least, read_witness
from otel_memleak.diagnosis.origin import Witness


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_kinds_of_resident_memory_add_up_to_it() -> None:
    """A part judged against an RSS of another moment could be more than the whole."""
    witness = read_witness(1.0, rss_bytes=12345)

    assert witness.rss_bytes != 12345
    assert (witness.rss_bytes or 0) >= (witness.file_bytes or 0) + (witness.shared_bytes or 0)
    assert (witness.allocated_blocks or 0) > 10_000
    assert (witness.threads or 0) >= 1


def test_without_proc_the_sample_s_rss_is_taken(tmp_path: Path) -> None:
    """Elsewhere than on Linux there is an RSS and nothing about its kinds."""
    witness = read_witness(1.0, rss_bytes=12345, proc_root=str(tmp_path))

    assert (witness.rss_bytes, witness.file_bytes, witness.threads) == (12345, None, None)


def test_what_is_traced_is_read_only_while_tracing() -> None:
    """Reading must not switch on the tracing it reads."""
    before = read_witness(1.0, None)
    tracemalloc.start()
    try:
        during = read_witness(2.0, None)
    finally:
        tracemalloc.stop()

    assert (before.traced_bytes, before.tracing_bytes) == (None, None)
    assert during.traced_bytes is not None
    assert (during.tracing_bytes or 0) > 0


@pytest.mark.parametrize("since_s", [float("-inf"), 0.0, 5_000.0, 9_000.0, 9_900.0, 9_970.0])
def test_a_series_has_enough_readings_of_any_incident(since_s: float) -> None:
    """An incident began a minute or a month ago: its evidence covers it, and nothing before it."""
    series = WitnessSeries()
    for second in range(10_000):
        series.offer(Witness(float(second), rss_bytes=second))

    readings = series.readings(since_s)

    times = [reading.time_s for reading in readings]
    assert 6 <= len(readings) <= 64
    assert times == sorted(times)
    assert since_s <= times[0] <= max(since_s, 0.0) + 1024
    assert times[0] == max(since_s, 0.0) or times[0] - since_s < times[1] - times[0]
    assert readings[-1].rss_bytes == times[-1]


def test_a_series_is_bounded() -> None:
    """A process may run for years; its evidence must not grow with it."""
    series = WitnessSeries()
    for second in range(60_000):
        series.offer(Witness(float(second), rss_bytes=second))

    assert sum(len(scale.stretches()) for scale in series._scales) <= 5 * 64
    assert len(series.readings()) == len(range(0, 60_000, 4096)), "the coarsest still has it all"


def test_a_stretch_keeps_the_trough_of_a_cycle_and_its_peak() -> None:
    """Thinning that picks readings takes them at random points of the cycle, and sees growth in noise."""
    series = WitnessSeries()
    for second in range(64 * 64):
        blocks = 1000 + 7919 * second % 500
        series.offer(Witness(float(second), allocated_blocks=blocks, peak_blocks=blocks))

    readings = series.readings()

    assert len(readings) == 64
    assert {reading.allocated_blocks for reading in readings} <= set(range(1000, 1020))
    assert {reading.peak_blocks for reading in readings} <= set(range(1480, 1500))


def test_before_the_first_reading_there_is_none() -> None:
    """The diagnosis may be asked for before anything was sampled."""
    assert WitnessSeries().readings() == []


def test_a_missing_reading_does_not_hide_the_other() -> None:
    """A probe that failed once leaves the rest of its stretch as it is."""
    merged = least(Witness(1.0, rss_bytes=None, threads=4), Witness(2.0, rss_bytes=7, threads=None))

    assert merged == Witness(1.0, rss_bytes=7, threads=4)


def test_what_was_traced_for_part_of_a_stretch_is_not_said_of_it() -> None:
    """A tracing window shorter than a stretch would pass for tracing throughout."""
    merged = least(Witness(1.0, traced_bytes=5, tracing_bytes=5), Witness(2.0))

    assert (merged.traced_bytes, merged.tracing_bytes) == (None, None)
