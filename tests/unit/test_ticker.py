"""The sampling thread: pace, end, failures, forks. Waits on events, never on time passing."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from collections.abc import Callable

import pytest

from otel_memleak import guard as guard_module
from otel_memleak.guard import Guard
from otel_memleak.ticker import THREAD_NAME, Ticker

WAIT_S = 10.0


class Ticks:
    """Counts calls and lets a test wait for one."""

    def __init__(self) -> None:
        self.seen = threading.Semaphore(0)
        self.forks = 0

    def tick(self) -> None:
        self.seen.release()

    def fork(self) -> None:
        self.forks += 1

    def wait(self, count: int = 1) -> None:
        for _ in range(count):
            assert self.seen.acquire(timeout=WAIT_S)


def ticker(
    ticks: Ticks, interval_s: float = 0.001, guard: Guard | None = None, dormant: bool = False
) -> Ticker:
    return Ticker(interval_s, ticks.tick, ticks.fork, guard or Guard(), dormant=dormant)


def in_fork(body: Callable[[], bool]) -> bool:
    """Run in a forked child and give its answer."""
    pid = os.fork()
    if pid == 0:
        answer = False
        try:
            answer = body()
        finally:
            os._exit(0 if answer else 1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


fork_only = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning"),
]


def test_it_ticks_at_once_and_again() -> None:
    """The first sample does not wait for an interval to pass."""
    ticks = Ticks()
    watched = ticker(ticks)

    watched.start()
    ticks.wait(3)

    watched.stop()


def test_the_first_tick_may_be_put_off_until_it_is_wanted() -> None:
    """A start that has other things to do; stopping does not wait for it either."""
    ticks = Ticks()
    watched = Ticker(600.0, ticks.tick, ticks.fork, Guard(), delay_s=600.0)
    watched.start()
    assert not ticks.seen.acquire(timeout=0.05)
    watched.wake()
    ticks.wait()
    watched.stop()

    put_off = Ticker(600.0, ticks.tick, ticks.fork, Guard(), delay_s=600.0)
    put_off.start()
    thread = put_off.thread
    put_off.stop()

    assert thread is not None
    assert not thread.is_alive()
    assert not ticks.seen.acquire(timeout=0.0)


def test_the_thread_is_a_named_daemon() -> None:
    """It must not keep the interpreter from exiting, and a stack dump must say whose it is."""
    ticks = Ticks()
    watched = ticker(ticks)
    watched.start()

    [thread] = [each for each in threading.enumerate() if each.name == THREAD_NAME]
    assert thread.daemon
    watched.stop()


def test_stop_ends_the_thread_however_long_the_interval() -> None:
    """Sixty seconds of waiting must not become sixty seconds of shutting down."""
    ticks = Ticks()
    watched = ticker(ticks, interval_s=3600)
    watched.start()
    ticks.wait()
    thread = watched.thread
    assert thread is not None

    watched.stop()

    assert not thread.is_alive()
    assert watched.thread is None
    assert not watched.running


def test_stop_from_its_own_thread_does_not_deadlock() -> None:
    """An on_alert callback may well call uninstrument()."""
    done = threading.Event()
    watched: list[Ticker] = []

    def tick() -> None:
        watched[0].stop()
        done.set()

    watched.append(Ticker(0.001, tick, lambda: None, Guard()))
    watched[0].start()

    assert done.wait(WAIT_S)


def test_start_and_stop_twice_are_harmless() -> None:
    """Neither a second thread nor an error."""
    ticks = Ticks()
    watched = ticker(ticks)
    watched.start()
    thread = watched.thread
    watched.start()
    assert watched.thread is thread

    watched.stop()
    watched.stop()


def test_it_can_be_started_again() -> None:
    """Instrument, uninstrument, instrument."""
    ticks = Ticks()
    watched = ticker(ticks, interval_s=3600)
    for _ in range(3):
        watched.start()
        ticks.wait()
        watched.stop()


def test_a_failing_tick_is_counted_and_does_not_end_the_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """One bad moment must not blind the process for the rest of its life."""
    monkeypatch.setattr(guard_module, "reraise", False)
    guard, ticks = Guard(), Ticks()

    def tick() -> None:
        ticks.tick()
        raise OSError("boom")

    watched = Ticker(0.001, tick, ticks.fork, guard)
    watched.start()
    ticks.wait(3)
    watched.stop()

    assert guard.errors >= 2


def test_a_thread_that_cannot_start_is_not_an_error_of_the_application(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At shutdown and in isolated sub-interpreters no thread is to be had."""
    monkeypatch.setattr(guard_module, "reraise", False)

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    guard = Guard()
    watched = ticker(Ticks(), guard=guard)

    watched.start()
    watched.stop()

    assert guard.errors == 1


def test_a_dropped_ticker_is_not_kept_by_the_fork_hook() -> None:
    """Hooks cannot be taken back; they must not keep what they were made for."""
    watched = ticker(Ticks())
    watched.start()
    watched.stop()
    gone = weakref.ref(watched)

    del watched
    gc.collect()

    assert gone() is None


class TestFork:
    """What happens in a child process."""

    pytestmark = fork_only

    def test_a_forked_child_ticks_on_its_own(self) -> None:
        """Threads do not survive a fork: the child gets a new one, and is told to start over first."""
        ticks = Ticks()
        watched = ticker(ticks)
        watched.start()
        ticks.wait()

        def body() -> bool:
            seen = Ticks()
            # The semaphore's lock may have been held by the parent's thread when it forked.
            ticks.seen = seen.seen
            seen.wait(2)
            return ticks.forks == 1 and watched.thread is not None and watched.thread.is_alive()

        assert in_fork(body)
        assert ticks.forks == 0
        watched.stop()

    def test_a_fork_that_ran_no_hook_is_noticed(self) -> None:
        """uWSGI forks in C; the dead thread still claims to be alive there, so the pid has to be asked."""
        ticks = Ticks()
        watched = ticker(ticks)
        watched.start()
        ticks.wait()
        first, stop_first = watched.thread, watched._stop
        watched._pid = -1  # as if this process were the child

        watched.ensure_alive()
        watched.ensure_alive()

        assert ticks.forks == 1
        assert watched.thread is not first
        watched.stop()
        stop_first.set()
        assert first is not None
        first.join(WAIT_S)

    def test_a_stopped_one_stays_stopped_in_a_child(self) -> None:
        """After uninstrument() a fork revives nothing."""
        ticks = Ticks()
        watched = ticker(ticks)
        watched.start()
        watched.stop()

        assert in_fork(lambda: watched.thread is None and ticks.forks == 0)

    def test_a_dormant_one_runs_only_in_children(self) -> None:
        """multiprocessing's fork server is no worker, but it forks them."""
        ticks = Ticks()
        watched = ticker(ticks, dormant=True)
        watched.start()

        def body() -> bool:
            ticks.wait()
            return True

        assert watched.thread is None
        assert in_fork(body)
        watched.stop()


def test_it_peeks_between_ticks_as_often_as_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour between two ticks, and looks in between; one that fails is counted and does not end them."""
    monkeypatch.setattr(guard_module, "reraise", False)
    guard, ticks = Guard(), Ticks()
    peeked = threading.Semaphore(0)

    def peek() -> None:
        peeked.release()
        raise OSError("boom")

    watched = Ticker(3600, ticks.tick, ticks.fork, guard, peek=peek, pause_s=lambda: 0.001)
    watched.start()
    for _ in range(3):
        assert peeked.acquire(timeout=WAIT_S)
    watched.stop()

    assert guard.errors >= 2
    ticks.wait()
    assert not ticks.seen.acquire(blocking=False)


def test_without_a_reason_to_peek_it_only_ticks() -> None:
    """A pause as long as the interval is no pause."""
    ticks = Ticks()
    peeks: list[int] = []
    watched = Ticker(
        0.001, ticks.tick, ticks.fork, Guard(), peek=lambda: peeks.append(1), pause_s=lambda: 0.001
    )
    watched.start()
    ticks.wait(5)
    watched.stop()

    assert peeks == []


def test_a_thread_that_survives_a_fork_rests() -> None:
    """gevent's greenlets do: the parent's must not tick in the child beside the child's own."""
    ticked: list[int] = []
    moved_on = threading.Event()

    def tick() -> None:
        ticked.append(threading.get_ident())
        if len(ticked) > 3:
            moved_on.set()

    ticker = Ticker(0.01, tick, lambda: None, Guard())
    ticker.start()
    inherited, stop = ticker.thread, ticker._stop
    assert inherited is not None
    assert moved_on.wait(WAIT_S)

    ticker.after_fork_in_child()
    for _ in range(3):  # what was under way may still end, then only the new one ticks
        moved_on.clear()
        ticked.clear()
        assert moved_on.wait(WAIT_S)
    assert ticker.thread is not None
    assert set(ticked) == {ticker.thread.ident}
    assert inherited.is_alive()

    ticker.stop()
    stop.set()
    inherited.join(WAIT_S)
    assert not inherited.is_alive()
