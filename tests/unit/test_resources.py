"""What only grows, from counts alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_memleak.diagnosis.resources import (
    OTHERS,
    ResourceGrowth,
    ResourceReading,
    ResourceSeries,
    growing,
)


def _threads(
    counts: Sequence[int], name: str = "shop.jobs:poll", step_s: float = 60.0
) -> list[ResourceReading]:
    return [ResourceReading(step_s * index, threads={name: count}) for index, count in enumerate(counts)]


def test_threads_that_only_grow_are_told_with_what_they_run() -> None:
    """The name of the function they run is what a person searches for."""
    (found,) = growing(_threads(range(10, 71, 5)))

    assert found == ResourceGrowth("thread", "shop.jobs:poll", 70, 60, pytest.approx(300.0))
    assert found.clause() == "threads running shop.jobs:poll: +300/h to 70"


def test_tasks_say_where_they_wait() -> None:
    """A thousand tasks of one coroutine are a finding; the line they hang at is the diagnosis."""
    name, where = "Poller.run (shop/poll.py:8)", "shop/poll.py:31 (Queue.get)"
    readings = [
        ResourceReading(60.0 * index, tasks={name: 100 * index}, waits={name: where}) for index in range(13)
    ]

    (found,) = growing(readings)

    assert found.clause() == (
        "asyncio tasks of Poller.run (shop/poll.py:8): +6,000/h to 1,200, "
        "waiting at shop/poll.py:31 (Queue.get)"
    )


@pytest.mark.parametrize(
    "counts",
    [
        [10] * 12,
        [0, 40, 0, 40, 0, 40, 0, 40, 0, 40, 0, 40],
        [0, 20, 0, 40, 0, 60, 0, 80, 0, 100, 0, 120],
        [0, 20, 40, 60, 64, 64, 64, 64, 64, 64, 64, 64],
        [60, 50, 40, 30, 20, 10, 9, 8, 7, 6, 5, 4],
        [10, 10, 10, 11, 11, 11, 12, 12, 12, 13, 13, 13],
        [1000, 1004, 1008, 1012, 1016, 1020, 1024, 1028, 1032, 1036, 1040, 1044],
        [0, 10, 20],
    ],
    ids=[
        "flat",
        "breathing",
        "higher peaks",
        "filled up",
        "shrinking",
        "a few",
        "a little of much",
        "too short",
    ],
)
def test_innocent_counts_are_not_reported(counts: list[int]) -> None:
    """Pools that breathe or have filled up, and a handful more of anything, accuse nobody."""
    assert growing(_threads(counts)) == []


def test_growth_under_a_breathing_load_is_reported() -> None:
    """What counts is what is left when the load is gone: the troughs rise."""
    counts = [4 * index + (50 if index % 3 else 0) for index in range(24)]

    assert [found.name for found in growing(_threads(counts))] == ["shop.jobs:poll"]


def test_something_new_grows_from_nothing() -> None:
    """A name that was not there at first had none."""
    readings = [ResourceReading(0.0, threads={}), *_threads(range(5, 60, 5))[1:]]

    assert growing(readings)[0].growth == 55 - 0


def test_a_kind_that_could_not_always_be_read_is_left_out() -> None:
    """Growth over gaps is a guess; other kinds are not affected."""
    readings = [
        ResourceReading(60.0 * i, threads=None if i == 5 else {"a": 10 * i}, descriptors={"socket": 10 * i})
        for i in range(12)
    ]

    assert [found.kind for found in growing(readings)] == ["descriptor"]


def test_a_kind_that_was_not_looked_at_at_first_counts_from_then_on() -> None:
    """States of sockets are asked for only when sockets grow."""
    readings = [
        ResourceReading(60.0 * i, sockets={"CLOSE_WAIT": 10 * i} if i > 3 else None) for i in range(10)
    ]

    (found,) = growing(readings)

    assert (found.name, found.growth, found.growth_per_hour) == ("CLOSE_WAIT", 50, 600.0)


def test_the_rest_is_not_a_suspect() -> None:
    """What is beyond the commonest names has no name to give."""
    assert growing(_threads(range(10, 71, 5), name=OTHERS)) == []


def test_at_most_five_are_reported_the_steepest_first() -> None:
    """Steepness is relative: from 5 to 60 comes before from 500 to 600."""
    readings = [
        ResourceReading(60.0 * i, descriptors={f"kind{base}": base + 10 * i for base in range(100, 900, 100)})
        for i in range(12)
    ]

    assert [found.name for found in growing(readings)] == [f"kind{base}" for base in range(100, 600, 100)]


def test_a_clock_that_stands_still_gives_no_rate() -> None:
    """No time has passed: nothing per hour can be said."""
    assert growing(_threads(range(10, 71, 5), step_s=0.0)) == []


def test_a_series_is_bounded_and_reaches_back_to_the_start() -> None:
    """An incident may last for weeks."""
    series = ResourceSeries()
    for second in range(5_000):
        series.offer(ResourceReading(float(second)))

    times = [reading.time_s for reading in series.readings()]

    assert 32 <= len(times) <= 64
    assert times[0] == 0.0
    assert times[-1] > 4_800
    assert len({after - before for before, after in pairwise(times)}) == 1


_COUNTS = st.none() | st.dictionaries(st.sampled_from("abc"), st.integers(0, 1000))


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(-1e9, 1e9), _COUNTS, _COUNTS), max_size=16))
def test_whatever_grows_has_grown(rows: list[tuple[float, Any, Any]]) -> None:
    """Of any readings: what is reported is more at the end than at the start, and never raises."""
    readings = [ResourceReading(time_s, threads=threads, tasks=tasks) for time_s, threads, tasks in rows]

    for found in growing(readings):
        assert found.growth > 0
        assert found.growth_per_hour > 0
        assert found.count >= found.growth
