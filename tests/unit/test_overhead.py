"""The budget of watching: what it bears, what it defers, and that it never stops looking."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_memleak.overhead import (
    DIAGNOSIS_WINDOW_S,
    MAX_STRETCH,
    SAMPLING_WINDOW_S,
    Bucket,
    Overhead,
    share_at,
)

SHARE = 0.001


class Watch:
    """Samples of a given cost, one after the other, at the pace the budget allows."""

    def __init__(self, interval_s: float = 1.0, share: float = SHARE) -> None:
        self.overhead = Overhead(share, interval_s)
        self.now_s = self.sampling_s = self.diagnosis_s = 0.0
        self.sample(0.02)

    def sample(self, cpu_s: float) -> float:
        self.sampling_s += cpu_s
        used_s = self.overhead.account(self.now_s, self.sampling_s, self.diagnosis_s)
        self.now_s += self.overhead.interval_s
        return used_s


def test_cheap_samples_keep_their_pace() -> None:
    """At the default interval a sample may cost 60 ms before anything changes; it costs a thousandth of that."""
    watch = Watch(interval_s=60.0)

    for _ in range(10_000):
        watch.sample(100e-6)

    assert watch.overhead.interval_s == 60.0
    assert watch.overhead.allows_diagnosis


def test_dear_samples_are_spaced_out_until_the_budget_holds(caplog: pytest.LogCaptureFixture) -> None:
    """Five times too dear: over the long run not more than the budget is used, and one line says why."""
    watch = Watch()
    with caplog.at_level(logging.WARNING, logger="otel_memleak"):
        for _ in range(3000):
            watch.sample(0.005)

    used = (watch.sampling_s - 0.02) / watch.now_s
    assert used <= SHARE * (1 + SAMPLING_WINDOW_S / watch.now_s)
    assert [record.getMessage() for record in caplog.records if "sampling" in record.getMessage()] == [
        "otel_memleak has used more than overhead_budget allows (0.1 % of a core) on sampling: samples are spaced "
        "out, at most 10 times. This is said once"
    ]


def test_the_pace_comes_back() -> None:
    """A machine that was busy for an hour is not watched less for ever."""
    watch = Watch()
    for _ in range(600):
        watch.sample(0.005)
    assert watch.overhead.interval_s > 1.0

    for _ in range(600):
        watch.sample(0.0001)

    assert watch.overhead.interval_s == 1.0


@pytest.mark.parametrize(
    ("share", "interval_s", "allowed"),
    [(0.001, 60.0, 0.001), (0.001, 10.0, 0.001), (0.001, 5.0, 0.002), (0.001, 0.25, 0.01), (0.05, 0.25, 0.05),
     (0.0, 0.25, 0.0)],
)  # fmt: skip
def test_who_asks_for_many_samples_is_given_them(share: float, interval_s: float, allowed: float) -> None:
    """A test that samples four times a second is to see its leak within a minute; no limit stays none."""
    assert share_at(share, interval_s) == pytest.approx(allowed)


def test_a_diagnosis_in_debt_is_postponed_not_forbidden(caplog: pytest.LogCaptureFixture) -> None:
    """A look at a very large heap costs minutes: the next one waits, sampling goes on as before."""
    watch = Watch(interval_s=60.0)
    watch.diagnosis_s = SHARE * DIAGNOSIS_WINDOW_S + 6.0
    with caplog.at_level(logging.WARNING, logger="otel_memleak"):
        watch.sample(100e-6)
        watch.sample(100e-6)

    assert not watch.overhead.allows_diagnosis
    assert watch.overhead.interval_s == 60.0
    assert len(caplog.records) == 1

    for _ in range(110):
        watch.sample(100e-6)

    assert watch.overhead.allows_diagnosis


def test_no_budget_is_no_limit() -> None:
    """0 switches it off."""
    watch = Watch(share=0.0)
    watch.diagnosis_s = 1e6

    for _ in range(100):
        watch.sample(10.0)

    assert watch.overhead.interval_s == 1.0
    assert watch.overhead.allows_diagnosis


def test_the_sum_never_falls() -> None:
    """The counter that is exported must not go back when the thread is started anew."""
    overhead = Overhead(SHARE, 1.0)

    used = [overhead.account(float(i), thread_s, 0.0) for i, thread_s in enumerate((1.0, 2.0, 0.5, 0.75))]

    assert used == [1.0, 2.0, 2.5, 2.75]


@given(st.lists(st.tuples(st.floats(-1e9, 1e9), st.floats(0, 1e3)), max_size=50), st.floats(0.01, 1e3))
def test_whatever_the_clock_and_the_cost_looking_goes_on(
    spent: list[tuple[float, float]], interval_s: float
) -> None:
    """A budget slows, it does not stop: the interval stays within ten times what was asked for."""
    overhead = Overhead(SHARE, interval_s)
    total_s = 0.0

    for now_s, cpu_s in spent:
        total_s += cpu_s
        overhead.account(now_s, total_s, total_s)

        assert interval_s <= overhead.interval_s <= MAX_STRETCH * interval_s


@given(st.lists(st.tuples(st.floats(0, 1e4), st.floats(0, 10)), max_size=50))
def test_a_bucket_gives_no_more_than_came_in(spent: list[tuple[float, float]]) -> None:
    """What it held at first and what came in meanwhile is all there is."""
    bucket = Bucket(SHARE, 600.0)
    start, now_s, used_s = bucket.left_s, 0.0, 0.0

    for passed_s, cpu_s in spent:
        now_s += passed_s
        used_s += cpu_s
        bucket.spend(now_s, cpu_s)

    assert bucket.left_s <= start + SHARE * now_s - used_s + 1e-9
