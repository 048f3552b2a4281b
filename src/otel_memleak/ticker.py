"""A daemon thread that calls a function at a steady pace, survives forks and ends within a second.

Sampling needs a thread of its own: a metric callback runs at the reader's pace and under its lock, and an
event loop stands still just when somebody should be looking.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial

from otel_memleak import forks
from otel_memleak.guard import Guard
from otel_memleak.threads import Signal, Worker

THREAD_NAME = "OtelMemleakDetector"
STOP_TIMEOUT_S = 1.0


class Ticker:
    """Calls ``tick`` soon and then every ``interval_s`` until stopped.

    Args:
        interval_s: Seconds between two calls, from start to start. A call that is late by more than an
            interval (a suspended process) is not made up for.
        tick: What to call; whatever it raises is swallowed.
        on_fork: Called in a forked child before the thread starts there; must drop what is the parent's.
        guard: Told of failures.
        dormant: Do not run in this process, only in children forked from it.
        peek: Called between two ticks when ``pause_s`` asks for it; whatever it raises is swallowed.
        pause_s: Asked after every call: the seconds until the next; a tick is never put off by it.
        delay_s: Seconds before the first call, unless `wake` is called.
    """

    def __init__(
        self,
        interval_s: float,
        tick: Callable[[], None],
        on_fork: Callable[[], None],
        guard: Guard,
        *,
        dormant: bool = False,
        peek: Callable[[], None] | None = None,
        pause_s: Callable[[], float] | None = None,
        delay_s: float = 0.0,
    ) -> None:
        self._interval_s = interval_s
        self._tick = tick
        self._on_fork = on_fork
        self._guard = guard
        self._dormant = dormant
        self._peek = peek
        self._pause_s = pause_s
        self._delay_s = delay_s
        self._stop = Signal()
        self._first = Signal()
        self._thread: Worker | None = None
        self._pid = 0
        self._started = False
        self._revived_in: dict[int, object] = {}

    @property
    def running(self) -> bool:
        """Whether it has been started and not stopped."""
        return self._started

    @property
    def thread(self) -> Worker | None:
        """The thread of this process, if it has one."""
        return self._thread

    def pace(self, interval_s: float) -> None:
        """Leave so many seconds between calls from the next one on."""
        self._interval_s = interval_s

    def start(self) -> None:
        """Start ticking; a second start does nothing."""
        if self._started:
            return
        self._pid = os.getpid()  # first: somebody may ask meanwhile whether this is a fork
        self._started = True
        self._stop, self._first = Signal(), Signal()
        forks.register(self)
        if not self._dormant:
            self._start_thread()

    def stop(self) -> None:
        """Stop ticking and wait for the thread, at most a second. Safe to call from the thread itself."""
        if not self._started:
            return
        self._started = False
        forks.unregister(self)
        self._stop.set()
        self._first.set()
        thread, self._thread = self._thread, None
        if thread is not None and not thread.is_current() and self._pid == os.getpid():
            thread.join(STOP_TIMEOUT_S)

    def wake(self) -> None:
        """Do not wait any longer for the first call; cheap to call again."""
        self._first.set()

    def ensure_alive(self) -> None:
        """Start over if this process was forked without Python noticing (uWSGI, a fork in C)."""
        if self._started and self._pid != os.getpid():
            self.after_fork_in_child()

    def after_fork_in_child(self) -> None:
        """Start over in a forked child: new event, new thread, nothing of the parent's."""
        pid, mine = os.getpid(), object()
        # Locks of the parent may have been held when it forked. dict.setdefault is atomic, so of several
        # threads that notice the fork at once exactly one gets through.
        if not self._started or self._revived_in.setdefault(pid, mine) is not mine:
            return
        self._revived_in = {pid: mine}
        self._pid = pid
        self._stop, self._first = Signal(), Signal()
        self._thread = None
        self._dormant = False
        try:
            self._on_fork()
        except Exception as error:
            self._guard.swallow("starting over after a fork", error)
        self._start_thread()

    def _start_thread(self) -> None:
        thread = Worker(THREAD_NAME, partial(self._run, self._stop, self._first))
        try:
            thread.start()
        except RuntimeError as error:
            # At interpreter shutdown, in an isolated sub-interpreter, or when no thread is to be had.
            self._guard.swallow("starting the sampling thread", error)
            return
        self._thread = thread

    def _run(self, stop: Signal, first: Signal) -> None:
        first.wait(self._delay_s)
        due = time.monotonic()
        while not stop.is_set():
            if stop is not self._stop:
                # gevent's greenlets survive a fork: this is the parent's, in a child that has its own. It
                # rests, because the end of a thread that nobody has counted is a traceback.
                stop.wait()
                return
            try:
                self._tick()
            except Exception as error:
                self._guard.swallow("taking a sample", error)
            now = time.monotonic()
            due = due + self._interval_s if due + self._interval_s > now else now + self._interval_s
            self._wait(stop, due)

    def _wait(self, stop: Signal, due: float) -> None:
        """Wait for the next tick, and peek meanwhile as often as is asked for."""
        left = due - time.monotonic()
        if self._peek is not None and self._pause_s is not None:
            while (pause := self._pause_s()) < left and not stop.wait(pause):
                try:
                    self._peek()
                except Exception as error:
                    self._guard.swallow("looking between two samples", error)
                left = due - time.monotonic()
        stop.wait(left)
