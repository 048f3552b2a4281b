"""The user's callbacks: whatever they do, sampling goes on."""

from __future__ import annotations

import threading

import pytest

from otel_memleak import guard as guard_module
from otel_memleak.callbacks import CallbackThread
from otel_memleak.guard import Guard
from otel_memleak.types import LeakAlert

WAIT_S = 10.0


def alert(number: int) -> LeakAlert:
    return LeakAlert("memleak.leak", str(number), "warning", "growth", float(number), 1.0)


def test_alerts_arrive_in_order_on_another_thread() -> None:
    """The callback may block without blocking us, and sees escalations after what they escalate."""
    seen: list[tuple[str, str]] = []
    done = threading.Event()

    def callback(alert: LeakAlert) -> None:
        seen.append((alert.id, threading.current_thread().name))
        if alert.id == "4":
            done.set()

    delivery = CallbackThread((callback,), Guard())
    for number in range(5):
        delivery.deliver(alert(number))

    assert done.wait(WAIT_S)
    assert seen == [(str(number), "OtelMemleakCallbacks") for number in range(5)]


def test_a_coroutine_function_is_awaited() -> None:
    """A callback may be asynchronous although nobody runs a loop for it."""
    done = threading.Event()

    async def callback(alert: LeakAlert) -> None:
        done.set()

    CallbackThread((callback,), Guard()).deliver(alert(1))

    assert done.wait(WAIT_S)


def test_a_callback_that_raises_is_counted_and_the_next_one_is_called(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One broken integration does not silence the others."""
    monkeypatch.setattr(guard_module, "reraise", False)
    done, guard = threading.Event(), Guard()

    def broken(alert: LeakAlert) -> None:
        raise ValueError("pager is down")

    CallbackThread((broken, lambda alert: done.set()), guard).deliver(alert(1))

    assert done.wait(WAIT_S)
    assert guard.errors == 1


def test_a_callback_that_hangs_stops_neither_us_nor_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deliveries return at once, only so many wait, and the rest is counted."""
    monkeypatch.setattr(guard_module, "reraise", False)
    release, started, guard = threading.Event(), threading.Event(), Guard()

    def hang(alert: LeakAlert) -> None:
        started.set()
        release.wait(WAIT_S)

    delivery = CallbackThread((hang,), guard)
    delivery.deliver(alert(0))
    assert started.wait(WAIT_S)
    for number in range(1, 100):
        delivery.deliver(alert(number))

    assert guard.errors == 99 - 16
    release.set()


def test_no_callback_means_no_thread() -> None:
    """Nothing is started for nobody."""
    before = threading.active_count()

    CallbackThread((), Guard()).deliver(alert(1))

    assert threading.active_count() == before
