"""Calls per name, when there are more names than room."""

from __future__ import annotations

import os
import threading
from random import Random

import pytest
from opentelemetry.trace import SpanContext, TraceFlags

from otel_memleak.routes.tally import BATCH, RouteTally


def context(number: int, sampled: bool = True) -> SpanContext:
    return SpanContext(number, number, is_remote=False, trace_flags=TraceFlags(int(sampled)))


def test_every_call_is_counted_under_its_name() -> None:
    """Also those still in the queue when somebody asks."""
    tally = RouteTally()
    for name in ["a"] * (2 * BATCH + 7) + ["b"] * 3:
        tally.count(name)

    assert tally.counts() == {"a": 2 * BATCH + 7, "b": 3}


def test_names_with_identifiers_are_one_name() -> None:
    """A path per customer is one route."""
    tally = RouteTally()
    for number in range(1000):
        tally.count(f"GET /users/{number}")

    assert tally.counts() == {"GET /users/{id}": 1000}


def test_a_flood_of_names_is_counted_as_the_rest_and_the_frequent_ones_stay() -> None:
    """What looks like no identifier may be one; it must neither grow nor push out what matters."""
    tally = RouteTally(capacity=8)
    rng = Random(1)
    calls = 0
    for _ in range(20_000):
        name = rng.choice(["GET /a", "GET /b"]) if rng.random() < 0.3 else _word(rng)
        tally.count(name)
        calls += 1

    counts = tally.counts()

    assert len(tally._slots) == 8
    # A passer-by that is given up takes its few calls with it.
    assert 0.999 * calls <= sum(counts.values()) <= calls
    assert counts["GET /a"] > 2000
    assert counts["GET /b"] > 2000
    assert counts["(other)"] > 10_000


def test_counts_of_a_name_never_fall_while_it_is_told() -> None:
    """What becomes of the rest later is not taken back from a route: the counts are running totals."""
    tally = RouteTally(capacity=8)
    rng = Random(2)
    before: dict[str, int] = {}
    for _ in range(200):
        for _ in range(50):
            tally.count(rng.choice(["GET /a", "GET /b", _word(rng), _word(rng)]))
        counts = tally.counts()
        assert all(counts.get(name, 0) >= before.get(name, 0) for name in ("GET /a", "GET /b", "(other)"))
        before = counts
    assert before["GET /a"] > 2000


def test_a_route_that_becomes_busy_displaces_one_that_was() -> None:
    """Years of an old route's calls do not keep a new one out of the table."""
    tally = RouteTally(capacity=2)
    for _ in range(300_000):
        tally.count("GET /old")
        tally.count("GET /older")
    for _ in range(300_000):
        tally.count("GET /new")

    assert tally.counts()["GET /new"] > 50_000


def test_at_most_three_recent_contexts_are_kept_the_latest_first() -> None:
    """Enough to link an alert to requests that leak."""
    tally = RouteTally()
    for number in range(1, 6):
        tally.count("a", context(number))
        tally.settle()

    assert [c.trace_id for c in tally.recent_contexts("a")] == [5, 4, 3]
    assert tally.recent_contexts("unknown") == []


def test_a_span_that_was_not_sampled_is_no_example() -> None:
    """A link to a trace that was never exported leads nowhere."""
    tally = RouteTally()
    tally.count("a", context(1, sampled=False))

    assert tally.recent_contexts("a") == []


def test_contexts_are_found_under_the_collapsed_name() -> None:
    """The name an alert shows is the one to ask by."""
    tally = RouteTally()
    tally.count("GET /users/17", context(9))

    assert [c.trace_id for c in tally.recent_contexts("GET /users/{id}")] == [9]


def test_counting_while_counting_neither_hangs_nor_loses_a_call() -> None:
    """A span may end in a finalizer, in the very thread that is working off the queue."""
    tally = RouteTally()
    tally.count("a")
    with tally._lock:
        for _ in range(2 * BATCH):
            tally.count("b")

    assert tally.counts() == {"a": 1, "b": 2 * BATCH}


def test_threads_lose_no_call() -> None:
    """Four threads count at once; every call is in the total."""
    tally = RouteTally()
    threads = [threading.Thread(target=lambda: [tally.count("a") for _ in range(10_000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert tally.counts() == {"a": 40_000}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_child_forked_in_the_middle_of_counting_goes_on() -> None:
    """The thread that held the lock does not exist in the child."""
    tally = RouteTally()
    tally.count("a")
    with tally._lock:
        pid = os.fork()
        if pid == 0:
            os._exit(0 if tally.counts() == {"a": 1} else 1)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    assert code == 0


def test_no_room_is_refused() -> None:
    """A mistake of the caller."""
    with pytest.raises(ValueError, match="capacity=0"):
        RouteTally(0)


def _word(rng: Random) -> str:
    return "GET /" + "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(12))


def test_the_total_counts_every_call_and_never_falls() -> None:
    """As a clock it must not turn back when a name loses its place."""
    tally = RouteTally(capacity=2)
    before = 0
    for number in range(2000):
        tally.count(f"GET /{number % 7}")
        if number % 100 == 0:
            assert tally.total() >= before
            before = tally.total()

    assert tally.total() == 2000


def test_the_lock_may_be_replaced_while_it_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """A forked child's sampling thread may be counting already when the lock is made anew."""
    tally = RouteTally()
    tally.count("GET /")
    monkeypatch.setattr(tally, "_drain", tally.after_fork_in_child)

    tally.settle()

    assert not tally._lock.locked()
