"""Threads and waits that stay what they were when the package was imported."""

from __future__ import annotations

import _thread
import threading
from functools import partial

import pytest

from otel_memleak.threads import Signal, Worker

LONG_S = 30.0


def never(*_: object, **__: object) -> int:
    raise AssertionError("a replaced one was used")


@pytest.fixture(params=["as it was", "replaced"])
def world(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The second is what gevent and eventlet do to a process that runs already."""
    if request.param == "replaced":
        for module, name in ((_thread, "start_new_thread"), (_thread, "allocate_lock")):
            monkeypatch.setattr(module, name, never)
        for name in ("_start_new_thread", "_start_joinable_thread", "_allocate_lock", "Lock"):
            if hasattr(threading, name):
                monkeypatch.setattr(threading, name, never)
    return str(request.param)


def test_a_signal_lets_everybody_pass_until_it_is_cleared(world: str) -> None:
    """Set before, set while several wait, set twice; cleared twice."""
    signal, passed = Signal(), [Signal() for _ in range(3)]

    def wait_and_tell(each: Signal) -> None:
        if signal.wait(LONG_S):
            each.set()

    workers = [Worker("waits", partial(wait_and_tell, each)) for each in passed]
    for worker in workers:
        worker.start()
    assert not signal.wait(0.01)

    signal.set()
    signal.set()

    assert all(each.wait(LONG_S) for each in passed)
    assert signal.wait()
    assert signal.is_set()
    signal.clear()
    signal.clear()
    assert not signal.wait(0)
    assert not signal.wait(-1)
    signal.set()
    assert signal.wait(0)
    for worker in workers:
        worker.join(LONG_S)


def test_a_signal_that_is_cleared_while_it_is_being_set_is_not_stuck() -> None:
    """A lock released late, by a thread that was interrupted in between, costs one wake-up for nothing."""
    signal = Signal()
    signal._gate.release()

    assert not signal.wait(LONG_S), "woken, but it is not set"
    assert signal._gate.locked(), "and closed again: nobody runs in circles"
    assert not signal.wait(0.01)
    signal.set()
    assert signal.wait(LONG_S)


def test_a_worker_works_and_is_waited_for(world: str) -> None:
    """Begun, alive while it works, itself to itself and to nobody else, over when joined."""
    go_on, seen = Signal(), []
    worker = Worker("OtelMemleakTest", lambda: (seen.append(worker.is_current()), go_on.wait(LONG_S)))
    assert not worker.is_alive()

    worker.start()
    worker.join(0.01)

    assert worker.is_alive()
    assert not worker.is_current()
    go_on.set()
    worker.join(LONG_S)
    assert not worker.is_alive()
    assert seen == [True]


def test_a_worker_is_a_named_daemon() -> None:
    """It must not keep the interpreter from exiting, and a stack dump must say whose it is."""
    go_on = Signal()
    worker = Worker("OtelMemleakTest", partial(go_on.wait, LONG_S))

    worker.start()

    [thread] = [each for each in threading.enumerate() if each.name == "OtelMemleakTest"]
    assert thread.daemon
    go_on.set()
    worker.join(LONG_S)
    assert not thread.is_alive()
