"""Which lines allocate what stays: short tracemalloc windows, on suspicion, within a budget.

A window traces for a second or two and looks twice: halfway and at its end. What is in work is the same
in both looks and cancels out; what stays is more in the second. Nothing allocated before the window is
traced, so that a look costs in proportion to what was allocated in it and not to the heap. Lines that
grow in every one of several windows are the answer.

A tracemalloc that is already on is looked at twice in each window and otherwise left alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from otel_memleak.diagnosis._ranking import SiteRanking
from otel_memleak.diagnosis._tracing import Live, Site, Tracemalloc, Tracing
from otel_memleak.guard import Guard
from otel_memleak.types import Suspect

Phase = Literal["waiting", "tracing", "done"]


@dataclass(frozen=True, slots=True)
class SiteBudget:
    """What the windows may cost. Tracing makes allocating code 6 to 14 times as expensive while it lasts.

    Attributes:
        window_s: Length of one window, in seconds.
        windows: How many there are.
        pause_s: Seconds between two of them.
        cpu_share: Part of the CPU time this process has used in its life that may have been used under
            tracing; an upper bound of what tracing cost, since the process would have used some anyway.
        least_cpu_s: CPU seconds under tracing that are always allowed, for a process just started.
        traces: Live traced blocks up to which a look is taken. A look holds the GIL for 0.5 to 0.9 µs a
            block; at 60,000 that is about 50 ms.
        frames: Frames kept per block; the line named is always the innermost.
    """

    window_s: float = 2.0
    windows: int = 3
    pause_s: float = 10.0
    cpu_share: float = 0.05
    least_cpu_s: float = 2.0
    traces: int = 60_000
    frames: int = 1


@dataclass(frozen=True, slots=True)
class SiteCost:
    """What the windows have cost so far.

    Attributes:
        traced_cpu_s: CPU seconds the process used while we traced, looks included.
        traced_s: Seconds during which we traced.
        looks: Looks taken.
    """

    traced_cpu_s: float
    traced_s: float
    looks: int


@dataclass(slots=True)
class _Window:
    opened_s: float
    opened_cpu_s: float
    ours: bool
    first_s: float
    first: Mapping[Site, Live] | None


class SiteWindows:
    """One investigation: a few windows, driven by `tick` from the thread of the caller.

    While it is not `done`, call `tick` at or soon after `due_s`: a window stays open, and costs, until
    the next call. In a forked child call `abandon`, or the child traces for ever.

    Args:
        budget: What it may cost.
        now_s: Monotonic time of the start, in seconds; the same clock as for `tick`.
        tracing: The tracer.
        cpu_s: CPU seconds used by this process.
        guard: Told of failures; default one of its own.
    """

    def __init__(
        self,
        budget: SiteBudget,
        now_s: float,
        *,
        tracing: Tracing | None = None,
        cpu_s: Callable[[], float] = time.process_time,
        guard: Guard | None = None,
    ) -> None:
        self._budget = budget
        self._tracing: Tracing = tracing if tracing is not None else Tracemalloc()
        self._cpu_s = cpu_s
        self._guard = guard if guard is not None else Guard()
        self._ranking = SiteRanking()
        self._window: _Window | None = None
        self._opened = 0
        self._looks = 0
        self._traced_s = 0.0
        self._traced_cpu_s = 0.0
        self.due_s = now_s
        """When the next `tick` is wanted, on the caller's clock; in the past when done."""
        self.phase: Phase = "waiting"
        """``waiting`` for the next window, ``tracing`` in one, or ``done``."""
        self.limits = ""
        """Why it saw less than it was to see, in words; empty when it did not."""

    @property
    def done(self) -> bool:
        """Whether there is nothing more to come."""
        return self.phase == "done"

    @property
    def cost(self) -> SiteCost:
        """What it has cost so far, the open window excluded."""
        return SiteCost(self._traced_cpu_s, self._traced_s, self._looks)

    def suspects(self, growth_bytes_per_hour: float | None = None) -> list[Suspect]:
        """Lines that grew in every window so far, worst first, at most five.

        Args:
            growth_bytes_per_hour: Growth of the process; a line below a twentieth of it is not named.
        """
        return self._ranking.suspects(growth_bytes_per_hour)

    def traced_bytes_per_hour(self) -> float | None:
        """Growth of everything traced, the mean over the windows; None before the first one ended."""
        return self._ranking.traced_bytes_per_hour()

    def tick(self, now_s: float) -> None:
        """Do what is due. Never raises and never waits."""
        if self.done or now_s < self.due_s:
            return
        try:
            self._advance(now_s)
        except Exception as error:
            self._end("tracing failed", now_s)
            self._guard.swallow("tracing allocations", error)

    def stop(self, now_s: float) -> None:
        """End it early; an open window is closed without a look."""
        if not self.done:
            self._end("tracing was stopped early", now_s)

    def abandon(self) -> None:
        """In a forked child: the window is the parent's, but the tracing was inherited and must end."""
        window, self._window = self._window, None
        self.phase = "done"
        if window is not None and window.ours:
            try:
                self._tracing.stop()
            except Exception as error:
                self._guard.swallow("ending the tracing inherited from the parent", error)

    def _advance(self, now_s: float) -> None:
        window = self._window
        if window is None:
            self._open(now_s)
        elif window.ours and not self._tracing.is_on():
            self._end("somebody else stopped tracemalloc", now_s)
        elif window.first is None:
            self._look_first(window, now_s)
        else:
            self._look_last(window, window.first, now_s)

    def _open(self, now_s: float) -> None:
        cpu_s = self._cpu_s()
        expected_cpu_s = self._traced_cpu_s * (1 + 1 / self._opened) if self._opened else 0.0
        if expected_cpu_s > self._allowed_cpu_s(cpu_s):
            self._end("tracing stopped at its CPU budget", now_s)
            return
        ours = not self._tracing.is_on()
        if ours:
            self._tracing.start(self._budget.frames)
        self._window = _Window(now_s, cpu_s, ours, now_s, None)
        self._opened += 1
        self.phase = "tracing"
        # What was already on has a look to offer at once; what has just begun has nothing yet.
        self.due_s = now_s + self._budget.window_s / 2 if ours else now_s

    def _allowed_cpu_s(self, cpu_s: float) -> float:
        return max(self._budget.least_cpu_s, self._budget.cpu_share * cpu_s)

    def _look_first(self, window: _Window, now_s: float) -> None:
        window.first = self._look(window, now_s)
        window.first_s = now_s
        rest_s = self._budget.window_s / 2 if window.ours else self._budget.window_s
        self.due_s = now_s + rest_s

    def _look_last(self, window: _Window, first: Mapping[Site, Live], now_s: float) -> None:
        last = self._look(window, now_s)
        if last is not None:
            self._ranking.add(first, last, now_s - window.first_s)
            self._close(now_s)
            self.phase = "done" if self._opened >= self._budget.windows else "waiting"
            self.due_s = now_s + self._budget.pause_s

    def _look(self, window: _Window, now_s: float) -> Mapping[Site, Live] | None:
        """Live bytes by line; None, and the end of it all, when looking would cost too much."""
        used_cpu_s = self._traced_cpu_s + self._cpu_s() - window.opened_cpu_s
        traces = self._tracing.traces()
        if traces > self._budget.traces:
            self._end(f"about {traces:,} traced blocks were too many to look at", now_s)
            return None
        if window.ours and used_cpu_s > self._allowed_cpu_s(self._cpu_s()):
            self._end("tracing stopped at its CPU budget", now_s)
            return None
        self._looks += 1
        return self._tracing.look()

    def _close(self, now_s: float) -> None:
        window, self._window = self._window, None
        if window is not None and window.ours:
            self._tracing.stop()
            self._traced_s += now_s - window.opened_s
            self._traced_cpu_s += self._cpu_s() - window.opened_cpu_s

    def _end(self, why: str, now_s: float) -> None:
        self.phase = "done"
        self.limits = why
        try:
            self._close(now_s)
        except Exception as error:
            self._guard.swallow("ending a tracing window", error)
