"""Noticing a fork, and where there was none."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider

from otel_memleak import entry_spans, forks, frames


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


FORKING = """
import ctypes, os, sys
from otel_memleak import forks

class Told:
    def after_fork_in_child(self): ...
    def stop(self): ...

told = Told()
forks.register(told)
pid = os.fork() if sys.argv[1] == "python" else ctypes.PyDLL(None).fork()
if pid == 0:
    os._exit(forks.mark[0])
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), forks.mark[0])
"""
"""A process of its own: where there are threads, a child forked in C may wait for ever for one to take the GIL."""


@pytest.mark.skipif(sys.platform != "linux", reason="needs MADV_WIPEONFORK")
@pytest.mark.parametrize(("forked_by", "expected"), [("c", "0 1"), ("python", "1 1")])
def test_a_fork_that_ran_no_hook_shows_without_a_system_call(forked_by: str, expected: str) -> None:
    """The kernel empties the page in every child; where the hooks ran, they have filled it again."""
    forking = [sys.executable, "-c", FORKING, forked_by]

    told = subprocess.run(forking, capture_output=True, text=True, timeout=60, check=True).stdout

    assert told.split() == expected.split()


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("mark", [forks.mark, forks._PidMark()])
def test_the_first_request_of_a_worker_forked_in_c_is_told_to_everybody(
    monkeypatch: pytest.MonkeyPatch, mark: forks._PidMark
) -> None:
    """In uWSGI it may be the first thing that Python does there; the second one finds it done."""
    provider = TracerProvider(shutdown_on_exit=False)
    processor = entry_spans.attach(provider)
    assert processor is not None
    thread = Thread()
    forks.register(thread)
    monkeypatch.setattr(forks, "_listeners", {thread})
    monkeypatch.setattr(forks, "_known", {"pid": os.getpid() + 1})
    monkeypatch.setattr(forks, "mark", mark)
    monkeypatch.setattr(entry_spans, "_mark", mark)
    mark[0] = 0

    for _ in range(2):
        provider.get_tracer("shop").start_span("GET /", Context()).end()

    assert (thread.told, bool(mark[0])) == (1, True)
    forks.unregister(thread)
