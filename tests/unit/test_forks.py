"""Noticing a fork, and where there was none."""

from __future__ import annotations

import os
import sys
import threading

import pytest

from otel_memleak import forks, frames


class Thread:
    """Something that is told."""

    def __init__(self) -> None:
        self.told = 0

    def after_fork_in_child(self) -> None:
        self.told += 1

    def stop(self) -> None:
        pass


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is remembered of this process, given back after the test."""
    forks.register(Thread())  # the hooks themselves, which a process has once and no test can take back
    monkeypatch.setattr(forks, "_known", dict(forks._known))
    monkeypatch.setattr(forks, "_noticing", {})
    monkeypatch.setattr(frames, "_stale", [])


@pytest.mark.usefixtures("quiet")
def test_a_process_that_nobody_watches_has_missed_no_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without hooks there is nothing to make up for, and the frames of threads may be looked at."""
    monkeypatch.setattr(forks, "_hooked", [])
    monkeypatch.setattr(forks, "_known", {"pid": 0})

    forks.notice()

    assert frames.thread_frames()


@pytest.mark.usefixtures("quiet")
def test_a_fork_in_c_is_made_up_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever notices first tells everybody, once; frames of threads that are no more are left alone."""
    thread = Thread()
    forks.register(thread)
    monkeypatch.setattr(forks, "_listeners", {thread})
    monkeypatch.setattr(forks, "_known", {"pid": os.getpid() + 1})

    forks.notice()
    forks.notice()

    assert thread.told == 1
    assert frames.thread_frames() == {}
    forks.unregister(thread)


def test_frames_are_left_alone_without_the_gil(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads of a free-threaded interpreter go on while their frames are read."""
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)

    assert frames.thread_frames() == {}


@pytest.mark.usefixtures("quiet")
def test_a_second_thread_does_not_call_a_fork_noticed_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """While one thread makes up for the fork, what it calls must still learn that there was one to make up for."""
    seen: list[bool] = []

    class Slow(Thread):
        def after_fork_in_child(self) -> None:
            other = threading.Thread(target=forks.notice)
            other.start()
            other.join()
            seen.append(forks.unnoticed())

    slow = Slow()
    forks.register(slow)
    monkeypatch.setattr(forks, "_listeners", {slow})
    monkeypatch.setattr(forks, "_known", {"pid": os.getpid() + 1})

    forks.notice()

    assert seen == [True]
    assert not forks.unnoticed()
    forks.unregister(slow)
