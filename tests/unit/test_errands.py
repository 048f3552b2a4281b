"""The thread that waits for disks and networks, so that nobody else does."""

from __future__ import annotations

import os
import threading

import pytest

from otel_memleak import guard as guard_module
from otel_memleak.errands import Errands
from otel_memleak.guard import Guard

WAIT_S = 10.0


def test_errands_are_done_in_order_and_one_that_fails_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk once is no reason never to write again."""
    monkeypatch.setattr(guard_module, "reraise", False)
    guard, done = Guard(), []
    errands = Errands("errands", guard)

    def fail() -> None:
        raise OSError("full")

    errands.run("first", lambda: done.append(1))
    errands.run("failing", fail)
    errands.run("second", lambda: done.append(2))

    assert errands.stop(WAIT_S)
    assert done == [1, 2]
    assert guard.errors == 1


def test_what_waits_is_bounded_and_the_newest_counts() -> None:
    """A disk that hangs for an hour must not pile up an hour of files in memory."""
    let_go, done = threading.Event(), []
    errands = Errands("errands", Guard())
    errands.run("hanging", lambda: bool(let_go.wait(WAIT_S)))
    for number in range(1000):
        errands.run("writing", lambda number=number: done.append(number))  # type: ignore[misc]
    let_go.set()

    assert errands.stop(WAIT_S)
    assert len(done) <= 9
    assert done[-1] == 999


def test_nothing_is_taken_after_the_end() -> None:
    """And no thread is started for it."""
    errands = Errands("errands", Guard())
    assert errands.stop(0.0)

    errands.run("late", lambda: None)
    errands.warm_up()

    assert errands._thread is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_has_a_thread_of_its_own() -> None:
    """The parent's is not there any more, though its object is."""
    errands = Errands("errands", Guard())
    errands.warm_up()

    pid = os.fork()
    if pid == 0:
        errands.forget()
        done = threading.Event()
        errands.run("in the child", done.set)
        os._exit(0 if done.wait(WAIT_S) else 1)

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert errands.stop(WAIT_S)
